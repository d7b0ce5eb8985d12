"""`Consumer`: a PGQueuer consumer on a thread of this process, with a loop of its own.

A thread, not a task on the notebook's loop: there any blocking cell would stop the queue for as long as
it takes, and past the heartbeat timeout another consumer would run the job again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Literal

import pgqueuer
from pgqueuer.types import QueueExecutionMode

from kit import faults, notebook
from kit.consumer import background, console, factory
from kit.consumer.capture import Capture
from kit.consumer.changes import Changes
from kit.consumer.console import Failure, Line, Lines
from kit.consumer.handlers import Handlers
from kit.consumer.presence import listening
from kit.database.other_consumers import consumers_connected
from kit.errors import KitError
from kit.session import session
from kit.threads import Duration, as_timedelta, happens_within

State = Literal["starting", "running", "reconnecting", "stopping", "stopped", "failed"]
GRACE = 2.0


class Consumer:
    """A consumer that `run` started.

    Attributes:
        name: the name it was given; ``session.consumers[name]`` holds it.
        state: ``"starting"``, ``"running"``, ``"reconnecting"`` (Postgres is gone), ``"stopping"``,
            ``"stopped"`` or ``"failed"`` (an error ended it).
        problem: why it failed, in plain words; None while it has not.
        entrypoints: the names it has handlers for, in the order they were registered.
        schedules: the names of its schedules.
        backends: the Postgres processes (pids) its driver is known to use.
    """

    def __init__(self, name: str, make: factory.Factory, options: dict[str, Any]) -> None:
        self.name = name
        self.state: State = "starting"
        self.problem: str | None = None
        self.entrypoints: tuple[str, ...] = ()
        self.schedules: tuple[str, ...] = ()
        self.backends: tuple[int, ...] = ()
        self._changes = Changes()
        self.console = console.Console(name, self._changes.tell)
        self.handlers = Handlers(self.console, self._changes.tell)
        self._make = make
        self._restart = options.pop("restart_on_failure")
        self._restart_delay = options.pop("restart_delay").total_seconds()
        self._options = options
        self._was_ready = False
        self._asked_to_stop = False
        self._error: BaseException | None = None
        self._started = threading.Event()
        self._ended = threading.Event()
        self._shutdown = asyncio.Event()
        self._loop = background.Loop(self.console)
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name=f"kit-consumer-{name}", daemon=True)

    def __repr__(self) -> str:
        names = ", ".join(self.entrypoints + self.schedules) or "none"
        why = f" ({self.problem})" if self.problem else ""
        return (
            f"<Consumer {self.name!r}: {self.state}{why}; entrypoints: {names}; "
            f"{self.done} done, {self.failed} failed>"
        )

    def _ipython_display_(self) -> None:
        """Add nothing as a cell's result: its panel is in the cell of `run`."""
        if not notebook.in_notebook():
            print(repr(self))

    @property
    def done(self) -> int:
        """The number of jobs whose handler came to its end."""
        return self.handlers.done

    @property
    def failed(self) -> int:
        """The number of jobs whose handler raised, without those that asked for a retry."""
        return self.handlers.failed

    @property
    def output(self) -> Lines[Line]:
        """What handlers printed and what became of them, oldest first: the last 10 000 lines."""
        return Lines(self.console.lines.copy())

    @property
    def errors(self) -> Lines[Failure]:
        """The exceptions handlers ended with, oldest first: the last 200."""
        return Lines(self.console.failures.copy())

    @property
    def alive(self) -> bool:
        """Whether its thread is there."""
        return self._thread.is_alive()

    def running_jobs(self) -> list[int]:
        """Return the ids of the jobs whose handlers run now; from any thread."""
        return [run.job_id for run in self.handlers.running_now() if run.job_id is not None]

    def jobs_seen(self) -> list[tuple[int, datetime]]:
        """Return the jobs of which something was printed or told, and when."""
        return [(line.job_id, line.time) for line in self.output if line.job_id is not None]

    def unseen(self, notices_only: bool = False) -> list[Line]:
        """Return what nobody has seen yet of what it has to say; it counts as seen from now on."""
        return self.console.take(notices_only=notices_only)

    @property
    def version(self) -> int:
        """A number that differs from before whenever anything of this changed; cheap to compare."""
        return self._changes.version

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` after every change, on whichever thread it happened; return what ends that.

        It must be quick and thread-safe: set an event, and look at `version` and the rest elsewhere.
        """
        return self._changes.subscribe(listener)

    def stop(self, timeout: Duration = 5.0) -> None:
        """Stop taking jobs, and wait for the handlers that run; a second call does nothing.

        After ``timeout`` seconds (or a timedelta) those that still run are cancelled and named, and their
        jobs are put back into the queue.
        """
        limit = as_timedelta("timeout", timeout, zero=True).total_seconds()
        with console.looking():
            if self.alive:
                self._stop(limit)
            if session.consumers.get(self.name) is self:
                console.show(self.console.take())

    def _stop(self, limit: float) -> None:
        self._asked_to_stop = True
        if self.state in ("starting", "running", "reconnecting"):
            self._become("stopping")
        self._call(self._shutdown.set)
        if threading.current_thread() is self._thread or self._ends_within(limit):
            return
        self._call(self.handlers.cut_off_running)
        ended = self._ends_within(GRACE)
        if not ended and self._task is not None:
            # Not even PGQueuer comes to its end, or main() to its own: give up on them too.
            self._call(self._task.cancel)
            ended = self._ends_within(GRACE)
        if names := ", ".join(map(str, self.handlers.cut_off)):
            self.console.notice(
                f"Consumer {self.name!r} was stopped after {limit:g} s. "
                f"Cut off, and back in the queue: {names}."
            )
        if not ended:
            blocking = ", ".join(map(str, self.handlers.running_now())) or "main()"
            self.console.notice(
                f"Consumer {self.name!r} does not end: {blocking} blocks its thread. It takes no more "
                "jobs, and ends when that does. To be rid of it now, restart the kernel."
            )

    def _ends_within(self, seconds: float) -> bool:
        if ended := happens_within(seconds, self._ended):
            self._thread.join()
        return ended

    def _call(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is closed: it ended by itself just now
            self._loop.call_soon_threadsafe(function)

    def _become(self, state: State) -> None:
        self.state = state
        self._changes.tell()

    def start(self, limit: float) -> None:
        """Start the thread, and return when the consumer is ready; raise what keeps it from that."""
        self._thread.start()
        try:
            in_time = happens_within(limit, self._started)
        except BaseException:
            self._stop(0)
            raise
        if self._error is not None:
            self._thread.join()
            raise KitError(self.problem) from self._error
        if not in_time:
            self._stop(0)
            raise KitError(
                f"main() did not come to its `yield` or `return` in {limit:g} s, so it was stopped. "
                "Does it wait for something? start_timeout= gives it longer."
            )

    def _run(self) -> None:
        """Live on the thread."""
        try:
            with background.at_home():
                Capture(self.console).begin()
                try:
                    self._task = self._loop.create_task(self._supervise())
                    self._loop.run_until_complete(self._task)
                except BaseException as error:
                    self._failed(error)
                else:
                    self._finished()
                finally:
                    self._loop.end()
        finally:
            self._ended.set()
            self._started.set()

    def _finished(self) -> None:
        self._become("stopped")
        if not self._asked_to_stop:
            drained = self._options["mode"] is QueueExecutionMode.drain
            why = "the queue is empty, and its mode is drain" if drained else "its shutdown event was set"
            self.console.notice(f"Consumer {self.name!r} has ended: {why}.")

    def _failed(self, error: BaseException) -> None:
        if self._asked_to_stop:
            if self._was_ready:
                cut_off = isinstance(error, asyncio.CancelledError)
                why = (
                    "main() did not come to its end, and was cut off." if cut_off else factory.explain(error)
                )
                self.console.notice(f"Consumer {self.name!r} has stopped, but: {why}")
            self._become("stopped")
            return
        self._error = error
        self.problem = factory.explain(error, "It" if self._was_ready else "main()")
        if self._was_ready:
            self.console.notice(f"Consumer {self.name!r} has died. {self.problem} Run its cell again.")
        self._become("failed")

    async def _supervise(self) -> None:
        while True:
            try:
                await pgqueuer.run(self._enter, shutdown=self._shutdown, **self._options)
                return
            except Exception as error:
                if self._shutdown.is_set() or not self._was_ready or not self._restart:
                    raise
                # A learner's mistake would come back again and again; a lost connection comes back once.
                if not faults.postgres_is_away(error):
                    raise
                if self.state == "running":
                    self._become("reconnecting")
                    self.console.notice(
                        f"Consumer {self.name!r} has lost its connection to Postgres "
                        f"({faults.one_line(error)}), and tries to get it back."
                    )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._shutdown.wait(), self._restart_delay)
            if self._shutdown.is_set():
                return

    @asynccontextmanager
    async def _enter(self) -> AsyncIterator[factory.Manager]:
        async with factory.enter(self._make, self._tell_of_the_newer_form) as manager:
            self.entrypoints, self.schedules = self.handlers.watch(manager)
            ready = asyncio.create_task(self._say_when_ready(manager))
            try:
                yield manager
            finally:
                ready.cancel()

    async def _say_when_ready(self, manager: factory.Manager) -> None:
        # Whatever goes wrong here goes wrong for the manager too, and its error is the one to tell.
        with suppress(Exception):
            await listening(manager)
            with suppress(Exception):
                await self._look_for_strangers(factory.driver_of(manager))
            if self.state == "reconnecting":
                self.console.notice(f"Consumer {self.name!r} is connected to Postgres again.")
            self._was_ready = True
            if not self._asked_to_stop:
                self._become("running")
            self._started.set()

    async def _look_for_strangers(self, driver: Any) -> None:
        mine, others = await consumers_connected(driver, session.backends)
        self.backends = tuple(mine)
        session.backends.update(mine)
        # A pool's other connections look like strangers, and there is no telling them apart.
        if others and not self._was_ready and not isinstance(driver, pgqueuer.AsyncpgPoolDriver):
            self.console.notice(
                f"Another consumer is connected to this database ({others[0]}), "
                "and takes jobs of this queue too."
            )

    def _tell_of_the_newer_form(self) -> None:
        if factory.NEWER_FORM not in session.told:
            session.told.add(factory.NEWER_FORM)
            self.console.notice(factory.NEWER_FORM)
