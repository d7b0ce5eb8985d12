"""``kit.board()``: the queue as a live picture in a notebook."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import re
import threading
import uuid
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

from kit import extras, notebook
from kit.database.target import Target
from kit.display import palette
from kit.errors import KitError
from kit.errors.text import one_line
from kit.internals import before_threads_are_joined
from kit.pictures import live
from kit.pictures.board import detail
from kit.pictures.board.feed import Feed
from kit.pictures.board.history import History
from kit.pictures.live import Live
from kit.session import session

SCRIPT, STYLE = Path(__file__).with_name("board.js"), Path(__file__).with_name("board.css")
FIRST_LOOK = 5.0  # seconds
LAST_LOOK = 1.0
LONGEST_STILL = 400_000  # characters
_NO_STYLE = re.compile(r"<style\b[^>]*(/>|></style>)")


def board() -> Board:
    """Show the queue as a live picture: who is next, who works on what, and what became of each job.

    The board follows this process's current database on a thread of its own, so it moves while the kernel is
    busy, asleep or awaiting, and it sends to the browser only what has changed. A second call shows the same
    board once more. Point at a card, or reach it with Tab and the arrow keys; a click keeps its whole life in
    sight. The slider below plays again what happened since the queue was emptied, also in a saved or
    published notebook.

    Returns:
        The :class:`Board`; ``str()`` of it says the picture in words.

    Raises:
        KitError: no database is known; run ``kit.postgres()`` first.
    """
    extras.need("anywidget", "kit.board()")
    found = board_of(session.target())
    found.show()
    return found


def board_of(target: Target) -> Board:
    """Return the board that follows ``target``, started where there is none."""
    found = session.boards.get(target)
    if not isinstance(found, Board) or not found.running:
        found = session.boards[target] = Board(target)
        found.await_first_look()
    return found


class Board:
    """A live picture of one database's queue: it follows the tables until it is closed.

    Attributes:
        history: what is shown.
        live: how it is shown.
    """

    def __init__(self, target: Target) -> None:
        self.history = History(target.name)
        self.live = Live("kit board page", self, SCRIPT, STYLE, palette.for_pages())
        self._target = target
        self._feed = Feed(target, self.history, self._changed)
        self._loop = asyncio.new_event_loop()
        self._first = threading.Event()
        self._still = ""
        self._shown_by: int | None = None
        self._thread = threading.Thread(target=self._run, name="kit board", daemon=True)
        self._thread.start()
        before_threads_are_joined(self.close)

    def __repr__(self) -> str:
        return f"<board of {self.history.name!r}: {self}>"

    def __str__(self) -> str:
        return self.history.words()

    @property
    def running(self) -> bool:
        """Whether the board follows the tables."""
        return self._thread.is_alive()

    def await_first_look(self) -> None:
        """Return when it has looked at the tables, or says that it could not yet."""
        if not self._first.wait(FIRST_LOOK):
            self.history.put(self.history.now, "said", "trouble", text="Postgres has not answered yet.")

    def close(self) -> None:
        """Stop following, and leave nothing but the last picture. A second call does nothing."""
        with suppress(RuntimeError):  # its loop has ended
            self._loop.call_soon_threadsafe(self._feed.stop)
        self._thread.join(10)
        self.live.end()
        print(end="", flush=True)  # when Python ends: a kernel sends what was shown before its sockets go

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._feed.run())

    def _changed(self) -> None:
        self._first.set()
        self.live.changed()

    def show(self) -> None:
        """Display the board here, below the cell that runs. Outside a notebook nothing happens."""
        if notebook.in_notebook():
            self._shown_by = notebook.cell_number()
            self.live.show()

    def _ipython_display_(self) -> None:
        # kit.board() has shown it already; as the value of that same cell it would stand there twice.
        if notebook.cell_number() != self._shown_by:
            self.show()

    # What a live picture is asked

    def news(self, since: int) -> tuple[str, int]:
        """Return what has happened since the change of that number, and the number of the next."""
        return self.history.since(since) if since != self.history.last else ("", since)

    def catch_up(self) -> None:
        """Look at the tables once more: nbclient takes a last state only while a cell runs."""
        if self.running:
            look = asyncio.run_coroutine_threadsafe(self._feed.look_now(), self._loop)
            try:
                look.result(LAST_LOOK)
            except TimeoutError:
                look.cancel()

    def kept(self) -> dict[str, str]:
        """Return the still picture, and the history with the script that plays it again."""
        return {"text/html": page_of(self.history, self._still, str(self)), "text/plain": str(self)}

    def asked(self, question: dict[str, Any]) -> None:
        """Answer a page about one job, or keep the picture that it has drawn."""
        if question.get("kind") == "still":
            picture = str(question.get("svg", ""))
            if picture.startswith("<svg") and len(picture) < LONGEST_STILL and picture != self._still:
                self._still = picture
                self.live.keep()
        elif question.get("kind") == "detail" and self.running:
            asyncio.run_coroutine_threadsafe(self._tell_detail(int(question["job"])), self._loop)

    async def _tell_detail(self, job: int) -> None:
        try:
            async with self._target.connect() as connection:
                told = await detail.of_job(connection, self._target, job)
        except Exception as error:  # the page waits for an answer
            told = {"why": str(error) if isinstance(error, KitError) else one_line(error)}
        self.live.say(json.dumps({"kind": "detail", "job": job, **told}))


def page_of(history: History, still: str, words: str) -> str:
    """Return HTML that plays a history again; where no script runs it is a still picture, or words."""
    name, style = f"kit-{uuid.uuid4().hex}", STYLE.read_text("utf-8")
    # The page that drew it left its style sheet out, so that this is not sent to and fro.
    drawn = _NO_STYLE.sub(lambda _: f"<style>{style}</style>", still, count=1)
    data = base64.b64encode(drawn.encode()).decode()
    image = f'<img class="kb-image" src="data:image/svg+xml;base64,{data}" alt="{escape(words)}">'
    told = base64.b64encode(gzip.compress(history.since(-1)[0].encode(), 6)).decode()
    return (
        f"<style>{live.STYLE}{style}</style>"
        f'<figure class="kit-still" id="{name}">{image if still else f"<p>{escape(words)}</p>"}</figure>'
        f'<script type="module">{SCRIPT.read_text("utf-8")}'
        f'replay("{name}", "{told}", {json.dumps(palette.for_pages())});</script>'
    )
