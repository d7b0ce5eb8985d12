"""A producer's connection, and a consumer inside the test: what the tests of staged jobs share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import asyncpg
import pgqueuer
import pytest
from pgqueuer import AsyncpgDriver, PgQueuer, Queries

from kit.sources import Postgres
from kit.stages import Pipeline

PATIENCE = 30.0  # seconds until a condition that was waited for counts as missing


class Desk:
    """A connection of the test's own, with what the tests ask again and again."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self.connection = connection
        self.queries = Queries(AsyncpgDriver(connection))

    async def fetch(self, query: str, *args: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.connection.fetch(query, *args)]

    async def value(self, query: str, *args: Any) -> Any:
        return await self.connection.fetchval(query, *args)

    async def until(self, missing: str, query: str, *args: Any) -> None:
        """Wait until ``query`` returns true; ``missing`` says what it waits for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not await self.value(query, *args):
                    await asyncio.sleep(0.02)
                return
        found = await self.fetch(
            "SELECT id, parent, stage, status, attempts, error, job FROM kit_runs ORDER BY id"
        )
        raise AssertionError(f"waited {PATIENCE:g} s for {missing}; kit_runs is {found}")

    async def ended(self, run: int) -> dict[str, Any]:
        """Wait until a run is done, failed or canceled and PGQueuer has put its jobs away; return its row."""
        await self.until(
            f"run {run} to end",
            "SELECT status IN ('done', 'failed', 'canceled') FROM kit_runs WHERE id = $1",
            run,
        )
        await self.until(
            "the queue to be empty", "SELECT NOT EXISTS (SELECT FROM pgqueuer WHERE status <> 'failed')"
        )
        [row] = await self.fetch("SELECT * FROM kit_runs WHERE id = $1", run)
        return row


@pytest.fixture
async def desk(queue_database: Postgres) -> AsyncIterator[Desk]:
    connection = await asyncpg.connect()
    await connection.execute("CREATE TABLE effects (run bigint, stage text, branch int)")
    yield Desk(connection)
    await connection.close()


@asynccontextmanager
async def consuming(
    *pipelines: Pipeline, heartbeat: float = 5, batch: int = 10
) -> AsyncIterator[asyncio.Task[None]]:
    """Run a consumer that serves ``pipelines``, supervised as ``pgq run --restart-on-failure`` does."""

    @asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        connection = await asyncpg.connect()
        try:
            pgq = PgQueuer(AsyncpgDriver(connection))
            async with AsyncExitStack() as stack:
                for pipeline in pipelines:
                    await stack.enter_async_context(pipeline.serve(pgq))
                yield pgq
        finally:
            await connection.close()

    shutdown = asyncio.Event()
    consumer = asyncio.create_task(
        pgqueuer.run(
            main,
            shutdown=shutdown,
            batch_size=batch,
            dequeue_timeout=timedelta(seconds=0.2),
            heartbeat_timeout=timedelta(seconds=heartbeat),
            restart_on_failure=True,
            restart_delay=timedelta(seconds=0.1),
        )
    )
    try:
        yield consumer
    finally:
        shutdown.set()
        async with asyncio.timeout(PATIENCE):
            with suppress(asyncio.CancelledError):
                await consumer
