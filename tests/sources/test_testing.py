"""The pytest fixture, used as any project would."""

from __future__ import annotations

import os

import asyncpg
from pgqueuer import AsyncpgDriver
from pgqueuer.queries import Queries

from kit.sources import Postgres


async def test_the_fixture_gives_an_empty_queue_that_needs_no_arguments(queue_database: Postgres) -> None:
    connection = await asyncpg.connect()
    try:
        assert await connection.fetchval("SELECT count(*) FROM pgqueuer") == 0
        await Queries(AsyncpgDriver(connection)).enqueue(["fetch"], [b"x"], [0])
        assert await connection.fetchval("SELECT count(*) FROM pgqueuer") == 1
    finally:
        await connection.close()
    assert os.environ["PGDATABASE"] == queue_database.name
