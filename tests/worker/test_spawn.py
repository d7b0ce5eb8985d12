"""`kit.spawn`: consumers that are processes, what becomes of them, and of their jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import psutil
import pytest

import kit
from kit.errors import KitError
from kit.session import session
from tests.consumer.queue import cut_connections, enqueue, fetch, is_logged, logged, nobody_is_connected
from tests.waiting import until
from tests.worker.conftest import Write

QUICK: dict[str, Any] = {"heartbeat_timeout": 3, "dequeue_timeout": 0.2}
CONSUMER = """
    import asyncio, os, signal, subprocess
    from contextlib import asynccontextmanager

    import asyncpg
    from pgqueuer import AsyncpgDriver, Job, PgQueuer

    @asynccontextmanager
    async def main():
        connection = await asyncpg.connect()
        pgq = PgQueuer(AsyncpgDriver(connection))

        @pgq.entrypoint("fetch")
        async def process(job: Job) -> None:
            print(f"{VERSION} begins")
            await asyncio.sleep(float(job.payload or 0))
            print("done")

        @pgq.entrypoint("die")
        async def die(job: Job) -> None:
            print("dying")
            os.kill(os.getpid(), signal.SIGKILL)

        @pgq.entrypoint("child")
        async def child(job: Job) -> None:
            print(subprocess.Popen(["sleep", "600"]).pid)

        yield pgq
        await connection.close()
"""


def consumer(version: str = "old") -> str:
    return f"VERSION = {version!r}\n" + CONSUMER.replace("\n    ", "\n")


def at_work(*workers: kit.Worker) -> kit.Worker | None:
    return next((worker for worker in workers if worker.running_jobs()), None)


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


async def test_four_workers_share_the_jobs_and_wait_shows_which_printed_what(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("consumer.py", consumer())
    workers = kit.spawn("consumer:main", count=4, batch_size=1, dequeue_timeout=0.2)
    assert [worker.name for worker in workers] == ["worker 1", "worker 2", "worker 3", "worker 4"]
    assert len({worker.pid for worker in workers} | {os.getpid()}) == 5
    assert all(worker.alive and worker.exit_code is None for worker in workers)
    assert "another consumer" not in capsys.readouterr().out.lower()
    await enqueue("fetch", *[b"0.4"] * 12)
    await kit.wait()
    lines = shown(capsys)
    assert sum("begins" in line for line in lines) == 12
    assert len({line.split(" · ")[0] for line in lines}) > 1, lines
    for worker in workers:
        mine = [line for line in lines if line.startswith(f"[{worker.name} · fetch #")]
        assert mine == [str(line) for line in worker.output]
        assert worker.done == len(mine) / 2
    took = {worker.name: [job for job, _ in session.began[worker.name]] for worker in workers}
    assert sorted(job for jobs in took.values() for job in jobs) == list(range(1, 13))
    workers.stop()
    assert [worker.exit_code for worker in workers] == [0] * 4
    await until("the connections are closed", nobody_is_connected)


async def test_the_exceptions_of_a_workers_handlers_are_kept_as_text(write: Write) -> None:
    write("consumer.py", consumer())
    worker = kit.spawn("consumer:main", **QUICK)
    (job,) = await enqueue("fetch", b"soon")
    await kit.wait()
    (failure,) = worker.errors
    assert (failure.job_id, failure.held, failure.exception) == (job, False, None)
    assert str(failure) == f"[fetch #{job}] ValueError: could not convert string to float: b'soon'"
    assert "await asyncio.sleep(float(job.payload or 0))" in failure.traceback


async def test_running_the_cell_again_stops_the_workers_before_and_runs_the_file_as_it_is_now(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("consumer.py", consumer("old"))
    first = kit.spawn("consumer:main", count=2, **QUICK)
    write("consumer.py", consumer("new"))  # as long as before, and in the same second
    second = kit.spawn("consumer:main", **QUICK)
    assert [worker.state for worker in first] == ["stopped", "stopped"]
    await enqueue("fetch", *[b"0"] * 6)
    await kit.wait()
    assert sum("new begins" in line for line in shown(capsys)) == 6
    with kit.postgres("embedded", database=os.environ["PGDATABASE"]):
        pass
    assert (second.state, second.alive, second.exit_code) == ("stopped", False, 0)


async def test_a_killed_worker_leaves_its_job_picked_and_another_runs_it_again(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("consumer.py", consumer())
    first, second = kit.spawn("consumer:main", count=2, batch_size=1, **QUICK)
    (job,) = await enqueue("fetch", b"1.5")
    owner = await until(
        "a worker has the job", lambda: next((w for w in (first, second) if w.running_jobs()), 0)
    )
    owner.kill()
    assert (owner.alive, owner.state, owner.exit_code) == (False, "killed", -signal.SIGKILL)
    (row,) = await fetch("SELECT status::text, queue_manager_id::text AS id FROM pgqueuer")
    assert (row["status"], session.managers[row["id"]]) == ("picked", owner.name)
    await kit.wait()
    assert await logged(job) == ["queued", "picked", "picked", "successful"]
    printed = [line.split("]")[1] for line in shown(capsys) if line.startswith("[")]
    assert printed == [" old begins", " old begins", " done"]


async def test_a_frozen_worker_loses_its_job_and_goes_on_with_it_all_the_same(write: Write) -> None:
    write("consumer.py", consumer())
    first, second = kit.spawn("consumer:main", count=2, batch_size=1, **QUICK)
    (job,) = await enqueue("fetch", b"0.5")
    owner = await until(
        "a worker has the job", lambda: next((w for w in (first, second) if w.running_jobs()), 0)
    )
    other = second if owner is first else first
    owner.pause()
    assert (owner.state, psutil.Process(owner.pid).status()) == ("paused", psutil.STATUS_STOPPED)
    await kit.wait()
    assert (await logged(job)).count("picked") == 2
    assert (owner.done, other.done) == (0, 1)
    owner.resume()
    await until("the frozen one comes to its end", lambda: owner.done == 1)
    owner.pause()
    owner.stop()  # it goes on for that
    assert (owner.state, owner.exit_code) == ("stopped", 0)


async def test_wait_tells_of_a_worker_that_was_killed_by_its_own_handler(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("consumer.py", consumer())
    worker = kit.spawn("consumer:main", **QUICK)
    await enqueue("child")
    await kit.wait()
    left = psutil.Process(int(worker.output[0].text))
    (job,) = await enqueue("die")
    await kit.wait()
    lines = shown(capsys)
    assert f"[worker · die #{job}] dying" in lines
    assert f"Worker 'worker' was killed by SIGKILL in the middle of die #{job}." in lines
    assert "No consumer is running." in lines[-1]
    await until("what its handler had started is gone", lambda: not is_there(left))


async def test_a_worker_comes_back_from_a_lost_connection(write: Write) -> None:
    write("consumer.py", consumer())
    worker = kit.spawn("consumer:main", **QUICK)
    await cut_connections()
    (job,) = await enqueue("fetch", b"0")
    await until("the job is done", lambda: is_logged(job, "successful"))
    assert worker.alive


def is_there(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


KERNEL = """
    import json, sys, kit
    workers = kit.spawn("consumer:main", count=2)
    workers[0].pause()
    from kit.session import session
    print(json.dumps([session.guard.pid, *(worker.pid for worker in workers)]), flush=True)
    sys.stdin.read()
"""


def started(file: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, file], stdin=pipe, stdout=pipe, env=environment)


async def test_nothing_is_left_of_workers_when_the_kernel_is_killed_although_one_was_frozen(
    write: Write,
) -> None:
    write("consumer.py", consumer())
    write("kernel.py", KERNEL)
    kernel = started("kernel.py")
    assert kernel.stdout is not None
    there = [psutil.Process(pid) for pid in json.loads(kernel.stdout.readline())]
    assert there[1].status() == psutil.STATUS_STOPPED
    kernel.kill()
    kernel.communicate()
    await until("the guard and the workers are gone", lambda: not any(map(is_there, there)))
    await until("and their connections", nobody_is_connected)


BAD = """
    import asyncpg, os
    from contextlib import asynccontextmanager
    from pgqueuer import AsyncpgDriver, PgQueuer

    @asynccontextmanager
    async def exits():
        print("good bye", flush=True)
        os._exit(7)
        yield

    @asynccontextmanager
    async def away():
        yield PgQueuer(AsyncpgDriver(await asyncpg.connect(port=1)))
"""


async def test_what_cannot_run_is_told_in_plain_words(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("bad.py", BAD)
    write("broken.py", "def half():\n    return 1 / 0\n\nhalf()\n")
    said = {
        "nowhere:main": [
            "There is no module 'nowhere'",
            "%%writefile consumer.py",
            'kit.spawn("consumer:main")',
        ],
        "bad:main": ["has no name 'main'", "%%writefile"],
        "broken:main": [
            "ZeroDivisionError: division by zero",
            "broken.py",
            "line 4, in <module>",
            "line 2, in half",
        ],
        "bad:exits": ["ended at once, with exit code 7", "good bye"],
        "bad:away": ["No Postgres could be reached", "kit.postgres()"],
        "main": ["names no factory"],
        "__main__:main": ["is in this notebook", "%%writefile"],
    }
    for target, words in said.items():
        with pytest.raises(KitError) as caught:
            kit.spawn(target)
        text, place = str(caught.value), 0
        for word in words:
            assert word in text[place:], f"{target}: {word!r} is not (in that order) in {text!r}"
            place = text.index(word, place)
    with pytest.raises(KitError, match=r'takes "module:name".*%%writefile consumer.py'):
        kit.spawn(is_there)  # type: ignore[call-overload]
    for count in (0, 33):
        with pytest.raises(
            KitError, match=f"count={count}: it is how many processes are started, from 1 to 32"
        ):
            kit.spawn("bad:away", count=count)
    monkeypatch.setattr(session, "_opened", [])
    monkeypatch.setenv("PGPORT", "1")
    with pytest.raises(KitError, match=r"Cannot reach Postgres.*kit.postgres\(\) brings it back"):
        kit.spawn("bad:away")
    assert not session.consumers
    assert not session.guarded
