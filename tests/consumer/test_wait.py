"""`await kit.wait()`: what it waits for, what it shows, and when it gives up."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, PgQueuer, Queries, RetryRequested
from pgqueuer.models import Context, Job, JobId

import kit
from kit.session import session
from tests.consumer.queue import (
    Gate,
    enqueue,
    fetch,
    is_logged,
    logged,
    main_with,
    nobody_is_connected,
    nothing,
    runner,
    texts,
    worker,
)
from tests.waiting import until


async def speak(job: Job) -> None:
    print("payload", job.payload)


# What it waits for


async def test_it_returns_at_once_when_there_is_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    kit.run(main_with(fetch=nothing))
    assert await kit.wait(timeout=0) is None  # type: ignore[func-returns-value]
    assert capsys.readouterr().out == ""


async def test_a_job_is_out_of_the_queue_and_in_the_log_when_it_returns() -> None:
    kit.run(main_with(fetch=nothing))
    jobs = await enqueue("fetch", *[b""] * 25)
    await kit.wait()
    assert await fetch("SELECT FROM pgqueuer") == []
    for job in jobs:
        assert await logged(job) == ["queued", "picked", "successful"]


async def test_it_waits_for_jobs_that_handlers_enqueue() -> None:
    async def first(job: Job) -> None:
        await enqueue("second")

    consumer = kit.run(main_with(first=first, second=nothing))
    await enqueue("first")
    await kit.wait()
    assert consumer.done == 2


async def test_it_waits_for_every_consumer() -> None:
    go_on = threading.Event()

    async def slow(job: Job) -> None:
        await asyncio.to_thread(go_on.wait, 10)

    first = kit.run(main_with(slow=slow), name="first")
    second = kit.run(main_with(fetch=nothing), name="second")
    await enqueue("slow")
    await enqueue("fetch")
    waiting = asyncio.create_task(kit.wait())
    await until("the quick one is done", lambda: second.done)
    assert not waiting.done()
    go_on.set()
    await waiting
    assert (first.done, second.done) == (1, 1)


async def test_it_waits_for_a_worker_of_another_process() -> None:
    async with worker("fetch", seconds=1.5):
        (job,) = await enqueue("fetch")
        await kit.wait()
        assert await logged(job) == ["queued", "picked", "successful"]


async def test_jobs_for_a_worker_are_waited_for_also_where_a_consumer_of_this_process_runs() -> None:
    consumer = kit.run(main_with(here=nothing))
    async with worker("there", seconds=1.5):
        await enqueue("here")
        (job,) = await enqueue("there")
        await kit.wait()
        assert await logged(job) == ["queued", "picked", "successful"]
    assert consumer.done == 1


async def test_held_jobs_do_not_count() -> None:
    async def fails(job: Job) -> None:
        raise ValueError("boom")

    kit.run(main_with("hold", fails=fails))
    (job,) = await enqueue("fails")
    await kit.wait()
    assert await logged(job) == ["queued", "picked", "failed"]
    await kit.wait()


async def test_handlers_of_cancelled_jobs_have_a_moment_to_end_and_no_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    let_go = threading.Event()

    async def cooperates(job: Job, context: Context) -> None:
        with context.cancellation:
            await asyncio.sleep(600)
        await asyncio.sleep(0.3)
        print("tidies up")

    async def is_deaf(job: Job) -> None:
        await asyncio.to_thread(let_go.wait, 600)

    consumer = kit.run(main_with(cooperates=cooperates, is_deaf=is_deaf))  # type: ignore[arg-type]
    for entrypoint in ("cooperates", "is_deaf"):
        (job,) = await enqueue(entrypoint)
        await until("its handler runs", lambda: runner(consumer).running_jobs())
        connection = await asyncpg.connect()
        await Queries(AsyncpgDriver(connection)).mark_job_as_cancelled([JobId(job)])
        await connection.close()
        await kit.wait()
    let_go.set()
    assert capsys.readouterr().out == (
        "[cooperates #1] tidies up\n[cooperates #1] canceled\n"
        "Out of the queue, but their handlers still run: #2.\n"
    )


@pytest.mark.parametrize(
    ("delays", "said"),
    [
        ([90], "1 job is not due yet: in 90 s."),
        ([3600, 600], "2 jobs are not due yet: the next in 10 min."),
        ([100_000], "1 job is not due yet: in 28 h."),
    ],
)
async def test_jobs_that_are_not_due_do_not_count_and_are_mentioned(
    delays: list[int], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    consumer = kit.run(main_with(fetch=nothing))
    for delay in delays:
        await enqueue("fetch", execute_after=timedelta(seconds=delay))
    await enqueue("fetch")
    await kit.wait()
    assert consumer.done == 1
    assert capsys.readouterr().out == f"{said}\n"


async def test_jobs_that_are_due_soon_are_waited_for_where_that_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def tries_twice(job: Job) -> None:
        if job.attempts == 0:
            raise RetryRequested(delay=timedelta(seconds=0.3))

    consumer = kit.run(main_with(fetch=tries_twice))
    retried, later = [*await enqueue("fetch"), *await enqueue("fetch", execute_after=timedelta(seconds=0.5))]
    await enqueue("fetch", execute_after=timedelta(seconds=90))
    await kit.wait(due_within=5)
    assert consumer.done == 2
    assert await logged(retried) == await logged(later) == [*["queued", "picked"] * 2, "successful"]
    assert "1 job is not due yet: in " in capsys.readouterr().out


async def test_without_a_consumer_it_says_how_soon_a_job_is_due(capsys: pytest.CaptureFixture[str]) -> None:
    await enqueue("fetch", execute_after=timedelta(seconds=50))
    await kit.wait(due_within=timedelta(minutes=1))
    assert capsys.readouterr().out.startswith("1 job is due within 60 s: fetch #1.\n")


# Until something is so


async def test_it_waits_until_a_question_of_the_learners_is_answered_with_true() -> None:
    go_on = threading.Event()

    async def letter(job: Job) -> None:
        await fetch("INSERT INTO letters VALUES (1)")
        await asyncio.to_thread(go_on.wait, 10)

    await fetch("CREATE TABLE letters (id int)")
    consumer = kit.run(main_with(letter=letter))
    await enqueue("letter")
    await kit.wait(until="SELECT count(*) > 0 FROM letters")
    assert (consumer.done, len(await fetch("SELECT FROM letters"))) == (0, 1)
    go_on.set()
    await kit.wait()


async def test_what_will_not_become_so_is_an_error_that_says_why() -> None:
    await enqueue("fetch")
    with pytest.raises(kit.KitError) as caught:
        await kit.wait(until="SELECT false")
    first, *why = str(caught.value).splitlines()
    assert first == "It is not so yet: SELECT false"
    assert why == ["1 job is due: fetch #1.", "No consumer is running. Start one with kit.run(main)."]


async def test_when_the_time_is_up_it_says_what_is_not_so() -> None:
    with pytest.raises(kit.KitError) as caught:
        await kit.wait(timeout=0.2, until="SELECT NULL")
    assert str(caught.value).startswith(
        "After 0.2 s, this is not so yet: SELECT NULL; nothing is due or running. Look at kit.jobs(), or wait"
    )


async def test_a_question_that_postgres_refuses_is_told_as_postgres_tells_it() -> None:
    with pytest.raises(asyncpg.UndefinedTableError, match="letters"):
        await kit.wait(until="SELECT count(*) FROM letters")


async def test_it_leaves_no_connection_behind() -> None:
    await kit.wait()
    await until("the connection is closed", nobody_is_connected)


async def test_it_can_be_given_up_and_the_consumer_goes_on() -> None:
    go_on = threading.Event()

    async def slow(job: Job) -> None:
        await asyncio.to_thread(go_on.wait, 10)

    consumer = kit.run(main_with(slow=slow))
    await enqueue("slow")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(kit.wait(), 0.2)
    go_on.set()
    await kit.wait()
    assert consumer.done == 1


# What it shows


async def test_what_handlers_print_is_shown_as_it_happens_and_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    go_on = threading.Event()

    async def steps(job: Job) -> None:
        print("first")
        await asyncio.to_thread(go_on.wait, 10)
        print("second")

    kit.run(main_with(steps=steps))
    await enqueue("steps")
    waiting = asyncio.create_task(kit.wait())
    shown = ""

    def now_shown() -> str:
        nonlocal shown
        shown += capsys.readouterr().out
        return shown

    await until("the first line is shown", lambda: now_shown() == "[steps #1] first\n")
    go_on.set()
    await waiting
    assert now_shown() == "[steps #1] first\n[steps #1] second\n"
    await kit.wait()
    assert capsys.readouterr().out == ""


async def test_what_happened_before_is_shown_too(capsys: pytest.CaptureFixture[str]) -> None:
    consumer = kit.run(main_with(speak=speak))
    await enqueue("speak", b"early")
    await until("it is done", lambda: consumer.done)
    await kit.wait()
    assert capsys.readouterr().out == "[speak #1] payload b'early'\n"


async def test_exceptions_are_shown_with_their_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    async def fetch(job: Job) -> None:
        print("trying")
        raise ValueError("no such page")

    kit.run(main_with(fetch=fetch))
    await enqueue("fetch")
    await kit.wait()
    assert capsys.readouterr().out == "[fetch #1] trying\n[fetch #1] exception: ValueError: no such page\n"


async def test_a_chatterbox_does_not_fill_the_cell(capsys: pytest.CaptureFixture[str]) -> None:
    async def chatter(job: Job) -> None:
        for number in range(5_000):
            print(number)

    kit.run(main_with(chatter=chatter))
    await enqueue("chatter")
    await kit.wait()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2_001
    assert lines[-1] == "… and 3000 more lines: see the consumer's .output"


@pytest.mark.parametrize("lines", [12_345, 30_000])
async def test_how_many_lines_are_left_out_is_right_also_where_they_are_too_many_to_be_kept(
    lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async def chatter(job: Job) -> None:
        for number in range(lines):
            print(number)

    consumer = kit.run(main_with(chatter=chatter))
    await enqueue("chatter")
    await until("it has spoken", lambda: consumer.done)  # nobody looks meanwhile
    await kit.wait()
    *shown, last = capsys.readouterr().out.splitlines()
    assert last == f"… and {lines - len(shown)} more lines: see the consumer's .output"
    assert len(shown) == 2_000


@pytest.mark.parametrize("how", ["wait", "stop"])
async def test_long_lines_do_not_fill_the_cell_either(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def chatter(job: Job) -> None:
        for _ in range(1_000):
            print("€" * 100_000)

    consumer = kit.run(main_with(chatter=chatter))
    await enqueue("chatter")
    await until("it has spoken", lambda: consumer.done)
    if how == "wait":
        await kit.wait()
    else:
        consumer.stop()
    said = capsys.readouterr().out
    assert len(said.encode()) < 210_000
    *shown, last = said.splitlines()
    assert len(shown) > 1
    assert last == f"… and {1_000 - len(shown)} more lines: see the consumer's .output"
    assert len(consumer.output) == 1_000


async def test_what_nobody_waited_for_is_shown_when_the_consumer_is_replaced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    consumer = kit.run(main_with(speak=speak))
    await enqueue("speak", b"unseen")
    await until("it is done", lambda: consumer.done)
    kit.run(main_with(speak=speak))
    assert capsys.readouterr().out == "[speak #1] payload b'unseen'\n"
    await kit.wait()
    assert capsys.readouterr().out == ""


async def test_after_two_seconds_it_says_once_what_it_waits_for(capsys: pytest.CaptureFixture[str]) -> None:
    async def short(job: Job) -> None:
        await asyncio.sleep(0.5)

    kit.run(main_with(short=short), batch_size=1, max_concurrent_tasks=2)
    await enqueue("short", *[b""] * 12)
    await kit.wait()
    assert re.fullmatch(r"After 2 s, \d jobs? (is|are) due or running\.\n", capsys.readouterr().out)


# When nothing will happen


async def test_an_entrypoint_nobody_has_is_named_with_the_one_that_was_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    consumer = kit.run(main_with(welcome=speak, goodbye=nothing))
    await enqueue("welcome", b"Ada")
    (job,) = await enqueue("welcom", b"Linus")
    await kit.wait()
    assert capsys.readouterr().out.splitlines() == [
        "[welcome #1] payload b'Ada'",
        f"1 job is due: welcom #{job}.",
        "No running consumer has the entrypoint 'welcom'. Did you mean 'welcome'?",
        "Those that run have: 'goodbye', 'welcome'. A job waits until a consumer has its entrypoint.",
    ]
    assert consumer.done == 1


async def test_without_a_consumer_it_says_so_instead_of_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    await enqueue("fetch", *[b""] * 12)
    await kit.wait()
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("12 jobs are due: fetch #1, fetch #2")
    assert first.endswith("fetch #10 and 2 more.")
    assert second == "No consumer is running. Start one with kit.run(main)."


async def test_a_consumer_that_failed_is_named_as_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        raise ValueError("no config")

    with pytest.raises(kit.KitError):
        kit.run(main)
    await enqueue("fetch")
    await kit.wait()
    assert "Consumer 'consumer' has failed. main() raised ValueError: no config" in capsys.readouterr().out


async def test_a_job_whose_consumer_is_gone_is_no_reason_to_wait(capsys: pytest.CaptureFixture[str]) -> None:
    async with worker("fetch", seconds=60) as process:
        (job,) = await enqueue("fetch")
        await until("it is picked", lambda: is_logged(job, "picked"))
        process.kill()
        await process.wait()
    await kit.wait()
    assert capsys.readouterr().out.endswith("No consumer is running. Start one with kit.run(main).\n")


# When it gives up


async def test_when_the_time_is_up_the_jobs_that_are_not_done_are_named() -> None:
    go_on = threading.Event()

    async def slow(job: Job) -> None:
        await asyncio.to_thread(go_on.wait, 10)

    kit.run(main_with(slow=slow), batch_size=1, max_concurrent_tasks=2)
    await enqueue("slow", b"", b"", b"")
    await until("two are picked", lambda: is_logged(2, "picked"))
    with pytest.raises(kit.KitError) as caught:
        await kit.wait(timeout=0.2)
    go_on.set()
    said = str(caught.value)
    assert said.startswith("3 jobs are not done after 0.2 s: slow #1 (running for ")
    assert "slow #3 (queued). Look at kit.jobs()" in said


async def test_in_a_handler_it_refuses_instead_of_waiting_for_itself() -> None:
    async def waits(job: Job) -> None:
        await kit.wait()

    consumer = kit.run(main_with(waits=waits))
    await enqueue("waits")
    await kit.wait()
    assert "would wait for the handler's own job" in str(consumer.errors[0].exception)


@pytest.mark.parametrize("timeout", [-1, "soon", None, float("nan")])
async def test_a_wrong_timeout_is_refused(timeout: Any) -> None:
    with pytest.raises(kit.KitError, match="timeout="):
        await kit.wait(timeout=timeout)


async def test_without_tables_it_says_what_to_do() -> None:
    connection = await asyncpg.connect()
    await Queries(AsyncpgDriver(connection)).uninstall()
    await connection.close()
    with pytest.raises(kit.KitError, match=r"tables are not in this database.*kit\.postgres\("):
        await kit.wait()


async def test_without_postgres_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_opened", [])
    monkeypatch.setenv("PGPORT", "1")
    with pytest.raises(kit.KitError, match="No Postgres could be reached"):
        await kit.wait()


async def test_it_stays_with_a_consumer_that_waits_for_postgres(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Gate() as gate:

        @asynccontextmanager
        async def main() -> AsyncIterator[PgQueuer]:
            connection = await asyncpg.connect(host="127.0.0.1", port=gate.port)
            pgq = PgQueuer(AsyncpgDriver(connection))
            pgq.entrypoint("speak")(speak)
            yield pgq

        consumer = await asyncio.to_thread(kit.run, main)
        port = os.environ["PGPORT"]
        gate.close()
        await until("it noticed", lambda: consumer.state == "reconnecting")
        await enqueue("speak", b"later")
        monkeypatch.setattr(session, "_opened", [])
        monkeypatch.setenv("PGHOST", "127.0.0.1")
        monkeypatch.setenv("PGPORT", str(gate.port))
        waiting = asyncio.create_task(kit.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        monkeypatch.setenv("PGPORT", port)
        await gate.open()
        await waiting
        assert "[speak #1] payload b'later'" in capsys.readouterr().out
        await until(
            "it says it is back", lambda: any("to Postgres again" in line for line in texts(consumer))
        )
        await asyncio.to_thread(consumer.stop)
