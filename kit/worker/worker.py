"""`Worker`: a consumer in a process of its own, as the notebook's process knows it."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import IO, Any, Literal

from kit.consumer import console
from kit.consumer.console import Failure
from kit.consumer.consumer import Consumer, State, show_as_value
from kit.consumer.handlers import REMEMBERED
from kit.consumer.options import Options
from kit.reasons import listed, picked_by, take_out
from kit.session import session
from kit.threads import Duration, as_timedelta, happens_within, run_sync
from kit.worker.process import Process

TO_REPORT = 1.0  # seconds for a worker to report everything, and for its pipes to be read to their end
TO_END = 5.0  # seconds for a worker to end after its handlers have ended or were cut off


class Worker(Consumer):
    """A consumer in a process of its own.

    Attributes:
        group: the ``name`` that `kit.spawn` was given.
        factory: ``"module:name"`` of its factory.
        has_no_factory: whether it failed because the module, or the name in it, is not there.
    """

    def __init__(
        self, name: str, group: str, target: str, options: Options, environment: Mapping[str, str] = {}
    ) -> None:
        super().__init__(name, options, worker=True)
        self.group = group
        self.factory = target
        self.has_no_factory = False
        self.started = threading.Event()
        self._backends: set[int] = set()
        self._running: list[int] = []
        self._managers: list[str] = []
        self._target = session.target()
        self._paused = False
        self._was_ready = False
        self._questions = 0
        self._reported_all = threading.Event()
        self._asked: Literal["stop", "kill"] | None = None
        self._ended = threading.Event()
        self._process = Process({"target": target, "name": name, "options": asdict(options)}, environment)
        pipes = self._process.popen
        reading = [
            self._thread("prints", self._hear, pipes.stderr),
            self._thread("reports", self._listen, pipes.stdout),
        ]
        self._thread("end", self._await_end, reading)

    def _where(self) -> str:
        code = "" if self.exit_code is None else f", exit code {self.exit_code}"
        return f"process {self.pid}{code}; "

    @property
    def pid(self) -> int:
        """The number of its process, and of that process's group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether its process is there; one that is paused is."""
        return not self._ended.is_set()

    @property
    def exit_code(self) -> int | None:
        """Its process's exit code: 0, or negative when a signal ended it (-9: SIGKILL); None before."""
        return self._process.popen.returncode

    @property
    def state(self) -> State:
        """What it does now, in one word."""
        return "paused" if self._paused and self.alive else self._state

    @property
    def backends(self) -> tuple[int, ...]:
        """The pids of the Postgres processes of its connections, as far as they are known."""
        return tuple(self._backends)

    def running_jobs(self) -> list[int]:
        """Return the ids of the jobs whose handlers ran at its last report; none when it has ended."""
        return self._running if self.alive else []

    def catch_up(self) -> None:
        """Return when its output up to this moment is known here, or it does not answer."""
        if self.alive and not self._paused:
            self._questions += 1
            self._reported_all.clear()
            self._process.say(f"report {self._questions}")
            happens_within(TO_REPORT, self._reported_all)

    def kill(self) -> None:
        """End its process, and the processes of its handlers, at once: SIGKILL, as a crash does.

        Its handlers do not end properly and it reports nothing: the jobs it had stay ``picked``.
        """
        self._asked = self._asked or "kill"
        self._process.kill()
        self._ended.wait(TO_END)

    def stop(self, timeout: Duration = 5.0) -> None:
        """Stop, as `Consumer.stop` says."""
        limit = as_timedelta("timeout", timeout, zero=True).total_seconds()
        self.begin_to_stop(limit)
        with console.about_to_show():
            if not happens_within(limit + TO_END, self._ended):
                self.console.notice(f"Worker {self.name!r} did not end, and was killed.")
                self.kill()
            if session.consumers.get(self.name) is self:
                console.show(self.unseen())

    def begin_to_stop(self, limit: float) -> None:
        """Ask it to stop, without waiting; ``limit`` is in seconds."""
        if not self.alive:
            return
        self._asked = self._asked or "stop"
        self._process.say(f"stop {limit}")
        if self._paused:
            self.resume()

    def pause(self) -> None:
        """Freeze its process (SIGSTOP): its handlers stand still, and so does its heartbeat.

        Its jobs stay ``picked``. When the heartbeat is older than ``heartbeat_timeout`` another worker takes
        them, and after `resume` two are at work on them.
        """
        if self.alive:
            self._process.pause()
            self._paused = True
            self.has_changed()

    def resume(self) -> None:
        """Let a paused worker go on where it stood (SIGCONT)."""
        self._paused = False
        if self.alive:
            self._process.resume()

    # On threads of its own

    def _thread(self, what: str, does: Callable[[Any], None], with_it: Any) -> threading.Thread:
        thread = threading.Thread(target=does, args=(with_it,), name=f"kit-{self.name}-{what}", daemon=True)
        thread.start()
        return thread

    def _hear(self, pipe: IO[bytes]) -> None:
        """Keep the prints of code that belongs to no handler."""
        with pipe:
            for line in pipe:
                self.console.add("print", line.decode("utf-8", "replace").rstrip("\r\n"))

    def _listen(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                with suppress(ValueError):  # its last line, cut off when it was killed
                    self._take(json.loads(line))

    def _take(self, report: dict[str, Any]) -> None:
        for kind, text, entrypoint, job in report.get("lines", ()):
            if kind == "notice":
                self.console.notice(text)
            else:
                self.console.add(kind, text, entrypoint, job)
        for text, traceback, held, *where in report.get("failures", ()):
            self.console.failures.append(Failure(text, traceback, held, self.name, *where))
        for field in ("problem", "has_no_factory", "limits", "done", "failed", "held", "retried"):
            setattr(self, field, report.get(field, getattr(self, field)))
        self.entrypoints = tuple(report.get("entrypoints", self.entrypoints))
        self.schedules = tuple(report.get("schedules", self.schedules))
        self._running = report.get("running", self._running)
        self._managers = report.get("managers", self._managers)
        self._backends.update(report.get("backends", ()))
        session.backends.update(self._backends)
        session.managers.update(dict.fromkeys(self._managers, self.name))
        for field, known in (("began", session.began), ("ended", session.ended)):
            jobs = known.setdefault(self.name, deque(maxlen=REMEMBERED))
            jobs.extend((job, at) for job, at in report.get(field, ()))
        self._state = report.get("state", self._state)
        if report.get("reported_all") == self._questions:
            self._reported_all.set()
        if report.get("ready"):
            self._was_ready = True
            self.started.set()
        self.has_changed()

    def _await_end(self, reading: list[threading.Thread]) -> None:
        code = self._process.end()
        for each in reading:
            each.join(TO_REPORT)  # not longer: a process of its handlers may have the pipe, too
        if self._asked == "kill" or code < 0:
            self._state = "killed"
        else:
            self._state = "stopped" if code == 0 else "failed"
        if self._asked is None and self._was_ready and self.problem is None:
            how = self._how_it_ended(code)
            jobs: list[tuple[str, int]] = []
            with suppress(Exception):  # Postgres is away, too
                jobs = run_sync(picked_by(self._managers, self._target))
            if jobs:
                names = [f"{entrypoint} #{job}" for entrypoint, job in jobs]
                how += f" in the middle of {listed(names, len(names))}"
            self.problem = f"Its process {how}."
            if len(jobs) == 1:
                out = take_out(job for _, job in jobs)
                self.problem += f" If the job did that, it will again: `{out}` takes it out of the queue."
            self.console.notice(f"Worker {self.name!r} {how}.")
        self._ended.set()
        self._reported_all.set()
        self.started.set()
        self.has_changed()

    def _how_it_ended(self, code: int) -> str:
        if code >= 0:
            return f"has ended by itself, with exit code {code}"
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
        return "was killed"


class Workers(list[Worker]):
    """Several workers that were started together."""

    def _ipython_display_(self) -> None:
        show_as_value(self, self)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self))

    def kill(self) -> None:
        """End all their processes at once: see `Worker.kill`."""
        for worker in self:
            worker.kill()

    def stop(self, timeout: Duration = 5.0) -> None:
        """Stop all of them side by side: see `Worker.stop`."""
        stop_together(self, timeout)

    def pause(self) -> None:
        """Freeze all of them: see `Worker.pause`."""
        for worker in self:
            worker.pause()

    def resume(self) -> None:
        """Let all of them go on: see `Worker.resume`."""
        for worker in self:
            worker.resume()


def stop_together(workers: Iterable[Worker], timeout: Duration = 5.0) -> None:
    """Ask all of them to stop, and wait until they have."""
    limit = as_timedelta("timeout", timeout, zero=True).total_seconds()
    those = list(workers)
    deadline = time.monotonic() + limit
    for worker in those:
        worker.begin_to_stop(limit)
    for worker in those:
        worker.stop(max(0.0, deadline - time.monotonic()))
