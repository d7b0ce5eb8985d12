"""What is waited for, and which jobs run for long: told meanwhile, so that no wait is without a word."""

from __future__ import annotations

import asyncio

from kit.consumer.queue import Queue
from kit.reasons import listed

SECONDS = 2.0  # that a job has been running, and been waited for, before it is named
EVERY = 0.5  # seconds between two looks
NAMED = 5  # jobs in one line


class LongRunning:
    """Names each job that has been running for `SECONDS`, once; or else says once what is waited for."""

    def __init__(self) -> None:
        self._named: set[int] = set()
        self._next_look: float | None = None
        self._said = False

    async def look(self, queue: Queue) -> list[str]:
        """Return what has not been said yet, in lines."""
        now = asyncio.get_running_loop().time()
        if self._next_look is None:
            self._next_look = now + SECONDS
        if now < self._next_look:
            return []
        self._next_look = now + EVERY
        rows = await queue.running_for(SECONDS, self._named)
        first, self._said = not self._said, True
        if not rows:
            return [await queue.what_is_waited_for(SECONDS)] if first else []
        self._named.update(row["id"] for row in rows)
        names = listed([f"{row['entrypoint']} #{row['id']}" for row in rows], len(rows), NAMED)
        return [f"Still running after {SECONDS:g} s: {names}."]
