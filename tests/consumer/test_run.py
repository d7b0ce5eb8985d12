"""`kit.run`: what it takes, several consumers, and what a consumer tells of itself."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import sys
import textwrap
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pgqueuer import (
    AsyncpgDriver,
    AsyncpgPoolDriver,
    PgQueuer,
    PsycopgDriver,
    Queries,
    QueueManager,
    SchedulerManager,
)
from pgqueuer.errors import RetryRequested
from pgqueuer.models import Job, Schedule

import kit
from kit.consumer.options import Given, Options
from kit.session import session
from kit.sources import Postgres
from tests.consumer.queue import (
    connections,
    cut_connections,
    enqueue,
    logged,
    main_with,
    nobody_is_connected,
    nothing,
    runner,
    texts,
    worker,
)
from tests.waiting import until

BLOG = '''
async def main() -> None:
    conn = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(conn))

    @pgq.entrypoint("fetch")
    async def process(job: Job) -> None:
        print(f"Processed: {job!r}")

    return pgq
'''  # fmt: skip


def blogs_main() -> Any:
    names: dict[str, Any] = {
        "asyncpg": asyncpg,
        "PgQueuer": PgQueuer,
        "AsyncpgDriver": AsyncpgDriver,
        "Job": Job,
    }
    exec(BLOG, names)
    return names["main"]


async def test_the_older_form_runs_word_for_word() -> None:
    consumer = kit.run(blogs_main())
    connection = await asyncpg.connect()
    q = Queries(AsyncpgDriver(connection))
    await q.enqueue(["fetch"], [b"hello world"], [0])
    await kit.wait()
    await connection.close()
    (line,) = [line for line in consumer.output if line.kind == "print"]
    assert line.text.startswith("Processed: Job(id=1,")
    assert "payload=b'hello world'" in line.text
    assert await logged(1) == ["queued", "picked", "successful"]


async def test_what_the_older_form_connected_is_closed_when_it_stops() -> None:
    consumer = kit.run(blogs_main())
    assert len(await connections()) == 1
    consumer.stop()
    await until("the connection is closed", nobody_is_connected)


async def test_a_pool_of_the_older_form_is_closed_when_it_stops() -> None:
    async def main() -> PgQueuer:
        pgq = PgQueuer(AsyncpgPoolDriver(await asyncpg.create_pool(min_size=2)))
        pgq.entrypoint("fetch")(nothing)
        return pgq

    consumer = kit.run(main)
    await enqueue("fetch")
    await kit.wait()
    consumer.stop()
    await until("the pool is closed", nobody_is_connected)


async def test_it_returns_when_the_consumer_listens() -> None:
    consumer = kit.run(main_with(fetch=nothing), dequeue_timeout=60)
    assert consumer.state == "running"
    assert consumer.entrypoints == ("fetch",)
    assert session.consumers["consumer"] is runner(consumer)
    await enqueue("fetch")
    await kit.wait(timeout=10)  # long before it would have looked for itself


async def test_psycopg_runs_too_and_what_it_connected_is_closed() -> None:
    psycopg = pytest.importorskip("psycopg")

    async def main() -> PgQueuer:
        pgq = PgQueuer(PsycopgDriver(await psycopg.AsyncConnection.connect(autocommit=True)))
        pgq.entrypoint("fetch")(nothing)
        return pgq

    consumer = kit.run(main)
    assert len(runner(consumer).backends) == 1
    (job,) = await enqueue("fetch")
    await kit.wait()
    assert await logged(job) == ["queued", "picked", "successful"]
    await cut_connections()
    await until(
        "it came back", lambda: any("connected to Postgres again" in line for line in texts(consumer))
    )
    consumer.stop()
    await until("the connection is closed", nobody_is_connected)


async def test_a_queue_manager_and_a_scheduler_manager_run_too() -> None:
    @asynccontextmanager
    async def queue() -> AsyncIterator[QueueManager]:
        connection = await asyncpg.connect()
        manager = QueueManager(Queries(AsyncpgDriver(connection)))
        manager.entrypoint("fetch")(nothing)
        yield manager
        await connection.close()

    @asynccontextmanager
    async def scheduler() -> AsyncIterator[SchedulerManager]:
        connection = await asyncpg.connect()
        manager = SchedulerManager(Queries(AsyncpgDriver(connection)))

        @manager.schedule("tick", "* * * * * *")
        async def tick(schedule: Schedule) -> None:
            print("tick")

        yield manager
        await connection.close()

    first, second = kit.run(queue), kit.run(scheduler, name="clock")
    assert (first.entrypoints, second.schedules) == (("fetch",), ("tick",))
    await enqueue("fetch")
    await kit.wait()
    assert first.done == 1
    await until("the schedule has run", lambda: "[tick] tick" in texts(second))


async def test_a_file_in_the_working_folder_is_found_by_name_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "consumer_of_the_test.py"
    source = """
        import asyncpg
        from contextlib import asynccontextmanager
        from pgqueuer import AsyncpgDriver, PgQueuer

        @asynccontextmanager
        async def main():
            connection = await asyncpg.connect()
            pgq = PgQueuer(AsyncpgDriver(connection))

            @pgq.entrypoint("fetch")
            async def process(job):
                print("VERSION")

            yield pgq
            await connection.close()
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "dont_write_bytecode", True
    )  # it would be as old as the file: a second is its unit
    for version in ("first", "second"):
        file.write_text(textwrap.dedent(source).replace("VERSION", version))
        consumer = kit.run("consumer_of_the_test:main")
        (job,) = await enqueue("fetch")
        await kit.wait()
        assert texts(consumer) == [f"[fetch #{job}] {version}"]
    del sys.modules["consumer_of_the_test"]


async def test_durations_may_be_timedeltas() -> None:
    consumer = kit.run(main_with(fetch=nothing), dequeue_timeout=timedelta(seconds=1), heartbeat_timeout=2)
    assert consumer.state == "running"


async def test_the_same_name_again_takes_the_place_of_the_one_before() -> None:
    async def old(job: Job) -> None:
        print("old")

    async def new(job: Job) -> None:
        print("new")

    first = kit.run(main_with(fetch=old))
    await enqueue("fetch")
    await kit.wait()
    second = kit.run(main_with(fetch=new))
    assert (first.state, second.state) == ("stopped", "running")
    await enqueue("fetch", *[b""] * 20)
    await kit.wait()
    assert (first.done, second.done) == (1, 20)
    assert len(await connections()) == 1


async def test_two_names_run_side_by_side_and_share_the_jobs() -> None:
    meeting = threading.Barrier(2)  # one consumer alone, with room for one job, waits in vain

    async def meet(job: Job) -> None:
        await asyncio.to_thread(meeting.wait, 10)

    main = main_with(meet=meet)
    first, second = kit.run(main, batch_size=1, name="first"), kit.run(main, batch_size=1, name="second")
    await enqueue("meet", *[b""] * 6)
    await kit.wait()
    assert first.done + second.done == 6
    assert not first.errors
    assert not second.errors


async def test_a_stranger_that_consumes_from_the_same_database_is_told_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with worker():
        kit.run(main_with(fetch=nothing))
    assert "Another consumer is connected to this database" in capsys.readouterr().out


async def test_ones_own_consumers_are_no_strangers(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("first", "second", "first"):
        kit.run(main_with(fetch=nothing), name=name)
    assert "Another consumer" not in capsys.readouterr().out


async def test_the_connections_of_ones_own_pools_are_no_strangers_to_anyone(
    queue_database: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    @asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        async with asyncpg.create_pool(min_size=4, max_size=8) as pool:
            pgq = PgQueuer(AsyncpgPoolDriver(pool))
            pgq.entrypoint("fetch")(nothing)
            yield pgq

    consumer = kit.run(main)
    kit.run(main, name="second")
    await enqueue("fetch", *[b""] * 50)
    await kit.wait()
    assert len(runner(consumer).backends) >= 4
    with kit.postgres("embedded", database=queue_database.name, fresh=False):
        await enqueue("fetsh")
        await kit.wait(10)  # it would wait for a stranger that may have this entrypoint
    said = capsys.readouterr().out
    assert "nother" not in said
    assert "Did you mean 'fetch'?" in said


async def test_it_counts_what_is_done_and_what_failed_but_not_what_is_tried_again() -> None:
    async def sort(job: Job) -> None:
        if job.payload == b"fails":
            raise ValueError("boom")
        if job.payload == b"again" and not job.attempts:
            raise RetryRequested(delay=timedelta(), reason="not yet")

    consumer = kit.run(main_with(sort=sort))
    await enqueue("sort", b"works", b"fails", b"again")
    await kit.wait()
    assert (consumer.done, consumer.failed) == (2, 1)
    assert repr(consumer) == "<Consumer 'consumer': running; entrypoints: sort; 2 done, 1 failed>"
    assert "[sort #3] retry in 0 s: not yet" in texts(consumer)


def test_help_and_completion_show_the_options_that_kit_run_and_kit_spawn_share() -> None:
    for call in (kit.run, kit.spawn):
        parameters = inspect.signature(call).parameters
        assert (parameters["batch_size"].default, parameters["heartbeat_timeout"].default) == (10, 10.0)
        assert "options" not in parameters
        assert "batch_size: how many jobs it picks at once." in str(call.__doc__)
    assert list(Given.__annotations__) == [field.name for field in dataclasses.fields(Options)]
