"""What the board shows at one moment, and what has changed since it was last told."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from typing import Any

from kit import palette

ENDINGS = ("successful", "exception", "canceled", "deleted")
ACTIVE = ("queued", "picked", "failed")
# Which statuses stand in one column of the board, which has the look of the first.
COLUMNS = (("queued",), ("picked",), ("successful",), ("exception",), ("failed",), ("canceled", "deleted"))

# More jobs than this in the queue are counted, not drawn: nobody follows two thousand cards by eye.
DRAWN = 2000
ENDED_KEPT = 500
TRACES_SENT = 50
PAYLOAD_BYTES = 240
TRACE_LENGTH = 2000
RATE_SECONDS = 60


@dataclasses.dataclass(slots=True)
class Card:
    """One job as the board knows it. Times are seconds since 1970, by the database's clock."""

    id: int
    entrypoint: str
    priority: int
    status: str
    attempts: int = 0
    created: float | None = None
    picked: float | None = None
    ended: float | None = None
    due: float | None = None
    heartbeat: float | None = None
    consumer: str | None = None
    payload: str | None = None
    size: int | None = None
    error: str | None = None
    trace: str | None = None

    def wire(self, trace: bool) -> dict[str, Any]:
        """Return what is known, as JSON takes it; the traceback only when asked, for its length."""
        known = {name: value for name in _FIELDS if (value := getattr(self, name)) is not None}
        if not trace:
            known.pop("trace", None)
        return known


_FIELDS = tuple(field.name for field in dataclasses.fields(Card))


@dataclasses.dataclass(frozen=True, slots=True)
class ShownConsumer:
    """A consumer as the board shows it: one of this kernel, or one known by the jobs it has picked."""

    name: str
    state: str
    jobs: int = 0
    heartbeat: float | None = None


class BoardState:
    """The queue as the board shows it. One thread writes it; any may call :meth:`full` and :meth:`summary`.

    Attributes:
        cards: the jobs that are drawn, by id.
        active: jobs in the queue by entrypoint and status; counted from the cards unless ``counting``.
        ended: jobs that have left the queue, by entrypoint and status.
        waiting: while ``counting``, queued jobs by entrypoint and priority.
        rate: jobs ended in each of the last seconds.
        counting: there are too many jobs to draw.
        trouble: why the picture is not fresh, in plain words.
        closed: when the board was closed, in seconds; from then on the picture is the last one.
    """

    def __init__(self, database: str) -> None:
        self.lock = threading.RLock()
        self.database = database
        self.version = 0
        self.now = 0.0
        self.cards: dict[int, Card] = {}
        self.active: Counter[tuple[str, str]] = Counter()
        self.ended: Counter[tuple[str, str]] = Counter()
        self.waiting: Counter[tuple[str, int]] = Counter()
        self.rate: Counter[int] = Counter()
        self.consumers: list[ShownConsumer] = []
        self.counting = False
        self.trouble: str | None = None
        self.closed: float | None = None
        self._changed: set[int] = set()
        self._gone: set[int] = set()
        self._told: dict[str, Any] = {}

    def put(self, card: Card) -> None:
        """Show ``card``, in place of what was known of that job."""
        self.cards[card.id] = card
        self._changed.add(card.id)
        self._gone.discard(card.id)

    def drop(self, job: int) -> None:
        """Show this job no more."""
        if self.cards.pop(job, None) is not None:
            self._gone.add(job)
            self._changed.discard(job)

    def replace(self, cards: list[Card]) -> None:
        """Show these jobs and no others."""
        for job in self.cards.keys() - {card.id for card in cards}:
            self.drop(job)
        for card in cards:
            known = self.cards.get(card.id)
            # A job that ended before keeps what was seen of it: its payload is no longer in any table.
            ended_before = known and card.ended and (known.status, known.ended) == (card.status, card.ended)
            if not ended_before and known != card:
                self.put(card)

    def settle(self) -> None:
        """Bring the counts up to date and let the oldest ended cards go."""
        if not self.counting:
            self.active = Counter(
                (card.entrypoint, card.status) for card in self.cards.values() if card.status in ACTIVE
            )
        ended = [card for card in self.cards.values() if card.status in ENDINGS]
        if len(ended) > ENDED_KEPT:
            ended.sort(key=lambda card: (card.ended or 0, card.id))
            for card in ended[:-ENDED_KEPT]:
                self.drop(card.id)
        for second in [second for second in self.rate if second < self.now - RATE_SECONDS]:
            del self.rate[second]

    def counts(self) -> dict[str, dict[str, int]]:
        """Jobs by entrypoint, then by status."""
        table: dict[str, dict[str, int]] = {}
        for (entrypoint, status), number in [*self.active.items(), *self.ended.items()]:
            table.setdefault(entrypoint, {})[status] = number
        return dict(sorted(table.items()))

    def totals(self) -> Counter[str]:
        """Jobs by status."""
        totals: Counter[str] = Counter()
        for (_, status), number in [*self.active.items(), *self.ended.items()]:
            totals[status] += number
        return totals

    def summary(self) -> str:
        """Say the picture in a sentence or two."""
        with self.lock:
            totals = self.totals()
            later = sum(
                card.status == "queued" and (card.due or 0) > self.now for card in self.cards.values()
            )
            trouble = self.trouble
        if not sum(totals.values()):
            said = "The queue is empty and no job has run yet."
        else:
            shown = ["queued", "picked", *(status for status in ("failed", *ENDINGS) if totals[status])]
            parts = [f"{totals[status]:,} {palette.JOBS[status].word}" for status in shown]
            said = ", ".join(parts) + (f"; {later:,} due later." if later else ".")
        return f"{said} {trouble}" if trouble else said

    def _rest(self) -> dict[str, Any]:
        waiting: dict[str, list[list[int]]] = {}
        for (entrypoint, priority), number in sorted(self.waiting.items(), reverse=True):
            waiting.setdefault(entrypoint, []).append([priority, number])
        return {
            "counts": self.counts(),
            "waiting": waiting,
            "rate": sorted([second, number] for second, number in self.rate.items()),
            "consumers": [dataclasses.asdict(consumer) for consumer in self.consumers],
            "counting": self.counting,
            "trouble": self.trouble,
            "summary": self.summary(),
        }

    def _wire(self, cards: list[Card]) -> list[dict[str, Any]]:
        failed = sorted((card.id for card in cards if card.trace), reverse=True)[:TRACES_SENT]
        traced = set(failed)
        return [card.wire(card.id in traced) for card in cards]

    def full(self) -> dict[str, Any]:
        """The whole picture."""
        with self.lock:
            head = {"version": self.version, "now": self.now, "database": self.database}
            head |= {} if self.closed is None else {"saved": self.closed}
            return {**head, **self._rest(), "cards": self._wire(list(self.cards.values()))}

    def changes(self) -> dict[str, Any] | None:
        """What has changed since the last call; None when nothing has."""
        with self.lock:
            rest = self._rest()
            new = {key: value for key, value in rest.items() if self._told.get(key, self) != value}
            # Time passing empties old seconds; every picture does that by its own clock.
            if "rate" in new and not set(map(tuple, new["rate"])) - set(
                map(tuple, self._told.get("rate", []))
            ):
                del new["rate"]
            if not (new or self._changed or self._gone):
                return None
            self._told = rest
            self.version += 1
            cards = [self.cards[job] for job in sorted(self._changed)]
            change = {"version": self.version, "now": self.now, **new}
            change |= {"cards": self._wire(cards)} if cards else {}
            change |= {"gone": sorted(self._gone)} if self._gone else {}
            self._changed.clear()
            self._gone.clear()
            return change
