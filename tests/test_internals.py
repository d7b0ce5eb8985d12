"""The ways in that are not public: each is there today, and without it a consumer runs all the same."""

from __future__ import annotations

import _imp
import asyncio
import importlib
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from typing import Any

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, AsyncpgPoolDriver, PgQueuer

import kit
from kit import internals
from kit.threads import run_sync
from tests.consumer.queue import enqueue, logged, nobody_is_connected, nothing
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("queue_database", "no_consumer_stays")


async def gathers(task: asyncio.Task[None]) -> None:
    await asyncio.gather(task)


async def test_pythons_ways_in_are_there() -> None:
    assert callable(threading._register_atexit)  # type: ignore[attr-defined]
    task = asyncio.create_task(asyncio.sleep(0.2))
    waiting = asyncio.ensure_future(gathers(task))
    await asyncio.sleep(0)
    assert list(internals.gathered_by(waiting)) == [task]
    await waiting
    assert not list(internals.gathered_by(None))


def test_an_import_that_was_interrupted_keeps_no_other_thread_from_importing() -> None:
    _imp.acquire_lock()  # as it stays when the interrupt comes right after this call of an import
    assert run_sync(import_in_a_thread()) == "imported"
    assert not _imp.lock_held()
    _imp.acquire_lock()
    with ThreadPoolExecutor(1) as another:
        another.submit(internals.free_imports).result()
        assert _imp.lock_held(), "only the thread that has it gives it back"
    internals.free_imports()
    assert not _imp.lock_held()


async def import_in_a_thread() -> str:
    with suppress(ModuleNotFoundError):
        importlib.import_module("this_is_not_there")
    return "imported"


async def test_asyncpgs_and_pgqueuers_ways_in_are_there() -> None:
    loop, connection = asyncio.get_running_loop(), await asyncpg.connect()
    pool = await asyncpg.create_pool(min_size=1)
    try:
        assert internals.connection_of(AsyncpgDriver(connection)) is connection
        assert internals.connection_of(AsyncpgPoolDriver(pool)) is pool
        assert internals.loop_of(connection) is internals.loop_of(pool) is loop
        asked: list[Any] = []
        with internals.asked_before_each_use(asked.append):
            assert await connection.fetchval("SELECT 1") == 1
        assert loop in asked
        assert await connection.fetchval("SELECT 2") == 2
    finally:
        await connection.close()
        await pool.close()


async def test_a_consumer_runs_without_any_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.consumer.process.asked_before_each_use", lambda ask: nullcontext())
    monkeypatch.setattr("kit.consumer.factory.connection_of", lambda driver: None)
    monkeypatch.setattr("kit.consumer.factory.loop_of", lambda connection: None)

    async def older_form() -> PgQueuer:
        pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))
        pgq.entrypoint("fetch")(nothing)
        return pgq

    consumer = kit.run(older_form)
    (job,) = await enqueue("fetch")
    await kit.wait()
    assert (await logged(job))[-1] == "successful"
    consumer.stop()
    await until("its connection is dropped", nobody_is_connected)


def test_a_method_that_is_not_there_is_left_alone_and_one_that_others_replaced_stays_theirs() -> None:
    class Library:
        def method(self) -> str:
            return "its own"

    with internals.replaced(Library, "gone", lambda *_: pytest.fail("nothing to replace")):
        pass
    with internals.replaced(Library, "method", lambda method, self: f"ours, over {method(self)}"):
        assert Library().method() == "ours, over its own"
    assert Library().method() == "its own"
    with internals.replaced(Library, "method", lambda method, self: "ours"):
        Library.method = lambda self: "theirs"  # type: ignore[method-assign]
    assert Library().method() == "theirs"
