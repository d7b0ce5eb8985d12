"""Living in somebody's process: a loop for a thread of its own, and all that is put back when it ends."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from kit.consumer import capture, console, own_loop
from kit.session import session

SECONDS_TO_END = 2.0
SWITCH_INTERVAL = 0.001

_stubborn: list[asyncio.Task[Any]] = []


class Loop(asyncio.SelectorEventLoop):
    """A loop that knows its connections, and tells of exceptions nobody awaited.

    The selector loop on every system, as ``pgq run`` has it: psycopg refuses Windows' other one.
    """

    def __init__(self, output: console.Console) -> None:
        super().__init__()
        self._output = output
        self._connections: weakref.WeakSet[asyncio.BaseTransport] = weakref.WeakSet()
        # asyncio.to_thread brings the job's context along. run_in_executor does not: that is the consumer's.
        self._threads = ThreadPoolExecutor(
            thread_name_prefix=f"kit-{output.name}", initializer=lambda: capture.Capture(output).begin()
        )
        self.set_default_executor(self._threads)
        self.set_exception_handler(self._unhandled)

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception):
            capture.Capture(self._output).fail(error)
        else:
            self._output.add("log", context["message"])

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        """Connect as asyncio does, and remember it."""
        transport, protocol = await super().create_connection(*args, **options)
        self._connections.add(transport)
        return transport, protocol

    async def create_unix_connection(self, *args: Any, **options: Any) -> Any:
        """Connect as asyncio does, and remember it."""
        transport, protocol = await super().create_unix_connection(*args, **options)
        self._connections.add(transport)
        return transport, protocol

    async def _end_tasks(self) -> None:
        tasks = asyncio.all_tasks(self) - {asyncio.current_task(self)}
        for task in tasks:
            task.cancel()
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=SECONDS_TO_END)
            for task in pending:
                # It will not be cancelled. Kept, so that no later cell is told that it was destroyed.
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _stubborn.append(task)
        await self.shutdown_asyncgens()

    async def _drop_connections(self) -> None:
        for transport in list(self._connections):
            if isinstance(transport, asyncio.WriteTransport) and not transport.is_closing():
                transport.abort()
        for _ in range(2):
            await asyncio.sleep(0)

    def end(self) -> None:
        """Close it, stopped as it is: cancel every task, and drop every connection that nobody closed."""
        with suppress(Exception):
            self.run_until_complete(self._end_tasks())
        with suppress(Exception):
            self.run_until_complete(self._drop_connections())
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.close()


@contextmanager
def at_home() -> Iterator[None]:
    """Catch prints, and let threads take turns more often, as long as at least one consumer runs."""
    with session.lock:
        session.running += 1
        if session.running == 1:
            capture.start()
            own_loop.start()
            console.show_notices_after_cells()
            # A cell that computes in pure Python keeps the interpreter for this long (5 ms by default)
            # whenever the consumer's thread asks for a turn, and a job takes several turns.
            session.switch_interval = sys.getswitchinterval()
            sys.setswitchinterval(min(SWITCH_INTERVAL, session.switch_interval))
    try:
        yield
    finally:
        with session.lock:
            session.running -= 1
            if session.running == 0:
                capture.stop()
                own_loop.stop()
                sys.setswitchinterval(session.switch_interval)


def _stop_all() -> None:
    for consumer in list(session.consumers.values()):
        with suppress(Exception):
            consumer.stop(timeout=1.0)


def _forget_in_a_fork() -> None:
    session.forget_consumers()
    capture.stop()


# Before concurrent.futures joins its threads, which waits for handlers in asyncio.to_thread: afterwards the
# next job's to_thread would be refused, and the job logged as an exception. There is no public way in.
getattr(threading, "_register_atexit", atexit.register)(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_a_fork)
