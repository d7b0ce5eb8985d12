"""How a consumer loses its connection and comes back, and what it does not come back from."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, PgQueuer, Queries, QueueManager
from pgqueuer.core.listeners import (
    PGNoticeEventListener,
    default_event_router,
    initialize_notice_event_listener,
)
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.errors import FailingListenerError
from pgqueuer.models import Job

import kit
from kit.consumer.listening import repeat_health_check
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
)
from tests.waiting import until


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


class InOtherWords(AsyncpgDriver):
    """Tells of a connection that is lost as asyncpg does when it is cut in the middle of an operation."""

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        try:
            return await super().fetch(query, *args)
        except Exception:
            if not self._connection.is_closed():
                raise
            words = "cannot switch to state 12; another operation (2) is in progress"
            raise asyncpg.InternalClientError(words) from None


async def test_a_connection_that_is_cut_in_the_middle_of_an_operation_comes_back_too() -> None:
    @asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        connection = await asyncpg.connect()
        pgq = PgQueuer(InOtherWords(connection))
        pgq.entrypoint("fetch")(nothing)
        yield pgq

    consumer = kit.run(main)
    await cut_connections()
    await until(
        "it came back", lambda: any("connected to Postgres again" in line for line in texts(consumer))
    )
    assert any("another operation (2)" in line for line in texts(consumer))


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


async def test_a_look_at_notifications_sends_another_where_one_was_lost() -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()
    connection = await asyncpg.connect()
    async with asyncpg.create_pool(min_size=2) as pool:
        driver = AsyncpgPoolDriver(pool)
        queue = QueueManager(Queries(driver))
        await connection.add_listener(queue.channel, lambda *said: heard.put_nowait(said))
        repeat_health_check(queue)
        healthy = asyncio.create_task(queue.listener_healthy(timeout=timedelta(seconds=10)))
        await asyncio.wait_for(heard.get(), 10)  # it went out, and the queue does not listen yet
        async with driver:
            await initialize_notice_event_listener(
                driver,
                queue.channel,
                default_event_router(
                    notice_event_queue=PGNoticeEventListener(),
                    canceled={},
                    pending_health_check=queue.pending_health_check,
                ),
            )
            await healthy
        with pytest.raises(FailingListenerError):  # nobody listens any more
            await queue.listener_healthy(timeout=timedelta(seconds=0.2))
    await connection.close()


async def test_a_pool_that_is_slow_to_listen_is_not_a_lost_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(QueueManager._run_periodic_health_check, "__defaults__", (timedelta(seconds=1),))
    made = 0

    async def slow(connection: asyncpg.Connection) -> None:
        nonlocal made
        made += 1
        if made == 2:  # the one that listens; the first sends what it is to hear
            await asyncio.sleep(0.3)

    @asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        async with asyncpg.create_pool(min_size=1, max_size=4, init=slow) as pool:
            pgq = PgQueuer.from_asyncpg_pool(pool)
            pgq.entrypoint("fetch")(nothing)
            yield pgq

    consumer = kit.run(main)
    (queue,) = [each for each in gc.get_objects() if isinstance(each, QueueManager)]
    looks = 0
    listener_healthy = queue.listener_healthy

    async def counted(timeout: timedelta) -> Any:
        nonlocal looks
        answer = await listener_healthy(timeout=timeout)
        looks += 1
        return answer

    monkeypatch.setattr(queue, "listener_healthy", counted)
    await until("PGQueuer has looked twice", lambda: looks > 1 or consumer.state != "running")
    assert not [line for line in texts(consumer) if "lost its connection" in line]
    await enqueue("fetch")
    await kit.wait()
    assert consumer.done == 1
