"""What the tests of consumers share: small factories, enqueueing, and looking into the tables."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer, Queries
from pgqueuer.models import Job

from kit.consumer import Consumer
from kit.consumer.runner import Runner
from tests.waiting import until

Handler = Callable[[Job], Awaitable[None]]


def main_with(on_failure: Any = "delete", /, **handlers: Handler) -> Callable[[], Any]:
    """Return a factory for a consumer with these handlers by entrypoint."""

    @asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        connection = await asyncpg.connect()
        try:
            pgq = PgQueuer(AsyncpgDriver(connection))
            for entrypoint, handler in handlers.items():
                pgq.entrypoint(entrypoint, on_failure=on_failure)(handler)
            yield pgq
        finally:
            await connection.close()

    return main


async def nothing(job: Job) -> None:
    """A handler that is done at once."""


async def enqueue(entrypoint: str, *payloads: bytes | None, **options: Any) -> list[int]:
    """Enqueue a job a payload, and return their ids."""
    connection = await asyncpg.connect()
    try:
        queries = Queries(AsyncpgDriver(connection))
        ids: list[int] = []
        for payload in payloads or (None,):
            ids += await queries.enqueue(entrypoint, payload, **options)
        return ids
    finally:
        await connection.close()


async def fetch(query: str, *arguments: Any) -> list[asyncpg.Record]:
    """Return the rows of a query."""
    connection = await asyncpg.connect()
    try:
        return await connection.fetch(query, *arguments)
    finally:
        await connection.close()


async def logged(job_id: int) -> list[str]:
    """Return what became of a job, in order."""
    rows = await fetch("SELECT status::text FROM pgqueuer_log WHERE job_id = $1 ORDER BY id", job_id)
    return [row["status"] for row in rows]


async def connections() -> list[str]:
    """Return the last statement of each connection to the database, but the asking one's."""
    rows = await fetch(
        "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return [row["query"] for row in rows]


async def nobody_is_connected() -> bool:
    """Return whether the asking connection is the only one."""
    return not await connections()


async def cut_connections() -> None:
    """Let Postgres end every connection to the database but the asking one."""
    await fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def is_logged(job_id: int, status: str) -> bool:
    """Return whether a job has been in that status."""
    return status in await logged(job_id)


def runner(consumer: Consumer) -> Runner:
    """Return what runs a consumer."""
    assert isinstance(consumer, Runner)
    return consumer


def texts(consumer: Consumer) -> list[str]:
    """Return the consumer's output as lines of text."""
    return [str(line) for line in consumer.output]


@asynccontextmanager
async def worker(
    entrypoint: str = "fetch", seconds: float = 0.3
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a consumer in a process of its own, without the kit; its handler takes that long."""
    script = f"""
        import asyncio, asyncpg, pgqueuer
        from contextlib import asynccontextmanager

        NAME = {{"application_name": "a worker"}}

        @asynccontextmanager
        async def main():
            pgq = pgqueuer.PgQueuer(pgqueuer.AsyncpgDriver(await asyncpg.connect(server_settings=NAME)))

            @pgq.entrypoint({entrypoint!r})
            async def process(job):
                await asyncio.sleep({seconds})

            yield pgq

        asyncio.run(pgqueuer.run(main))
    """
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", textwrap.dedent(script))

    async def consumes() -> bool:
        assert process.returncode is None, "the worker has ended"
        rows = await fetch(
            "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1",
            "a worker",
        )
        return any("AS queued_work" in row["query"] or "AS eta" in row["query"] for row in rows)

    try:
        await until("the worker consumes", consumes, 30)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Gate:
    """A door before Postgres, at `port`. Shut, it throws out who is inside, and lets nobody in."""

    port = 0

    def __init__(self) -> None:
        self._inside: set[asyncio.StreamWriter] = set()
        self._visits: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Gate:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await asyncio.gather(*self._visits, return_exceptions=True)

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        self._server.close()
        while self._inside:
            self._inside.pop().transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = asyncio.current_task()
        assert visit is not None
        self._visits.add(visit)
        back, forth = await asyncio.open_connection(os.environ["PGHOST"], int(os.environ["PGPORT"]))
        self._inside |= {writer, forth}
        await asyncio.gather(_pump(reader, forth), _pump(back, writer), return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
