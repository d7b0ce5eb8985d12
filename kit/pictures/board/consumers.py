"""Who consumes, as the board tells it: the consumers of this process, and those elsewhere."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from kit.database.other_consumers import consumers_connected
from kit.pictures.board.state import Card, ShownConsumer
from kit.session import session

if TYPE_CHECKING:
    import asyncpg


@dataclasses.dataclass(frozen=True)
class Here:
    """A consumer of this process: its name and state, the jobs it runs now, its connections' pids."""

    name: str
    state: str
    jobs: frozenset[int]
    backends: tuple[int, ...]


def consumers_here() -> list[Here]:
    """Return the consumers of this process; from any thread."""
    return [
        Here(
            name,
            consumer.state,
            frozenset(consumer.running_jobs()),
            consumer.backends,
        )
        for name, consumer in list(session.consumers.items())
    ]


class Consumers:
    """Puts together what is known of consumers: PGQueuer keeps no list of them.

    A consumer of this process tells of itself. One elsewhere is known by its connection, or by the id it
    leaves on the jobs it picks; nothing ties the two together.
    """

    def __init__(self, here: Callable[[], list[Here]] = consumers_here) -> None:
        self._here = here
        self._beats: dict[str, float] = {}
        self._names: dict[str, str] = {}
        self._elsewhere: set[int] = set()
        self._alone: Counter[str] = Counter()

    async def look(self, connection: asyncpg.Connection) -> None:
        """Look for consumers of other processes among the database's connections."""
        mine = [pid for consumer in self._here() for pid in consumer.backends]
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
        """Return every consumer known, given the jobs on the board."""
        here = self._here()
        jobs: Counter[str] = Counter()
        for card in cards:
            if card.status == "picked" and card.consumer:
                jobs[card.consumer] += 1
                self._beats[card.consumer] = max(self._beats.get(card.consumer, 0.0), card.heartbeat or 0.0)
                for consumer in here:
                    if card.id in consumer.jobs:
                        self._names[card.consumer] = consumer.name
        told = []
        for consumer in here:
            mine = [worker for worker, name in self._names.items() if name == consumer.name]
            beats = [self._beats[worker] for worker in mine if jobs[worker]]
            held = sum(jobs[worker] for worker in mine)
            told.append(ShownConsumer(consumer.name, consumer.state, held, max(beats, default=None)))
        connected = len(self._elsewhere)
        strangers = [worker for worker in self._beats if worker not in self._names]
        for worker in strangers:
            gone = self._alone[worker] > 1  # at two looks, for it may have come between them
            state = "not connected" if gone else "working" if jobs[worker] else "idle"
            told.append(ShownConsumer(f"worker {worker[:8]}", state, jobs[worker], self._beats[worker]))
        unknown = max(0, connected - len(strangers))
        return told + [ShownConsumer("a consumer elsewhere", "connected")] * unknown
