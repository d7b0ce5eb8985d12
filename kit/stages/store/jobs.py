"""The jobs of runs, through PGQueuer's own queries."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, NamedTuple

from pgqueuer import AsyncpgDriver, Queries
from pgqueuer.types import JobId


class Run(NamedTuple):
    """The row of a job: an id may come again after the tables were emptied, a token never does."""

    id: int
    token: int


async def enqueue(
    connection: Any, pipeline: str, stage: str, runs: list[Run], delay: timedelta | None = None
) -> list[int]:
    """Enqueue a stage's job for each run. By its dedupe key there is only one in the queue."""
    count = len(runs)
    jobs = await queries(connection).enqueue(
        [f"{pipeline}.{stage}"] * count,
        [json.dumps({"run": run.id, "stage": stage}).encode() for run in runs],
        [0] * count,
        [delay] * count,
        [f"{pipeline}.{stage} of run {run.id} ({run.token:x})" for run in runs],
    )
    return list(map(int, jobs))


async def end(connection: Any, jobs: Iterable[int | None]) -> None:
    """Delete jobs from the queue as canceled, and tell their handlers."""
    if known := [JobId(job) for job in jobs if job is not None]:
        await queries(connection).mark_job_as_cancelled(known)


def queries(connection: Any) -> Queries:
    """Return PGQueuer's own queries on ``connection``; they take part in its transaction."""
    return Queries(AsyncpgDriver(connection))


def queue(connection: Any) -> str:
    """Return the name of PGQueuer's table of jobs."""
    return queries(connection).qbe.settings.qualified.queue_table
