"""The program in a worker's process: it runs the consumer of `kit.run`, and reports to the notebook.

Its standard input and output are the channel to the notebook, until `Channel` moves them: handlers, and the
processes that they start, cannot read or write there. A report is an object of JSON, on one line. Prints of
code that belongs to no handler go to standard error. The commands are ``go``, ``stop 5.0`` and ``report 3``
(everything, and then that number).
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from kit.consumer import console, factory
from kit.consumer.options import Options
from kit.consumer.runner import Runner
from kit.database.other_consumers import consumers_connected
from kit.errors import KitError
from kit.errors.place import own_traceback
from kit.errors.postgres import postgres_is_away
from kit.session import session

PAUSE = 0.05  # seconds between two reports that are not urgent
REPORTED = ("state", "problem", "entrypoints", "schedules", "backends", "done", "failed", "held", "retried")
GRACE = 5.0  # seconds for handlers to end after a SIGTERM from elsewhere


class Channel:
    """The process's channel to the notebook: commands come in, reports go out.

    It is read without a lock of Python's: a handler that forks would give a held lock to its child.
    """

    def __init__(self) -> None:
        self._from, self._to = os.dup(0), os.dup(1)  # a process that a handler starts does not get these
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)  # a print that belongs to no handler must not stand among the reports
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        self._sending = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._close)

    def _close(self) -> None:
        os.close(self._from)
        os.close(self._to)

    def commands(self) -> Iterator[str]:
        """Yield the notebook's commands, until it is gone."""
        rest = b""
        while data := os.read(self._from, 4096):
            *lines, rest = (rest + data).split(b"\n")
            yield from (line.decode() for line in lines)

    def send(self, **report: Any) -> None:
        """Send one whole report, from any thread; if nobody is there to read it, end this process."""
        data = json.dumps(report).encode() + b"\n"
        with self._sending:
            try:
                while data:
                    data = data[os.write(self._to, data) :]
            except OSError:
                os._exit(1)


class _Reporter(Runner):
    """A runner that reports every line at once, because this process may be killed the next moment."""

    def __init__(self, channel: Channel, name: str, make: factory.Factory, options: Options) -> None:
        self._channel = channel
        self._reporting = threading.RLock()
        self._sent: dict[str, Any] = {}
        super().__init__(name, make, options)

    def has_changed(self) -> None:
        super().has_changed()
        if self.console.has_unseen():
            self.report()

    async def _find_other_consumers(self, driver: Any) -> None:
        mine, _ = await consumers_connected(driver, ())  # the notebook knows which of them are its own
        self._driver_backends = set(mine)

    def report(self) -> None:
        """Report what has changed."""
        with self._reporting:
            began = session.began[self.name]
            now: dict[str, Any] = {name: getattr(self, name) for name in REPORTED}
            now["limits"] = dict(self.limits)
            now["managers"] = list(session.managers)
            now["running"] = self.running_jobs()
            changed = {key: value for key, value in now.items() if self._sent.get(key) != value}
            self._sent |= changed
            for field, jobs in (("began", began), ("ended", session.ended[self.name])):
                if jobs:
                    changed[field] = [jobs.popleft() for _ in range(len(jobs))]
            unseen = self.unseen()
            if unseen.lines:
                changed["lines"] = [
                    (line.kind, line.text, line.entrypoint, line.job_id) for line in unseen.lines
                ]
            failures = self.console.failures
            if failures:
                each = [failures.popleft() for _ in range(len(failures))]
                changed["failures"] = [
                    (one.text, one.traceback, one.held, one.entrypoint, one.job_id) for one in each
                ]
            if changed:
                self._channel.send(**changed)


def main() -> None:
    """Run the consumer that the command line describes, until a command stops it or it ends by itself."""
    channel = Channel()
    commands = channel.commands()
    if next(commands, "") != "go":
        return
    given = json.loads(sys.argv[1])
    sys.argv = ["pgq", "run", given["target"]]
    try:
        runner = _Reporter(channel, given["name"], _import(given["target"]), Options(**given["options"]))
        with console.about_to_show():
            _live(runner, channel, commands)
    except KitError as error:
        not_there = isinstance(error, factory.NotThere)
        channel.send(problem=_explain(error), state="failed", has_no_factory=not_there)
        os._exit(1)
    except SystemExit as error:  # from the module, when it was imported
        channel.send(problem=f"{given['target']!r} ended this process: SystemExit({error.code!r}).")
        os._exit(1)


def _import(target: str) -> factory.Factory:
    sys.dont_write_bytecode = True
    # Two versions of a file, of one second and the same length, share a name for their bytecode.
    with suppress(ImportError, OSError, ValueError, AttributeError):
        spec = importlib.util.find_spec(target.partition(":")[0])
        if spec is not None and spec.cached is not None:
            os.unlink(spec.cached)
    return factory.resolve(target)


def _live(runner: _Reporter, channel: Channel, commands: Iterator[str]) -> None:
    stopping, changed = threading.Event(), threading.Event()
    runner.when_changed = changed.set

    def stop(limit: float) -> None:
        if not stopping.is_set():
            stopping.set()
            threading.Thread(target=runner.stop, args=(limit,), daemon=True).start()

    def obey() -> None:
        for line in commands:
            command, _, argument = line.partition(" ")
            if command == "stop":
                stop(float(argument))
            else:
                runner.report()
                channel.send(reported_all=int(argument))
        os._exit(1)  # the notebook's process is gone

    threading.Thread(target=obey, daemon=True).start()
    runner.start()
    signal.signal(signal.SIGTERM, lambda *_: stop(GRACE))
    runner.report()
    channel.send(ready=True)
    while runner.state not in ("stopped", "failed"):
        changed.wait(1.0)
        changed.clear()
        runner.report()
        stopping.wait(PAUSE)
    runner.report()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if runner.state == "stopped" else 1)


def _explain(error: KitError) -> str:
    """Return the error's text, and below it the learner's own traceback, if there is one."""
    cause = error.__cause__
    if cause is None or isinstance(cause, KitError | ModuleNotFoundError) or postgres_is_away(cause):
        return str(error)
    if isinstance(cause, SyntaxError):
        return f"{error}\n\n{''.join(traceback.format_exception_only(cause)).rstrip()}"
    return f"{error}\n\n{own_traceback(cause).rstrip()}"
