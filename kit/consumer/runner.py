"""A PGQueuer consumer on a thread of this process, with a loop of its own.

A thread, not a task on the notebook's loop: there any blocking cell would stop the queue for as long as
it takes, and past the heartbeat timeout another consumer would run the job again.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pgqueuer
from pgqueuer.domain.settings import db_settings

from kit import reasons
from kit.consumer import console, elsewhere, factory
from kit.consumer.capture import Capture
from kit.consumer.consumer import Consumer, State
from kit.consumer.handlers import Handlers
from kit.consumer.listening import listening, repeat_health_check, why_not_in_time
from kit.consumer.loop import Loop
from kit.consumer.options import Options
from kit.consumer.process import while_running
from kit.database.other_consumers import consumers_connected, takes_jobs_too
from kit.database.queue_tables import QueueTables
from kit.errors import KitError
from kit.errors.postgres import postgres_is_away
from kit.errors.text import one_line
from kit.internals import connection_of, free_imports
from kit.session import session
from kit.threads import Duration, as_timedelta, happens_within, run_sync

STILL_AWAY = 10.0  # seconds without a connection, until a second notice
RESTART_DELAY = 0.5  # seconds between two attempts to reconnect
GRACE = 2.0  # seconds for each of the harder ways to end a consumer


class Runner(Consumer):
    """A consumer on a thread of this process; ``handlers`` is what its handlers do."""

    def __init__(self, name: str, make: factory.Factory, options: Options) -> None:
        super().__init__(name, options)
        self.handlers = Handlers(self)
        self._make = make
        self._options = options
        self._driver_backends: set[int] = set()
        self._entered = False
        self._was_ready = False
        self._asked_to_stop = False
        self._is_cut_off = False
        self._speak_again_at = math.inf
        self._error: BaseException | None = None
        self._started = threading.Event()
        self._ended = threading.Event()
        self._shutdown = asyncio.Event()
        self._loop = Loop(self.console)
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name=f"kit-consumer-{name}", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether its thread is there."""
        return self._thread.is_alive()

    @property
    def backends(self) -> tuple[int, ...]:
        """The known pids of the Postgres processes of its driver and of its handlers' connections."""
        return tuple(self._driver_backends | self._loop.backends())

    def running_jobs(self) -> list[int]:
        """Return the ids of the jobs whose handlers run now; from any thread."""
        return [run.job_id for run in self.handlers.running_now() if run.job_id is not None]

    # From the thread of a cell

    def start(self) -> None:
        """Start the thread, and return when the consumer is ready.

        Raises:
            KitError: it cannot run, and why.
        """
        limit = self._options.start_timeout
        free_imports()
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
            raise KitError(run_sync(why_not_in_time(self.name, limit, self._entered)))

    def stop(self, timeout: Duration = 5.0) -> None:
        """Stop, as `Consumer.stop` says."""
        limit = as_timedelta("timeout", timeout, zero=True).total_seconds()
        with console.about_to_show():
            if self.alive:
                self._stop(limit)
            if session.consumers.get(self.name) is self:
                console.show(self.unseen())

    def _stop(self, limit: float) -> None:
        self._asked_to_stop = True
        if self.state in ("starting", "running", "reconnecting"):
            self._become("stopping")
        self._call(self._shutdown.set)
        if threading.current_thread() is self._thread or self._ends_within(limit):
            return
        self._call(self.handlers.cut_off_running)
        ended = self._ends_within(GRACE) or self._breaks_off()
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

    def _breaks_off(self) -> bool:
        """Cancel it and break its connections: PGQueuer, main() or Postgres hangs. Return whether it ends."""
        if self._task is not None:
            self._call(self._task.cancel)
        # A cancelled task may wait for Postgres, which need not answer. A broken connection ends that wait.
        self._call(self._loop.break_connections)
        return self._ends_within(GRACE)

    def _ends_within(self, seconds: float) -> bool:
        if ended := happens_within(seconds, self._ended):
            self._thread.join()
        return ended

    def _call(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is closed: it ended by itself just now
            self._loop.call_soon_threadsafe(function)

    # On its own thread

    def _become(self, state: State) -> None:
        self._state = state
        self.has_changed()

    def _run(self) -> None:
        """Run the consumer, on its thread."""
        try:
            with while_running():
                Capture(self.console).begin()
                try:
                    self._task = self._loop.create_task(self._supervise())
                    self._loop.run_to_the_end(self._task)
                except BaseException as error:
                    self._failed(error)
                else:
                    self._finished()
                finally:
                    session.backends.update(self.backends)  # Postgres may list them a little longer
                    self._loop.end()
        finally:
            self._ended.set()
            self._started.set()

    def _finished(self) -> None:
        if not self._asked_to_stop:
            self.console.notice(f"Consumer {self.name!r} has ended: its shutdown event was set.")
        self._become("stopped")

    def _failed(self, error: BaseException) -> None:
        if self._asked_to_stop:
            if self._was_ready:
                cut_off = isinstance(error, asyncio.CancelledError)
                why = "main() did not come to its end, and was cut off."
                if not cut_off:
                    why = factory.explain(error, was_ready=True)
                self.console.notice(f"Consumer {self.name!r} has stopped, but: {why}")
            self._become("stopped")
            return
        self._error = error
        what = "It" if self._was_ready else "main()"
        self.problem = factory.explain(error, what, was_ready=self._was_ready)
        if isinstance(error, asyncio.CancelledError):
            self.problem = "All tasks of its loop were cancelled, as a handler may do by asyncio.all_tasks()."
        if self._was_ready:
            if not isinstance(error, KitError):  # it has its own next step
                self.problem += " Run its cell again."
            self.console.notice(f"Consumer {self.name!r} has died. {self.problem}")
        self._become("failed")

    async def _supervise(self) -> None:
        options = self._options.of_pgqueuer()
        while True:
            self._is_cut_off = False
            try:
                # A connection on which no notification arrives counts as lost, too.
                await pgqueuer.run(
                    self._enter, shutdown=self._shutdown, shutdown_on_listener_failure=True, **options
                )
                return
            except Exception as error:
                if self._shutdown.is_set() or not self._was_ready or not self._options.restart_on_failure:
                    raise
                # A mistake in the code would end it again and again, so only a lost connection is retried.
                if not self._is_cut_off and not postgres_is_away(error):
                    raise
                self._lost(error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._shutdown.wait(), RESTART_DELAY)
            if self._shutdown.is_set():
                return

    def _lost(self, error: Exception) -> None:
        if self.state == "reconnecting" and self._speak_again_at <= time.monotonic():
            self._speak_again_at = math.inf
            self.console.notice(
                f"Consumer {self.name!r} has not reached Postgres for {STILL_AWAY:g} s ({one_line(error)}). "
                "If that is elsewhere now, such as on another port: run kit.postgres(…) and its cell again."
            )
        if self.state == "running":
            self._become("reconnecting")
            self._speak_again_at = time.monotonic() + STILL_AWAY
            self.console.notice(
                f"Consumer {self.name!r} has lost its connection to Postgres "
                f"({one_line(error)}), and tries to get it back."
            )

    @asynccontextmanager
    async def _enter(self) -> AsyncIterator[factory.Manager]:
        async with factory.enter(self._make, self._advise) as manager:
            self._entered = True
            self.handlers.watch(manager)
            if (queue := factory.queue_of(manager)) is not None:
                session.managers[str(queue.queue_manager_id)] = self.name
                repeat_health_check(queue)
            place = {} if self._was_ready else await elsewhere.place_of(manager)
            ready = asyncio.create_task(self._say_when_ready(manager, place))
            try:
                yield manager
            except Exception as error:
                held = connection_of(factory.driver_of(manager))
                self._is_cut_off = postgres_is_away(error, held if hasattr(held, "is_closed") else None)
                if self._is_cut_off:
                    raise
                if (why := await self._job_that_ended_it(manager)) is not None:
                    raise KitError(why) from error
                raise
            finally:
                ready.cancel()

    async def _job_that_ended_it(self, manager: factory.Manager) -> str | None:
        """Return a message about the picked job that PGQueuer cannot read, if there is one."""
        if (queue := factory.queue_of(manager)) is None:
            return None
        query = QueueTables(db_settings().qualified).picked_and_unreadable
        found: dict[Any, Any] = {}
        with suppress(Exception):  # its connection is lost or in use, and that is the reason
            fetching = factory.driver_of(manager).fetch(query, str(queue.queue_manager_id))
            found = {row["id"]: row["wrong"] for row in await asyncio.wait_for(fetching, GRACE)}
        if not found:
            return None
        jobs = "; ".join(f"#{job}: {wrong}" for job, wrong in found.items())
        return (
            f"PGQueuer cannot read a job that it has picked ({jobs}). Every consumer ends that picks it. "
            f"Take it out of the queue with `{reasons.take_out(found)}`, then run the cell again."
        )

    async def _say_when_ready(self, manager: factory.Manager, place: elsewhere.Place) -> None:
        # The manager will meet the same problem, and its error is the one to report.
        with suppress(Exception):
            difference, _ = await asyncio.gather(elsewhere.difference(self.name, place), listening(manager))
            if difference is not None:
                self._advise(difference)
            with suppress(Exception):
                await self._find_other_consumers(factory.driver_of(manager))
            if self.state == "reconnecting":
                self.console.notice(f"Consumer {self.name!r} is connected to Postgres again.")
            self._was_ready = True
            if not self._asked_to_stop:
                self._become("running")
            self._started.set()

    async def _find_other_consumers(self, driver: Any) -> None:
        mine, others = await consumers_connected(driver, session.known_backends())
        self._driver_backends = set(mine)
        session.backends.update(mine)
        if others and not self._was_ready:
            self.console.notice(takes_jobs_too(others[0]))

    def _advise(self, text: str) -> None:
        if self._was_ready or text in session.advised:
            return  # it has reconnected, or all consumers share this advice
        if text is factory.NEWER_FORM:
            session.advised.add(text)
        self.console.notice(text)
