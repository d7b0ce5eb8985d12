"""The loop of a consumer's thread: it knows its connections, and leaves none of them behind."""

from __future__ import annotations

import asyncio
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from kit.consumer import capture, console
from kit.errors.place import place
from kit.errors.text import one_line
from kit.session import session

SECONDS_TO_END = 2.0


class Loop(asyncio.SelectorEventLoop):
    """A loop that knows its connections, and tells of exceptions nobody awaited.

    The selector loop on every system, as ``pgq run`` has it: psycopg refuses Windows' other one.
    """

    def __init__(self, output: console.Console) -> None:
        super().__init__()
        self._output = output
        self._breaks_off = False
        self._connections: weakref.WeakSet[asyncio.BaseTransport] = weakref.WeakSet()
        self._adding = threading.Lock()  # another thread may ask for them just now
        self._threads = ThreadPoolExecutor(thread_name_prefix=f"kit-{output.name}")
        self.set_default_executor(self._threads)
        self.set_exception_handler(self._unhandled)

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, SystemExit | KeyboardInterrupt):
            return  # it has been told
        if self._breaks_off and isinstance(error, ConnectionError):
            return  # this loop's own doing
        if isinstance(error, Exception):
            capture.Capture(self._output).fail(error)
        else:
            self._output.add("log", context["message"])

    def run_to_the_end(self, task: asyncio.Task[None]) -> None:
        """Run until ``task`` has ended, whatever code of a handler's stops the loop before."""
        while True:
            try:
                self.run_until_complete(task)
                return
            except (SystemExit, KeyboardInterrupt, RuntimeError) as error:
                if task.done() or self.is_closed():
                    raise
                # asyncio lets the first two through to its caller, out of any task or callback. The third
                # says that the loop was stopped.
                if not isinstance(error, RuntimeError):
                    self._output.notice(f"{one_line(error)}{place(error)} {capture.ENDS_NO_CONSUMER}")

    def stop(self) -> None:
        """Stop, unless it is a handler that asks for it: its consumer would be gone."""
        if (what := capture.of_a_handler()) is not None:
            self._output.notice(f"loop.stop() in {what} {capture.ENDS_NO_CONSUMER}")
            return
        super().stop()

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        """Connect as asyncio does, and remember it."""
        transport, protocol = await super().create_connection(*args, **options)
        self._remember(transport)
        return transport, protocol

    async def create_unix_connection(self, *args: Any, **options: Any) -> Any:
        """Connect as asyncio does, and remember it."""
        transport, protocol = await super().create_unix_connection(*args, **options)
        self._remember(transport)
        return transport, protocol

    async def start_tls(self, *args: Any, **options: Any) -> Any:
        """Encrypt a connection as asyncio does, and remember what it is now."""
        transport = await super().start_tls(*args, **options)
        if transport is not None:
            self._remember(transport)
        return transport

    def _remember(self, transport: asyncio.BaseTransport) -> None:
        with self._adding:
            self._connections.add(transport)

    def _remembered(self) -> list[asyncio.BaseTransport]:
        with self._adding:
            return list(self._connections)

    def backends(self) -> set[int]:
        """Return the Postgres processes (pids) at the other end of its open connections; from any thread.

        Those of asyncpg: what `asyncpg.Connection.get_server_pid` asks. A pool has several, made when needed.
        """
        pids = set()
        for transport in self._remembered():
            protocol = None if transport.is_closing() else transport.get_protocol()
            if (pid_of := getattr(protocol, "get_server_pid", None)) is not None:
                pids.add(pid_of())
        return pids - {0, None}

    def break_connections(self) -> None:
        """Break every connection at once, on this loop: who waits for an answer gets an error instead."""
        self._breaks_off = True
        for transport in self._remembered():
            if isinstance(transport, asyncio.WriteTransport) and not transport.is_closing():
                transport.abort()

    async def _end_tasks(self) -> None:
        tasks = asyncio.all_tasks(self) - {asyncio.current_task(self)}
        for task in tasks:
            task.cancel()
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=SECONDS_TO_END)
            for task in pending:
                # It will not be cancelled. Kept, so that no later cell is told that it was destroyed.
                session.unending.append(task)
        await self.shutdown_asyncgens()

    async def _drop_connections(self) -> None:
        self.break_connections()
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
