"""What the workers of the chaos test run: five stages with a fan-out, flaky and poisoned handlers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer

from kit.stages import Pipeline, Step

BOXES = 3

orders = Pipeline("orders")


def refuses(order: int) -> bool:
    """Say whether this order's charge fails at every try."""
    return order % 40 == 7


def is_torn(order: int, box: int) -> bool:
    """Say whether this box of this order cannot be packed."""
    return order % 40 == 13 and box == 1


async def effect(step: Step) -> None:
    # No unique constraint, no ON CONFLICT: a step that is done twice leaves two rows.
    await step.connection.execute(
        "INSERT INTO effects VALUES ($1, $2, $3)", step.run, step.stage, step.branch
    )


@orders.stage()
async def validate(step: Step) -> dict[str, Any]:
    await effect(step)
    return {"boxes": list(range(BOXES))}


@orders.stage(retries=2, backoff=0.05)
async def charge(step: Step) -> dict[str, Any]:
    await effect(step)
    order = step.data["order"]
    if refuses(order) or (order % 10 == 3 and step.attempt == 1):
        raise ValueError(f"the bank refuses order {order}")
    return {"charged": order}


@orders.stage(each="boxes")
async def pack(step: Step) -> dict[str, Any]:
    await effect(step)
    await asyncio.sleep(0.005)
    if is_torn(step.data["order"], step.item):
        raise ValueError(f"box {step.item} is torn")
    return {"box": step.item}


@orders.stage()
async def label(step: Step) -> dict[str, Any]:
    await effect(step)
    return {"labels": [result["box"] for result in step.data["pack"]]}


@orders.stage()
async def ship(step: Step) -> None:
    await effect(step)


@asynccontextmanager
async def main() -> AsyncIterator[PgQueuer]:
    connection = await asyncpg.connect()
    try:
        async with orders.serve(PgQueuer(AsyncpgDriver(connection)), connections=5) as pgq:
            yield pgq
    finally:
        await connection.close()
