"""Capture what handlers print and what PGQueuer logs, each line with its job.

A context variable holds the job for which the running code works. Tasks copy it. The threads of a handler,
and its calls in a pool of threads, get it from here. A process that a handler starts or forks prints into a
pipe (not on Windows, and not one of a `ProcessPoolExecutor`, which may work for many jobs). Cells have no
job, so their prints pass.
"""

from __future__ import annotations

import codecs
import io
import logging
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from kit.consumer.console import LONGEST_LINE, Console, Failure, Kind
from kit.display.text import without_commands
from kit.errors.hints import in_one_line
from kit.errors.place import own_traceback
from kit.errors.text import one_line
from kit.internals import replaced
from kit.session import session

_writing = threading.Lock()

ENDS_NO_CONSUMER = (
    "does not end this consumer. `pgq run` it would end, with all the jobs that it has. To fail a job, raise "
    "an exception such as ValueError."
)


class Capture:
    """Collects whole lines that one job, one schedule or the consumer itself prints.

    Attributes:
        entrypoint: the handler's entrypoint; None for the consumer itself.
        job_id: the job's id; None for a schedule or the consumer itself.
        exception: the exception that ended the handler, if there was one and it is kept.
    """

    __slots__ = ("_console", "_processes", "_rest", "entrypoint", "exception", "job_id")

    def __init__(self, console: Console, entrypoint: str | None = None, job_id: int | None = None) -> None:
        self.entrypoint = entrypoint
        self.job_id = job_id
        self.exception: BaseException | None = None
        self._console = console
        self._rest: dict[str, str] = {}
        self._processes: list[_Process] = []

    def __str__(self) -> str:
        return f"{self.entrypoint}" if self.job_id is None else f"{self.entrypoint} #{self.job_id}"

    def begin(self) -> None:
        """From here on, attribute what the running context prints to this job."""
        if session.running and (type(sys.stdout) is not _Stream or type(sys.stderr) is not _Stream):
            _wrap_streams()
        _capture.set(self)

    def write(self, stream: str, text: str) -> int:
        """Take text that was printed to ``"stdout"`` or ``"stderr"``; keep each line when it is complete."""
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
        """Keep the last line, even without its end, and what the handler's processes have printed so far."""
        for process in self._processes:
            process.take()
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
        """Keep an exception, and a line that reports it."""
        self.exception = error
        text = without_commands(one_line(error))
        where = (self._console.name, self.entrypoint, self.job_id)
        self._console.failures.append(Failure(text, own_traceback(error), held, *where, exception=error))
        self.add("error", f"{'held' if held else 'exception'}: {in_one_line(error)}")

    def log(self, record: logging.LogRecord) -> None:
        """Keep a warning of PGQueuer's; a repeated one, such as that of a retry, only every few seconds."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and error is self.exception:
            return
        if not self._console.repeats(str(record.msg)):
            self.add("log", f"PGQueuer: {record.getMessage()}" + (f": {one_line(error)}" if error else ""))


_capture: ContextVar[Capture | None] = ContextVar("kit_capture", default=None)
_forked: ContextVar[_Process | None] = ContextVar("kit_forked", default=None)


def of_a_handler() -> Capture | None:
    """Return the capture of the handler that the running code is part of; None elsewhere."""
    capture = _capture.get()
    return capture if capture is not None and capture.entrypoint is not None else None


class _Stream:
    """Stands in for ``sys.stdout`` or ``sys.stderr``: keeps what handlers print and passes on the rest.

    An attribute that is set on it stays on it. For the length of a cell IPython replaces the ``write`` of the
    stream by one that calls the old one. If that were set on the real stream, the two would call each other
    for ever.
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
    """Replace the present streams by stand-ins; again at every job, because pytest keeps replacing them."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or type(stream) is _Stream:
            continue
        wrapped = _Stream(stream, name)
        # No other thread runs between the comparison and the assignment, so a stream that `redirect_stdout`
        # puts back in a cell at this very moment is not overwritten.
        if name == "stdout" and sys.stdout is stream:
            sys.stdout = wrapped
        elif sys.stderr is stream:
            sys.stderr = wrapped


def _unwrap_streams() -> None:
    for name in ("stdout", "stderr"):
        while type(stream := getattr(sys, name)) is _Stream:
            setattr(sys, name, stream.real)


class _Log(logging.Handler):
    """Keeps the errors that PGQueuer logs; by default nobody listens to its logger."""

    def emit(self, record: logging.LogRecord) -> None:
        if (capture := _capture.get()) is not None:
            capture.log(record)


class _Process:
    """The output of a process that a handler starts; read on a thread, and whenever the handler's is."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._from, self.to = os.pipe()
        os.set_blocking(self._from, False)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._taking = threading.Lock()
        self._over = False

    def started(self) -> None:
        """Read its output from now on, until nobody can write to the pipe any more."""
        os.close(self.to)
        self._capture._processes.append(self)
        threading.Thread(target=self._follow, name="kit-process", daemon=True).start()

    def take(self) -> None:
        """Read the output that is there now."""
        with self._taking, suppress(BlockingIOError):
            while not self._over:
                data = os.read(self._from, 65536)
                self._capture.write(f"process {self._from}", self._decoder.decode(data))
                self._over = not data

    def _follow(self) -> None:
        there = select.poll()
        there.register(self._from, select.POLLIN)
        while not self._over:
            there.poll()
            self.take()
        self._capture.flush()
        os.close(self._from)

    def be_this_one(self) -> None:
        """Print into the pipe; called in the forked process itself."""
        os.close(self._from)
        sys.stdout = sys.stderr = open(  # noqa: SIM115
            self.to, "w", buffering=1, encoding="utf-8", errors="backslashreplace"
        )


def _of(capture: Capture | None, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` with its prints attributed to a job, or to none, whoever calls it."""

    def of_that_job(*arguments: Any, **options: Any) -> Any:
        before = _capture.set(capture)
        try:
            return function(*arguments, **options)
        finally:
            _capture.reset(before)

    return of_that_job


def _start(start: Callable[..., None], thread: threading.Thread) -> None:
    """Start a thread; one that a handler starts works for the handler's job."""
    if (capture := _capture.get()) is not None:
        thread.run = _of(capture, thread.run)  # type: ignore[method-assign]
    start(thread)


def _submit(submit: Callable[..., Any], pool: Executor, call: Any, /, *arguments: Any, **options: Any) -> Any:
    """Let a pool work for the job that submits the call; a thread that the pool starts belongs to no job."""
    capture = _capture.get()
    if capture is not None and isinstance(pool, ThreadPoolExecutor):
        call = _of(capture, call)
    return _of(None, submit)(pool, call, *arguments, **options)


def _open(init: Callable[..., None], popen: Any, *arguments: Any, **options: Any) -> None:
    """Start a process; the output of one that a handler starts is captured for the job."""
    capture = of_a_handler()
    to = {name: options.get(name) for name in ("stdout", "stderr")}
    free = [name for name, stream in to.items() if stream is None or type(stream) is _Stream]
    if capture is None or not free or len(arguments) > 4:  # stdout and stderr are the fifth and sixth
        init(popen, *arguments, **options)
        return
    process = _Process(capture)
    try:
        init(popen, *arguments, **options | dict.fromkeys(free, process.to))
    finally:
        process.started()


def _before_a_fork() -> None:
    capture = of_a_handler() if session.running else None
    _forked.set(_Process(capture) if capture is not None else None)


def _after_a_fork(*, child: bool) -> None:
    if (process := _forked.get()) is not None:
        process.be_this_one() if child else process.started()
        _forked.set(None)


_log = _Log(logging.WARNING)


@contextmanager
def prints_are_caught() -> Iterator[None]:
    """Capture what is printed and logged for jobs, in this block."""
    with ExitStack() as block:
        _wrap_streams()
        block.callback(_unwrap_streams)
        logging.getLogger("pgqueuer").addHandler(_log)
        block.callback(logging.getLogger("pgqueuer").removeHandler, _log)
        block.enter_context(replaced(threading.Thread, "start", _start))
        block.enter_context(replaced(ThreadPoolExecutor, "submit", _submit))
        block.enter_context(replaced(ProcessPoolExecutor, "submit", _submit))
        if sys.platform != "win32":
            block.enter_context(replaced(subprocess.Popen, "__init__", _open))
        yield


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_a_fork,
        after_in_parent=lambda: _after_a_fork(child=False),
        after_in_child=lambda: _after_a_fork(child=True),
    )
