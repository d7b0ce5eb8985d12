"""Jobs that take their consumer down, or try to: it goes on, or says which job it was and the way out."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, Queries
from pgqueuer.models import Job, JobId

import kit
from tests.consumer.queue import enqueue, fetch, is_logged, logged, main_with, runner, texts
from tests.waiting import until

SPOILT = {
    "a text, as enqueue takes it": ("ada", 'its headers are "ada"'),
    "a list, as enqueue takes it": ([[1, 2]], "its headers are [1, 2]"),
    "a number, as enqueue takes it": (3, "its headers are 3"),
    "a text, by SQL": ("headers = '\"ada\"'", 'its headers are "ada"'),
    "a time without end": ("created = 'infinity'", "one of its times is infinite"),
    "due since ever": ("execute_after = '-infinity'", "one of its times is infinite"),
}


async def spoil(job: int, how: str) -> None:
    await fetch(f"UPDATE pgqueuer SET {how} WHERE id = $1", job)


async def enqueue_spoilt(how: object) -> int:
    if isinstance(how, str) and "=" in how:
        (job,) = await enqueue("fetch", b"bad")
        await spoil(job, how)
    else:
        (job,) = await enqueue("fetch", b"bad", headers=how)
    return job


async def take_out(job: int) -> None:
    connection = await asyncpg.connect()
    try:
        await Queries(AsyncpgDriver(connection)).mark_job_as_cancelled([JobId(job)])
    finally:
        await connection.close()


async def why_it_ends() -> str:
    """Run a consumer, and return why it does not start, or has died at once."""
    try:
        consumer = kit.run(main_with(fetch=speak), heartbeat_timeout=0.1)
    except kit.KitError as error:
        return str(error)
    await until("it has died", lambda: consumer.state == "failed")
    return str(consumer.problem)


async def speak(job: Job) -> None:
    print("done")


@pytest.mark.parametrize(("how", "wrong"), SPOILT.values(), ids=SPOILT.keys())
async def test_a_job_that_pgqueuer_cannot_read_is_named_with_the_way_out_that_works(
    how: object, wrong: str
) -> None:
    job = await enqueue_spoilt(how)
    (good,) = await enqueue("fetch", b"good")
    out = rf"`await q.mark_job_as_cancelled([{job}])`"
    assert kit.why(job).startswith(f"Job {job} is queued, but {wrong}")
    for _ in range(2):  # and again, as long as it is there
        said = await why_it_ends()
        assert f"(#{job}: {wrong}" in said
        assert f"Take it out of the queue with {out}, then run the cell again." in said
        assert kit.why(job).startswith(f"Job {job} is picked, but {wrong}")
        assert kit.why(job).endswith(f"every consumer that picks it ends. {out} takes it out of the queue.")
    await take_out(job)
    kit.run(main_with(fetch=speak), heartbeat_timeout=0.1)
    await kit.wait()
    assert (await logged(good))[-1] == "successful"


async def test_a_running_consumer_that_such_a_job_ends_says_so_wherever_one_looks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    consumer = kit.run(main_with(fetch=speak))
    job = await enqueue_spoilt("ada")
    await until("it has died", lambda: consumer.state == "failed")
    await kit.wait()
    said = capsys.readouterr()
    for text in (said.err, said.out, str(consumer.problem)):
        assert f'(#{job}: its headers are "ada"' in text
        assert f"`await q.mark_job_as_cancelled([{job}])`, then run the cell again" in text
    assert "ValidationError" not in said.out + said.err
    assert said.out.endswith("No consumer is running.\n")  # and not: start one


async def test_headers_that_are_an_object_or_none_are_no_reason_to_warn() -> None:
    await enqueue("nobody", headers={"who": "ada"})
    await enqueue("nobody")
    await spoil((await enqueue("nobody"))[0], "headers = 'null'")
    assert [kit.why(job) for job in (1, 2, 3)] == [
        f"Job {job} is queued. No consumer is running. Start one with kit.run(main)." for job in (1, 2, 3)
    ]


async def exits() -> None:
    sys.exit("bye")


async def in_a_task(job: Job) -> None:
    await asyncio.create_task(exits())


async def in_a_group(job: Job) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(exits())


async def in_a_thread(job: Job) -> None:
    await asyncio.to_thread(sys.exit, "bye")


async def by_itself(job: Job) -> None:
    await exits()


async def by_interrupt(job: Job) -> None:
    raise KeyboardInterrupt("bye")


ENDS = [by_itself, by_interrupt, in_a_task, in_a_group, in_a_thread]


@pytest.mark.parametrize("handler", ENDS, ids=lambda handler: handler.__name__)
async def test_a_handler_that_wants_to_end_the_process_ends_its_job_only_and_is_told(
    handler: Callable[[Job], Awaitable[None]],
) -> None:
    go_on = asyncio.Event()

    async def slow(job: Job) -> None:
        await go_on.wait()

    consumer = kit.run(main_with(slow=slow, leave=handler))
    (neighbour,) = await enqueue("slow")
    await until("the neighbour runs", lambda: runner(consumer).running_jobs())
    (job,) = await enqueue("leave")
    await until("it has failed", lambda: is_logged(job, "exception"))
    runner(consumer)._loop.call_soon_threadsafe(go_on.set)
    await kit.wait()
    assert await logged(neighbour) == ["queued", "picked", "successful"]
    assert (consumer.state, consumer.done, consumer.failed) == ("running", 1, 1)
    kind = "KeyboardInterrupt" if handler is by_interrupt else "SystemExit"
    assert kit.why(job).endswith(f"ago as exception: its handler raised {kind}: bye.")
    assert any(
        line.startswith(f"{kind} in leave #{job} does not end this consumer. `pgq run` it would end")
        for line in texts(consumer)
    )


async def test_a_loop_that_a_handler_stops_and_a_task_that_exits_end_nobody() -> None:
    async def stops(job: Job) -> None:
        asyncio.get_running_loop().stop()
        asyncio.get_running_loop().call_soon_threadsafe(asyncio.get_running_loop().stop)
        await asyncio.sleep(0.05)

    async def forgets(job: Job) -> None:
        asyncio.get_running_loop().call_soon(sys.exit, "from a callback")
        forgotten = asyncio.create_task(exits())
        await asyncio.sleep(0.05)
        assert forgotten.done()

    consumer = kit.run(main_with(stops=stops, forgets=forgets))
    jobs = await enqueue("stops") + await enqueue("forgets")
    await kit.wait()
    assert [await logged(job) for job in jobs] == [["queued", "picked", "successful"]] * 2
    said = "\n".join(texts(consumer))
    assert f"loop.stop() in stops #{jobs[0]} does not end this consumer." in said
    assert "SystemExit: from a callback does not end" in said
    assert "SystemExit: bye (test_bad_jobs.py, line" in said
    assert "never retrieved" not in said


async def test_a_handler_that_cancels_all_tasks_ends_its_consumer_which_says_so() -> None:
    async def cancels(job: Job) -> None:
        for task in asyncio.all_tasks():
            task.cancel()

    consumer = kit.run(main_with(cancels=cancels))
    await enqueue("cancels")
    await until("it has died", lambda: consumer.state == "failed")
    assert consumer.problem == (
        "All tasks of its loop were cancelled, as a handler may do by asyncio.all_tasks(). "
        "Run its cell again."
    )
