"""The bank: it counts what it is asked, and holds an answer for as long as a fault needs it."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

LIMIT = 3  # calls that it takes at once, from all workers together


class Held:
    """The first call for an order, whose answer waits."""

    def __init__(self) -> None:
        self.pid = 0
        self._called, self._released = asyncio.Event(), asyncio.Event()

    async def called(self, limit: float) -> bool:
        """Wait until the call is there; return whether it came within ``limit`` seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._called.wait(), limit)
        return self._called.is_set()

    async def here(self, pid: int) -> None:
        """Be the call of this process, until the answer is let go."""
        self.pid = pid
        self._called.set()
        await self._released.wait()

    def release(self) -> None:
        """Let the answer go."""
        self._released.set()


class Bank:
    """A bank, in the process of the check.

    Attributes:
        port: where it listens.
        charged: for each order, the keys that it was charged with; a call without a key has one of its own.
        refusals: for each order, how many more calls are refused.
        calls: how many calls there were.
        delay: how many seconds an answer takes.
        most: how many calls there were at once, since this was last set to 0.
    """

    def __init__(self) -> None:
        self.port = 0
        self.charged: dict[int, set[str]] = defaultdict(set)
        self.refusals: dict[int, int] = {}
        self.calls = self.most = self._now = 0
        self.delay = 0.02
        self._held: dict[int, Held] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Be there until the block ends."""
        answering: set[asyncio.Task[None]] = set()

        def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            answering.add(asyncio.create_task(self._answer(reader, writer)))

        server = await asyncio.start_server(called, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for task in answering:
                task.cancel()
            await asyncio.gather(*answering, return_exceptions=True)

    def hold(self, order: int) -> Held:
        """Let the next call for this order wait for its answer; the order counts as charged meanwhile."""
        self._held[order] = Held()
        return self._held[order]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._now += 1
        try:
            order, key, pid = json.loads(await reader.readline())
            self.calls += 1
            self.most = max(self.most, self._now)
            if refused := self.refusals.get(order, 0):
                self.refusals[order] = refused - 1
            else:
                self.charged[order].add(key or f"call {self.calls}")
            if held := self._held.pop(order, None):
                await held.here(pid)
            await asyncio.sleep(self.delay)
            writer.write(b"refused\n" if refused else b"paid\n")
        except (OSError, ValueError):
            pass  # whoever called is gone
        finally:
            self._now -= 1
            writer.close()
