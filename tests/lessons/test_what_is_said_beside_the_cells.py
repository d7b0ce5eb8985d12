"""What lessons say without a cell that shows it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, PgQueuer, Queries
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.errors import DuplicateJobError
from pgqueuer.metrics.prometheus import collect_metrics
from pgqueuer.models import Job, Schedule
from pgqueuer.types import QueueExecutionMode

import kit
from kit.sources import Postgres
from tests.consumer.queue import enqueue, fetch, logged, main_with, nothing
from tests.lessons.notebook import one_with_id, read
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("no_consumer_stays")


async def never_ends(job: Job) -> None:
    await asyncio.sleep(3600)


Ran = list[tuple[float, Schedule]]


def scheduled(
    expression: str, ran: Ran, *, clean_old: bool = False, beside: Ran | None = None
) -> Callable[[], AbstractAsyncContextManager[PgQueuer]]:
    """Return a factory of consumers whose schedule notes in ``ran`` each run, and when it was.

    Another schedule of the consumer runs every second, where ``beside`` is to note that.
    """

    def noting(ran: Ran) -> Callable[[Schedule], Awaitable[None]]:
        async def note(schedule: Schedule) -> None:
            ran.append((time.monotonic(), schedule))

        return note

    @asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        connection = await asyncpg.connect()
        pgq = PgQueuer(AsyncpgDriver(connection))
        pgq.schedule("report", expression, clean_old=clean_old)(noting(ran))
        if beside is not None:
            pgq.schedule("pulse", "* * * * * *")(noting(beside))
        yield pgq
        await connection.close()

    return main


async def test_08_a_run_that_several_consumers_find_due_happens_once(queue_database: Postgres) -> None:
    ran: Ran = []
    main = scheduled("30 6 * * 1", ran)
    kit.run(main).stop()
    await fetch("UPDATE pgqueuer_schedules SET next_run = next_run - interval '3 weeks'")
    for number in range(4):
        kit.run(main, name=f"worker {number}")
    await until("it has run", lambda: ran)
    for consumer in range(4):
        assert kit.session.session.consumers[f"worker {consumer}"].state == "running"
    assert len(ran) == 1
    assert len(kit.schedules()) == 1


@pytest.mark.usefixtures("queue_database")
async def test_08_a_schedule_of_every_second_comes_back_about_every_two() -> None:
    ran: Ran = []
    kit.run(scheduled("* * * * * *", ran))
    await until("it has run four times", lambda: len(ran) > 3)
    between = [after - before for (before, _), (after, _) in itertools.pairwise(ran)]
    assert min(between[1:]) > 1.2, f"it came back after {between} s"


@pytest.mark.usefixtures("queue_database")
async def test_08_several_consumers_run_it_also_every_second_and_each_time_once() -> None:
    ran: Ran = []

    def times() -> list[datetime]:
        return sorted(schedule.next_run for _, schedule in ran)

    def come_a_second_apart() -> bool:
        return any(after - before == timedelta(seconds=1) for before, after in itertools.pairwise(times()))

    for number in range(8):  # until one looks in odd seconds, another in even ones
        runs, second = len(ran), int(time.time())
        kit.run(scheduled("* * * * * *", ran), name=f"worker {number}")
        await until("they have run", partial(lambda runs: len(ran) > runs + 4, runs), 30)
        if come_a_second_apart():
            break
        await until("another second", partial(lambda second: (int(time.time()) - second) % 2, second))
    assert come_a_second_apart()
    assert len(times()) == len(set(times()))


async def test_08_a_run_whose_consumer_died_is_taken_by_one_that_starts_and_not_by_one_that_sleeps(
    queue_database: Postgres,
) -> None:
    sleeps: Ran = []
    starts: Ran = []
    kit.run(scheduled("30 6 * * 1", sleeps), name="sleeps")
    await fetch("UPDATE pgqueuer_schedules SET status = 'picked', heartbeat = now() - interval '1 minute'")
    kit.run(scheduled("30 6 * * 1", starts), name="starts")
    await until("it has run", lambda: starts)
    assert (len(starts), sleeps) == (1, [])


async def test_08_an_old_version_that_starts_again_deletes_the_new_ones_schedule_for_good(
    queue_database: Postgres,
) -> None:
    reports: Ran = []
    pulses: Ran = []
    new = kit.run(scheduled("* * * * * *", reports, clean_old=True, beside=pulses), name="new")
    await until("it runs", lambda: reports)
    kit.run(scheduled("30 6 * * 1", [], clean_old=True), name="old")
    before = len(pulses)
    await until("the new one has looked again", lambda: len(pulses) > before)
    after = len(reports)
    await until("and again", lambda: len(pulses) > before + 2)
    assert (new.state, len(reports)) == ("running", after)
    assert kit.schedules().query("entrypoint == 'report'")["expression"].tolist() == ["30 6 * * 1"]


def test_08_between_two_moments_of_one_zone_python_ignores_the_change_of_the_clock() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    evening, morning = (datetime(2026, 3, day, hour, tzinfo=berlin) for day, hour in ((28, 21), (29, 9)))
    assert (morning - evening).total_seconds() == 12 * 3600
    assert (morning - evening.astimezone(UTC)).total_seconds() == 11 * 3600


async def between_picks(batch_size: int) -> list[float]:
    """Return the seconds between the picks of jobs that do nothing, one of which may run at a time."""

    @asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        connection = await asyncpg.connect()
        pgq = PgQueuer(AsyncpgDriver(connection))
        pgq.entrypoint("quick", concurrency_limit=1)(nothing)
        yield pgq
        await connection.close()

    await fetch("TRUNCATE pgqueuer_log")
    await enqueue("quick", *[b""] * 12)
    kit.run(main, batch_size=batch_size)
    await kit.wait()
    picks = kit.log().query("status == 'picked'").sort_values("id")["created"]
    return [gap.total_seconds() for gap in picks.diff().iloc[2:]]


@pytest.mark.usefixtures("queue_database")
async def test_09_a_place_is_free_when_its_end_is_written_which_a_batch_that_is_not_full_delays() -> None:
    assert min(await between_picks(batch_size=10)) > 0.07
    assert min(await between_picks(batch_size=1)) < 0.07


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


async def test_01_threads_are_four_more_than_cores_and_32_at_most() -> None:
    running: list[int] = []
    most = 0

    def runs() -> None:
        nonlocal most
        running.append(1)
        most = max(most, len(running))
        time.sleep(0.2)
        running.pop()

    await asyncio.gather(*(asyncio.to_thread(runs) for _ in range(40)))
    cores = getattr(os, "process_cpu_count", os.cpu_count)() or 1  # that is of Python 3.13
    assert most == min(32, cores + 4)


EXITS = """
import asyncio, sys
import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer

async def main():
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))

    @pgq.entrypoint("exits")
    async def exits(job):
        await asyncio.sleep(1)  # no statement is under way then: one that is broken off ends the connection
        sys.exit()

    @pgq.entrypoint("waits")
    async def waits(job):
        await asyncio.sleep(3600)

    await pgq.run()

asyncio.run(main())
"""


async def test_05_an_exit_in_a_handler_ends_the_consumer_stays_picked_and_cancels_the_jobs_beside_it(
    queue_database: Postgres,
) -> None:
    await enqueue("waits")
    await enqueue("exits")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", EXITS, stderr=subprocess.DEVNULL)
    await asyncio.wait_for(process.wait(), 60)
    assert process.returncode == 0
    assert kit.jobs()[["entrypoint", "status"]].to_numpy().tolist() == [["exits", "picked"]]
    assert kit.log().query("entrypoint == 'waits'")["status"].tolist() == ["queued", "picked", "canceled"]


async def test_05_pgq_failed_names_what_is_held_and_not_why(queue_database: Postgres) -> None:
    async def fails(job: Job) -> None:
        raise ValueError("the card has expired")

    kit.run(main_with("hold", charge=fails))
    await enqueue("charge")
    await kit.wait()
    command = [sys.executable, "-m", "pgqueuer", "failed"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    printed, _ = await process.communicate()
    assert (b"charge" in printed, b"expired" in printed) == (True, False)


async def test_11_of_two_workers_limits_the_higher_one_counts_and_each_takes_only_what_it_knows(
    queue_database: Postgres,
) -> None:
    def main_of(limit: int, *others: str) -> Callable[[], AbstractAsyncContextManager[PgQueuer]]:
        @asynccontextmanager
        async def main() -> AsyncIterator[PgQueuer]:
            pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))
            pgq.entrypoint("shared", concurrency_limit=limit)(never_ends)
            for name in others:
                pgq.entrypoint(name)(nothing)
            yield pgq

        return main

    kit.run(main_of(1), name="one")
    await enqueue("shared", *[b""] * 9)
    picked = "SELECT FROM pgqueuer WHERE status = 'picked' AND entrypoint = 'shared'"
    await until("one is picked", lambda: fetch(picked))
    kit.run(main_of(3, "reports"), name="three")
    await enqueue("reports")
    await until("its own job is done", lambda: fetch("SELECT FROM pgqueuer_log WHERE status = 'successful'"))
    assert len(await fetch(picked)) == 3


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.usefixtures("queue_database")
async def test_11_a_consumer_works_on_a_pool_of_two_connections_and_is_refused_one_of_one(size: int) -> None:
    async with asyncpg.create_pool(min_size=1, max_size=size) as pool:
        (job,) = await Queries(AsyncpgPoolDriver(pool)).enqueue("nothing", None)
        pgq = PgQueuer.from_asyncpg_pool(pool)
        pgq.entrypoint("nothing")(nothing)
        refused = pytest.raises(RuntimeError, match="Pool max size")
        with refused if size == 1 else contextlib.nullcontext():
            await asyncio.wait_for(pgq.run(mode=QueueExecutionMode.drain), 20)
    assert (await logged(job))[-1] == ("queued" if size == 1 else "successful")


@pytest.fixture
async def queries(queue_database: Postgres) -> AsyncIterator[Queries]:
    connection = await asyncpg.connect(queue_database.dsn)
    yield Queries(AsyncpgDriver(connection))
    await connection.close()


async def test_05_10_a_held_jobs_key_may_be_taken_and_then_requeueing_fails_for_all(
    queries: Queries,
) -> None:
    held, other = await queries.enqueue(["ship"] * 2, [None] * 2, [0, 0], dedupe_key=["ship 1", None])
    await fetch("UPDATE pgqueuer SET status = 'failed', attempts = 3")
    (second,) = await queries.enqueue("ship", None, dedupe_key="ship 1")
    with pytest.raises(asyncpg.UniqueViolationError):
        await queries.requeue_jobs([held, other])
    requeue = [sys.executable, "-m", "pgqueuer", "requeue", str(held), str(other)]
    process = await asyncio.create_subprocess_exec(*requeue, stderr=subprocess.PIPE)
    _, errors = await process.communicate()
    assert (process.returncode, b"UniqueViolation" in errors) == (1, True)
    assert kit.jobs().query("status == 'failed'")["id"].tolist() == [held, other]
    await queries.mark_job_as_cancelled([second])
    await queries.requeue_jobs([held, other])
    assert kit.jobs()["attempts"].tolist() == [0, 0]


async def test_10_without_its_key_a_held_job_goes_on_beside_the_one_that_took_it(
    queries: Queries,
) -> None:
    (held,) = await queries.enqueue("ship", None, dedupe_key="ship 1")
    await fetch("UPDATE pgqueuer SET status = 'failed'")
    await queries.enqueue("ship", None, dedupe_key="ship 1")
    await fetch("UPDATE pgqueuer SET dedupe_key = NULL WHERE id = $1", held)
    await queries.requeue_jobs([held])
    assert kit.jobs()["status"].tolist() == ["queued", "queued"]


async def test_in_production_of_the_held_jobs_a_hundred_are_listed_unless_more_are_asked_for(
    queries: Queries,
) -> None:
    await queries.enqueue(["ship"] * 101, [None] * 101, [0] * 101)
    await fetch("UPDATE pgqueuer SET status = 'failed'")
    assert len(await queries.list_failed_jobs()) == 100
    assert len(await queries.list_failed_jobs(limit=1000)) == 101


async def test_10_an_open_transaction_keeps_dead_rows_when_it_has_written_or_reads_at_repeatable_read(
    queue_database: Postgres,
) -> None:
    await fetch("CREATE TABLE orders (id int)")
    connection = await asyncpg.connect(queue_database.dsn)
    for begin, statement, rows_stay in (
        ("BEGIN", "SELECT * FROM orders", False),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT * FROM orders", True),
        ("BEGIN", "INSERT INTO orders VALUES (1)", True),
    ):
        await connection.execute(begin)
        await connection.execute(statement)
        await enqueue("ship")
        await fetch("DELETE FROM pgqueuer")
        await fetch("VACUUM pgqueuer")
        assert bool((await fetch("SELECT pg_relation_size('pgqueuer')"))[0][0]) is rows_stay
        await connection.execute("ROLLBACK")
    await connection.close()


@pytest.mark.usefixtures("queue_database")
async def test_12_the_heartbeat_of_a_hung_handler_goes_on_and_updated_says_since_when_it_hangs() -> None:
    kit.run(main_with(hangs=never_ends), heartbeat_timeout=0.5)
    await enqueue("hangs")
    later = "SELECT FROM pgqueuer WHERE heartbeat > updated + interval '1 second'"
    await until("the heart has gone on for a second", lambda: fetch(later))
    ((picked, updated),) = await fetch(
        "SELECT l.created, q.updated FROM pgqueuer_log l JOIN pgqueuer q ON q.id = l.job_id"
        " WHERE l.status = 'picked'"
    )
    assert updated == picked


async def test_12_what_is_said_to_prometheus_has_no_age_and_statistics_are_added_up_when_asked_for(
    queries: Queries,
) -> None:
    await queries.enqueue("export", None)
    assert await fetch("SELECT FROM pgqueuer_statistics") == []
    text = await collect_metrics(queries)
    assert {line.partition("{")[0] for line in text.splitlines()} == {
        "pgqueuer_queue_count",
        "pgqueuer_logs_count",
    }
    assert 'status="queued"' in text.partition("pgqueuer_logs_count")[2]
    await fetch("UPDATE pgqueuer_statistics SET created = created - interval '5 minutes'")
    assert "pgqueuer_logs_count" not in await collect_metrics(queries)
    assert len(await fetch("SELECT FROM pgqueuer_statistics")) == 1


@pytest.mark.usefixtures("queue_database")
async def test_02_03_04_queries_share_the_consumers_connection_and_statements_of_ones_own_may_not() -> None:
    connection = await asyncpg.connect()
    driver = AsyncpgDriver(connection)
    await asyncio.gather(*(Queries(driver).enqueue("task", None) for _ in range(3)))
    with pytest.raises(asyncpg.InterfaceError, match="another operation is in progress"):
        await asyncio.gather(driver.execute("SELECT pg_sleep(0.1)"), connection.execute("SELECT 1"))
    await connection.close()


@pytest.mark.usefixtures("queue_database")
async def test_06_an_old_heartbeat_is_found_when_somebody_looks_and_not_when_it_grows_old() -> None:
    kit.run(main_with(send=nothing), heartbeat_timeout=0.5, dequeue_timeout=3600)
    [job] = await enqueue("send", execute_after=timedelta(hours=1))
    await fetch(
        "UPDATE pgqueuer SET status = 'picked', execute_after = now(), heartbeat = now() WHERE id = $1", job
    )
    too_old = "SELECT FROM pgqueuer WHERE status = 'picked' AND heartbeat < now() - interval '2 seconds'"
    await until("its heartbeat is four times too old", lambda: fetch(too_old))
    assert await logged(job) == ["queued"]
    [looks] = await enqueue("send")
    await until("both are done", lambda: kit.jobs().empty)
    assert (await logged(job))[-1] == (await logged(looks))[-1] == "successful"


@pytest.mark.usefixtures("queue_database")
async def test_06_13_where_heartbeat_timeouts_differ_the_job_of_a_healthy_worker_runs_twice() -> None:
    healthy = kit.run(main_with(send=never_ends), name="healthy", heartbeat_timeout=30)
    [job] = await enqueue("send")
    await until("it is picked", lambda: fetch("SELECT FROM pgqueuer WHERE status = 'picked'"))
    kit.run(main_with(send=never_ends), name="hasty", heartbeat_timeout=0.5, dequeue_timeout=0.2)

    async def picked_again() -> bool:
        return (await logged(job)).count("picked") > 1

    await until("it is picked again", picked_again)
    assert healthy.state == "running"


@pytest.mark.usefixtures("queue_database")
async def test_11_a_place_stays_taken_for_its_time_also_where_the_mail_server_refuses() -> None:
    names: dict[str, Any] = {"asyncio": asyncio, "Job": Job}
    exec(one_with_id(read("11_from_your_application").cells, "speed-limit").source, names)

    async def refuses(job: Job) -> None:
        raise ConnectionRefusedError

    names["send_mail"] = refuses
    kit.run(main_with(welcome=names["welcome"]))
    await enqueue("welcome")
    await kit.wait()
    log = kit.log().set_index("status")["created"]
    assert (log["exception"] - log["picked"]).total_seconds() >= 0.5


async def test_06_a_job_that_was_picked_more_often_than_queued_was_taken_from_its_worker(
    queries: Queries,
) -> None:
    (question,) = re.findall(
        r"`(SELECT job_id [^`]+)`", one_with_id(read("06_crashes").cells, "recap").source
    )
    write = "INSERT INTO pgqueuer_log (job_id, entrypoint, status, priority) VALUES ($1, 'send', $2, 0)"
    retried, taken = await queries.enqueue(["send"] * 2, [None] * 2, [0, 0])
    for job, status in ((retried, "picked"), (retried, "queued"), (retried, "picked"), (taken, "picked")):
        await fetch(write, job, status)
    assert await fetch(question) == []
    await fetch(write, taken, "picked")
    assert [row["job_id"] for row in await fetch(question)] == [taken]


@pytest.mark.usefixtures("queue_database")
async def test_11_a_consumer_that_is_to_stop_waits_for_a_handler_that_hangs() -> None:
    comes_back = asyncio.Event()

    async def hangs(job: Job) -> None:
        await comes_back.wait()

    async with main_with(fetch=hangs)() as pgq:
        running = asyncio.create_task(pgq.run(dequeue_timeout=timedelta(seconds=0.1)))
        await enqueue("fetch")
        await until("it is picked", lambda: fetch("SELECT FROM pgqueuer WHERE status = 'picked'"))
        pgq.shutdown.set()
        done, _ = await asyncio.wait({running}, timeout=1)
        assert not done
        comes_back.set()
        await asyncio.wait_for(running, 20)


@pytest.mark.usefixtures("queue_database")
async def test_12_how_long_jobs_take_counts_the_last_try_and_hours_too() -> None:
    """The lesson's own query, over a log in which a job took two hours, and another was tried again."""
    source = one_with_id(read("12_watching").cells, "durations").source
    (query,) = re.findall(r'kit\.sql\("""(.*?)"""\)', source, re.DOTALL)
    changes = [
        *((1, "import", status, at) for status, at in (("queued", 0), ("picked", 10), ("successful", 7210))),
        *((2, "patient", status, at) for status, at in (("queued", 0), ("picked", 1), ("queued", 2))),
        *((2, "patient", status, at) for status, at in (("picked", 60), ("successful", 61))),
    ]
    for job, entrypoint, status, at in changes:
        await fetch(
            "INSERT INTO pgqueuer_log (job_id, priority, entrypoint, status, created)"
            " VALUES ($1, 0, $2, $3::text::pgqueuer_status, to_timestamp($4))",
            job, entrypoint, status, at,
        )  # fmt: skip
    assert {row["entrypoint"]: row["p95"] for row in await fetch(query)} == {"import": 7200, "patient": 1}


@pytest.mark.usefixtures("queue_database")
async def test_13_a_job_that_is_due_in_an_hour_keeps_drain_mode_up() -> None:
    async with main_with(receipt=nothing)() as pgq:
        await enqueue("receipt", execute_after=timedelta(hours=1))
        mode, often = QueueExecutionMode.drain, timedelta(seconds=0.1)
        running = asyncio.create_task(pgq.run(mode=mode, dequeue_timeout=often))
        [due] = await enqueue("receipt")

        async def is_done() -> bool:
            return "successful" in await logged(due)

        await until("the other is done", is_done)
        assert not running.done()
        await fetch("DELETE FROM pgqueuer")
        await asyncio.wait_for(running, 20)
