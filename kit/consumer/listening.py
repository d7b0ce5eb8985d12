"""When a consumer that has just started is ready."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

from pgqueuer.errors import FailingListenerError

from kit.consumer.factory import Manager, queue_of, scheduler_of


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
