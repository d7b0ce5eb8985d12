"""`kit.run` in an idle kernel against a bare script with the same handlers: jobs a second, and latency.

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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from jupyter_client.manager import start_new_async_kernel
from pgqueuer import AsyncpgDriver, Queries

import kit

STARTS = 6
ROUNDS = 10
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
CELL = "import bench_main, kit\nkit.run(bench_main.main)"


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
async def the_kit(folder: str) -> AsyncIterator[None]:
    """Run the kit in a kernel that has nothing else to do."""
    environment = {**os.environ, "BENCH_NAME": "kit"}
    manager, client = await start_new_async_kernel(cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    try:
        reply = await client.execute_interactive(CELL, output_hook=lambda _: None, timeout=60)
        assert reply["content"]["status"] == "ok", reply["content"]
        yield
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

    async def throughput(self, name: str) -> float:
        """Return how many jobs a second it does."""
        await self.connection.execute("TRUNCATE pgqueuer, pgqueuer_log")
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
        pairs: list[tuple[float, float]] = []
        waits: list[tuple[float, float]] = []
        for _ in range(STARTS):
            async with the_kit(folder), the_script(folder):
                await producer.warm_up()
                for number in range(ROUNDS):
                    order = ("kit", "bare") if number % 2 else ("bare", "kit")
                    found = {name: await producer.throughput(name) for name in order}
                    pairs.append((found["kit"], found["bare"]))
                for _ in range(SINGLE_JOBS):
                    for name in ("kit", "bare"):
                        await producer.one(f"{name}_latency")
                waits += zip(await producer.latencies("kit"), await producer.latencies("bare"), strict=True)
        await connection.close()
    tell("throughput", "jobs/s", pairs, "at least 0.95")
    tell("latency", "ms", waits, "at most 1.05")


def tell(what: str, unit: str, pairs: list[tuple[float, float]], aim: str) -> None:
    """Print the medians of both, and the median of their ratios."""
    kits, bares = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    print(f"{what}: kit {kits:.4g}, bare {bares:.4g} {unit}; median ratio {ratio:.2f} (aim: {aim})")


if __name__ == "__main__":
    asyncio.run(main())
