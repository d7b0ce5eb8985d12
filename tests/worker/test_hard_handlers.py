"""Handlers that start processes, read from a terminal or end their own process: nobody hangs for it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

import kit
from tests.consumer.queue import enqueue, logged, nobody_is_connected
from tests.waiting import until
from tests.worker.conftest import Write
from tests.worker.test_spawn import consumer, is_there, started

HANDLERS = """
import asyncio, os, subprocess, sys, time
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from multiprocessing import Process, get_context

import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer

def double(number):
    return 2 * number

def leave_the_group(by_fork):
    if not by_fork:
        return subprocess.Popen(["sleep", "600"], start_new_session=True).pid
    if child := os.fork():
        return child
    os.setsid()
    time.sleep(600)

@asynccontextmanager
async def main():
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))

    @pgq.entrypoint("do")
    async def do(job: Job) -> None:
        match job.payload.decode():
            case "pool":
                with ProcessPoolExecutor(1) as pool:
                    print(list(pool.map(double, [21])))
            case "spawned":
                with get_context("spawn").Pool(1) as pool:
                    print(pool.map(double, [21]))
            case "process":
                child = Process(target=double, args=(21,))
                child.start()
                await asyncio.to_thread(child.join)
                print(child.exitcode)
            case "input":
                input("Who? ")
            case "breakpoint":
                breakpoint()
                print("not reached")
            case "leave by exec":
                print(leave_the_group(by_fork=False))
            case "leave by fork":
                print(leave_the_group(by_fork=True))
            case "exit":
                os._exit(3)
            case "exit politely":
                sys.exit("bye")

    yield pgq
    await connection.close()
"""


@asynccontextmanager
async def with_a_child_that_left(worker: kit.Worker, how: bytes) -> AsyncIterator[None]:
    """Let a handler start a process outside of its group, which would hold what it inherited open."""
    await enqueue("do", how)
    await kit.wait()
    child = psutil.Process(int(worker.output[-1].text))
    try:
        yield
        assert is_there(child), "the process that left the group is nobody else's to end"
    finally:
        child.kill()


async def test_handlers_with_processes_of_their_own_come_to_their_end(write: Write) -> None:
    write("hard.py", HANDLERS)
    worker = kit.spawn("hard:main")
    jobs = await enqueue("do", b"pool", b"process", b"spawned")
    await kit.wait(60)
    assert [(await logged(job))[-1] for job in jobs] == ["successful"] * 3, worker.errors
    assert {line.text for line in worker.output} == {"[42]", "0"}


async def test_input_and_breakpoint_find_nobody_and_take_no_command_of_the_notebooks(write: Write) -> None:
    write("hard.py", HANDLERS)
    worker = kit.spawn("hard:main")
    await enqueue("do", b"input", b"breakpoint")
    await kit.wait()
    assert [error.text.split(":")[0] for error in worker.errors] == ["EOFError", "BdbQuit"]
    worker.stop()
    assert (worker.state, worker.exit_code) == ("stopped", 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("how", [b"leave by exec", b"leave by fork"])
async def test_the_end_of_a_worker_is_that_of_its_process_and_not_of_one_it_has_started(
    write: Write, how: bytes
) -> None:
    write("hard.py", HANDLERS)
    worker = kit.spawn("hard:main")
    async with with_a_child_that_left(worker, how):
        worker.kill()
        assert (worker.alive, worker.state, worker.exit_code) == (False, "killed", -signal.SIGKILL)
        began = time.monotonic()
        worker.stop()
        assert time.monotonic() - began < 1
    worker = kit.spawn("hard:main")
    async with with_a_child_that_left(worker, how):
        os.kill(worker.pid, signal.SIGKILL)
        await until("its end is noticed", lambda: not worker.alive)
        assert worker.problem == "Its process was killed by SIGKILL."


async def test_a_worker_that_ends_itself_is_told_with_its_job_and_the_way_out(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("hard.py", HANDLERS)
    worker = kit.spawn("hard:main")
    (job,) = await enqueue("do", b"exit")
    await until("it has ended", lambda: not worker.alive)
    await kit.wait()
    how = f"has ended by itself, with exit code 3 in the middle of do #{job}."
    said = capsys.readouterr()
    assert f"Worker 'worker' {how}" in said.out + said.err
    assert f"Consumer 'worker' has failed. Its process {how} If the job did that" in said.out
    assert f"`await q.mark_job_as_cancelled([{job}])`" in said.out
    assert "None" not in said.out
    assert said.out.endswith("No consumer is running.\n")


async def test_a_worker_outlives_a_handler_that_calls_exit_and_names_it(write: Write) -> None:
    write("hard.py", HANDLERS)
    worker = kit.spawn("hard:main")
    (job,) = await enqueue("do", b"exit politely")
    await kit.wait()
    assert (worker.state, worker.failed) == ("running", 1)
    assert await logged(job) == ["queued", "picked", "exception"]
    assert any(f"SystemExit in do #{job} does not end this consumer." in line.text for line in worker.output)


async def test_a_job_that_ends_every_worker_is_named_with_the_way_out(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("hard.py", HANDLERS)
    worker = kit.spawn("hard:main", heartbeat_timeout=0.1)
    (job,) = await enqueue("do", headers="ada")
    await until("it has ended", lambda: not worker.alive)
    named = f'(#{job}: its headers are "ada", and PGQueuer reads a JSON object there'
    out = f"Take it out of the queue with `await q.mark_job_as_cancelled([{job}])`"
    await kit.wait()
    for said in (str(worker.problem), capsys.readouterr().out):
        assert named in said
        assert out in said


async def test_a_deleted_working_folder_is_told_in_plain_words(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("hard.py", HANDLERS)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for call in (kit.run, kit.spawn):
        with pytest.raises(kit.KitError, match=r"has been deleted. Go to one that is there"):
            call("hard:main")


async def test_a_frozen_worker_is_killed_also_when_its_guard_was_killed_before_the_kernel(
    write: Write,
) -> None:
    write("consumer.py", consumer())
    write("kernel.py", KERNEL)
    kernel = started("kernel.py")
    assert kernel.stdin is not None
    assert kernel.stdout is not None
    guard, *pids = json.loads(kernel.stdout.readline())
    workers = [psutil.Process(pid) for pid in pids]
    os.kill(guard, signal.SIGKILL)
    kernel.stdin.write(b"\n")
    kernel.stdin.flush()
    second = json.loads(kernel.stdout.readline())
    assert second != guard
    kernel.kill()
    kernel.communicate()
    await until("the workers are gone", lambda: not any(map(is_there, workers)))
    await until("and so is the guard", lambda: not psutil.pid_exists(second))
    await until("and their connections", nobody_is_connected)


KERNEL = """
    import json, sys, time, kit
    from kit.session import session
    workers = kit.spawn("consumer:main", count=2)
    workers[0].pause()
    first = session.guard.pid
    print(json.dumps([first, *(worker.pid for worker in workers)]), flush=True)
    sys.stdin.readline()
    while session.guard is None or session.guard.pid == first:
        time.sleep(0.01)
    print(session.guard.pid, flush=True)
    sys.stdin.read()
"""


async def test_the_guard_ends_with_the_last_worker(write: Write) -> None:
    from kit.session import session

    write("consumer.py", consumer())
    first, second = kit.spawn("consumer:main", count=2)
    guard = session.guard
    assert guard is not None
    first.stop()
    assert guard.poll() is None
    second.kill()
    await until("the guard has ended", lambda: guard.poll() == 0)
    assert (session.guard, session.guarded) == (None, set())
