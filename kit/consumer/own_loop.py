"""Keeping a connection to the loop it was made on, while there is more than one loop in this process.

asyncpg does not look before it has sent the query. Then two threads work on one connection: the answer is
lost, and about every second time the whole kernel dies of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg

from kit.errors import KitError

_unchecked: Callable[[asyncpg.Connection], None] = getattr(asyncpg.Connection, "_check_open")  # noqa: B009


def start() -> None:
    """Let asyncpg refuse a connection that is used on another loop, before anything is sent."""
    # Every method of a connection calls this first. There is no public way in.
    setattr(asyncpg.Connection, "_check_open", _check_open)  # noqa: B010


def stop() -> None:
    """Leave asyncpg as it was."""
    setattr(asyncpg.Connection, "_check_open", _unchecked)  # noqa: B010


def _check_open(connection: asyncpg.Connection) -> None:
    _unchecked(connection)
    made_on = getattr(connection, "_loop", None)
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:  # a plain call, such as connection.transaction()
        return
    if made_on is not None and made_on is not running:
        raise KitError(
            "This connection was made elsewhere, so nothing was sent: a connection belongs to the loop it "
            "was made on, and a handler runs on the consumer's. For a handler connect inside main(), not in "
            "a cell."
        )
