"""When the board looks at PGQueuer's tables.

PGQueuer's own NOTIFY wakes it. As an UPDATE sends none (a pick, a retry, a requeue), a poll stands behind
that, quick while something happens and slow while nothing does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pgqueuer.domain.settings import db_settings

from kit.database.target import Target, Unreachable
from kit.errors.postgres import NO_TABLES, tables_are_missing
from kit.errors.text import one_line
from kit.pictures.board.consumers import Consumers
from kit.pictures.board.reader import Reader
from kit.pictures.board.state import BoardState

if TYPE_CHECKING:
    import asyncpg

APPLICATION = "kit board"

QUICK = 0.1  # seconds from one look to the next, at least: ten pictures a second
BUSY = 0.5  # the poll while jobs wait or run
SLOW = 2.0  # the poll while nothing does, and how often the table is read whole
# A look is followed by this many times its cost of rest, so that the consumer keeps what it has. The cost
# of drawing is this thread's own time, that of counting also the server's.
DRAWING_SHARE = 40
COUNTING_SHARE = 80
DRAWING_REST = 0.25  # at most: a burst must not freeze the cards
COUNTING_REST = 5.0
RETRY = 1.0  # between two attempts to reach Postgres
REACH = 5.0  # how long an attempt takes at most
GOODBYE = 2.0  # how long the last look, and closing, may take


class Feed:
    """Keeps ``state`` true to the tables of one database, until it is stopped.

    Args:
        target: what to follow.
        state: what is kept true.
        changed: called after each look, in the feed's own thread.
    """

    def __init__(self, target: Target, state: BoardState, changed: Callable[[], None]) -> None:
        self._target = target
        self._state = state
        self._changed = changed
        self._reader = Reader(target, state)
        self._consumers = Consumers(target)
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._stop = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._begun = 0
        self._done = 0

    async def look_now(self) -> None:
        """Return after a look that began now: the picture is then as fresh as the tables."""
        begun = self._begun
        while self._done <= begun and not self._stop.is_set():
            self._hurry.set()
            self._wake.set()
            await asyncio.sleep(0.001)

    def stop(self) -> None:
        """End :meth:`run`. To be called in the feed's loop."""
        self._stop.set()
        self._hurry.set()
        self._wake.set()
        if self._connection is not None:  # a look that hangs is not waited for
            asyncio.get_running_loop().call_later(GOODBYE, self._connection.terminate)

    async def run(self) -> None:
        """Follow the tables until :meth:`stop`, through lost connections and restarted servers."""
        while not self._stop.is_set():
            try:
                self._connection = await self._target.open(APPLICATION, limit=REACH)
                try:
                    await self._follow(self._connection)
                finally:
                    with contextlib.suppress(Exception):
                        await self._connection.close(timeout=GOODBYE)
            except Exception as error:  # whatever it is, the board says so and goes on
                self._trouble(error)
            if not self._stop.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), RETRY)

    def _trouble(self, error: BaseException) -> None:
        if tables_are_missing(error.__cause__):
            words = NO_TABLES
        else:
            reason = error.reason if isinstance(error, Unreachable) else one_line(error)
            words = f"The board has lost Postgres ({reason}) and tries again every second."
        with self._state.lock:
            self._state.trouble = words
        self._changed()

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        with contextlib.suppress(ValueError):
            event = json.loads(str(payload))
            if event.get("type") == "health_check_event":
                return
            self._reader.anew |= event.get("operation") == "truncate"
        self._wake.set()

    async def _follow(self, connection: asyncpg.Connection) -> None:
        if not self._target.read_only:  # somebody's own may be a standby, where nobody may listen
            async with self._target.answering(connection):
                await connection.add_listener(db_settings().channel, self._heard)
        connection.add_termination_listener(lambda _: self._wake.set())
        self._reader.anew = True
        pause = whole = 0.0
        while not self._stop.is_set():
            began, used = time.perf_counter(), time.thread_time()
            self._begun += 1
            version = self._state.version
            late = began - whole > SLOW
            async with self._target.answering(connection):
                await self._reader.look(connection, late)
                await self._consumers.hear(connection)
                if late:
                    await self._consumers.look(connection)
                    whole = began
            self._tell()
            self._done = self._begun
            took, used = time.perf_counter() - began, time.thread_time() - used
            if self._state.counting:
                most = float("inf") if self._target.read_only else COUNTING_REST
                least = max(QUICK, min(COUNTING_SHARE * took, most))
            else:
                least = max(QUICK - took, min(DRAWING_SHARE * used, DRAWING_REST))
            pause = least if self._state.version != version else min(max(pause * 2, QUICK), self._patience())
            await self._rest(least, max(pause, least))

    async def _rest(self, least: float, most: float) -> None:
        """Sleep ``least`` seconds whatever happens, and up to ``most`` while nothing wakes the feed."""
        began = time.perf_counter()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), most)
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), max(0.0, least - (time.perf_counter() - began)))
        self._hurry.clear()

    def _patience(self) -> float:
        due = [card.due or 0.0 for card in self._state.cards.values() if card.status == "queued"]
        picked = any(card.status == "picked" for card in self._state.cards.values())
        soonest = min(due, default=float("inf")) - self._state.now
        return BUSY if picked or soonest < SLOW else SLOW

    def _tell(self) -> None:
        with self._state.lock:
            self._state.trouble = None
            self._state.consumers = self._consumers.tell(self._state.cards.values())
            self._state.settle()
        self._changed()
