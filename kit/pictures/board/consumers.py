"""Who consumes, as the board tells it: the consumers of this process, and those elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kit.database.other_consumers import consumers_connected
from kit.pictures.board.queries import Queries
from kit.pictures.board.state import Card, ShownConsumer
from kit.session import session

if TYPE_CHECKING:
    import asyncpg

    from kit.database.target import Target


class Consumers:
    """Puts together what is known of consumers: PGQueuer keeps no list of them.

    A consumer of this process tells of itself. One elsewhere is known by its connection, or by the id it
    leaves on the jobs it picks; nothing ties the two together.

    Args:
        target: where they are. In somebody's own database no consumer of this process counts as one.
    """

    def __init__(self, target: Target) -> None:
        self._all_elsewhere = target.read_only
        self._newest = Queries(target).beats
        self._beats: dict[str, float] = {}
        self._elsewhere: set[int] = set()
        self._alone: Counter[str] = Counter()

    async def hear(self, connection: asyncpg.Connection) -> None:
        """Take in the newest heartbeats. The log does not tell of them."""
        if self._beats:
            for row in await connection.fetch(self._newest):
                if row["consumer"] in self._beats:
                    self._beats[row["consumer"]] = row["heartbeat"]

    async def look(self, connection: asyncpg.Connection) -> None:
        """Look for consumers of other processes among the database's connections."""
        mine = [] if self._all_elsewhere else list(session.known_backends())
        _, others = await consumers_connected(connection, mine)
        # Seen consuming once, it is a consumer as long as its connection lasts, whatever it asks next.
        known = [*self._elsewhere, *(other.pid for other in others)]
        there = "SELECT pid FROM pg_stat_activity WHERE pid = ANY($1::int[]) AND NOT pid = ANY($2::int[])"
        self._elsewhere = (
            {row["pid"] for row in await connection.fetch(there, known, mine)} if known else set()
        )
        for worker in self._beats:
            self._alone[worker] = 0 if self._elsewhere else self._alone[worker] + 1

    def tell(self, cards: Iterable[Card]) -> list[ShownConsumer]:
        """Return every consumer that is there, or that has left a job picked, given the jobs on the board."""
        jobs: Counter[str] = Counter()
        for card in cards:
            if card.status == "picked" and card.consumer:
                jobs[card.consumer] += 1
                self._beats[card.consumer] = max(self._beats.get(card.consumer, 0.0), card.heartbeat or 0.0)
        told = []
        owned = {} if self._all_elsewhere else session.managers
        for consumer in [] if self._all_elsewhere else list(session.consumers.values()):
            mine = [worker for worker in jobs if owned.get(worker) == consumer.name]
            beats = [self._beats[worker] for worker in mine]
            held = sum(jobs[worker] for worker in mine)
            told.append(ShownConsumer(consumer.name, consumer.state, held, max(beats, default=None)))
        strangers = [worker for worker in self._beats if worker not in owned]
        gone = {worker for worker in strangers if self._alone[worker] > 1}  # it may come between two looks
        for worker in strangers:
            if worker in gone and not jobs[worker]:
                del self._beats[worker], self._alone[worker]
                continue
            state = "not connected" if worker in gone else "working" if jobs[worker] else "idle"
            told.append(ShownConsumer(f"worker {worker[:8]}", state, jobs[worker], self._beats[worker]))
        unknown = max(0, len(self._elsewhere) - len(set(strangers) - gone))
        return told + [ShownConsumer("a consumer elsewhere", "connected")] * unknown
