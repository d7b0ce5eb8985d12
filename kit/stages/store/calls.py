"""Calls from a cell or a program: each comes back within a limit, and a lost Postgres is a plain error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg

from kit import faults
from kit.database.target import LIMIT, Unreachable, break_off
from kit.errors import KitError
from kit.session import session
from kit.stages.store.schema import Connection, install

T = TypeVar("T")

PATIENCE = "5s"  # for a lock that somebody else holds


async def call(work: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run ``work`` in a transaction, on a connection of its own to this process's database.

    Raises:
        KitError: there is no Postgres, it does not answer, or somebody keeps locked what ``work`` needs.
    """
    async with session.target().connect() as connection, limited(connection):
        await install(connection)
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
            return await work(connection, *args)


@asynccontextmanager
async def limited(connection: Connection) -> AsyncIterator[None]:
    """Close ``connection`` if the block that works on it takes longer than 10 seconds.

    Nothing is lost by that: what Postgres did not confirm, it undoes.

    Raises:
        KitError: Postgres is away or does not answer, or somebody keeps locked what is needed.
    """
    limit = break_off(connection, LIMIT)
    try:
        yield
    except asyncpg.LockNotAvailableError as error:
        raise KitError(
            "Somebody keeps locked what this needs: an open transaction, or a worker that was frozen in the "
            "middle of a step. End that one, then try again."
        ) from error
    except Exception as error:
        if not faults.worth_another_try(error):
            raise
        if limit.when() <= asyncio.get_running_loop().time():
            raise KitError(
                f"Postgres did not answer within {LIMIT:g} s, so the connection was closed. Most likely "
                "nothing was changed; kit.stages.runs() shows it when Postgres is back."
            ) from error
        raise Unreachable(str(error) or type(error).__name__) from error
    finally:
        limit.cancel()
