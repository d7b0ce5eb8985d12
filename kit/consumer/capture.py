"""What handlers print, and what PGQueuer logs, caught with the job it belongs to.

A context variable says for which job the running code works. Tasks and `asyncio.to_thread` copy it, so
what they print belongs to the job too. Cells have none: their prints pass untouched.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from kit.consumer.console import LONGEST_LINE, Console, Failure, Kind
from kit.errors.hints import in_one_line
from kit.errors.place import own_traceback
from kit.errors.text import one_line
from kit.session import session
from kit.text import without_commands

_writing = threading.Lock()

ENDS_NO_CONSUMER = (
    "does not end this consumer. `pgq run` it would end, with all the jobs that it has. To fail a job, raise "
    "an exception such as ValueError."
)


class Capture:
    """Collects, in whole lines, what is printed for one job, for one schedule or by the consumer itself.

    Attributes:
        entrypoint: the handler's entrypoint; None when it is the consumer's.
        job_id: the job's id; None when it is a schedule's or the consumer's.
        exception: the exception it ended with, if that is kept.
    """

    __slots__ = ("_console", "_rest", "entrypoint", "exception", "job_id")

    def __init__(self, console: Console, entrypoint: str | None = None, job_id: int | None = None) -> None:
        self.entrypoint = entrypoint
        self.job_id = job_id
        self.exception: BaseException | None = None
        self._console = console
        self._rest: dict[str, str] = {}

    def __str__(self) -> str:
        return f"{self.entrypoint}" if self.job_id is None else f"{self.entrypoint} #{self.job_id}"

    def begin(self) -> None:
        """Let everything the running context prints from here on belong to this job."""
        if session.running and (type(sys.stdout) is not _Stream or type(sys.stderr) is not _Stream):
            _wrap_streams()
        _capture.set(self)

    def write(self, stream: str, text: str) -> int:
        """Take what was printed to ``"stdout"`` or ``"stderr"``; a line is kept when it is complete."""
        if not isinstance(text, str):
            raise TypeError(f"write() takes a str, not {type(text).__name__}")
        with _writing:
            *lines, rest = (self._rest.pop(stream, "") + text).split("\n")
            if len(rest) > 100 * LONGEST_LINE:
                lines.append(rest)
            elif rest:
                self._rest[stream] = rest
        for line in lines:
            self._print(line)
        return len(text)

    def flush(self) -> None:
        """Keep what was printed without an end of line."""
        if not self._rest:
            return
        with _writing:
            rests = list(self._rest.values())
            self._rest = {}
        for rest in rests:
            self._print(rest)

    def _print(self, line: str) -> None:
        # A progress bar rewrites its line with carriage returns; a terminal shows the last state.
        self.add("print", line.rstrip("\r").rsplit("\r", 1)[-1])

    def add(self, kind: Kind, text: str) -> None:
        """Keep a line that was not printed."""
        self._console.add(kind, text, self.entrypoint, self.job_id)

    def fail(self, error: BaseException, *, held: bool = False) -> None:
        """Keep an exception, and the line that tells of it."""
        self.exception = error
        text = without_commands(one_line(error))
        where = (self._console.name, self.entrypoint, self.job_id)
        self._console.failures.append(Failure(text, own_traceback(error), held, *where, exception=error))
        self.add("error", f"{'held' if held else 'exception'}: {in_one_line(error)}")

    def log(self, record: logging.LogRecord) -> None:
        """Keep a warning of PGQueuer's; one that repeats (a flush tried again) once every few seconds."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and error is self.exception:
            return
        if not self._console.repeats(str(record.msg)):
            self.add("log", f"PGQueuer: {record.getMessage()}" + (f": {one_line(error)}" if error else ""))


_capture: ContextVar[Capture | None] = ContextVar("kit_capture", default=None)


def of_a_handler() -> Capture | None:
    """Return the capture of the handler that the running code is part of; None elsewhere."""
    capture = _capture.get()
    return capture if capture is not None and capture.entrypoint is not None else None


class _Stream:
    """Stands in for ``sys.stdout`` or ``sys.stderr``: takes what handlers print, passes on the rest.

    What is set on it stays on it: for the length of a cell IPython replaces the ``write`` of the stream it
    finds by one that calls the former, and passed on, those two would call each other for ever.
    """

    def __init__(self, real: Any, name: str) -> None:
        self.real = real
        self._name = name

    def write(self, text: str) -> Any:
        capture = _capture.get()
        if capture is None or not session.running:
            return self.real.write(text)
        return capture.write(self._name, text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if _capture.get() is None or not session.running:
            self.real.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["real"], name)


io.TextIOBase.register(_Stream)


def _wrap_streams() -> None:
    """Put the stand-ins before the present streams: at every job, because pytest keeps replacing them."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or type(stream) is _Stream:
            continue
        wrapped = _Stream(stream, name)
        # Comparing and storing happen without a switch to another thread in between, so a stream that
        # `redirect_stdout` puts back in a cell at this very moment is not overwritten.
        if name == "stdout" and sys.stdout is stream:
            sys.stdout = wrapped
        elif sys.stderr is stream:
            sys.stderr = wrapped


def _unwrapped(stream: Any) -> Any:
    while type(stream) is _Stream:
        stream = stream.real
    return stream


class _Log(logging.Handler):
    """PGQueuer reports errors to a logger that by default nobody listens to."""

    def emit(self, record: logging.LogRecord) -> None:
        if (capture := _capture.get()) is not None:
            capture.log(record)


_log = _Log(logging.WARNING)


def start() -> None:
    """Start to catch what is printed and logged for jobs."""
    _wrap_streams()
    logging.getLogger("pgqueuer").addHandler(_log)


def stop() -> None:
    """Leave the streams and the logger as they were."""
    sys.stdout, sys.stderr = _unwrapped(sys.stdout), _unwrapped(sys.stderr)
    logging.getLogger("pgqueuer").removeHandler(_log)
