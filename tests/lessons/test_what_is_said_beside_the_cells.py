"""What lessons say without a cell that shows it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, PgQueuer, Queries
from pgqueuer.errors import DuplicateJobError
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


async def test_10_a_priority_only_rises_and_a_duplicate_undoes_its_transaction_unless_it_is_skipped(
    queue_database: Postgres,
) -> None:
    connection = await asyncpg.connect(queue_database.dsn)
    queries = Queries(AsyncpgDriver(connection))
    await connection.execute("CREATE TABLE orders (id int)")
    await queries.enqueue("ship", None, 5, dedupe_key="ship 1")
    await queries.enqueue("ship", None, 1, dedupe_key="ship 1", on_conflict="update_priority")
    assert kit.jobs()["priority"].tolist() == [5]

    async def order_with_a_duplicate() -> None:
        async with connection.transaction():
            await connection.execute("INSERT INTO orders VALUES (1)")
            with contextlib.suppress(DuplicateJobError):
                await queries.enqueue("ship", None, dedupe_key="ship 1")
            await connection.execute("INSERT INTO orders VALUES (2)")

    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await order_with_a_duplicate()
    async with connection.transaction():
        await connection.execute("INSERT INTO orders VALUES (3)")
        await queries.enqueue("ship", None, dedupe_key="ship 1", on_conflict="skip")
    assert await connection.fetchval("SELECT array_agg(id) FROM orders") == [3]
    await connection.close()


async def test_10_a_dedupe_key_keeps_others_out_while_its_job_waits_or_runs_and_not_when_it_is_held(
    queue_database: Postgres,
) -> None:
    connection = await asyncpg.connect(queue_database.dsn)
    queries = Queries(AsyncpgDriver(connection))
    await queries.enqueue("ship", None, dedupe_key="ship 1")
    for status, ids in (("picked", 1), ("failed", 2)):
        await connection.execute("UPDATE pgqueuer SET status = $1", status)
        await queries.enqueue("ship", None, dedupe_key="ship 1", on_conflict="skip")
        assert len(kit.jobs()) == ids
    await connection.close()
