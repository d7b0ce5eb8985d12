"""A worker whose stages do what a run's data says: work long, block the loop, end the process."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer

from kit.stages import Pipeline, Step

hurt = Pipeline("hurt")


async def effect(step: Step) -> None:
    await step.connection.execute(
        "INSERT INTO effects VALUES ($1, $2, $3)", step.run, step.stage, step.branch
    )


def block_until(file: Path) -> None:
    while not file.exists():
        time.sleep(0.05)


@hurt.stage()
async def one(step: Step) -> None:
    await effect(step)
    await asyncio.sleep(step.data.get("sleep", 0))
    if "block" in step.data:
        block_until(Path(step.data["block"]))
    if "row" in step.data:
        await step.connection.execute("UPDATE stock SET pieces = pieces - 1 WHERE id = $1", step.data["row"])
        await asyncio.sleep(step.data.get("hold", 0))
    if step.data.get("exit"):
        os._exit(1)


@hurt.stage()
async def two(step: Step) -> None:
    await effect(step)


@asynccontextmanager
async def main() -> AsyncIterator[PgQueuer]:
    connection = await asyncpg.connect()
    try:
        async with hurt.serve(PgQueuer(AsyncpgDriver(connection))) as pgq:
            yield pgq
    finally:
        await connection.close()
