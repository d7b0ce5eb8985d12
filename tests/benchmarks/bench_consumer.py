"""`kit.run` in a kernel against a bare script with the same handlers: jobs a second, and latency.

First the kernel is idle, and gets its jobs from elsewhere. Then its own cells enqueue them, for both, and
await `kit.wait` meanwhile.

The script is ``asyncio.run(pgqueuer.run(main, …))`` with the same options. Both run side by side, each in a
process (and a session, which Linux schedules as a group) of its own, and get work alternately, in slices so
short that whatever else the machine does meets both. From time to time both are started anew. Throughput is
read from the log: jobs, by the time from the first that is picked to the last that is done. Latency is from
just before `enqueue` to the first line of the handler, one job at a time.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from jupyter_client.manager import start_new_async_kernel
from pgqueuer import AsyncpgDriver, Queries

import kit
from tests.benchmarks.figures import figure

STARTS = 6
ROUNDS = 10  # in an idle kernel, and as many with cells that await
JOBS = 500
SINGLE_JOBS = 60

CONSUMER = """
import os, time
import asyncpg
from contextlib import asynccontextmanager
from pgqueuer import AsyncpgDriver, PgQueuer

@asynccontextmanager
async def main():
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))
    name = os.environ["BENCH_NAME"]
    latencies = []

    @pgq.entrypoint(f"{name}_count")
    async def count(job):
        pass

    @pgq.entrypoint(f"{name}_latency")
    async def latency(job):
        latencies.append(time.time() - float(job.payload))

    @pgq.entrypoint(f"{name}_report")
    async def report(job):
        own = await asyncpg.connect()
        await own.executemany("INSERT INTO latency VALUES ($1, $2)", [(name, each) for each in latencies])
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
CELL = """
import time
import asyncpg, bench_main, kit
from pgqueuer import AsyncpgDriver, Queries
kit.run(bench_main.main)
queries = Queries(AsyncpgDriver(await asyncpg.connect()))
"""
MANY = """
await queries.enqueue(["{name}_count"] * {jobs}, [None] * {jobs}, [0] * {jobs})
await kit.wait()
"""
ONE = """
await queries.enqueue("{name}_latency", str(time.time()).encode())
await kit.wait()
"""


Cells = Callable[[str], Awaitable[None]]


@asynccontextmanager
async def the_script(folder: str) -> AsyncIterator[None]:
    """Run the bare script."""
    environment = {**os.environ, "BENCH_NAME": "bare"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BARE, cwd=folder, env=environment, start_new_session=True
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def the_kit(folder: str) -> AsyncIterator[Cells]:
    """Run the kit in a kernel that has nothing else to do, and return what runs more cells in it."""
    environment = {**os.environ, "BENCH_NAME": "kit"}
    manager, client = await start_new_async_kernel(cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    try:

        async def run(cell: str) -> None:
            reply = await client.execute_interactive(cell, output_hook=lambda _: None, timeout=60)
            assert reply["content"]["status"] == "ok", reply["content"]

        await run(CELL)
        yield run
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)


class Producer:
    """Gives work, and reads how long it took."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.queries = Queries(AsyncpgDriver(connection))

    async def _until_empty(self) -> None:
        deadline = time.monotonic() + 60
        while await self.connection.fetchval("SELECT count(*) FROM pgqueuer"):
            assert time.monotonic() < deadline, "the consumer did not do its jobs within 60 s"
            await asyncio.sleep(0.01)

    async def one(self, entrypoint: str) -> None:
        """Have one job done."""
        await self.queries.enqueue(entrypoint, str(time.time()).encode())
        await self._until_empty()

    async def warm_up(self) -> None:
        """Wait until both are there, and have done a little."""
        for name in ("kit", "bare"):
            await self.one(f"{name}_latency")
            await self.throughput(name)

    async def throughput(self, name: str, cells: Cells | None = None) -> float:
        """Return how many jobs a second it does; with ``cells``, these enqueue and wait."""
        await self.connection.execute("TRUNCATE pgqueuer, pgqueuer_log")
        if cells is not None:
            await cells(MANY.format(name=name, jobs=JOBS))
        else:
            await self.queries.enqueue([f"{name}_count"] * JOBS, [None] * JOBS, [0] * JOBS)
            await self._until_empty()
        seconds = await self.connection.fetchval(
            "SELECT extract(epoch FROM max(created) FILTER (WHERE status = 'successful')"
            " - min(created) FILTER (WHERE status = 'picked')) FROM pgqueuer_log"
        )
        return JOBS / float(seconds)

    async def latencies(self, name: str) -> list[float]:
        """Return, in ms, how long each job waited for its handler, but the first: that one warmed up."""
        await self.one(f"{name}_report")
        rows = await self.connection.fetch("DELETE FROM latency WHERE name = $1 RETURNING seconds", name)
        return [1000 * row["seconds"] for row in rows[1:]]


async def main() -> None:
    """Run both, and print the medians and their ratios."""
    with tempfile.TemporaryDirectory() as folder, kit.postgres(database="bench_consumer"):
        (Path(folder) / "bench_main.py").write_text(CONSUMER)
        connection = await asyncpg.connect()
        await connection.execute(
            "DROP TABLE IF EXISTS latency; CREATE TABLE latency (name text, seconds float8)"
        )
        producer = Producer(connection)
        pairs: dict[str, list[tuple[float, float]]] = {"idle": [], "awaiting": []}
        waits: dict[str, list[tuple[float, float]]] = {"idle": [], "awaiting": []}
        for _ in range(STARTS):
            async with the_kit(folder) as cells, the_script(folder):
                await producer.warm_up()
                for kernel, through in (("idle", None), ("awaiting", cells)):
                    pairs[kernel] += await rounds(producer, through)
                    waits[kernel] += await singles(producer, through)
        await connection.close()
    for kernel in pairs:
        tell(f"{kernel} kernel, throughput", "jobs/s", pairs[kernel], "at least 0.95")
        tell(f"{kernel} kernel, latency", "ms", waits[kernel], "at most 1.05")


async def rounds(producer: Producer, cells: Cells | None) -> list[tuple[float, float]]:
    """Return the throughputs of kit and script, round by round, each first every other time."""
    pairs = []
    for number in range(ROUNDS):
        order = ("kit", "bare") if number % 2 else ("bare", "kit")
        found = {name: await producer.throughput(name, cells) for name in order}
        pairs.append((found["kit"], found["bare"]))
    return pairs


async def singles(producer: Producer, cells: Cells | None) -> list[tuple[float, float]]:
    """Return the latencies of kit and script, job by job."""
    for _ in range(SINGLE_JOBS):
        for name in ("kit", "bare"):
            await (cells(ONE.format(name=name)) if cells is not None else producer.one(f"{name}_latency"))
    return list(zip(await producer.latencies("kit"), await producer.latencies("bare"), strict=True))


def tell(what: str, unit: str, pairs: list[tuple[float, float]], aim: str) -> None:
    """Print the medians of both, and the median of their ratios."""
    kits, bares = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    figure(f"{what} / bare script", ratio, aim, "", f"{kits:.4g}, bare {bares:.4g} {unit}")


if __name__ == "__main__":
    asyncio.run(main())
