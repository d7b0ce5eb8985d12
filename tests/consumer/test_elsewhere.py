"""A consumer that works elsewhere than the kit looks: both places are said."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import psycopg
import pytest
from pgqueuer import AsyncpgDriver, PgQueuer, Queries

import kit
from kit.sources import Postgres
from tests.consumer.queue import enqueue, main_with, nothing


def main_at(**address: Any) -> Callable[[], Any]:
    """Return a factory that connects to an address of its own."""

    @asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        connection = await asyncpg.connect(**address)
        pgq = PgQueuer(AsyncpgDriver(connection))
        pgq.entrypoint("fetch")(nothing)
        yield pgq
        await connection.close()

    return main


@pytest.fixture
async def another_database(queue_database: Postgres) -> AsyncIterator[str]:
    """Another database of the same server, with PGQueuer's tables."""
    name = f"{os.environ['PGDATABASE']}_elsewhere"
    inside = await asyncpg.connect()
    await inside.execute(f'CREATE DATABASE "{name}"')
    other = await asyncpg.connect(database=name)
    await Queries(AsyncpgDriver(other)).install()
    await other.close()
    try:
        yield name
    finally:
        await inside.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await inside.close()


@pytest.mark.parametrize("by_dsn", [False, True])
async def test_another_database_is_said_with_the_one_that_the_kit_looks_at(
    another_database: str, by_dsn: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    here = os.environ["PGDATABASE"]
    dsn = "postgresql://{PGUSER}:{PGPASSWORD}@{PGHOST}:{PGPORT}".format(**os.environ)
    kit.run(main_at(dsn=f"{dsn}/{another_database}") if by_dsn else main_at(database=another_database)).stop()
    assert (
        f"Consumer 'consumer' works in the database {another_database!r}; kit.jobs(), kit.wait() and "
        f"kit.reset() look at {here!r}. To have all in one place, connect with asyncpg.connect(), without an"
    ) in "".join(capsys.readouterr())


async def test_a_schema_of_its_own_is_said_with_the_one_that_the_kit_looks_at(
    capsys: pytest.CaptureFixture[str],
) -> None:
    connection = await asyncpg.connect(server_settings={"search_path": "app"})
    await connection.execute("CREATE SCHEMA app")
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()
    kit.run(main_at(server_settings={"search_path": "app"}))
    said = "".join(capsys.readouterr())
    assert (
        "works in the table app.pgqueuer; kit.jobs(), kit.wait() and kit.reset() look at public.pgqueuer."
        in said
    )


async def test_another_database_without_tables_is_not_told_to_call_kit_postgres_first() -> None:
    with pytest.raises(kit.KitError) as caught:
        kit.run(main_at(database="postgres"))
    here = os.environ["PGDATABASE"]
    assert "PGQueuer's tables are not in the database 'postgres' on " in str(caught.value)
    assert f"They are in {here!r} on {os.environ['PGHOST']}:{os.environ['PGPORT']}" in str(caught.value)


async def test_an_address_where_nothing_answers_is_said_with_the_one_of_the_kit() -> None:
    with pytest.raises(kit.KitError) as caught:
        kit.run(main_at(host="127.0.0.1", port=1))
    assert "No Postgres could be reached" in str(caught.value)
    assert f"database {os.environ['PGDATABASE']!r} on {os.environ['PGHOST']}" in str(caught.value)
    assert "Run kit.postgres() first" not in str(caught.value)


async def test_the_same_place_by_another_name_is_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    @asynccontextmanager
    async def by_psycopg() -> AsyncIterator[PgQueuer]:
        async with await psycopg.AsyncConnection.connect(host="localhost", autocommit=True) as connection:
            pgq = PgQueuer.from_psycopg_connection(connection)
            pgq.entrypoint("fetch")(nothing)
            yield pgq

    for main in (main_with(fetch=nothing), main_at(host="localhost"), by_psycopg):
        consumer = kit.run(main)
        await enqueue("fetch")
        await kit.wait()
        assert consumer.done == 1
    assert "works in" not in "".join(capsys.readouterr())
