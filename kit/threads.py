"""Async code called from plain code, events waited for, and durations: read, and written in words."""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

from kit.errors import KitError
from kit.internals import free_imports

T = TypeVar("T")

Duration = float | timedelta  # seconds, or a timedelta


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run ``coroutine`` in a thread with an event loop of its own, and return its result.

    ``asyncio.run`` is refused in a cell, because the notebook's loop is running. A call costs about 0.2 ms
    and leaves no loop, connection or thread behind. An interrupt of the cell cancels the coroutine and waits
    until it has cleaned up.
    """
    free_imports()
    loop = asyncio.new_event_loop()
    context = contextvars.copy_context()
    tasks: list[asyncio.Task[T]] = []

    async def work() -> T:
        tasks.append(asyncio.current_task())  # type: ignore[arg-type]
        return await coroutine

    def run() -> T:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(work())

    with ThreadPoolExecutor(1, thread_name_prefix="kit-sync") as pool:
        future = pool.submit(context.run, run)
        try:
            return future.result()
        except BaseException:
            if tasks and not future.done():
                loop.call_soon_threadsafe(tasks[0].cancel)
            raise


def as_timedelta(name: str, value: Duration, *, zero: bool = False) -> timedelta:
    """Return ``value``, seconds or a timedelta, as a timedelta; ``name`` is the argument, for the error.

    Raises:
        KitError: it is neither of them, or negative, or 0 where ``zero`` is not allowed.
    """
    span: object = value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
        span = timedelta(seconds=value)
    if not isinstance(span, timedelta) or span < timedelta() or not (span or zero):
        least = "0 or more" if zero else "more than 0"
        raise KitError(f"{name}={value!r}: give seconds as a number, {least}, or a timedelta.")
    return span


def happens_within(seconds: float, event: threading.Event) -> bool:
    """Return whether ``event`` is set in time. Wait in slices: Windows cannot interrupt one long wait."""
    deadline = time.monotonic() + seconds
    while not event.wait(min(0.1, max(0.0, deadline - time.monotonic()))):
        if time.monotonic() >= deadline:
            return False
    return True


def in_words(span: timedelta) -> str:
    """Return a time in words, rounded up, such as ``83 s`` or ``4 min``."""
    seconds = max(0, math.ceil(span.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 7200 else f"{math.ceil(seconds / 3600)} h"
