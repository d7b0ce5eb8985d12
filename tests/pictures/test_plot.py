"""The timeline: a plot of what is in the log, and its numbers as text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import matplotlib
import pytest
from matplotlib import pyplot
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries, RetryRequested

import kit
from kit.sources import Postgres
from kit.stages import Pipeline, Step

pytestmark = pytest.mark.usefixtures("queue_database")


@pytest.fixture(autouse=True)
def no_window() -> Iterator[None]:
    before = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    pyplot.close("all")
    matplotlib.use(before)


@asynccontextmanager
async def main() -> AsyncIterator[PgQueuer]:
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))

    @pgq.entrypoint("work")
    async def work(job: Job) -> None:
        if job.payload == b"again" and job.attempts == 0:
            raise RetryRequested(timedelta(0))

    @pgq.entrypoint("trouble", on_failure="hold")
    async def trouble(job: Job) -> None:
        raise ValueError("no")

    yield pgq
    await connection.close()


@pytest.fixture
async def queries(queue_database: Postgres) -> AsyncIterator[Queries]:
    connection = await asyncpg.connect()
    yield Queries(AsyncpgDriver(connection))
    await connection.close()


async def run_all() -> None:
    consumer = kit.run(main)
    await kit.wait()
    consumer.stop()


def rows(ax: Any) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def legend(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


async def test_every_job_has_a_row_grouped_by_entrypoint(queries: Queries) -> None:
    await queries.enqueue(["work", "trouble", "work"], [None] * 3, [0, 0, 0])
    await run_all()
    assert rows(kit.timeline()) == ["trouble #2", "work #1", "work #3"]


async def test_outcomes_are_named_in_the_legend_and_not_only_coloured(queries: Queries) -> None:
    await queries.enqueue(["work", "trouble"], [None] * 2, [0, 0])
    await run_all()
    await queries.enqueue("work", None)
    assert legend(kit.timeline()) == ["successful", "held", "still waiting"]


async def test_a_retried_job_has_a_bar_for_each_try(queries: Queries) -> None:
    await queries.enqueue("work", b"again")
    await run_all()
    ax: Any = kit.timeline()
    assert rows(ax) == ["work #1"]
    assert len({round(bar.get_x(), 4) for bar in ax.patches}) == 2


async def test_the_numbers_stand_beside_the_plot_for_each_priority(
    queries: Queries, capsys: pytest.CaptureFixture[str]
) -> None:
    await queries.enqueue(["work"] * 3, [None] * 3, [5, 0, 0])
    await run_all()
    capsys.readouterr()
    kit.timeline()
    first, *priorities = capsys.readouterr().out.splitlines()
    assert first == "3 jobs"
    assert [line.split(",")[0] for line in priorities] == ["priority 5: 1", "priority 0: 2"]
    assert all("waited" in line and "ran" in line for line in priorities)


async def test_last_keeps_the_newest_jobs(queries: Queries) -> None:
    await queries.enqueue(["work"] * 5, [None] * 5, [0] * 5)
    assert rows(kit.timeline(2)) == ["work #4", "work #5"]


async def test_priorities_are_named_when_they_are_the_colour(queries: Queries) -> None:
    await queries.enqueue(["work"] * 2, [None] * 2, [7, -1])
    await run_all()
    assert legend(kit.timeline(colour="priority"))[1:] == ["priority -1", "priority 7"]


async def test_a_held_job_is_grouped_by_the_worker_that_raised(queries: Queries) -> None:
    await queries.enqueue(["work", "trouble"], [None] * 2, [0, 0])
    await run_all()
    worker = str(kit.log(2)["traceback"].iloc[-1]["additional_context"]["queue_manager_id"])[:8]
    assert sorted(rows(kit.timeline(by="worker"))) == [f"worker {worker} #2", "worker not recorded #1"]


async def test_a_staged_run_is_one_row_however_many_jobs_it_took(queries: Queries) -> None:
    shop = Pipeline("shop")

    @shop.stage()
    async def one(step: Step) -> dict[str, Any]:
        return {"items": [1, 2, 3]}

    @shop.stage(each="items")
    async def two(step: Step) -> None: ...

    @asynccontextmanager
    async def staged() -> AsyncIterator[PgQueuer]:
        connection = await asyncpg.connect()
        async with shop.serve(PgQueuer(AsyncpgDriver(connection))) as pgq:
            yield pgq
        await connection.close()

    connection = await asyncpg.connect()
    await shop.start(connection)
    await connection.close()
    consumer = kit.run(staged)
    await kit.wait()
    consumer.stop()
    ax = kit.timeline(by="run")
    assert rows(ax) == ["runs #1"]
    assert legend(ax) == ["successful"]


def test_an_empty_queue_is_an_empty_plot(capsys: pytest.CaptureFixture[str]) -> None:
    assert kit.timeline().get_title(loc="left") == "nothing has happened yet"
    assert capsys.readouterr().out == "0 jobs\n"


def test_it_draws_on_the_axes_it_is_given() -> None:
    _, given = pyplot.subplots()
    assert kit.timeline(ax=given) is given


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"by": "colour"}, "'colour'"), ({"last": 0}, "last=0"), ({"window": -1}, "window=-1")],
)
def test_a_wrong_argument_is_named(wrong: Any, named: str) -> None:
    with pytest.raises(kit.KitError, match=named):
        kit.timeline(**wrong)


async def test_a_window_leaves_out_what_ended_before_it(queries: Queries) -> None:
    await queries.enqueue("work", None)
    await run_all()
    await asyncio.to_thread(kit.sql, "UPDATE pgqueuer_log SET created = created - interval '1 hour'")
    await queries.enqueue("work", None)
    assert rows(kit.timeline(window=60)) == ["work #2"]
