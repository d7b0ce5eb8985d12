"""Calls from a cell or a program. Each returns within a limit, and a lost Postgres is a plain error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg

from kit.errors import KitError
from kit.errors.postgres import worth_another_try
from kit.errors.text import server_message
from kit.stages.store.schema import Connection, install

T = TypeVar("T")

LIMIT = 10.0  # seconds that a call takes at most when Postgres does not answer
PATIENCE = "5s"  # for a lock that somebody else holds


async def call(work: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run ``work`` in a transaction, on a connection of its own to the database that ``PG*`` name.

    Raises:
        KitError: there is no Postgres, it does not answer, or somebody keeps a lock that ``work`` needs.
    """
    try:
        connection = await asyncpg.connect(timeout=LIMIT)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        raise out_of_reach(error) from error
    try:
        async with limited(connection):
            await install(connection)
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
                return await work(connection, *args)
    finally:
        # Not close(): it would wait for a server that does not answer.
        connection.terminate()


def out_of_reach(error: BaseException) -> KitError:
    """Return the error to raise if Postgres cannot be reached."""
    reason = server_message(error) or type(error).__name__
    return KitError(f"Cannot reach Postgres: {reason}. Check the PG* variables, which say where it is.")


@asynccontextmanager
async def limited(connection: Connection) -> AsyncIterator[None]:
    """Close ``connection`` if the block that works on it takes longer than 10 seconds.

    Nothing is lost by that: Postgres undoes what it did not confirm.

    Raises:
        KitError: Postgres is away or does not answer, or somebody keeps a lock that the block needs.
    """
    # Not asyncio.timeout: after it, the end of the block's transaction would wait for Postgres again.
    limit = asyncio.get_running_loop().call_later(LIMIT, connection.terminate)
    try:
        yield
    except asyncpg.LockNotAvailableError as error:
        raise KitError(
            "Somebody keeps locked what this needs: an open transaction, or a worker that was frozen in the "
            "middle of a step. End that one, then try again."
        ) from error
    except Exception as error:
        if not worth_another_try(error):
            raise
        if limit.when() <= asyncio.get_running_loop().time():
            raise KitError(
                f"Postgres did not answer within {LIMIT:g} s, so the connection was closed. Most likely "
                "nothing was changed; kit.stages.runs() shows it when Postgres is back."
            ) from error
        raise out_of_reach(error) from error
    finally:
        limit.cancel()
