"""Who consumes: whether this process's consumer listens, and whether others are connected."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

from pgqueuer.errors import FailingListenerError

from kit.consumer.factory import Manager, queue_of, scheduler_of

# PGQueuer keeps no list of consumers, but Postgres keeps each connection's last statement, and these only a
# consumer sends. One that has nothing to do sends one of them at least once a second.
_CONNECTED = r"""
    SELECT pid, pid = pg_backend_pid() AS mine
    FROM pg_stat_activity
    WHERE pid = pg_backend_pid()
       OR datname = current_database() AND NOT pid = ANY($1::int[])
          AND query ~ ('^\s*(WITH\s+(--[^\n]*\n\s*)?(available|params|job_status|retry|guard) AS'
                       || '|SELECT execute_after - NOW\(\) AS eta|SELECT COUNT\(\*\) AS queued_work'
                       || '|UPDATE \S+ SET heartbeat = NOW\(\))')
"""


async def consumers_connected(connection: Any, known: list[int]) -> tuple[list[int], list[int]]:
    """Return the pids of Postgres' processes: the asking connection's, and those of other consumers.

    ``known`` are the pids of connections that are nobody else's. The asking one may be any that has asyncpg's
    ``fetch``, or a driver of PGQueuer's, which answers from one of its connections.
    """
    rows = await connection.fetch(_CONNECTED, known)
    return [row["pid"] for row in rows if row["mine"]], [row["pid"] for row in rows if not row["mine"]]


async def listening(manager: Manager) -> None:
    """Wait until a notification sent through Postgres comes back, and the schedules are in their table."""
    if (queue := queue_of(manager)) is not None:
        heard, patience = None, timedelta(seconds=0.05)
        while heard is None:
            # One that was sent before LISTEN is lost, and psycopg takes its time to hear of one.
            with suppress(FailingListenerError):
                heard = await queue.listener_healthy(timeout=patience)
            patience = min(2 * patience, timedelta(seconds=1))
    if (scheduler := scheduler_of(manager)) is not None:
        wanted = {(key.entrypoint, key.expression) for key in scheduler.registry}
        while wanted:
            await asyncio.sleep(0.01)
            wanted -= {(row.entrypoint, row.expression) for row in await scheduler.queries.peek_schedule()}
