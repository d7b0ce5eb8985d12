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
    call costs about 0.2 ms and leaves nothing behind: no loop, no connection, no thread.
    """
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="kit-sync") as pool:
        return pool.submit(context.run, asyncio.run, coroutine).result()
