"""Workers as processes that freeze, block and die: the others go on, and each effect is there once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from .conftest import PATIENCE, Desk
from .hurt_worker import hurt

ROOT = Path(__file__).parents[2]
TAKEN = "traceback::text LIKE '%another worker is at run%'"
MINE = "id = ANY ($1::bigint[])"


class Worker:
    """A process that runs ``pgq run``."""

    def __init__(self) -> None:
        options = (
            "--batch-size 10 --max-concurrent-tasks 20 --dequeue-timeout 0.2 --heartbeat-timeout 1 "
            "--restart-on-failure --restart-delay 0.2 --log-level CRITICAL"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pgqueuer", "run", "tests.stages.hurt_worker:main", *options.split()],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def dead(self) -> bool:
        return self.process.poll() is not None

    def stop(self) -> None:
        self.thaw()
        self.process.terminate()
        try:
            self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def workers(count: int = 1) -> Iterator[list[Worker]]:
    running = [Worker() for _ in range(count)]
    try:
        yield running
    finally:
        for worker in running:
            worker.stop()


async def start(desk: Desk, count: int, **data: Any) -> list[int]:
    return [await hurt.start(desk.connection, data) for _ in range(count)]


async def done(desk: Desk, runs: list[int]) -> None:
    await desk.until(
        f"{len(runs)} runs to be done",
        f"SELECT count(*) = $2 FROM kit_runs WHERE {MINE} AND status = 'done'",
        *(runs, len(runs)),
    )


async def each_effect_is_there_once(desk: Desk, runs: list[int]) -> None:
    effects = await desk.fetch("SELECT run, stage FROM effects WHERE run = ANY ($1::bigint[])", runs)
    assert sorted((row["run"], row["stage"]) for row in effects) == sorted(
        (run, stage) for run in runs for stage in ("one", "two")
    )


@pytest.mark.parametrize("count", [1, 2])
async def test_frozen_workers_with_all_connections_in_use_stop_no_other_run(desk: Desk, count: int) -> None:
    stuck: list[int] = []
    with ExitStack() as stack:
        for _ in range(count):
            mine = await start(desk, 10, sleep=5)
            [frozen] = stack.enter_context(workers())
            await desk.until(
                "every connection of a worker to be in a step",
                f"SELECT count(*) = 10 FROM kit_runs WHERE {MINE} AND status = 'running'",
                mine,
            )
            frozen.freeze()
            stuck += mine
        stack.enter_context(workers())
        await desk.until(
            "another worker to come upon every frozen step",
            f"SELECT count(DISTINCT job_id) = $1 FROM pgqueuer_log WHERE {TAKEN}",
            len(stuck),
        )
        fresh = await start(desk, 100)
        await done(desk, fresh)
        assert await desk.value(
            f"SELECT count(*) FROM kit_runs WHERE {MINE} AND stage = 'one'", stuck
        ) == len(stuck)
        stack.close()  # they are thawed, and end what they have begun
        with workers():
            await done(desk, stuck)
    await each_effect_is_there_once(desk, stuck + fresh)


async def test_a_frozen_worker_that_keeps_a_row_locked_stops_only_the_runs_that_need_it(desk: Desk) -> None:
    await desk.connection.execute(
        "CREATE TABLE stock (id int PRIMARY KEY, pieces int); INSERT INTO stock VALUES (1, 100)"
    )
    [stuck] = await start(desk, 1, row=1, hold=5)
    with workers() as [frozen]:
        await desk.until(
            "the row to be locked",
            """SELECT EXISTS (SELECT FROM pg_stat_activity WHERE state = 'idle in transaction'
                              AND query LIKE 'UPDATE stock%')""",
        )
        frozen.freeze()
        with workers():
            needy = await start(desk, 10, row=1)
            await desk.until(
                "every connection to wait for the row",
                "SELECT count(*) = 10 FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
            )
            fresh = await start(desk, 20)
            await done(desk, fresh)
            frozen.thaw()
            await done(desk, [stuck, *needy])
    await each_effect_is_there_once(desk, [stuck, *needy, *fresh])
    assert await desk.value("SELECT pieces FROM stock") == 89


async def test_a_handler_that_blocks_its_workers_loop_is_not_run_again_beside_itself(
    desk: Desk, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    [blocking] = await start(desk, 1, block=str(go_on))
    with workers():
        await desk.until(
            "the handler to block",
            "SELECT status = 'running' FROM kit_runs WHERE id = $1",
            blocking,
        )
        with workers():
            await desk.until(
                "the other worker to come upon its step",
                f"SELECT EXISTS (SELECT FROM pgqueuer_log WHERE {TAKEN})",
            )
            fresh = await start(desk, 20)
            await done(desk, fresh)
            go_on.touch()
            await done(desk, [blocking])
    await each_effect_is_there_once(desk, [blocking, *fresh])
    [history] = await desk.fetch(
        """SELECT count(*) FROM kit_run_history WHERE run = $1 AND stage = 'one' AND status = 'running'""",
        blocking,
    )
    assert history["count"] == 1


async def test_a_run_that_kills_its_worker_is_held_after_three_times_and_the_others_go_on(desk: Desk) -> None:
    before, [poison], after = await start(desk, 5), await start(desk, 1, exit=True), await start(desk, 5)
    deaths, worker = 0, Worker()
    try:
        async with asyncio.timeout(PATIENCE):
            while await desk.value("SELECT status <> 'failed' FROM kit_runs WHERE id = $1", poison):
                if worker.dead():
                    deaths, worker = deaths + 1, Worker()
                await asyncio.sleep(0.05)
        await done(desk, before + after)
    finally:
        worker.stop()
    row = (await desk.fetch("SELECT * FROM kit_runs WHERE id = $1", poison))[0]
    assert (deaths, row["attempts"], row["failures"]) == (3, 4, 1)
    assert row["error"].startswith("Stage 'one' was cut short 3 times, because its worker died")
    await each_effect_is_there_once(desk, before + after)


async def test_a_run_held_for_its_workers_death_goes_on_when_it_is_retried_with_other_data(
    desk: Desk,
) -> None:
    import kit

    [run] = await start(desk, 1)
    await desk.connection.execute("UPDATE kit_runs SET status = 'running', crashes = 2")
    with workers():
        row = await desk.ended(run)
        assert (row["status"], row["crashes"]) == ("failed", 3)
        kit.stages.retry(run)
        await done(desk, [run])
