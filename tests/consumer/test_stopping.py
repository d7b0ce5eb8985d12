"""How a consumer ends: stopped, drained, with its process, or in a fork."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pgqueuer import PgQueuer
from pgqueuer.models import Job

import kit
from kit.session import session
from tests.consumer.queue import (
    connections,
    enqueue,
    fetch,
    logged,
    main_with,
    nobody_is_connected,
    nothing,
    runner,
    texts,
)
from tests.waiting import until


async def test_stop_waits_for_the_handlers_that_run() -> None:
    began, go_on = threading.Event(), threading.Event()

    async def slow(job: Job) -> None:
        began.set()
        await asyncio.to_thread(go_on.wait, 10)

    consumer = kit.run(main_with(slow=slow))
    (job,) = await enqueue("slow")
    await until("the handler runs", began.is_set)
    stopping = threading.Thread(target=consumer.stop)
    stopping.start()
    await until("it is stopping", lambda: consumer.state == "stopping")
    assert await logged(job) == ["queued", "picked"]
    go_on.set()
    stopping.join()
    assert await logged(job) == ["queued", "picked", "successful"]
    assert (consumer.state, runner(consumer).alive) == ("stopped", False)
    consumer.stop()
    assert consumer.state == "stopped"


async def test_stop_names_what_it_cut_off_and_puts_it_back(capsys: pytest.CaptureFixture[str]) -> None:
    async def slow(job: Job) -> None:
        await asyncio.sleep(3600)

    consumer = kit.run(main_with(slow=slow))
    first, second = await enqueue("slow", b"", b"")
    await until("both run", lambda: len(runner(consumer).running_jobs()) == 2)
    consumer.stop(timeout=0.1)
    assert not runner(consumer).alive
    assert await connections() == []
    assert capsys.readouterr().out.splitlines() == [
        f"[slow #{first}] cut off, and back in the queue",
        f"[slow #{second}] cut off, and back in the queue",
        "Consumer 'consumer' was stopped after 0.1 s. "
        f"Cut off, and back in the queue: slow #{first}, slow #{second}.",
    ]
    assert await logged(first) == ["queued", "picked", "queued"]
    kit.run(main_with(slow=nothing))
    await kit.wait()
    assert await logged(first) == ["queued", "picked", "queued", "picked", "successful"]


async def test_a_handler_that_ends_well_when_it_is_cancelled_is_done() -> None:
    async def tidy(job: Job) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            print("tidied up")

    consumer = kit.run(main_with(tidy=tidy))
    (job,) = await enqueue("tidy")
    await until("it runs", lambda: runner(consumer).running_jobs())
    consumer.stop(timeout=0)
    assert texts(consumer) == [f"[tidy #{job}] tidied up"]
    assert await logged(job) == ["queued", "picked", "successful"]


async def test_a_handler_that_blocks_the_thread_is_named_and_keeps_nobody_waiting(
    capsys: pytest.CaptureFixture[str],
) -> None:
    go_on = threading.Event()

    async def blocks(job: Job) -> None:
        go_on.wait(30)

    consumer = kit.run(main_with(blocks=blocks))
    await enqueue("blocks")
    await until("it runs", lambda: runner(consumer).running_jobs())
    consumer.stop(timeout=0)
    assert "does not end: blocks #1 blocks its thread" in capsys.readouterr().out
    assert runner(consumer).alive
    go_on.set()
    await until("it ends when the handler does", lambda: not runner(consumer).alive)
    assert consumer.state == "stopped"


async def test_a_handler_can_stop_its_own_consumer() -> None:
    async def last(job: Job) -> None:
        session.consumers["consumer"].stop()

    consumer = kit.run(main_with(last=last))
    (job,) = await enqueue("last")
    await until("it has ended", lambda: consumer.state == "stopped" and not runner(consumer).alive)
    assert await logged(job) == ["queued", "picked", "successful"]


async def test_a_main_that_does_not_come_to_its_end_is_cut_off_and_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def hangs() -> AsyncIterator[PgQueuer]:
        async with main_with(fetch=nothing)() as pgq:
            yield pgq
            await asyncio.sleep(3600)

    monkeypatch.setattr("kit.consumer.runner.GRACE", 0.5)
    consumer = kit.run(hangs)
    consumer.stop(timeout=0)
    assert not runner(consumer).alive
    assert "main() did not come to its end, and was cut off." in capsys.readouterr().out


async def test_a_mistake_after_the_yield_is_told_when_it_stops(capsys: pytest.CaptureFixture[str]) -> None:
    @asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        async with main_with(fetch=nothing)() as pgq:
            yield pgq
            raise ValueError("while cleaning up")

    consumer = kit.run(main)
    consumer.stop()
    assert consumer.state == "stopped"
    assert "ValueError: while cleaning up (test_stopping.py, line" in capsys.readouterr().out


SCRIPT = """
    import asyncio, sys, time
    import asyncpg, kit
    from contextlib import asynccontextmanager
    from pgqueuer import AsyncpgDriver, PgQueuer, Queries

    @asynccontextmanager
    async def main():
        connection = await asyncpg.connect()
        pgq = PgQueuer(AsyncpgDriver(connection))

        @pgq.entrypoint("fetch")
        async def fetch(job):
            await asyncio.to_thread(time.sleep, 0.3)
            print("done with", job.payload.decode())

        yield pgq
        await connection.close()

    async def produce():
        connection = await asyncpg.connect()
        payloads = [b"%d" % n for n in range(12)]
        await Queries(AsyncpgDriver(connection)).enqueue(["fetch"] * 12, payloads, [0] * 12)
        await connection.close()

    consumer = kit.run(main, batch_size=1, max_concurrent_tasks=2)
    asyncio.run(produce())
    while not kit.session.session.consumers['consumer'].running_jobs():
        time.sleep(0.01)
"""


async def test_a_script_that_ends_leaves_no_connection_no_warning_and_loses_no_job() -> None:
    script = textwrap.dedent(SCRIPT)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-X", "dev", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "[fetch #1] done with 0" in done.stdout.splitlines()
    statuses = {row["status"] for row in await fetch("SELECT status::text FROM pgqueuer_log")}
    assert "exception" not in statuses
    assert len(await fetch("SELECT FROM pgqueuer WHERE status = 'queued'")) >= 6
    await until("its connections are closed", nobody_is_connected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
async def test_a_forked_process_has_no_consumer_and_prints_by_itself() -> None:
    script = textwrap.dedent(SCRIPT) + textwrap.dedent("""
        import os
        if child := os.fork():
            os.waitpid(child, 0)
        else:
            print("child:", kit.session.session.consumers, type(sys.stdout).__name__, flush=True)
            os._exit(0)
    """)
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert "child: {} TextIOWrapper" in done.stdout
    assert "[fetch #1] done with 0" in done.stdout.splitlines()
    assert done.returncode == 0
