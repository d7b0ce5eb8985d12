"""Staged jobs against a bare consumer that does the same transaction by hand: stages a second, in turns.

Both move the same number of runs through five stages. Each step writes one row of its own, adds to the data
and enqueues the next stage's job, in one transaction, on a pool of ten connections. It prints the median of
both and the median ratio of the rounds (1.0 is as fast as by hand).
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pgqueuer
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries

import kit
from kit.stages import Pipeline, Step
from kit.stages.store.schema import install
from tests.benchmarks.figures import figure

RUNS, ROUNDS, CONNECTIONS = 300, 7, 10
STAGES = ["one", "two", "three", "four", "five"]
EFFECT = "INSERT INTO effects (run, stage) VALUES ($1, $2)"

kitted = Pipeline("kitted")


async def work(step: Step) -> dict[str, int]:
    await step.connection.execute(EFFECT, step.run, step.stage)
    return {step.stage: step.run}


for stage in STAGES:
    kitted.stage(stage)(work)


@asynccontextmanager
async def with_stages() -> AsyncIterator[PgQueuer]:
    connection = await asyncpg.connect()
    async with kitted.serve(PgQueuer(AsyncpgDriver(connection)), connections=CONNECTIONS) as pgq:
        yield pgq
    await connection.close()


@asynccontextmanager
async def by_hand() -> AsyncIterator[PgQueuer]:
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))
    async with asyncpg.create_pool(min_size=0, max_size=CONNECTIONS) as pool:

        async def move(job: Job) -> None:
            assert job.payload is not None
            run = json.loads(job.payload)["run"]
            stage = job.entrypoint.removeprefix("bare.")
            place = STAGES.index(stage) + 1
            following = STAGES[place] if place < len(STAGES) else None
            async with pool.acquire() as own, own.transaction():
                moved = await own.execute(
                    """UPDATE orders SET stage = $3, data = data || $4::jsonb, updated = now()
                       WHERE id = $1 AND stage = $2""",
                    *(run, stage, following or "done", json.dumps({stage: run})),
                )
                if moved == "UPDATE 0":
                    return
                await own.execute(EFFECT, run, stage)
                if following is not None:
                    await enqueue(own, run, following)

        for stage in STAGES:
            pgq.entrypoint(f"bare.{stage}")(move)
        yield pgq
    await connection.close()


async def enqueue(connection: Any, run: int, stage: str) -> None:
    payload = json.dumps({"run": run, "stage": stage}).encode()
    await Queries(AsyncpgDriver(connection)).enqueue(f"bare.{stage}", payload, dedupe_key=f"{run} {stage}")


async def start_with_stages(connection: Any) -> None:
    for number in range(RUNS):
        await kitted.start(connection, {"order": number})


async def start_by_hand(connection: Any) -> None:
    for number in range(RUNS):
        run = await connection.fetchval(
            "INSERT INTO orders (data) VALUES ($1) RETURNING id", json.dumps({"order": number})
        )
        await enqueue(connection, run, STAGES[0])


async def measure(
    factory: Callable[[], AbstractAsyncContextManager[PgQueuer]], start: Callable[[Any], Any], open_runs: str
) -> float:
    """Return the stages a second of a consumer that finds all runs at their first stage."""
    connection = await asyncpg.connect()
    await start(connection)
    shutdown = asyncio.Event()
    begun = time.perf_counter()
    consumer = asyncio.create_task(
        pgqueuer.run(factory, dequeue_timeout=timedelta(seconds=1), shutdown=shutdown)
    )
    while await connection.fetchval(open_runs):
        if consumer.done():
            consumer.result()
        await asyncio.sleep(0.02)
    took = time.perf_counter() - begun
    shutdown.set()
    await consumer
    await connection.execute("TRUNCATE effects, orders, kit_runs, kit_run_history, pgqueuer, pgqueuer_log")
    await connection.close()
    return RUNS * len(STAGES) / took


async def compare() -> float:
    connection = await asyncpg.connect()
    await install(connection)
    await connection.execute(
        """CREATE TABLE effects (run bigint, stage text);
        CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stage text DEFAULT 'one',
                             data jsonb, updated timestamptz DEFAULT now())"""
    )
    await connection.close()
    ours, bare = [], []
    for round_ in range(-1, ROUNDS):
        a = await measure(
            with_stages, start_with_stages, "SELECT count(*) FROM kit_runs WHERE status <> 'done'"
        )
        b = await measure(by_hand, start_by_hand, "SELECT count(*) FROM orders WHERE stage <> 'done'")
        if round_ >= 0:  # the first one warms up
            ours.append(a)
            bare.append(b)
    ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    medians = f"{statistics.median(ours):.0f} stages/s, by hand {statistics.median(bare):.0f} jobs/s"
    figure("staged jobs / by hand", ratio, "at least 0.85", "", medians)
    return ratio


def main() -> int:
    with kit.postgres(database="bench_stages"):
        return asyncio.run(compare()) < 0.7


if __name__ == "__main__":
    sys.exit(main())
