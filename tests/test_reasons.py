"""Why a job waits, who has it, or how it ended: each answer against real rows and a real consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries

import kit
from kit.pictures.board.detail import of_job, own_frame_first
from kit.reasons import explain
from kit.sources import Postgres
from tests.consumer.queue import enqueue

pytestmark = pytest.mark.usefixtures("queue_database", "no_consumer_stays")


@asynccontextmanager
async def main() -> AsyncIterator[PgQueuer]:
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))

    @pgq.entrypoint("welcome", concurrency_limit=1)
    async def welcome(job: Job) -> None:
        await asyncio.sleep(60)

    @pgq.entrypoint("charge", on_failure="hold")
    async def charge(job: Job) -> None:
        raise ValueError("no money left")

    @pgq.entrypoint("quick")
    async def quick(job: Job) -> None: ...

    yield pgq
    await connection.close()


def statuses() -> dict[int, str]:
    jobs = kit.jobs()
    return dict(zip(jobs["id"], jobs["status"].astype(str), strict=True))


async def until(wanted: dict[int, str], seconds: float = 15) -> None:
    for _ in range(int(seconds / 0.05)):
        if wanted.items() <= (found := statuses()).items() and (wanted or not found):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {wanted}, but {statuses()}")


async def test_without_a_consumer_it_waits_for_one_and_one_for_later_waits_for_its_time() -> None:
    await enqueue("welcome")
    await enqueue("welcome", execute_after=timedelta(seconds=83))
    assert kit.why(1) == "Job 1 is queued. No consumer is running. Start one with kit.run(main)."
    assert kit.why(2) in [f"Job 2 is queued. It is due in {left} s." for left in (83, 82, 81, 80)]


async def test_with_a_consumer_it_waits_for_a_handler_or_for_the_limit() -> None:
    for name in ("welcome", "welcom", "welcome", "unlike"):
        await enqueue(name)
    kit.run(main)
    await until({1: "picked"})
    assert kit.why(1).startswith("Job 1 is picked. 'consumer' has it since ")
    assert "its heartbeat is" in kit.why(1)
    missing = "No running consumer has the entrypoint"
    assert kit.why(2) == f"Job 2 is queued. {missing} 'welcom'. Did you mean 'welcome'?"
    assert kit.why(3) == "Job 3 is queued. The concurrency_limit of 'welcome', 1, is used up by #1."
    assert kit.why(4) == f"Job 4 is queued. {missing} 'unlike'."


async def test_the_jobs_before_it_are_those_that_pgqueuer_picks_first(queue_database: Postgres) -> None:
    kit.run(main, batch_size=1)
    connection = await asyncpg.connect(queue_database.dsn)
    try:
        async with connection.transaction():  # nobody picks what is not committed
            own = Queries(AsyncpgDriver(connection))
            await own.enqueue(["quick"] * 5, [None] * 5, [0, 5, 0, 1, 0])
            said = {job: await explain(connection, queue_database.target, job) for job in (1, 2, 3, 5)}
        await until({})
        picked = kit.log().query("status == 'picked'")["job_id"].tolist()
    finally:
        await connection.close()
    assert picked == [2, 4, 1, 3, 5]
    assert said[2] == "Job 2 is queued. It is next: no job that is due comes before it."
    assert said[1].startswith(
        "Job 1 is queued. 2 jobs come before it: #2, #4. Picked is the highest priority"
    )
    assert said[3].startswith("Job 3 is queued. 3 jobs come before it: #2, #4, #1. ")
    assert said[5].startswith("Job 5 is queued. 4 jobs come before it: #2, #4, #1 and 1 more. ")


async def test_a_job_that_is_held_or_has_ended_says_how_and_what_lets_it_go_on(
    queue_database: Postgres,
) -> None:
    await enqueue("charge", b"42")
    await enqueue("quick")
    kit.run(main)
    await until({1: "failed"})
    raised = "its handler raised ValueError: no money left"
    assert kit.why(1) == f"Job 1 is held: {raised}. `await q.requeue_jobs([1])` lets it go on."
    await kit.wait()
    assert kit.why(2).startswith("Job 2 ended ")
    assert kit.why(2).endswith(" s ago as successful.")
    connection = await asyncpg.connect()
    try:
        told = await of_job(connection, queue_database.target, 1)
    finally:
        await connection.close()
    assert told["why"] == kit.why(1)
    last, own, *_ = told["traceback"].splitlines()
    assert last == "ValueError: no money left"
    assert own.endswith("in charge")


@pytest.mark.parametrize(("job", "said"), [("7", "'7'"), (7.0, "7.0"), (True, "True"), (7, "no job 7")])
def test_what_is_no_job_is_refused_plainly(job: Any, said: str) -> None:
    with pytest.raises(kit.KitError, match=said):
        kit.why(job)


def test_a_traceback_without_a_frame_of_the_learners_stays_as_it_is() -> None:
    assert own_frame_first("ValueError: no") == "ValueError: no"
