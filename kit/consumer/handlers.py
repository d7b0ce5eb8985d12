"""The handlers of one consumer: which run, how they ended, and what they printed."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from pgqueuer.core.executors import AbstractEntrypointExecutor, AbstractScheduleExecutor
from pgqueuer.domain.errors import RetryRequested, retry_request
from pgqueuer.models import Context, Job, Schedule, ScheduleContext

from kit.consumer.capture import ENDS_NO_CONSUMER, Capture
from kit.consumer.consumer import Consumer
from kit.consumer.factory import Manager, queue_of, scheduler_of
from kit.errors import KitError
from kit.errors.text import one_line, storable, storable_text
from kit.session import session

REMEMBERED = 100_000  # the last jobs of a consumer for which it is known that it started them


class Handlers:
    """Wraps a learner's handlers for PGQueuer, and counts for their consumer.

    Attributes:
        running: the handlers that run now, each with its task.
        cut_off: the handlers that were cancelled because the consumer was stopped.
    """

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.console = consumer.console
        self.running: dict[Capture, asyncio.Task[object]] = {}
        self.cut_off: list[Capture] = []
        self._began = session.began.setdefault(consumer.name, deque(maxlen=REMEMBERED))
        self._ended = session.ended.setdefault(consumer.name, deque(maxlen=REMEMBERED))
        self._cut: set[Capture] = set()

    def watch(self, manager: Manager) -> None:
        """Wrap a manager's executors."""
        queue, scheduler = queue_of(manager), scheduler_of(manager)
        jobs = queue.entrypoint_registry if queue is not None else {}
        for entrypoint, executor in jobs.items():
            self.consumer.limits[entrypoint] = executor.parameters.concurrency_limit
            inner = executor.inner if isinstance(executor, _WatchedJobs) else executor
            jobs[entrypoint] = _WatchedJobs(inner, self)
        schedules = scheduler.registry if scheduler is not None else {}
        for key, schedule in schedules.items():
            original = schedule.inner if isinstance(schedule, _WatchedSchedule) else schedule
            schedules[key] = _WatchedSchedule(original, self)
        self.consumer.entrypoints = tuple(jobs)
        self.consumer.schedules = tuple(key.entrypoint for key in schedules)

    @contextmanager
    def one(self, entrypoint: str, job_id: int | None = None, *, held: bool = False) -> Iterator[Capture]:
        """Watch one call of a handler, in the task that runs it: what it prints, and how it ends."""
        capture = Capture(self.console, entrypoint, job_id)
        capture.begin()
        if job_id is not None:
            self._began.append((job_id, time.time()))
        task = asyncio.current_task()
        assert task is not None
        self.running[capture] = task
        self.consumer.has_changed()
        try:
            yield capture
        except BaseException as error:
            # PGQueuer would count the job as canceled or failed, and delete it.
            if job_id is not None and self._was_cut_off(capture, error):
                raise RetryRequested(reason="the consumer was stopped while this ran") from None
            if (reported := self._raised(capture, error, held=held)) is not error:
                raise reported from None
            raise
        finally:
            capture.flush()
            del self.running[capture]
            if job_id is not None:
                self._ended.append((job_id, time.time()))
            self.consumer.has_changed()

    def _raised(self, capture: Capture, error: BaseException, *, held: bool) -> BaseException:
        """Report a handler's exception: a retry, a cancellation or a failure. Return the one for PGQueuer."""
        capture.flush()
        error = _with_a_delay(error)
        if (retry := retry_request(error)) is not None:
            reason = one_line(retry.__cause__) if retry.__cause__ is not None else retry.reason
            self.consumer.retried += 1
            capture.add(
                "retry", f"retry in {retry.delay.total_seconds():g} s" + (f": {reason}" if reason else "")
            )
        elif isinstance(error, asyncio.CancelledError):
            capture.add("canceled", "canceled")
        else:
            self.consumer.failed += 1
            self.consumer.held += held
            capture.fail(error, held=held)
        return self._stand_in(capture, error)

    def _stand_in(self, capture: Capture, error: BaseException) -> BaseException:
        """Return ``error``, or another exception if PGQueuer could not log this one."""
        if isinstance(error, asyncio.CancelledError):
            return error
        stand_in = storable(error)
        if (retry := retry_request(error)) is not None:
            reason = None if retry.reason is None else storable_text(str(retry.reason))
            if stand_in is error and reason == retry.reason:
                return error
            stand_in = RetryRequested(retry.delay, reason)
        if stand_in is not error:
            capture.exception = stand_in  # or PGQueuer's own warning of it would be shown as a new one
            if isinstance(error, SystemExit | KeyboardInterrupt):
                self.console.notice(f"{type(error).__name__} in {capture} {ENDS_NO_CONSUMER}")
            elif not self.console.repeats("cannot be stored"):
                self.console.notice(
                    f"The exception of {capture} is not one that PGQueuer can log as it is "
                    f"({_why_not(error)}). The log has one that says the same; .errors has its own."
                )
        return stand_in

    def cut_off_running(self) -> None:
        """Cancel the handlers that run; call it on the consumer's own loop."""
        for capture, task in self.running.items():
            self._cut.add(capture)
            task.cancel()

    def _was_cut_off(self, capture: Capture, error: BaseException) -> bool:
        """Return whether a handler ended because the consumer, or the whole process, is ending."""
        if isinstance(error, asyncio.CancelledError) and capture in self._cut:
            # The task goes on, to tell PGQueuer how the job ended.
            self.running[capture].uncancel()
        elif not (isinstance(error, RuntimeError) and "interpreter shutdown" in one_line(error)):
            # Python ends, and refuses a new thread with these words, also to asyncio.to_thread.
            return False
        self.cut_off.append(capture)
        capture.flush()
        capture.add("canceled", "cut off, and back in the queue")
        return True

    def running_now(self) -> list[Capture]:
        """Return the handlers that run now, with ``entrypoint`` and ``job_id``; from any thread."""
        return list(self.running)


class _WatchedJobs(AbstractEntrypointExecutor):
    """An entrypoint's executor, watched."""

    def __init__(self, inner: AbstractEntrypointExecutor, handlers: Handlers) -> None:
        super().__init__(inner.parameters)
        self.inner = inner
        self.handlers = handlers

    async def execute(self, job: Job, context: Context) -> None:
        held = self.parameters.on_failure == "hold"
        with self.handlers.one(job.entrypoint, job.id, held=held) as capture:
            await self.inner.execute(job, context)
            if context.cancellation.cancel_called:
                capture.add("canceled", "canceled")
            else:
                self.handlers.consumer.done += 1


class _WatchedSchedule(AbstractScheduleExecutor):
    """A schedule's executor, watched."""

    def __init__(self, inner: AbstractScheduleExecutor, handlers: Handlers) -> None:
        super().__init__(inner.parameters)
        self.inner = inner
        self.handlers = handlers

    def get_next(self) -> datetime:
        return self.inner.get_next()

    def next_in(self) -> timedelta:
        return self.inner.next_in()

    async def execute(self, schedule: Schedule, context: ScheduleContext) -> None:
        with self.handlers.one(schedule.entrypoint):
            await self.inner.execute(schedule, context)


def _with_a_delay(error: BaseException) -> BaseException:
    """Return ``error``; for a retry with a delay that PGQueuer cannot store, an error that says so."""
    retry = retry_request(error)
    if retry is None or isinstance(retry.delay, timedelta):
        return error
    text = f"RetryRequested(delay={retry.delay!r}): the delay is a timedelta, such as timedelta(seconds=5)."
    return KitError(text).with_traceback(error.__traceback__)


def _why_not(error: BaseException) -> str:
    if not isinstance(error, Exception):
        return f"{type(error).__name__} is no Exception"
    try:
        str(error)
    except Exception as broken:
        return f"its str() raises {type(broken).__name__}"
    return "Postgres keeps no NUL character and no half of a surrogate pair"
