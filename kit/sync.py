"""Plain calls over asyncpg: a coroutine run to its end from any cell, also one whose loop is running."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


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
