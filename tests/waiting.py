"""Wait for a condition, with a bound that names what was missing."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def wait_until(what: str, condition: Callable[[], T], seconds: float = 30, every: float = 0.05) -> T:
    """Return the first true value of ``condition()``; or fail after ``seconds``: no ``what``."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(every)
    return value


async def until(what: str, condition: Callable[[], Any], seconds: float = 15) -> Any:
    """Return the first true value of ``condition()``, or of what it awaits; or fail like `wait_until`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value := await value if inspect.isawaitable(value) else value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.02)
