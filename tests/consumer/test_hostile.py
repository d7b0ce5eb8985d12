"""Exceptions that PGQueuer could not log: they harm neither the jobs beside them nor the consumer."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from pgqueuer.errors import RetryRequested
from pgqueuer.models import Job

import kit
from tests.consumer.queue import enqueue, fetch, logged, main_with, texts
from tests.waiting import until


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class MuteRuntime(RuntimeError):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Unusual(BaseException):
    pass


HOSTILE = {
    "NUL": ValueError("before\0after"),
    "surrogate": ValueError("half of \ud83d a pair"),
    "no text": Mute(),
    "no text, and Python's own": MuteRuntime(),
    "no Exception": Unusual("neither an Exception\0nor an exit"),
    "group": ExceptionGroup("two", [ValueError("a\0"), KeyError("b")]),
}


@pytest.mark.parametrize("on_failure", ["delete", "hold"])
@pytest.mark.parametrize("error", HOSTILE.values(), ids=HOSTILE.keys())
async def test_its_neighbours_run_once_and_leave_the_queue(
    error: BaseException, on_failure: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[int] = []

    async def fetch_page(job: Job) -> None:
        ran.append(job.id)
        if job.payload == b"hostile":
            raise error

    consumer = kit.run(main_with(on_failure, fetch=fetch_page), heartbeat_timeout=1)
    jobs = await enqueue("fetch", *[b""] * 10, b"hostile", *[b""] * 9)
    await kit.wait(10)
    assert sorted(ran) == jobs
    statuses = {job: (await logged(job))[-1] for job in jobs}
    ending = "failed" if on_failure == "hold" else "exception"
    assert statuses == dict.fromkeys(jobs, "successful") | {jobs[10]: ending}
    assert (consumer.state, consumer.done, consumer.failed) == ("running", 19, 1)
    assert [failure.exception for failure in consumer.errors] == [error]
    said = "".join(capsys.readouterr()).splitlines()  # the notice at once, where nobody waits yet
    assert len([line for line in said if "PGQueuer can log" in line]) == 1
    assert len(said) == 2, said  # and what the exception was
    assert any(f"[fetch #{jobs[10]}]" in line and type(error).__name__ in line for line in said)


async def test_the_log_has_the_exceptions_name_and_text_and_place() -> None:
    async def fails(job: Job) -> None:
        raise ValueError("before\0after")

    kit.run(main_with(fails=fails))
    await enqueue("fails")
    await kit.wait()
    ((told,),) = await fetch("SELECT traceback::text FROM pgqueuer_log WHERE traceback IS NOT NULL")
    assert '"exception_type": "ValueError"' in told
    assert r"before\\0after" in told
    assert "test_hostile.py" in told


async def test_a_retry_with_a_text_that_cannot_be_stored_is_a_retry_all_the_same() -> None:
    async def flaky(job: Job) -> None:
        if not job.attempts:
            raise RetryRequested(timedelta(0), reason="upstream said \0") from ValueError("\ud800")

    consumer = kit.run(main_with(flaky=flaky))
    (job,) = await enqueue("flaky")
    await kit.wait()
    assert await logged(job) == ["queued", "picked", "queued", "picked", "successful"]
    assert (consumer.done, consumer.failed) == (1, 0)


async def test_a_print_of_half_a_character_reaches_the_cell(capsys: pytest.CaptureFixture[str]) -> None:
    async def speak(job: Job) -> None:
        print("half of \ud83d a pair")

    kit.run(main_with(speak=speak))
    await enqueue("speak")
    await kit.wait()
    assert capsys.readouterr().out == "[speak #1] half of \\ud83d a pair\n"


async def test_an_exception_that_is_none_fails_its_job_and_leaves_the_running_ones_alone() -> None:
    began = asyncio.Event()

    async def slow(job: Job) -> None:
        began.set()
        await asyncio.sleep(0.5)

    async def fails(job: Job) -> None:
        await began.wait()
        raise Unusual

    consumer = kit.run(main_with(slow=slow, fails=fails))
    (job,) = await enqueue("slow")
    await enqueue("fails")
    await until("it has failed", lambda: consumer.failed)
    await kit.wait()
    assert await logged(job) == ["queued", "picked", "successful"]


async def test_a_retry_whose_delay_is_a_number_fails_and_says_how_it_is_written() -> None:
    async def flaky(job: Job) -> None:
        raise RetryRequested(delay=5)  # type: ignore[arg-type]

    consumer = kit.run(main_with(flaky=flaky))
    (job,) = await enqueue("flaky")
    await kit.wait()
    assert await logged(job) == ["queued", "picked", "exception"]
    (line,) = texts(consumer)
    assert "RetryRequested(delay=5): the delay is a timedelta" in line
    assert consumer.failed == 1
