"""What a fresh queue costs a test, against a database that is copied from a template and dropped: in turns.

Run ``python -m tests.benchmarks.bench_testing``. The copy is what pytest-postgresql does for each test: one
connection to make it, one to drop it. Meanwhile a job is enqueued, which does not count. The aim is 0.2.
"""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import asyncpg

from kit.database.target import Target
from kit.testing import QueueDatabases, server
from kit.threads import run_sync
from tests.benchmarks.figures import figure

ROUNDS = 40
JOB = "INSERT INTO pgqueuer (priority, status, entrypoint) VALUES (0, 'queued', 'a')"


async def execute(dsn: str, statement: str) -> None:
    """Run a statement on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()


@contextmanager
def copied(admin: Target, template: str) -> Iterator[str]:
    """Copy a template database, and drop the copy after the block."""
    name = f"copied_{secrets.token_hex(4)}"
    run_sync(execute(admin.dsn, f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield admin.beside(name).dsn
    run_sync(execute(admin.dsn, f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def fresh(databases: QueueDatabases) -> Iterator[str]:
    """Do what the fixture does."""
    with databases.fresh() as database:
        yield database.dsn


def seconds(queue: AbstractContextManager[str]) -> float:
    """Return how long it takes to get a queue, and to give it back after a job was enqueued."""
    begin = time.perf_counter()
    with queue as dsn:
        ready = time.perf_counter()
        run_sync(execute(dsn, JOB))
        used = time.perf_counter() - ready
    return time.perf_counter() - begin - used


def main() -> None:
    """Compare and print."""
    with server() as database, QueueDatabases(database) as databases:
        template = database.database(f"{database.name}_template")
        seconds(fresh(databases))
        rounds = [
            (seconds(fresh(databases)), seconds(copied(database.target, template.name)))
            for _ in range(ROUNDS)
        ]
        template.drop()
        template.stop()
    ours, bare = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(mine / theirs for mine, theirs in rounds)
    beside = f"{ours:.3f} s, copied {bare:.3f} s"
    figure("a test's queue / a copied database", ratio, "at most 0.2", "", beside)


if __name__ == "__main__":
    main()
