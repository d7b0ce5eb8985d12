"""How a consumer loses its connection and comes back, and what it does not come back from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, PgQueuer
from pgqueuer.models import Job

import kit
from tests.consumer.queue import (
    Gate,
    connections,
    cut_connections,
    enqueue,
    main_with,
    nobody_is_connected,
    nothing,
    runner,
    texts,
    until,
)


async def test_a_lost_connection_comes_back_and_both_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    consumer = kit.run(main_with(fetch=nothing))
    await cut_connections()
    await until(
        "it came back", lambda: any("connected to Postgres again" in line for line in texts(consumer))
    )
    await enqueue("fetch")
    await kit.wait()
    assert consumer.done == 1
    said = capsys.readouterr().err
    assert said.index("has lost its connection") < said.index("is connected to Postgres again")
    assert len(await connections()) == 1


async def test_it_waits_for_postgres_for_as_long_as_that_is_away() -> None:
    tries = 0
    async with Gate() as gate:

        @asynccontextmanager
        async def main() -> AsyncIterator[PgQueuer]:
            nonlocal tries
            tries += 1
            connection = await asyncpg.connect(host="127.0.0.1", port=gate.port)
            pgq = PgQueuer(AsyncpgDriver(connection))
            pgq.entrypoint("fetch")(nothing)
            yield pgq

        consumer = await asyncio.to_thread(kit.run, main)
        gate.close()
        await until("it tried again and again", lambda: tries > 3)
        assert consumer.state == "reconnecting"
        await gate.open()
        await until("it is back", lambda: consumer.state == "running")
        await enqueue("fetch")
        await kit.wait()
        assert consumer.done == 1
        await asyncio.to_thread(consumer.stop)
    assert sum("has lost its connection" in line for line in texts(consumer)) == 1


async def test_one_that_does_not_reach_postgres_for_long_says_so_once_and_wait_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kit.consumer.runner.STILL_AWAY", 0.6)
    tries = 0
    async with Gate() as gate:

        @asynccontextmanager
        async def main() -> AsyncIterator[PgQueuer]:
            nonlocal tries
            tries += 1
            pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect(host="127.0.0.1", port=gate.port)))
            pgq.entrypoint("fetch")(nothing)
            yield pgq

        consumer = await asyncio.to_thread(kit.run, main)
        gate.close()
        await until("it tried again and again", lambda: tries > 5)
        said = [line for line in texts(consumer) if "has not reached Postgres for 0.6 s" in line]
        assert len(said) == 1
        assert str(gate.port) in said[0]
        assert "run kit.postgres(…) and its cell again" in said[0]
        await enqueue("fetch")
        with pytest.raises(kit.KitError, match=r"Without a connection to Postgres: consumer 'consumer'\."):
            await kit.wait(0.2)
        await asyncio.to_thread(consumer.stop)


async def test_without_restart_a_lost_connection_is_its_end() -> None:
    consumer = kit.run(main_with(fetch=nothing), restart_on_failure=False)
    await cut_connections()
    await until("it has died", lambda: consumer.state == "failed")
    said = texts(consumer)[-1]
    assert "has died" in said
    assert "It lost its connection to Postgres: InterfaceError: connection is closed" in said
    assert "could be reached" not in said, "Postgres is there"


async def test_a_mistake_is_the_end_and_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    @asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        connection = await asyncpg.connect()
        pgq = PgQueuer(AsyncpgDriver(connection))

        @pgq.entrypoint("greedy")
        async def greedy(job: Job) -> None:
            await asyncio.sleep(0.2)  # until PGQueuer has nothing to ask, on this connection of its own
            await connection.execute("SELECT pg_sleep(2)")

        yield pgq

    consumer = kit.run(main)
    await enqueue("greedy")
    await until("it has died", lambda: consumer.state == "failed")
    await asyncio.to_thread(runner(consumer)._thread.join)
    said = capsys.readouterr().err
    assert said.count("has died") == 1
    assert "connection (or a pool) of its own" in said
    assert consumer.problem is not None
    assert "failed" in repr(consumer)
    await until("its connection is dropped", nobody_is_connected)
