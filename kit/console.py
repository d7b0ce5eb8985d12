"""What a consumer has to say: lines with their job's id, kept, and shown in the cell that waits.

Beside the pictures this is the one module that knows IPython.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, Literal, TypeVar

from kit import current

Kind = Literal["print", "error", "retry", "canceled", "log", "notice"]
T = TypeVar("T")

KEPT_LINES = 10_000
KEPT_ERRORS = 200
LONGEST_LINE = 10_000
QUIET_SECONDS = 5.0

_order = itertools.count()
_lookers = 0


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
        return f"{_label(self.consumer, self.entrypoint, self.job_id)} {last_line(self.exception)}"


class Lines(list[T], Generic[T]):
    """A list that reads as lines of text where a notebook or ``print`` shows it."""

    def __repr__(self) -> str:
        return "\n".join(map(str, self))


def last_line(error: BaseException) -> str:
    """Return the exception as the last line of a traceback has it, such as ``ValueError: no such order``."""
    try:
        text = str(error).strip()
        if not text:
            # Some exceptions, PGQueuer's DuplicateJobError among them, have attributes and no text.
            text = ", ".join(f"{key}={value!r}" for key, value in error.__dict__.items())
    except Exception as broken:
        text = f"(its own text cannot be made: {type(broken).__name__})"
    first, *more = text.splitlines() or [""]
    line = f"{type(error).__name__}: {first}" if first else type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        return f"{line}: {last_line(error.exceptions[0])}"
    return f"{line} …" if more else line


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
        if _shell() is not None or _lookers:
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
    consumers = list(current.consumers.values())
    lines = [line for consumer in consumers for line in consumer.console.take(notices_only=notices_only)]
    return sorted(lines, key=lambda line: line.order)


def show(lines: list[Line]) -> None:
    """Print lines into the running cell."""
    if lines:
        print("\n".join(map(str, lines)))


@contextmanager
def looking() -> Iterator[None]:
    """Mark that somebody is about to show what is unseen, so that a notice need not be said elsewhere."""
    global _lookers
    _lookers += 1
    try:
        yield
    finally:
        _lookers -= 1


def _shell() -> Any:
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return get_ipython()  # type: ignore[no-untyped-call, unused-ignore]


def in_notebook() -> bool:
    """Return whether what this process displays appears in a notebook (not in a terminal's IPython)."""
    shell = _shell()
    return shell is not None and getattr(shell, "kernel", None) is not None


def _after_a_cell(_result: object) -> None:
    show(unseen(notices_only=True))


def after_each_cell(callback: Callable[[Any], None]) -> None:
    """Call back after every cell of a notebook, with what came of it; the same one twice counts once."""
    if (shell := _shell()) is not None:
        shell.events.register("post_run_cell", callback)


def show_notices_after_cells() -> None:
    """Let every cell of a notebook end with the notices nobody has seen; a second call changes nothing."""
    after_each_cell(_after_a_cell)


def cell_name(filename: str) -> str | None:
    """Return what IPython calls the cell whose code has this file name, such as ``Cell In[3]``."""
    shell = _shell()
    name = shell.compile.format_code_name(filename) if shell is not None else None
    return " ".join(name) if name else None


class Interruptible:
    """Lets the interrupt of an awaiting cell be the KeyboardInterrupt it is.

    ipykernel cancels the cell's task, so the cell would end with CancelledError.
    """

    def __enter__(self) -> None:
        self._interrupted = False
        self._in_cell = _in_the_task_of_a_cell()
        if self._in_cell:
            self._before: Any = signal.getsignal(signal.SIGINT)
            signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, *arguments: Any) -> None:
        self._interrupted = True
        self._before(*arguments)

    def __exit__(self, *_: object) -> None:
        __tracebackhide__ = True
        if self._in_cell:
            signal.signal(signal.SIGINT, self._before)
        if self._interrupted:
            raise KeyboardInterrupt from None


def _in_the_task_of_a_cell() -> bool:
    # In any other task a KeyboardInterrupt would end the kernel's loop, where IPython does not catch it.
    if _shell() is None or threading.current_thread() is not threading.main_thread():
        return False
    coroutine = getattr(asyncio.current_task(), "get_coro", lambda: None)()
    return getattr(coroutine, "__name__", "") == "run_cell_async" and callable(
        signal.getsignal(signal.SIGINT)
    )
