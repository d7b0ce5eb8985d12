"""Wait until a new consumer is ready, or find out why it is not."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from pgqueuer import QueueManager
from pgqueuer.errors import FailingListenerError
from pgqueuer.models import HealthCheckEvent

from kit.consumer.factory import Manager, queue_of, scheduler_of
from kit.database.target import Unreachable
from kit.errors import KitError
from kit.session import session

PROBE = 2.0  # seconds for Postgres to answer when a consumer was not ready in time


def repeat_health_check(queue: QueueManager) -> None:
    """Let PGQueuer's check of notifications send more than one.

    It sends one and waits for it. That one is lost if it was sent before LISTEN, as happens with the several
    connections of a pool. A healthy consumer would then look as if it had lost its connection.
    """
    once = queue.listener_healthy

    async def listener_healthy(timeout: timedelta = timedelta(seconds=10)) -> HealthCheckEvent:
        began, patience = time.monotonic(), 0.05
        while True:
            left = timeout.total_seconds() - (time.monotonic() - began)
            try:
                return await once(timeout=timedelta(seconds=min(patience, left)))
            except FailingListenerError:
                if left <= patience:
                    raise
            patience = min(2 * patience, 1.0)

    setattr(queue, "listener_healthy", listener_healthy)  # noqa: B010


async def listening(manager: Manager) -> None:
    """Wait until a notification sent through Postgres comes back, and the schedules are in their table."""
    if (queue := queue_of(manager)) is not None:
        await queue.listener_healthy(timeout=timedelta.max)
    if (scheduler := scheduler_of(manager)) is not None:
        wanted = {(key.entrypoint, key.expression) for key in scheduler.registry}
        while wanted:
            await asyncio.sleep(0.01)
            wanted -= {(row.entrypoint, row.expression) for row in await scheduler.queries.peek_schedule()}


async def why_not_in_time(name: str, limit: float, entered: bool) -> str:
    """Return the message about a consumer that was not ready in ``limit`` seconds.

    ``entered`` is whether its ``main`` reached its ``yield``.
    """
    if not await _postgres_answers():
        return f"Postgres does not answer. Consumer {name!r} was not ready in {limit:g} s."
    if entered:
        return f"Consumer {name!r} was stopped: no notification of Postgres reached it in {limit:g} s."
    return (
        f"main() did not come to its `yield` or `return` in {limit:g} s, so it was stopped. "
        "Does it wait for something? start_timeout= gives it longer."
    )


async def _postgres_answers() -> bool:
    try:
        connection = await session.target().open(limit=PROBE)
    except Unreachable as error:
        return not isinstance(error.__cause__, TimeoutError)
    except KitError:
        return True  # this process has no database to ask
    connection.terminate()
    return True
