"""``kit.board()``: the queue as a live picture in a notebook."""

from __future__ import annotations

import asyncio
import atexit
import json
import threading
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kit import extras, live, notebook
from kit.database.target import Target
from kit.errors import KitError
from kit.errors.text import one_line
from kit.pictures.board import assets, detail
from kit.pictures.board.feed import Feed
from kit.pictures.board.state import BoardState
from kit.pictures.board.still import in_page, still
from kit.session import session

if TYPE_CHECKING:
    import anywidget

HTML = "text/html"
SLOWEST = 60  # seconds
SETTLED = 2.0  # seconds without a change before the still picture is brought up to date
FIRST_LOOK = 5.0
LAST_LOOK = 1.0


def board(*, slow: float = 0) -> Board:
    """Show the queue as a live picture: every job a card, from queued to its end, a lane an entrypoint.

    The board follows this process's current database on a thread of its own, so it moves while the
    kernel is busy, asleep or awaiting, and it sends to the browser only what has changed. A second call
    shows the same board once more. Point at a card, or reach it with Tab and the arrow keys, to see
    the job's payload, times and traceback.

    Beside the live picture stands a still one, which is what a saved or published notebook shows.

    Args:
        slow: slow motion: show each state that a job goes through for at least so many seconds. The
            consumer keeps its speed, the board falls behind it.

    Returns:
        The :class:`Board`; ``str()`` of it says the picture in words.

    Raises:
        KitError: no database is known; run ``kit.postgres()`` first. Or ``slow`` is no time.
    """
    if not (isinstance(slow, int | float) and 0 <= slow <= SLOWEST):
        raise KitError(f"slow={slow!r} is not a time: give seconds from 0 to {SLOWEST}, such as slow=0.5.")
    extras.need("anywidget", "kit.board()")
    target = session.target()
    found = session.boards.get(target)
    if not isinstance(found, Board) or not found.running:
        found = session.boards[target] = Board(target)
        found.start()
    found.slow = slow
    found.show()
    return found


class Board:
    """A live picture of one database's queue.

    Attributes:
        state: what is shown.
        slow: how long each state of a job is shown at least, in seconds.
    """

    slow: float = 0

    def __init__(self, target: Target) -> None:
        self.state = BoardState(target.name)
        self._target = target
        self._feed: Feed | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._first = threading.Event()
        self._widget: anywidget.AnyWidget | None = None
        self._stills: list[str] = []
        self._drawn = ""
        self._drawing = threading.Lock()
        self._settling: asyncio.TimerHandle | None = None
        self._shown_by: int | None = None

    def __repr__(self) -> str:
        return f"<board of {self.state.database!r}: {self.state.summary()}>"

    def __str__(self) -> str:
        return self.state.summary()

    @property
    def running(self) -> bool:
        """Whether the board follows the tables."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Follow the tables, and wait for the first look. Nothing happens when it runs already."""
        if self.running:
            return
        self._feed = Feed(self._target, self.state, self._changed)
        self._thread = threading.Thread(target=self._run, args=[self._feed], name="kit board", daemon=True)
        self._thread.start()
        atexit.register(self._end)
        if not self._first.wait(FIRST_LOOK):
            with self.state.lock:
                self.state.trouble = self.state.trouble or "Postgres has not answered yet."

    def close(self) -> None:
        """Stop following, and leave nothing but the last picture. A second call does nothing."""
        was_running = self.running
        self._end()
        if was_running:
            self.state.closed = time.time()
            self._send("full", self.state.full())

    def _end(self) -> None:
        atexit.unregister(self._end)
        notebook.no_longer_after_cells(self._cell_has_run)
        feed, loop, thread = self._feed, self._loop, self._thread
        if feed is not None and loop is not None and thread is not None:
            with suppress(RuntimeError):  # its loop has just ended by itself
                loop.call_soon_threadsafe(feed.stop)
            thread.join(10)
        self._feed = self._thread = None

    def _run(self, feed: Feed) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            runner.run(feed.run())

    def _changed(self) -> None:
        self._first.set()
        change = self.state.changes()
        if change is None or self._widget is None:
            return
        self._send("change", change)
        assert self._loop is not None
        if self._settling is not None:
            self._settling.cancel()
        self._settling = self._loop.call_later(SETTLED, self._redraw)

    def _send(self, kind: str, picture: dict[str, Any], **about: int) -> None:
        if self._widget is not None:
            self._widget.send({"kind": kind, **about}, [json.dumps(picture, separators=(",", ":")).encode()])

    def show(self) -> None:
        """Display the board here, below the cell that runs. Outside a notebook nothing happens."""
        if not notebook.in_notebook():
            return
        self._shown_by = notebook.cell_number()
        if self._widget is None:
            self._widget = _widget(self.state)
            self._widget.on_msg(lambda _widget, question, _buffers: self._asked(question))
            notebook.after_each_cell(self._cell_has_run)
        self._widget.slow = self.slow
        live.show(self._widget.model_id)
        self._stills.append(f"board-{uuid.uuid4().hex}")
        self._drawn = still(self.state)
        self._publish(self._stills[-1], update=False)

    def _ipython_display_(self) -> None:
        # kit.board() has shown it already; as the value of that same cell it would stand there twice.
        if notebook.in_notebook() and notebook.cell_number() != self._shown_by:
            self.show()

    def _asked(self, question: dict[str, Any]) -> None:
        """Answer the page: with everything, or with what is known of one job."""
        if question.get("kind") != "detail":
            self._send("full", self.state.full())
        elif self._loop is not None and self.running:
            job = int(question["job"])
            asyncio.run_coroutine_threadsafe(self._tell_detail(job), self._loop)

    async def _tell_detail(self, job: int) -> None:
        try:
            async with self._target.connect() as connection:
                told = await detail.of_job(connection, self._target, self.state, job)
        except Exception as error:  # the page waits for an answer
            told = {"why": str(error) if isinstance(error, KitError) else one_line(error)}
        self._send("detail", told, job=job)

    def _publish(self, name: str, *, update: bool) -> None:
        words = self.state.summary()
        page = in_page(self._drawn, words, self.state.now)
        bundle = {HTML: page, "image/svg+xml": self._drawn, "text/plain": words}
        notebook.publish(bundle, name, update=update)

    def _redraw(self) -> None:
        """Bring the still pictures up to date."""
        with self._drawing:
            drawn = still(self.state)
            if drawn != self._drawn:
                self._drawn = drawn
                for name in self._stills:
                    self._publish(name, update=True)

    def _cell_has_run(self, _result: Any) -> None:
        # nbclient takes an update only while a cell runs, so the last state must be told before it ends.
        if self._feed is not None and self._loop is not None and self.state.trouble is None:
            look = asyncio.run_coroutine_threadsafe(self._feed.look_now(), self._loop)
            try:
                look.result(LAST_LOOK)
            except TimeoutError:
                look.cancel()
        self._redraw()


def _widget(state: BoardState) -> anywidget.AnyWidget:
    """Make the browser's side of a board. Its first picture is taken when a page asks for it."""
    import anywidget
    import traitlets

    class BoardWidget(anywidget.AnyWidget):
        _esm = assets.script()
        _css = assets.styles()
        slow = traitlets.Float(0.0).tag(sync=True)
        # Taken anew whenever a page asks: after a reload the board must not come back as it once was.
        picture = traitlets.Any().tag(sync=True, to_json=lambda _value, _widget: state.full())

    return BoardWidget()
