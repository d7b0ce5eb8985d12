"""The event loop of a consumer's thread. It knows its connections, and leaves none of them open."""

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
    """A loop that knows its connections, and reports exceptions that nobody awaited.

    It is the selector loop on every system, as in ``pgq run``: psycopg refuses Windows' other one.
    """

    def __init__(self, output: console.Console) -> None:
        super().__init__()
        self._output = output
        self._breaks_off = False
        self._connections: weakref.WeakSet[asyncio.BaseTransport] = weakref.WeakSet()
        self._adding = threading.Lock()  # other threads read them
        self._threads = ThreadPoolExecutor(thread_name_prefix=f"kit-{output.name}")
        self.set_default_executor(self._threads)
        self.set_exception_handler(self._unhandled)

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, SystemExit | KeyboardInterrupt):
            return  # it was reported before
        if self._breaks_off and isinstance(error, ConnectionError):
            return  # `break_connections` did it
        if isinstance(error, Exception):
            capture.Capture(self._output).fail(error)
        else:
            self._output.add("log", context["message"])

    def run_to_the_end(self, task: asyncio.Task[None]) -> None:
        """Run until ``task`` has ended, even if a handler's code stops the loop before."""
        while True:
            try:
                self.run_until_complete(task)
                return
            except (SystemExit, KeyboardInterrupt, RuntimeError) as error:
                if task.done() or self.is_closed():
                    raise
                # asyncio raises the first two here from any task or callback. The third says that the loop
                # was stopped.
                if not isinstance(error, RuntimeError):
                    self._output.notice(f"{one_line(error)}{place(error)} {capture.ENDS_NO_CONSUMER}")

    def stop(self) -> None:
        """Stop, unless a handler asks for it: that would end its consumer."""
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
        """Encrypt a connection as asyncio does, and remember the new transport."""
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
        """Return the pids of the Postgres processes of its open connections; from any thread.

        Only asyncpg's connections have a pid: `get_server_pid`. A pool opens several, when they are needed.
        """
        pids = set()
        for transport in self._remembered():
            protocol = None if transport.is_closing() else transport.get_protocol()
            if (pid_of := getattr(protocol, "get_server_pid", None)) is not None:
                pids.add(pid_of())
        return pids - {0, None}

    def break_connections(self) -> None:
        """Break every connection at once, on this loop. Whoever waits for an answer gets an error."""
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
                # It resists. It is kept, or a later cell would show Python's warning that it was destroyed.
                session.unending.append(task)
        await self.shutdown_asyncgens()

    async def _drop_connections(self) -> None:
        self.break_connections()
        for _ in range(2):
            await asyncio.sleep(0)

    def end(self) -> None:
        """Close the stopped loop: cancel every task, and drop every connection that is still open."""
        with suppress(Exception):
            self.run_until_complete(self._end_tasks())
        with suppress(Exception):
            self.run_until_complete(self._drop_connections())
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.close()
