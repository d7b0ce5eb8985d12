"""The handlers of one consumer: which run, how they ended, and what they printed."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from pgqueuer.core.executors import AbstractEntrypointExecutor, AbstractScheduleExecutor
from pgqueuer.domain.errors import RetryRequested, retry_request
from pgqueuer.models import Context, Job, Schedule, ScheduleContext

from kit.consumer.capture import ENDS_NO_CONSUMER, Capture
from kit.consumer.console import Console
from kit.consumer.factory import Manager, queue_of, scheduler_of
from kit.errors import KitError
from kit.errors.text import one_line, storable, storable_text


class Handlers:
    """Stands between PGQueuer and a learner's handlers.

    Attributes:
        done, failed: how many jobs' handlers came to their end, and how many raised.
        held, retried: how many of those that raised are held, and how many asked for a retry instead.
        began: the jobs whose handlers were called, and when, in seconds since 1970.
        limits: the concurrency limit of each entrypoint; 0 is none.
        running: what runs now, and in which task.
        cut_off: what was cancelled because the consumer was stopped.
    """

    def __init__(
        self, console: Console, began: deque[tuple[int, float]], changed: Callable[[], None]
    ) -> None:
        self.console = console
        self.began = began
        self.limits: dict[str, int] = {}
        self.done = 0
        self.failed = 0
        self.held = 0
        self.retried = 0
        self.running: dict[Capture, asyncio.Task[object]] = {}
        self.cut_off: list[Capture] = []
        self._cut: set[Capture] = set()
        self._changed = changed

    def watch(self, manager: Manager) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Wrap a manager's executors; return the names of its entrypoints and of its schedules."""
        queue, scheduler = queue_of(manager), scheduler_of(manager)
        jobs = queue.entrypoint_registry if queue is not None else {}
        for entrypoint, executor in jobs.items():
            self.limits[entrypoint] = executor.parameters.concurrency_limit
            inner = executor.inner if isinstance(executor, _WatchedJobs) else executor
            jobs[entrypoint] = _WatchedJobs(inner, self)
        schedules = scheduler.registry if scheduler is not None else {}
        for key, schedule in schedules.items():
            original = schedule.inner if isinstance(schedule, _WatchedSchedule) else schedule
            schedules[key] = _WatchedSchedule(original, self)
        return tuple(jobs), tuple(key.entrypoint for key in schedules)

    def begin(self, entrypoint: str, job_id: int | None) -> Capture:
        """Note that a handler starts, in the task that runs it."""
        capture = Capture(self.console, entrypoint, job_id)
        capture.begin()
        if job_id is not None:
            self.began.append((job_id, time.time()))
        task = asyncio.current_task()
        assert task is not None
        self.running[capture] = task
        self._changed()
        return capture

    def end(self, capture: Capture) -> None:
        """Note that it ended, however it did."""
        capture.flush()
        del self.running[capture]
        self._changed()

    def raised(self, capture: Capture, error: BaseException, *, held: bool = False) -> BaseException:
        """Tell what its exception means, a retry, a cancellation or a failure; return PGQueuer's own."""
        capture.flush()
        error = _with_a_delay(error)
        if (retry := retry_request(error)) is not None:
            reason = one_line(retry.__cause__) if retry.__cause__ is not None else retry.reason
            self.retried += 1
            capture.add(
                "retry", f"retry in {retry.delay.total_seconds():g} s" + (f": {reason}" if reason else "")
            )
        elif isinstance(error, asyncio.CancelledError):
            capture.add("canceled", "canceled")
        else:
            self.failed += 1
            self.held += held
            capture.fail(error, held=held)
        return self._stand_in(capture, error)

    def _stand_in(self, capture: Capture, error: BaseException) -> BaseException:
        """Return what PGQueuer is to be told instead of an exception that it could not log; or that one."""
        if isinstance(error, asyncio.CancelledError):
            return error
        told = storable(error)
        if (retry := retry_request(error)) is not None:
            reason = None if retry.reason is None else storable_text(str(retry.reason))
            if told is error and reason == retry.reason:
                return error
            told = RetryRequested(retry.delay, reason)
        if told is not error:
            capture.exception = told  # so that PGQueuer's own warning of it is not shown as something new
            if isinstance(error, SystemExit | KeyboardInterrupt):
                self.console.notice(f"{type(error).__name__} in {capture} {ENDS_NO_CONSUMER}")
            elif not self.console.repeats("cannot be stored"):
                self.console.notice(
                    f"The exception of {capture} is not one that PGQueuer can log as it is "
                    f"({_why_not(error)}). The log has one that says the same; .errors has its own."
                )
        return told

    def cut_off_running(self) -> None:
        """Cancel what runs; on the consumer's own loop."""
        for capture, task in self.running.items():
            self._cut.add(capture)
            task.cancel()

    def was_cut_off(self, capture: Capture, error: BaseException) -> bool:
        """Return whether a handler ended because the consumer, or the whole process, was about to end."""
        if isinstance(error, asyncio.CancelledError) and capture in self._cut:
            # From here on its task goes on, to tell PGQueuer what became of the job.
            self.running[capture].uncancel()
        elif not (isinstance(error, RuntimeError) and "interpreter shutdown" in one_line(error)):
            # With these words Python refuses a new thread, also to asyncio.to_thread, when it ends.
            return False
        self.cut_off.append(capture)
        capture.flush()
        capture.add("canceled", "cut off, and back in the queue")
        return True

    def running_now(self) -> list[Capture]:
        """Return what runs now, with its ``entrypoint`` and ``job_id``; from any thread."""
        return list(self.running)


class _WatchedJobs(AbstractEntrypointExecutor):
    """An entrypoint's executor, watched."""

    def __init__(self, inner: AbstractEntrypointExecutor, handlers: Handlers) -> None:
        super().__init__(inner.parameters)
        self.inner = inner
        self.handlers = handlers

    async def execute(self, job: Job, context: Context) -> None:
        capture = self.handlers.begin(job.entrypoint, job.id)
        try:
            await self.inner.execute(job, context)
        except BaseException as error:
            # PGQueuer would take the job for canceled, or for failed, and drop it.
            if self.handlers.was_cut_off(capture, error):
                raise RetryRequested(reason="the consumer was stopped while this ran") from None
            told = self.handlers.raised(capture, error, held=self.parameters.on_failure == "hold")
            if told is not error:
                raise told from None
            raise
        else:
            if context.cancellation.cancel_called:
                capture.add("canceled", "canceled")
            else:
                self.handlers.done += 1
        finally:
            self.handlers.end(capture)


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
        capture = self.handlers.begin(schedule.entrypoint, None)
        try:
            await self.inner.execute(schedule, context)
        except BaseException as error:
            if (told := self.handlers.raised(capture, error)) is not error:
                raise told from None
            raise
        finally:
            self.handlers.end(capture)


def _with_a_delay(error: BaseException) -> BaseException:
    """Return the error; for a retry whose delay PGQueuer cannot store, one that says so."""
    retry = retry_request(error)
    if retry is None or isinstance(retry.delay, timedelta):
        return error
    said = f"RetryRequested(delay={retry.delay!r}): the delay is a timedelta, such as timedelta(seconds=5)."
    return KitError(said).with_traceback(error.__traceback__)


def _why_not(error: BaseException) -> str:
    if not isinstance(error, Exception):
        return f"{type(error).__name__} is no Exception"
    try:
        str(error)
    except Exception as broken:
        return f"its str() raises {type(broken).__name__}"
    return "Postgres keeps no NUL character and no half of a surrogate pair"
