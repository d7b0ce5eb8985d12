"""Workers and Postgres killed, connections cut, all under load: each effect is there exactly once."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from kit.sources import Postgres, open_database

from .chaos_worker import BOXES, is_torn, orders, refuses

ROOT = Path(__file__).parents[2]
RUNS, WORKERS, PATIENCE = 1000, 3, 60.0
KILLS, CUTS, RESTARTS = 12, 6, 2

AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
OPEN = "SELECT count(*) FROM kit_runs WHERE status IN ('pending', 'running', 'waiting')"


class Workers:
    """Processes that run ``pgq run``; a killed one gets a successor."""

    def __init__(self, log: Path) -> None:
        self.log = log.open("wb")
        self.running = [self.new() for _ in range(WORKERS)]

    def new(self) -> subprocess.Popen[bytes]:
        options = (
            "--batch-size 10 --max-concurrent-tasks 20 --dequeue-timeout 0.2 --heartbeat-timeout 2 "
            "--restart-on-failure --restart-delay 0.2 --log-level ERROR"
        )
        return subprocess.Popen(
            [sys.executable, "-m", "pgqueuer", "run", "tests.stages.chaos_worker:main", *options.split()],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=self.log,
            stderr=self.log,
        )

    def kill_one(self, which: int) -> None:
        worker = self.running.pop(which % len(self.running))
        assert worker.poll() is None, f"a worker ended by itself; see {self.log.name}"
        worker.kill()
        worker.wait()
        self.running.append(self.new())

    def stop(self) -> None:
        for worker in self.running:
            worker.terminate()
        for worker in self.running:
            worker.wait(timeout=PATIENCE)
        self.log.close()


class Producer:
    """The test's own connection, made again whenever Postgres comes back."""

    def __init__(self) -> None:
        self.connection: asyncpg.Connection[Any] | None = None

    async def connected(self) -> asyncpg.Connection[Any]:
        deadline = time.monotonic() + PATIENCE
        while self.connection is None or self.connection.is_closed():
            try:
                self.connection = await asyncpg.connect()
            except AWAY:
                assert time.monotonic() < deadline, f"Postgres was away for {PATIENCE:g} s"
                await asyncio.sleep(0.1)
        return self.connection

    async def value(self, query: str, *args: Any) -> Any:
        while True:
            connection = await self.connected()
            try:
                return await connection.fetchval(query, *args)
            except AWAY:
                connection.terminate()

    async def until(self, missing: str, query: str, *args: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not await self.value(query, *args):
            if time.monotonic() > deadline:
                rows = await (await self.connected()).fetch(
                    """SELECT id, parent, branch, stage, status, attempts, error, job, updated FROM kit_runs
                       WHERE status IN ('pending', 'running', 'waiting') ORDER BY id LIMIT 20"""
                )
                jobs = await (await self.connected()).fetch(
                    "SELECT id, status, entrypoint, heartbeat, attempts FROM pgqueuer ORDER BY id LIMIT 20"
                )
                raise AssertionError(f"waited {PATIENCE:g} s for {missing}.\nopen: {rows}\nqueue: {jobs}")
            await asyncio.sleep(0.05)


@pytest.fixture
def database(home: Path) -> Iterator[Postgres]:
    with open_database("embedded", "stages_chaos", fresh=True) as database:
        yield database
        database.drop()


async def test_every_effect_is_there_once_after_kills_cuts_and_restarts_under_load(
    database: Postgres, tmp_path: Path
) -> None:
    chance = random.Random(1)
    events = ["kill"] * KILLS + ["cut"] * CUTS + ["restart"] * RESTARTS
    chance.shuffle(events)
    producer, started = Producer(), iter(range(RUNS))
    await (await producer.connected()).execute("CREATE TABLE effects (run bigint, stage text, branch int)")
    for _ in range(RUNS // len(events)):
        await orders.start(await producer.connected(), {"order": next(started)})
    workers = Workers(tmp_path / "workers.log")
    try:
        for event in events:
            for _ in range(RUNS // len(events)):
                if (order := next(started, None)) is not None:
                    await orders.start(await producer.connected(), {"order": order})
            seen = await producer.value("SELECT count(*) FROM effects")
            await producer.until("work to go on", "SELECT count(*) >= $1 FROM effects", seen + 100)
            assert await producer.value(OPEN) > 0, f"no work was left when it was time to {event}"
            if event == "kill":
                workers.kill_one(chance.randrange(WORKERS))
            elif event == "cut":
                await producer.value(
                    """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                       WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.7"""
                )
            else:
                folder = Path(await producer.value("SHOW data_directory"))
                server = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
                server.kill()
                await asyncio.to_thread(server.wait, PATIENCE)
                (await producer.connected()).terminate()
        await producer.until("every run to end", f"SELECT ({OPEN}) = 0")
        await producer.until("the queue to be empty", "SELECT NOT EXISTS (SELECT FROM pgqueuer)")
    finally:
        workers.stop()

    connection = await producer.connected()
    effects: dict[int, list[str]] = {}
    for row in await connection.fetch("SELECT run, stage, branch FROM effects ORDER BY run, stage, branch"):
        effects.setdefault(row["run"], []).append(row["stage"])
    runs = await connection.fetch("SELECT id, stage, status, data, error FROM kit_runs WHERE parent IS NULL")
    await connection.close()
    assert len(runs) == RUNS
    for run in runs:
        data = json.loads(run["data"])
        order, torn = data["order"], any(is_torn(data["order"], box) for box in range(BOXES))
        expected = ["charge", "label", *["pack"] * BOXES, "ship", "validate"]
        end: tuple[str, str, str | None] = ("ship", "done", None)
        if refuses(order):
            end, expected = ("charge", "failed", f"ValueError: the bank refuses order {order}"), ["validate"]
        elif torn:
            end = ("pack", "failed", "Branch 1: ValueError: box 1 is torn")
            expected = ["charge", *["pack"] * (BOXES - 1), "validate"]
        assert (run["stage"], run["status"], run["error"]) == end, f"run {run['id']} of order {order}"
        assert effects[run["id"]] == expected, f"run {run['id']} of order {order}"
        if end[1] == "done":
            assert (data["charged"], data["labels"]) == (order, list(range(BOXES)))
