"""What a consumer has to say: lines with their job's id, kept, and shown in the cell that waits."""

from __future__ import annotations

import itertools
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, Literal, TypeVar

from kit import notebook
from kit.faults import one_line
from kit.session import session

Kind = Literal["print", "error", "retry", "canceled", "log", "notice"]
T = TypeVar("T")

KEPT_LINES = 10_000
KEPT_ERRORS = 200
LONGEST_LINE = 10_000
QUIET_SECONDS = 5.0

_order = itertools.count()


def _now() -> datetime:
    return datetime.now(UTC)


def _label(consumer: str, entrypoint: str | None, job_id: int | None) -> str:
    if entrypoint is None:
        return f"[{consumer}]"
    return f"[{entrypoint}]" if job_id is None else f"[{entrypoint} #{job_id}]"


@dataclass(frozen=True)
class Line:
    """One line of a consumer's output.

    Attributes:
        text: what was printed, or what happened, without its label.
        kind: ``"print"``, ``"error"``, ``"retry"``, ``"canceled"``, ``"log"`` (a warning of PGQueuer's) or
            ``"notice"`` (what became of the consumer).
        consumer: the consumer's name.
        entrypoint: the handler's entrypoint; None for code of the consumer that belongs to no handler.
        job_id: the job's id; None for a schedule, and for code that belongs to no handler.
        time: when, in UTC.
        order: rises with every line of this process.
    """

    text: str
    kind: Kind
    consumer: str
    entrypoint: str | None = None
    job_id: int | None = None
    time: datetime = field(default_factory=_now, compare=False)
    order: int = field(default_factory=lambda: next(_order), compare=False, repr=False)

    def __str__(self) -> str:
        if self.kind == "notice":
            return self.text
        return f"{_label(self.consumer, self.entrypoint, self.job_id)} {self.text}".rstrip()


@dataclass(frozen=True)
class Failure:
    """An exception a handler ended with.

    Attributes:
        exception: the exception itself.
        traceback: its traceback as text, from the handler's own frame on.
        held: True when the job stays in the queue with status ``failed`` (``on_failure="hold"``).
        consumer, entrypoint, job_id, time: as in `Line`.
    """

    exception: BaseException
    traceback: str
    held: bool
    consumer: str
    entrypoint: str | None = None
    job_id: int | None = None
    time: datetime = field(default_factory=_now, compare=False)

    def __str__(self) -> str:
        return f"{_label(self.consumer, self.entrypoint, self.job_id)} {one_line(self.exception)}"


class Lines(list[T], Generic[T]):
    """A list that reads as lines of text where a notebook or ``print`` shows it."""

    def __repr__(self) -> str:
        return "\n".join(map(str, self))


class Console:
    """Where one consumer's output is kept, and what of it nobody has seen yet.

    ``changed`` is called after every new line, on whichever thread it came from.
    """

    def __init__(self, name: str, changed: Callable[[], None]) -> None:
        self.name = name
        self.lines: deque[Line] = deque(maxlen=KEPT_LINES)
        self.failures: deque[Failure] = deque(maxlen=KEPT_ERRORS)
        self._unseen: deque[Line] = deque(maxlen=KEPT_LINES)
        self._unseen_notices: deque[Line] = deque(maxlen=KEPT_LINES)
        self._said: dict[str, float] = {}
        self._changed = changed

    def add(self, kind: Kind, text: str, entrypoint: str | None = None, job_id: int | None = None) -> None:
        """Keep a line, to be shown by whoever looks next."""
        if len(text) > LONGEST_LINE:
            text = f"{text[:LONGEST_LINE]} … ({len(text) - LONGEST_LINE} more characters)"
        line = Line(text, kind, self.name, entrypoint, job_id)
        self.lines.append(line)
        self._unseen.append(line)
        self._changed()

    def notice(self, text: str) -> None:
        """Keep what became of the consumer. It is shown after the next cell, too, if nobody looks before."""
        line = Line(text, "notice", self.name)
        self.lines.append(line)
        if notebook.has_cells() or session.watching:
            self._unseen_notices.append(line)
        elif sys.stderr is not None:
            # Outside a notebook no cell will end, so it is said at once. This is no handler's print.
            with suppress(OSError, ValueError):
                print(line, file=getattr(sys.stderr, "real", sys.stderr))
        self._changed()

    def latest(self, number: int) -> list[Line]:
        """Return the newest lines, oldest first, whether seen or not."""
        return list(self.lines.copy())[-number:]

    def repeats(self, message: str) -> bool:
        """Return whether this was said in the last few seconds, such as that something is tried again."""
        now = time.monotonic()
        if now - self._said.get(message, -QUIET_SECONDS) < QUIET_SECONDS:
            return True
        self._said[message] = now
        return False

    def take(self, *, notices_only: bool = False) -> list[Line]:
        """Return the lines nobody has seen, in order; they count as seen from now on."""
        taken: list[Line] = []
        for queue in (self._unseen_notices,) if notices_only else (self._unseen_notices, self._unseen):
            with suppress(IndexError):
                while True:
                    taken.append(queue.popleft())
        return sorted(taken, key=lambda line: line.order)


def unseen(*, notices_only: bool = False) -> list[Line]:
    """Return, in order, what this process's consumers have to say and nobody has seen."""
    consumers = list(session.consumers.values())
    lines = [line for consumer in consumers for line in consumer.unseen(notices_only)]
    return sorted(lines, key=lambda line: line.order)


def show(lines: list[Line]) -> None:
    """Print lines into the running cell."""
    if lines:
        print("\n".join(map(str, lines)))


@contextmanager
def looking() -> Iterator[None]:
    """Mark that somebody is about to show what is unseen, so that a notice need not be said elsewhere."""
    session.watching += 1
    try:
        yield
    finally:
        session.watching -= 1


def show_notices_after_cells() -> None:
    """Let every cell of a notebook end with the notices nobody has seen; a second call changes nothing."""
    notebook.after_each_cell(_after_a_cell)


def _after_a_cell(_result: object) -> None:
    show(unseen(notices_only=True))
