"""Plain calls over asyncio, and durations: what a call that blocks a cell needs."""

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

T = TypeVar("T")

Duration = float | timedelta  # seconds, or a timedelta


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run ``coroutine`` on a loop of its own, in a thread that ends with it, and return its result.

    A notebook's own loop is running while a cell runs, so ``asyncio.run`` is refused there. A thread a
    call costs about 0.2 ms and leaves nothing behind: no loop, no connection, no thread. An interrupt of the
    cell cancels the coroutine, and waits until it has cleaned up.
    """
    loop = asyncio.new_event_loop()
    context = contextvars.copy_context()
    running: list[asyncio.Task[T]] = []

    async def work() -> T:
        running.append(asyncio.current_task())  # type: ignore[arg-type]
        return await coroutine

    def live() -> T:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(work())

    with ThreadPoolExecutor(1, thread_name_prefix="kit-sync") as pool:
        future = pool.submit(context.run, live)
        try:
            return future.result()
        except BaseException:
            if running and not future.done():
                loop.call_soon_threadsafe(running[0].cancel)
            raise


def as_timedelta(name: str, value: Duration, *, zero: bool = False) -> timedelta:
    """Return the argument ``name`` as a timedelta: seconds as a number, or a timedelta already.

    Raises:
        KitError: it is neither, negative, or 0 where ``zero`` is not allowed.
    """
    span: object = value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
        span = timedelta(seconds=value)
    if not isinstance(span, timedelta) or span < timedelta() or not (span or zero):
        least = "0 or more" if zero else "more than 0"
        raise KitError(f"{name}={value!r}: give seconds as a number, {least}, or a timedelta.")
    return span


def happens_within(seconds: float, event: threading.Event) -> bool:
    """Wait for an event in slices, because on Windows one long wait cannot be interrupted."""
    deadline = time.monotonic() + seconds
    while not event.wait(min(0.1, max(0.0, deadline - time.monotonic()))):
        if time.monotonic() >= deadline:
            return False
    return True


def in_words(span: timedelta) -> str:
    """Return a time in words, such as ``83 s`` or ``4 min``; never less than is left."""
    seconds = max(0, math.ceil(span.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 7200 else f"{math.ceil(seconds / 3600)} h"
