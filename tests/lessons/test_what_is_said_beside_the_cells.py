"""What lessons say without a cell that shows it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, PgQueuer
from pgqueuer.models import Schedule

import kit
from kit.sources import Postgres

pytestmark = pytest.mark.usefixtures("no_consumer_stays")


def scheduled(expression: str, runs: list[float]) -> Callable[[], AbstractAsyncContextManager[PgQueuer]]:
    """Return a factory of consumers whose schedule notes in ``runs`` when it ran."""

    @asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        connection = await asyncpg.connect()
        pgq = PgQueuer(AsyncpgDriver(connection))

        @pgq.schedule("report", expression)
        async def report(schedule: Schedule) -> None:
            runs.append(time.monotonic())

        yield pgq
        await connection.close()

    return main


async def until(runs: list[float], number: int) -> None:
    for _ in range(400):
        if len(runs) >= number:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within 20 s: run {number} of the schedule")


async def test_08_a_run_that_several_consumers_find_due_happens_once(queue_database: Postgres) -> None:
    runs: list[float] = []
    main = scheduled("30 6 * * 1", runs)
    kit.run(main).stop()
    connection = await asyncpg.connect(queue_database.dsn)
    await connection.execute("UPDATE pgqueuer_schedules SET next_run = next_run - interval '3 weeks'")
    await connection.close()
    for number in range(4):
        kit.run(main, name=f"worker {number}")
    await until(runs, 1)
    for consumer in range(4):
        assert kit.session.session.consumers[f"worker {consumer}"].state == "running"
    assert len(runs) == 1
    assert len(kit.schedules()) == 1


@pytest.mark.usefixtures("queue_database")
async def test_08_a_schedule_of_every_second_comes_back_about_every_two() -> None:
    runs: list[float] = []
    kit.run(scheduled("* * * * * *", runs))
    await until(runs, 4)
    between = [after - before for before, after in itertools.pairwise(runs)]
    assert min(between[1:]) > 1.2, f"it came back after {between} s"
