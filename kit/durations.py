"""Durations as learners write them, and waiting for them in a thread."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from kit.errors import KitError

Seconds = float | timedelta


def as_timedelta(name: str, value: Seconds, *, zero: bool = False) -> timedelta:
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
