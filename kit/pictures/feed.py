"""Follow PGQueuer's tables and keep a :class:`~kit.pictures.cards.BoardState` true to them.

The log has a row for each transition, so its tail shows also jobs that come and go between two
looks. PGQueuer's own NOTIFY wakes the feed; as an UPDATE sends none (a pick, a retry, a requeue), a
poll stands behind it, quick while something happens and slow while nothing does. Log ids do not
commit in order, and a learner may change the queue by hand, so the table itself is read now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pgqueuer.domain.settings import db_settings

from kit.pictures.cards import ACTIVE, DRAWN, ENDINGS, BoardState, Card
from kit.pictures.consumers import Consumers
from kit.pictures.rows import (
    COUNT_SQL,
    ENDED_SQL,
    GAPS_SQL,
    HISTORY_SQL,
    JOBS_SQL,
    LAST_ENDED_SQL,
    LOOK_SQL,
    MARK_SQL,
    QUEUE_SQL,
    RATE_SQL,
    TAIL,
    TAIL_SQL,
    take_job,
    take_log,
)

if TYPE_CHECKING:
    import asyncpg

APPLICATION = "kit board"

QUICK = 0.1  # seconds from one look to the next, at least: ten pictures a second
BUSY = 0.5  # the poll while jobs wait or run
SLOW = 2.0  # the poll while nothing does, and how often the table is read whole
# A look is followed by this many times its cost of rest, so that the consumer keeps what it has. The cost
# of drawing is this thread's own time, that of counting also the server's.
SHARE = 20
DRAWING_REST = 0.25  # at most: a burst must not freeze the cards
COUNTING_REST = 5.0
RETRY = 1.0  # between two attempts to reach Postgres
RUSH = 1000  # jobs ended in a second; a queue that goes faster is counted, as one that is too long
GAP_LIFE = 3.0  # how long a missing log id is looked for: longer than a commit takes, rolled back after


class Feed:
    """Keeps ``state`` true to the tables of one database, until it is stopped.

    Args:
        target: keyword arguments for ``asyncpg.connect``.
        state: what is kept true.
        changed: called after each look, in the feed's own thread.
    """

    def __init__(self, target: dict[str, Any], state: BoardState, changed: Callable[[], None]) -> None:
        self._target = target
        self._state = state
        self._changed = changed
        self._consumers = Consumers()
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._stop = asyncio.Event()
        self._begun = 0
        self._done = 0
        self._mark: tuple[int, int, float] | None = None
        self._gaps: dict[int, float] = {}
        self._anew = False
        self._counted_at = 0.0
        self._recount = False

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

    async def run(self) -> None:
        """Follow the tables until :meth:`stop`, through lost connections and restarted servers."""
        import asyncpg

        while not self._stop.is_set():
            try:
                connection = await asyncpg.connect(
                    **self._target, timeout=5, server_settings={"application_name": APPLICATION}
                )
                try:
                    await self._follow(connection)
                finally:
                    with contextlib.suppress(Exception):
                        await asyncio.wait_for(connection.close(), 2)
            except Exception as error:  # whatever it is, the board says so and goes on
                self._trouble(error)
            if not self._stop.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), RETRY)

    def _trouble(self, error: BaseException) -> None:
        words = str(error).strip().splitlines()
        reason = words[0] if words else type(error).__name__
        with self._state.lock:
            self._state.trouble = f"The board has lost Postgres ({reason}) and tries again every second."
        self._changed()

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        with contextlib.suppress(ValueError):
            event = json.loads(str(payload))
            if event.get("type") == "health_check_event":
                return
            self._anew |= event.get("operation") == "truncate"
        self._wake.set()

    async def _follow(self, connection: asyncpg.Connection) -> None:
        await connection.add_listener(db_settings().channel, self._heard)
        connection.add_termination_listener(lambda _: self._wake.set())
        await self._snapshot(connection)
        await self._consumers.look(connection)
        pause = whole = 0.0
        while not self._stop.is_set():
            began, used = time.perf_counter(), time.thread_time()
            self._begun += 1
            version = self._state.version
            if self._anew or self._state.counting:
                await self._snapshot(connection)
            elif began - whole > SLOW:
                await self._look(connection)
                await self._consumers.look(connection)
                whole = began
            else:
                await self._read(connection)
            self._tell()
            self._done = self._begun
            took, used = time.perf_counter() - began, time.thread_time() - used
            if self._state.counting:
                least = max(QUICK, min(SHARE * took, COUNTING_REST))
            else:
                least = max(QUICK - took, min(SHARE * used, DRAWING_REST))
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
            self._state.workers = self._consumers.tell(self._state.cards.values())
            self._state.settle()
        self._changed()

    def _rushing(self, ended: int) -> bool:
        """Say whether jobs end too fast to draw, given how many have ended since the last look."""
        since, self._counted_at = self._counted_at, time.perf_counter()
        return ended > RUSH * max(QUICK, self._counted_at - since)

    async def _snapshot(self, connection: asyncpg.Connection, rushing: bool | None = None) -> None:
        """Read the whole picture: after a start, a reset, a lost connection, and while counting."""
        self._anew = False
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            mark = await connection.fetchrow(MARK_SQL)
            assert mark is not None
            ended = await connection.fetch(ENDED_SQL)
            rate = await connection.fetch(RATE_SQL)
            counts = await connection.fetch(COUNT_SQL)
            if rushing is None:
                new = sum(row["number"] for row in ended) - self._state.ended.total()
                rushing = self._rushing(new) and self._mark is not None
            counting = rushing or sum(row["number"] for row in counts) > DRAWN
            queue = [] if counting else await connection.fetch(QUEUE_SQL)
            jobs = [] if counting else [row["job_id"] for row in await connection.fetch(LAST_ENDED_SQL)]
            jobs += [row["q_id"] for row in queue if row["attempts"] or row["q_status"] == "failed"]
            history = await connection.fetch(HISTORY_SQL, jobs) if jobs else []
        state = self._state
        with state.lock:
            state.now = mark["now"]
            state.counting = counting
            state.ended = Counter({(row["entrypoint"], row["status"]): row["number"] for row in ended})
            state.rate = Counter({row["second"]: row["number"] for row in rate})
            state.active = Counter()
            state.waiting = Counter()
            for row in counts if counting else ():
                state.active[row["entrypoint"], row["status"]] += row["number"]
                if row["status"] == "queued":
                    state.waiting[row["entrypoint"], row["priority"]] += row["number"]
            cards: dict[int, Card] = {}
            for row in history:
                take_log(cards, row)
            alive = {row["q_id"] for row in queue}
            cards = {job: card for job, card in cards.items() if card.status in ENDINGS or job in alive}
            for row in queue:
                take_job(cards, row)
            state.replace(list(cards.values()))
        self._mark = None if mark["id"] is None else (mark["id"], mark["job_id"], mark["at"])
        self._gaps.clear()

    async def _read(self, connection: asyncpg.Connection) -> None:
        """Take in the log rows that are new."""
        rows = await connection.fetch(TAIL_SQL, self._mark[0] if self._mark else 0)
        if self._mark is not None:
            # The last row seen must still be there; otherwise the tables were emptied under the feed.
            first = rows.pop(0) if rows else None
            if first is None or (first["l_id"], first["job_id"], first["at"]) != self._mark:
                return await self._snapshot(connection)
            self._state.now = first["now"]
        ended = sum(row["l_status"] in ENDINGS for row in rows)
        rushing = self._rushing(ended)
        if rushing or len(rows) >= TAIL - 1:
            return await self._snapshot(connection, rushing)
        if self._gaps:
            rows = [*await connection.fetch(GAPS_SQL, list(self._gaps)), *rows]
        if rows:
            self._take(rows)
            if sum(card.status in ACTIVE for card in self._state.cards.values()) > DRAWN:
                return await self._snapshot(connection)
        now = time.perf_counter()
        for gap in [gap for gap, found in self._gaps.items() if now - found > GAP_LIFE]:
            del self._gaps[gap]
            self._recount = True
        return None

    def _take(self, rows: list[asyncpg.Record]) -> None:
        state = self._state
        last = self._mark[0] if self._mark else None
        with state.lock:
            state.now = rows[-1]["now"]
            for row in rows:
                job = row["job_id"]
                take_log(state.cards, row)
                if row["q_id"] is not None:
                    take_job(state.cards, row)
                state.put(state.cards[job])
                if row["l_status"] in ENDINGS:
                    state.ended[row["l_entrypoint"], row["l_status"]] += 1
                    state.rate[int(row["at"])] += 1
                self._gaps.pop(row["l_id"], None)
                if last is not None and row["l_id"] > last + 1:
                    missing = range(last + 1, min(row["l_id"], last + TAIL))
                    self._gaps.update(dict.fromkeys(missing, time.perf_counter()))
                if last is None or row["l_id"] > last:
                    last = row["l_id"]
                    self._mark = (row["l_id"], job, row["at"])

    async def _look(self, connection: asyncpg.Connection) -> None:
        """Read the log's tail and the queue at one moment, and mend what the log does not tell."""
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await self._read(connection)
            if self._state.counting:
                return
            rows = await connection.fetch(LOOK_SQL)
            if len(rows) > DRAWN:
                self._anew = True
                return
            state = self._state
            there = {row["q_id"] for row in rows}
            lost = [
                card.id for card in state.cards.values() if card.status in ACTIVE and card.id not in there
            ]
            history = await connection.fetch(HISTORY_SQL, lost) if lost else []
            new = [row["q_id"] for row in rows if row["q_id"] not in state.cards]
            fresh = await connection.fetch(JOBS_SQL, new) if new else []
            ended = await connection.fetch(ENDED_SQL) if self._recount else None
        with state.lock:
            if ended is not None:
                self._recount = False
                state.ended = Counter({(row["entrypoint"], row["status"]): row["number"] for row in ended})
            for row in rows:
                if (known := state.cards.get(row["q_id"])) is not None and take_job(state.cards, row):
                    state.put(known)
            for row in fresh:
                take_job(state.cards, row)
                state.put(state.cards[row["q_id"]])
            for row in history:
                take_log(state.cards, row)
                state.put(state.cards[row["job_id"]])
            for job in lost:
                if state.cards[job].status not in ENDINGS:
                    state.drop(job)
