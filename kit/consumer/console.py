"""The output of consumers: lines, each with its job. They are kept, and each is shown once in a cell."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, Literal, TypeVar

from kit import notebook
from kit.display.text import without_commands
from kit.errors.text import storable_text
from kit.session import session

Kind = Literal["print", "error", "retry", "canceled", "log", "notice"]
T = TypeVar("T")

KEPT_LINES = 10_000
KEPT_ERRORS = 200
LONGEST_LINE = 10_000
QUIET_SECONDS = 5.0
SHOWN_LINES = 2_000
SHOWN_BYTES = 200_000

_order = itertools.count()


def _now() -> datetime:
    return datetime.now(UTC)


def _label(consumer: str, entrypoint: str | None, job_id: int | None, worker: bool = False) -> str:
    if entrypoint is None:
        return f"[{consumer}]"
    whose = f"{consumer} · " if worker else ""
    return f"[{whose}{entrypoint}]" if job_id is None else f"[{whose}{entrypoint} #{job_id}]"


@dataclass(frozen=True)
class Line:
    """One line of a consumer's output.

    Attributes:
        text: what was printed or what happened, without its label.
        kind: ``"print"``, ``"error"``, ``"retry"``, ``"canceled"``, ``"log"`` (a warning of PGQueuer's) or
            ``"notice"`` (a change in the consumer's own state).
        consumer: the consumer's name.
        entrypoint: the handler's entrypoint; None for code of the consumer that belongs to no handler.
        job_id: the job's id; None for a schedule, and for code that belongs to no handler.
        time: when, in UTC.
        order: rises with every line of this process.
        worker: whether the consumer is a process of its own; then its name is shown before the line, too.
    """

    text: str
    kind: Kind
    consumer: str
    entrypoint: str | None = None
    job_id: int | None = None
    time: datetime = field(default_factory=_now, compare=False)
    order: int = field(default_factory=lambda: next(_order), compare=False, repr=False)
    worker: bool = False

    def __str__(self) -> str:
        if self.kind == "notice":
            return without_commands(self.text)
        label = _label(self.consumer, self.entrypoint, self.job_id, self.worker)
        return f"{label} {without_commands(self.text)}".rstrip()


@dataclass(frozen=True)
class Failure:
    """The exception that ended a handler.

    Attributes:
        text: the exception in one line: its type and its message.
        traceback: its traceback as text, from the handler's own frame on.
        held: True when the job stays in the queue with status ``failed`` (``on_failure="hold"``).
        consumer, entrypoint, job_id, time: as in `Line`.
        exception: the exception itself; None when it was raised in a process of its own.
    """

    text: str
    traceback: str
    held: bool
    consumer: str
    entrypoint: str | None = None
    job_id: int | None = None
    exception: BaseException | None = None
    time: datetime = field(default_factory=_now, compare=False)

    def __str__(self) -> str:
        return f"{_label(self.consumer, self.entrypoint, self.job_id)} {self.text}"


@dataclass(frozen=True)
class Unseen:
    """Lines that were not shown yet, and how many before them were lost, because there were too many."""

    lines: list[Line]
    missed: int = 0


class Lines(list[T], Generic[T]):
    """A list that reads as lines of text where a notebook or ``print`` shows it."""

    def __repr__(self) -> str:
        return storable_text("\n".join(map(str, self)))


class Console:
    """Keeps one consumer's output, and knows which of it was not shown yet.

    ``changed`` is called after every new line, on the thread that the line came from. ``worker`` is whether
    the consumer is a process of its own.
    """

    def __init__(self, name: str, changed: Callable[[], None], *, worker: bool = False) -> None:
        self.name = name
        self.worker = worker
        self.lines: deque[Line] = deque(maxlen=KEPT_LINES)
        self.failures: deque[Failure] = deque(maxlen=KEPT_ERRORS)
        self._unseen: deque[Line] = deque(maxlen=KEPT_LINES)
        self._unseen_notices: deque[Line] = deque(maxlen=KEPT_LINES)
        self._queueing = threading.Lock()
        self._missed = 0
        self._last_seen: dict[str, float] = {}
        self._changed = changed

    def add(self, kind: Kind, text: str, entrypoint: str | None = None, job_id: int | None = None) -> None:
        """Keep a line until it is shown."""
        if len(text) > LONGEST_LINE:
            text = f"{text[:LONGEST_LINE]} … ({len(text) - LONGEST_LINE} more characters)"
        line = Line(storable_text(text), kind, self.name, entrypoint, job_id, worker=self.worker)
        self.lines.append(line)
        with self._queueing:
            if len(self._unseen) == KEPT_LINES:
                self._missed += 1
            self._unseen.append(line)
        self._changed()

    def notice(self, text: str) -> None:
        """Keep a change of the consumer's state. If nothing else shows it, the end of the next cell does."""
        line = Line(storable_text(text), "notice", self.name)
        self.lines.append(line)
        if notebook.has_cells() or session.watching:
            self._unseen_notices.append(line)
        elif sys.stderr is not None:
            # Outside a notebook no cell will end, so it is printed at once. This is no handler's print.
            with suppress(OSError, ValueError):
                print(line, file=getattr(sys.stderr, "real", sys.stderr))
        self._changed()

    def has_unseen(self) -> bool:
        """Return whether there is a line that was not shown yet."""
        return bool(self._unseen or self._unseen_notices)

    def latest(self, number: int) -> list[Line]:
        """Return the newest lines, oldest first, whether seen or not."""
        return list(self.lines.copy())[-number:]

    def repeats(self, message: str) -> bool:
        """Return whether there was the same message in the last few seconds, such as that of a retry."""
        now = time.monotonic()
        if now - self._last_seen.get(message, -QUIET_SECONDS) < QUIET_SECONDS:
            return True
        self._last_seen[message] = now
        return False

    def take(self, *, notices_only: bool = False) -> Unseen:
        """Return the lines that were not shown yet, in order; they count as shown from now on."""
        lines: list[Line] = []
        with suppress(IndexError):
            while True:
                lines.append(self._unseen_notices.popleft())
        if notices_only:
            return Unseen(lines)
        with self._queueing:
            lines += self._unseen
            self._unseen.clear()
            missed, self._missed = self._missed, 0
        return Unseen(sorted(lines, key=lambda line: line.order), missed)


class Screen:
    """Shows lines in the running cell: the first ones, and then only how many more there were."""

    def __init__(self) -> None:
        self._lines = SHOWN_LINES
        self._bytes = SHOWN_BYTES
        self._more = 0

    def show(self, unseen: Unseen) -> None:
        """Print lines into the cell, until there is no more room."""
        shown = []
        for line in map(str, unseen.lines):
            self._bytes -= len(line.encode()) + 1
            if self._lines == 0 or self._bytes < 0:
                self._bytes = 0  # the lines after one that does not fit are not shown either
                break
            self._lines -= 1
            shown.append(line)
        self._more += len(unseen.lines) - len(shown) + unseen.missed
        if shown:
            print("\n".join(shown))

    def close(self, last_words: Iterable[str] = ()) -> None:
        """Print how many lines were left out, and then ``last_words``."""
        if self._more:
            lines = "1 more line" if self._more == 1 else f"{self._more} more lines"
            print(f"… and {lines}: see the consumer's .output")
        for line in last_words:
            print(line)


def unseen(*, notices_only: bool = False) -> Unseen:
    """Return, in order, the output of this process's consumers that was not shown yet."""
    taken = [consumer.unseen(notices_only) for consumer in list(session.consumers.values())]
    lines = [line for each in taken for line in each.lines]
    return Unseen(sorted(lines, key=lambda line: line.order), sum(each.missed for each in taken))


def show(unseen: Unseen) -> None:
    """Print lines into the running cell."""
    screen = Screen()
    screen.show(unseen)
    screen.close()


@contextmanager
def about_to_show() -> Iterator[None]:
    """Mark a block that shows all output at its end, so notices need not be printed elsewhere."""
    session.watching += 1
    try:
        yield
    finally:
        session.watching -= 1


def show_notices_after_cells() -> None:
    """Show notices after every cell of a notebook; a second call changes nothing."""
    notebook.after_each_cell(_after_a_cell)


def _after_a_cell(_result: object) -> None:
    show(unseen(notices_only=True))
