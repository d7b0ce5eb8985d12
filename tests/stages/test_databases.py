"""Whose the tables are: emptied amid a step, in somebody's own database, in one without them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, Queries

from kit.database.schema import MARK
from kit.stages import Pipeline, Step
from kit.stages.store.schema import install

from .conftest import Desk, consuming
from .test_stages import effect

ROOT = Path(__file__).parents[2]
RENUMBER = "TRUNCATE pgqueuer, pgqueuer_log, kit_runs, kit_run_history, effects RESTART IDENTITY"


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_step_of_a_run_that_was_emptied_away_does_not_move_the_run_that_got_its_id(
    desk: Desk, workers: int, fails: bool
) -> None:
    orders = Pipeline("orders")
    entered, go_on = asyncio.Event(), asyncio.Event()
    seen: list[tuple[str, int]] = []

    @orders.stage()
    async def one(step: Step) -> None:
        seen.append((step.stage, step.data["n"]))
        if step.data["n"] == 1:
            entered.set()
            await go_on.wait()
            if fails:
                raise ValueError("too late")
        await effect(step)

    @orders.stage()
    async def two(step: Step) -> None:
        seen.append((step.stage, step.data["n"]))
        await effect(step)

    old = await orders.start(desk.connection, {"n": 1})
    async with consuming(orders, heartbeat=60):
        await entered.wait()
        await desk.connection.execute(RENUMBER)
        new = await orders.start(desk.connection, {"n": 2})
        assert (old, new) == (1, 1)
        assert await desk.value("SELECT job FROM kit_runs") == 1
        if workers == 2:
            async with consuming(orders, heartbeat=60):
                await desk.until(
                    "the first worker to see the new job, or the second to do it",
                    "SELECT EXISTS (SELECT FROM pgqueuer_log WHERE status <> 'queued')",
                )
                go_on.set()
                row = await desk.ended(new)
        else:
            go_on.set()
            row = await desk.ended(new)
    assert (row["status"], row["error"], json.loads(row["data"])) == ("done", None, {"n": 2})
    assert sorted(seen) == [("one", 1), ("one", 2), ("two", 2)]
    assert [row["stage"] for row in await desk.fetch("SELECT stage FROM effects ORDER BY stage")] == [
        "one",
        "two",
    ]


async def test_a_branch_of_a_run_that_was_emptied_away_does_not_move_the_one_that_got_its_id(
    desk: Desk,
) -> None:
    orders = Pipeline("orders")
    entered, go_on = asyncio.Event(), asyncio.Event()

    @orders.stage(each="boxes")
    async def pack(step: Step) -> dict[str, str]:
        if step.item == "old":
            entered.set()
            await go_on.wait()
        return {"box": step.item}

    async with consuming(orders, heartbeat=60):
        await orders.start(desk.connection, {"boxes": ["old"]})
        await entered.wait()
        # PGQueuer writes the end of a job a moment later, by its id alone: it must not be the new job's.
        await desk.until(
            "the log of the split",
            "SELECT EXISTS (SELECT FROM pgqueuer_log WHERE job_id = 1 AND status = 'successful')",
        )
        await desk.connection.execute(RENUMBER)
        new = await orders.start(desk.connection, {"boxes": ["new", "newer"]})
        go_on.set()
        row = await desk.ended(new)
    assert json.loads(row["data"])["pack"] == [{"box": "new"}, {"box": "newer"}]


@pytest.mark.parametrize("each", [None, "boxes"])
async def test_a_step_whose_run_was_emptied_away_ends_without_a_trace(desk: Desk, each: str | None) -> None:
    orders = Pipeline("orders")
    entered, go_on = asyncio.Event(), asyncio.Event()

    @orders.stage(each=each)
    async def pack(step: Step) -> None:
        entered.set()
        await go_on.wait()
        await effect(step)

    orders.stage("ship")(effect)
    async with consuming(orders, heartbeat=60):
        await orders.start(desk.connection, {"boxes": [1]})
        await entered.wait()
        await desk.connection.execute(RENUMBER)
        go_on.set()
        await desk.until(
            "the step to end", "SELECT NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')"
        )
    left = "(SELECT count(*) FROM {})"
    tables = ("pgqueuer", "pgqueuer_log", "kit_runs", "kit_run_history", "effects")
    assert await desk.value(f"SELECT {' + '.join(map(left.format, tables))}") == 0


@pytest.fixture
async def foreign(desk: Desk) -> AsyncIterator[dict[str, str]]:
    """A database that the kit did not make, as the ``PG*`` variables of a program that works there."""
    name = "somebodys_own"
    await desk.connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield {**os.environ, "PGDATABASE": name, "PYTHONPATH": str(ROOT)}
    await desk.connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def tables(database: str) -> dict[str, str | None]:
    """Return the tables of a database, and the comment on each."""
    connection = await asyncpg.connect(database=database)
    try:
        rows = await connection.fetch(
            """SELECT relname, obj_description(oid, 'pg_class') AS comment FROM pg_class
               WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY relname"""
        )
        return {row["relname"]: row["comment"] for row in rows}
    finally:
        await connection.close()


async def run_program(program: str, environment: dict[str, str]) -> str:
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


READS = """
import kit
for frame in (kit.stages.runs(), kit.stages.runs(branches=True), kit.stages.history()):
    assert frame.empty
    print(*(f"{name}:{kind}" for name, kind in frame.dtypes.items()))
"""


async def test_a_read_makes_nothing_in_somebodys_database_and_its_frames_have_their_types(
    desk: Desk, foreign: dict[str, str]
) -> None:
    without = await run_program(READS, foreign)
    assert await tables(foreign["PGDATABASE"]) == {}
    await install(desk.connection)
    there = await run_program(READS, {**foreign, "PGDATABASE": os.environ["PGDATABASE"]})
    assert without == there
    assert without.splitlines()[0].split() == [
        "id:Int64", "pipeline:string", "stage:string", "status:category", "branches:string", "data:object",
        "attempts:Int64", "error:string", "job:Int64", "created:datetime64[us,", "UTC]",
        "updated:datetime64[us,", "UTC]",
    ]  # fmt: skip


START = """
import asyncio, asyncpg, kit
from kit.stages import Pipeline

async def main():
    orders = Pipeline("orders")
    @orders.stage()
    async def one(step): ...
    connection = await asyncpg.connect()
    run = await orders.start(connection)
    await connection.close()
    return run

run = asyncio.run(main())
kit.stages.cancel(run)
print(*kit.stages.runs()["status"])
"""


async def test_staged_jobs_in_somebodys_own_queue_carry_no_mark_of_the_kits(foreign: dict[str, str]) -> None:
    connection = await asyncpg.connect(database=foreign["PGDATABASE"])
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()
    assert (await run_program(START, foreign)).split() == ["canceled"]
    found = await tables(foreign["PGDATABASE"])
    assert {"kit_runs", "kit_run_history"} <= set(found)
    assert set(found.values()) == {None}


async def test_in_a_queue_of_the_kits_own_they_carry_its_mark_and_a_reset_empties_them(desk: Desk) -> None:
    await install(desk.connection)
    found = await tables(os.environ["PGDATABASE"])
    assert str(found["kit_runs"]).startswith(MARK)
    assert str(found["kit_run_history"]).startswith(MARK)
