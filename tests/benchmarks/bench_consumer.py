"""`kit.run` in an idle kernel against a bare script with the same handler: jobs a second, and latency.

The script is ``asyncio.run(pgqueuer.run(main, …))`` with the same options. Both run in a process (and a
session, which Linux schedules as a group) of their own, alternately. Throughput is read from the log: jobs,
by the time from the first that is picked to the last that is done. Latency is from just before `enqueue` to
the first line of the handler, one job at a time.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from jupyter_client.manager import start_new_async_kernel
from pgqueuer import AsyncpgDriver, Queries

import kit

ROUNDS = 7
JOBS = 3_000
SINGLE_JOBS = 150

CONSUMER = """
import statistics, time
import asyncpg
from contextlib import asynccontextmanager
from pgqueuer import AsyncpgDriver, PgQueuer

@asynccontextmanager
async def main():
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))
    latencies = []

    @pgq.entrypoint("count")
    async def count(job):
        pass

    @pgq.entrypoint("latency")
    async def latency(job):
        latencies.append(time.time() - float(job.payload))

    @pgq.entrypoint("report")
    async def report(job):
        own = await asyncpg.connect()
        await own.execute("INSERT INTO latency VALUES ($1)", statistics.median(latencies))
        await own.close()

    yield pgq
    await connection.close()
"""
BARE = """
import asyncio, datetime, pgqueuer
import bench_main
asyncio.run(pgqueuer.run(bench_main.main, dequeue_timeout=datetime.timedelta(seconds=0.5),
                         heartbeat_timeout=datetime.timedelta(seconds=10)))
"""
CELL = "import bench_main, kit\nkit.run(bench_main.main)"


@asynccontextmanager
async def bare(folder: str) -> AsyncIterator[None]:
    """The script."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BARE, cwd=folder, start_new_session=True
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def in_a_kernel(folder: str) -> AsyncIterator[None]:
    """The kit, in a kernel that has nothing else to do."""
    manager, client = await start_new_async_kernel(cwd=folder, stderr=subprocess.DEVNULL)
    try:
        reply = await client.execute_interactive(CELL, output_hook=lambda _: None, timeout=60)
        assert reply["content"]["status"] == "ok", reply["content"]
        yield
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)


async def measure(connection: asyncpg.Connection) -> tuple[float, float]:
    """Return jobs a second, and the median latency in ms, of whatever consumer runs."""
    queries = Queries(AsyncpgDriver(connection))

    async def until_empty() -> None:
        deadline = time.monotonic() + 120
        while await connection.fetchval("SELECT count(*) FROM pgqueuer"):
            assert time.monotonic() < deadline, "the consumer did not do its jobs within 120 s"
            await asyncio.sleep(0.02)

    await queries.enqueue("latency", str(time.time()).encode())  # it is up when this is done
    await until_empty()
    await connection.execute("TRUNCATE pgqueuer_log")
    await queries.enqueue(["count"] * JOBS, [None] * JOBS, [0] * JOBS)
    await until_empty()
    seconds = await connection.fetchval(
        "SELECT extract(epoch FROM max(created) FILTER (WHERE status = 'successful')"
        " - min(created) FILTER (WHERE status = 'picked')) FROM pgqueuer_log"
    )
    for _ in range(SINGLE_JOBS):
        await queries.enqueue("latency", str(time.time()).encode())
        await asyncio.sleep(0.03)
    await until_empty()
    await queries.enqueue("report", None)
    await until_empty()
    return JOBS / float(seconds), 1000 * await connection.fetchval("SELECT max(median) FROM latency")


async def main() -> None:
    """Run both alternately, and print each round and the median ratios."""
    ratios: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder, kit.postgres(database="bench_consumer"):
        (Path(folder) / "bench_main.py").write_text(CONSUMER)
        connection = await asyncpg.connect()
        await connection.execute("CREATE TABLE IF NOT EXISTS latency (median float8)")
        for number in range(ROUNDS):
            found = {}
            ways = (bare, in_a_kernel) if number % 2 else (in_a_kernel, bare)
            for way in ways:
                await connection.execute("TRUNCATE pgqueuer, pgqueuer_log, latency")
                async with way(folder):
                    found[way] = await measure(connection)
            (jobs, latency), (bare_jobs, bare_latency) = found[in_a_kernel], found[bare]
            ratios.append((jobs / bare_jobs, latency / bare_latency))
            print(
                f"round {number + 1}: kit {jobs:5.0f} jobs/s, {latency:.2f} ms   "
                f"bare {bare_jobs:5.0f} jobs/s, {bare_latency:.2f} ms",
                flush=True,
            )
        await connection.close()
    print(
        f"throughput, kit/bare, median: {statistics.median(ratio for ratio, _ in ratios):.2f} (aim: >= 0.95)"
    )
    print(
        f"latency, kit/bare, median:    {statistics.median(ratio for _, ratio in ratios):.2f} (aim: <= 1.05)"
    )


if __name__ == "__main__":
    asyncio.run(main())
