"""A Postgres that hangs or is gone: every call comes back within its limit, with the kit's own error."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import kit
from kit.errors import KitError
from kit.stages import Pipeline
from tests.sources.processes import hung

from .conftest import Desk, consuming
from .test_stages import effect

LIMIT = 10.0


async def timed(call: Any) -> float:
    begun = time.monotonic()
    with pytest.raises(KitError):
        await call
    return time.monotonic() - begun


async def test_while_postgres_hangs_every_call_comes_back_within_ten_seconds(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("one")(effect)
    run = await orders.start(desk.connection)
    producer = await asyncpg.connect()
    folder = Path(await desk.value("SHOW data_directory"))
    with hung(folder):
        took = await asyncio.gather(
            timed(orders.start(producer)),
            timed(asyncio.to_thread(kit.stages.cancel, run)),
            timed(asyncio.to_thread(kit.stages.retry, run)),
            timed(asyncio.to_thread(kit.stages.runs)),
            timed(asyncio.to_thread(kit.stages.history)),
        )
    assert max(took) < LIMIT + 2
    assert producer.is_closed()
    async with consuming(orders):
        assert (await desk.ended(run))["status"] == "done"


async def test_postgres_that_hangs_in_the_middle_of_a_call_ends_it_within_ten_seconds(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("one")(effect)
    run = await orders.start(desk.connection)
    folder = Path(await desk.value("SHOW data_directory"))
    transaction = desk.connection.transaction()
    await transaction.start()
    await desk.connection.execute("LOCK TABLE kit_runs")
    calls = asyncio.gather(
        timed(asyncio.to_thread(kit.stages.cancel, run)), timed(asyncio.to_thread(kit.stages.retry, run))
    )
    await desk.until("both to wait", "SELECT count(*) = 2 FROM pg_locks WHERE NOT granted")
    with hung(folder):
        took = await calls
    await transaction.rollback()
    assert max(took) < LIMIT + 2
    assert await desk.value("SELECT status FROM kit_runs WHERE id = $1", run) == "pending"


async def test_rows_that_somebody_keeps_locked_are_waited_for_five_seconds_and_then_named(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("one")(effect)
    run = await orders.start(desk.connection)
    async with desk.connection.transaction():
        await desk.connection.execute("SELECT FROM kit_runs FOR UPDATE")
        with pytest.raises(KitError, match="keeps locked what this needs"):
            await asyncio.to_thread(kit.stages.cancel, run)
    await asyncio.to_thread(kit.stages.cancel, run)


async def test_start_on_a_connection_that_broke_says_so(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("one")(effect)
    producer = await asyncpg.connect()
    await desk.value("SELECT pg_terminate_backend($1)", producer.get_server_pid())
    with pytest.raises(KitError, match="Cannot reach Postgres"):
        await orders.start(producer)
    with pytest.raises(KitError, match="Cannot reach Postgres"):
        await orders.start(producer)
