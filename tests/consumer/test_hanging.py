"""A Postgres that hangs, all its processes stopped: every call comes back in bounded time, and says so."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

import kit
from tests.consumer.queue import enqueue, fetch, main_with, nobody_is_connected, nothing, runner
from tests.sources.processes import hung
from tests.waiting import until


async def the_servers_folder() -> Path:
    ((folder,),) = await fetch("SHOW data_directory")
    return Path(folder)


@pytest.mark.parametrize("consumes", [False, True])
async def test_wait_comes_back_within_its_limit_and_says_that_postgres_does_not_answer(
    consumes: bool,
) -> None:
    if consumes:
        kit.run(main_with(fetch=nothing))
    await enqueue("nobody_has_this", execute_after=None)
    folder = await the_servers_folder()
    with hung(folder):
        begun = time.monotonic()
        with pytest.raises(kit.KitError, match="Postgres does not answer"):
            await kit.wait(timeout=3)
        took = time.monotonic() - begun
    assert took < 4.5


async def test_a_wait_that_is_under_way_when_postgres_begins_to_hang_comes_back_within_its_limit() -> None:
    async def slow(job: object) -> None:
        await asyncio.sleep(3600)

    consumer = kit.run(main_with(slow=slow))
    await enqueue("slow")
    folder = await the_servers_folder()
    begun = time.monotonic()
    waiting = asyncio.create_task(kit.wait(timeout=3))
    await until("it waits", lambda: runner(consumer).running_jobs())
    with hung(folder):
        with pytest.raises(kit.KitError, match="Postgres does not answer"):
            await waiting
        took = time.monotonic() - begun
    assert took < 4.5


async def test_stop_is_bounded_and_the_connections_are_gone_afterwards() -> None:
    consumer = kit.run(main_with(fetch=nothing))
    folder = await the_servers_folder()
    with hung(folder):
        begun = time.monotonic()
        await asyncio.to_thread(consumer.stop, 1)
        took = time.monotonic() - begun
        assert consumer.state == "stopped"
    assert took < 8
    await until("the connections are gone", nobody_is_connected)


async def test_run_is_bounded_and_says_that_postgres_does_not_answer() -> None:
    folder = await the_servers_folder()
    with hung(folder):
        begun = time.monotonic()
        with pytest.raises(kit.KitError, match="Postgres does not answer"):
            await asyncio.to_thread(kit.run, main_with(fetch=nothing), start_timeout=2)
        took = time.monotonic() - begun
    assert took < 10
