"""Read PGQueuer's tables into a :class:`~kit.pictures.board.state.BoardState`.

The log has a row for each transition, so its tail shows also jobs that come and go between two looks. Its ids
do not commit in order, and a learner may change the queue by hand, so the queue itself is read now and then.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from kit.pictures.board.queries import TAIL, Queries, take_job, take_log
from kit.pictures.board.state import ACTIVE, DRAWN, ENDINGS, BoardState, Card

if TYPE_CHECKING:
    import asyncpg

    from kit.database.target import Target

RUSH = 1000  # jobs ended in a second; a queue that goes faster is counted, as one that is too long
MANY = 200  # log rows in one look; where there are more, it is asked first what they are
RUSH_LEAST = 0.1  # the shortest time, in seconds, over which that is measured
GAP_LIFE = 3.0  # how long a missing log id is looked for: longer than a commit takes, rolled back after


class Reader:
    """What of the tables is in ``state`` already, and the ways to read what is not.

    Attributes:
        state: what is read into.
        anew: the next look must take in everything.
        gaps: ids of the log that were passed over, and when: their transactions may still commit.
    """

    def __init__(self, target: Target, state: BoardState) -> None:
        self.state = state
        self._sql = Queries(target)
        self.anew = True
        self.gaps: dict[int, float] = {}
        self._mark: tuple[int, int, float] | None = None  # the last log row seen: id, job, time
        self._counted_at = 0.0
        self._recount = False
        self._estimated = False

    async def look(self, connection: asyncpg.Connection, whole: bool) -> None:
        """Take in what is new; if ``whole``, also what the log does not tell."""
        if self.anew:
            await self._snapshot(connection)
        elif self.state.counting:
            await self._count(connection)
        elif whole:
            await self._reconcile(connection)
        else:
            await self._read(connection)

    def _rushing(self, ended: int) -> bool:
        """Say whether jobs end too fast to draw, given how many have ended since the last look."""
        since, self._counted_at = self._counted_at, time.perf_counter()
        return ended > RUSH * max(RUSH_LEAST, self._counted_at - since)

    async def _snapshot(self, connection: asyncpg.Connection) -> None:
        """Read the whole picture: after a start, a reset, a lost connection, and when counting is over."""
        self.anew = self._estimated = False
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            mark = await connection.fetchrow(self._sql.mark)
            assert mark is not None
            ended = await connection.fetch(self._sql.ended, 0)
            rate = await connection.fetch(self._sql.rate)
            counts = await connection.fetch(self._sql.count)
            counting = sum(row["number"] for row in counts) > DRAWN
            queue = [] if counting else await connection.fetch(self._sql.queue)
            jobs = [] if counting else [row["job_id"] for row in await connection.fetch(self._sql.last_ended)]
            jobs += [row["q_id"] for row in queue if row["attempts"] or row["q_status"] == "failed"]
            history = await connection.fetch(self._sql.history, jobs) if jobs else []
        cards: dict[int, Card] = {}
        for row in history:
            take_log(cards, row)
        alive = {row["q_id"] for row in queue}
        cards = {job: card for job, card in cards.items() if card.status in ENDINGS or job in alive}
        for row in queue:
            take_job(cards, row)
        state = self.state
        with state.lock:
            state.now = mark["now"]
            state.ended = Counter({(row["entrypoint"], row["status"]): row["number"] for row in ended})
            state.rate = Counter({row["second"]: row["number"] for row in rate})
            state.replace(list(cards.values()))
            self._take_counts(counts if counting else None)
        self._mark = None if mark["id"] is None else (mark["id"], mark["job_id"], mark["at"])
        self.gaps.clear()

    async def _count(self, connection: asyncpg.Connection) -> None:
        """Read numbers only, and of the log only what is new; look at everything when that comes to rest."""
        mark = await connection.fetchrow(self._sql.mark)
        assert mark is not None
        if self._mark is None or mark["id"] is None or mark["id"] < self._mark[0]:
            return await self._snapshot(connection)
        ended = await connection.fetch(self._sql.ended, self._mark[0])
        counts = await connection.fetch(self._sql.count)
        new = sum(row["number"] for row in ended)
        there = sum(row["number"] for row in counts)
        many = self._rushing(new) or there > DRAWN
        # Rows of the log that commit late are not among the new ones: what they ended is only missing.
        late = self._estimated or there != sum(self.state.active.values())
        if not many or (late and mark["id"] == self._mark[0]):
            return await self._snapshot(connection)
        self._estimated = mark["id"] > self._mark[0]
        self._mark = (mark["id"], mark["job_id"], mark["at"])
        state = self.state
        with state.lock:
            state.now = mark["now"]
            for row in ended:
                state.ended[row["entrypoint"], row["status"]] += row["number"]
            if new:
                state.rate[int(state.now)] += new
            state.replace([])
            self._take_counts(counts)
        return None

    def _take_counts(self, counts: list[asyncpg.Record] | None) -> None:
        state = self.state
        state.counting = counts is not None
        state.active = Counter()
        state.waiting = Counter()
        for row in counts or ():
            state.active[row["entrypoint"], row["status"]] += row["number"]
            if row["status"] == "queued":
                state.waiting[row["entrypoint"], row["priority"]] += row["number"]

    async def _read(self, connection: asyncpg.Connection) -> None:
        """Take in the log rows that are new."""
        since = self._mark[0] if self._mark else 0
        rows = []
        many = sum(self.state.active.values()) > MANY and await self._ahead(connection) >= MANY
        if not many:
            rows = await connection.fetch(self._sql.tail, since, MANY)
            if self._was_emptied(rows):
                return await self._snapshot(connection)
        if many or len(rows) == MANY:
            # Many jobs were enqueued at once, or they run too fast to follow each.
            ended = await connection.fetch(self._sql.ended, since)
            if self._rushing(sum(row["number"] for row in ended)):
                return await self._count(connection)
            rows = await connection.fetch(self._sql.tail, since, TAIL)
            if len(rows) == TAIL or self._was_emptied(rows):
                return await self._snapshot(connection)
        else:
            self._rushing(0)
        if self._mark is not None:
            with self.state.lock:
                self.state.now = rows[0]["now"]
            rows = rows[1:]
        if self.gaps:
            rows = [*await connection.fetch(self._sql.gaps, list(self.gaps)), *rows]
        if rows:
            self._take(rows)
            if sum(card.status in ACTIVE for card in self.state.cards.values()) > DRAWN:
                return await self._snapshot(connection)
        now = time.perf_counter()
        for gap in [gap for gap, found in self.gaps.items() if now - found > GAP_LIFE]:
            del self.gaps[gap]
            self._recount = True
        return None

    async def _ahead(self, connection: asyncpg.Connection) -> int:
        """Return how many rows the log has more, at most; below 0 where it was emptied."""
        mark = await connection.fetchrow(self._sql.mark)
        assert mark is not None
        return (mark["id"] or 0) - (self._mark[0] if self._mark else 0)

    def _was_emptied(self, rows: list[asyncpg.Record]) -> bool:
        """Say whether the last log row that was seen is no longer there, to be the first of ``rows``."""
        first = (rows[0]["l_id"], rows[0]["job_id"], rows[0]["at"]) if rows else None
        return self._mark is not None and first != self._mark

    def _take(self, rows: list[asyncpg.Record]) -> None:
        state = self.state
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
                self.gaps.pop(row["l_id"], None)
                if last is not None and row["l_id"] > last + 1:
                    missing = range(last + 1, min(row["l_id"], last + TAIL))
                    self.gaps.update(dict.fromkeys(missing, time.perf_counter()))
                if last is None or row["l_id"] > last:
                    last = row["l_id"]
                    self._mark = (row["l_id"], job, row["at"])

    async def _reconcile(self, connection: asyncpg.Connection) -> None:
        """Read the log's tail and the queue at one moment, and mend what the log does not tell."""
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await self._read(connection)
            if self.state.counting:
                return
            rows = await connection.fetch(self._sql.look)
            if len(rows) > DRAWN:
                self.anew = True
                return
            state = self.state
            there = {row["q_id"] for row in rows}
            lost = [
                card.id for card in state.cards.values() if card.status in ACTIVE and card.id not in there
            ]
            history = await connection.fetch(self._sql.history, lost) if lost else []
            new = [row["q_id"] for row in rows if row["q_id"] not in state.cards]
            fresh = await connection.fetch(self._sql.jobs, new) if new else []
            # One that is lost may have ended in a log row that was no longer looked for, and is not counted.
            recount = self._recount or any(row["l_status"] in ENDINGS for row in history)
            ended = await connection.fetch(self._sql.ended, 0) if recount else None
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
