"""``run()``: start a consumer, or say at once why that cannot be."""

from __future__ import annotations

from typing import Literal

from pgqueuer.types import QueueExecutionMode

from kit.consumer import factory, screen
from kit.consumer.consumer import Consumer
from kit.consumer.options import Options, as_mode
from kit.consumer.runner import Runner
from kit.errors import KitError
from kit.session import session
from kit.threads import Duration, as_timedelta


def run(
    main: object,
    *,
    name: str = "consumer",
    batch_size: int = 10,
    dequeue_timeout: Duration = 0.5,
    heartbeat_timeout: Duration = 10.0,
    max_concurrent_tasks: int | None = None,
    mode: QueueExecutionMode | Literal["continuous", "drain"] = "continuous",
    shutdown_on_listener_failure: bool = True,
    restart_on_failure: bool = True,
    restart_delay: Duration = 0.5,
    start_timeout: Duration = 30.0,
) -> Consumer:
    """Run a PGQueuer consumer in the background of this process, as ``pgq run`` does in one of its own.

    It returns when the consumer runs: entrypoints registered, listening. Calling it again with the same
    ``name`` stops the one before and takes its place; consumers with different names run side by side.
    Durations are seconds, or a timedelta.

    Args:
        main: the factory ``pgq run`` takes, an ``@asynccontextmanager`` that yields a `PgQueuer` (or a
            `QueueManager` or `SchedulerManager`); the older coroutine that returns one; or ``"module:name"``.
        name: what it is called in messages. Running another one by the same name replaces it.
        batch_size: how many jobs it picks at once. Take 1 where the order is the point.
        dequeue_timeout: how long it waits for a notification before it looks for jobs anyway.
        heartbeat_timeout: how old a picked job's heartbeat may be before another consumer takes the job.
        max_concurrent_tasks: how many jobs it holds at most; at least twice ``batch_size``. None: no limit.
        mode: ``"continuous"``, or ``"drain"`` to end when the queue is empty.
        shutdown_on_listener_failure: whether notifications that no longer arrive are a lost connection.
        restart_on_failure: whether it comes back from a lost connection. A mistake in the code ends it.
        restart_delay: how long it waits between two tries to come back.
        start_timeout: how long ``main`` may take to come to its ``yield``.

    Raises:
        KitError: it could not start, and why.
    """
    if not isinstance(name, str) or not name:
        raise KitError(f"name={name!r}: a consumer's name is a text, for example name='second'.")
    options = Options(
        batch_size=batch_size,
        dequeue_timeout=as_timedelta("dequeue_timeout", dequeue_timeout),
        heartbeat_timeout=as_timedelta("heartbeat_timeout", heartbeat_timeout),
        max_concurrent_tasks=max_concurrent_tasks,
        mode=as_mode(mode),
        shutdown_on_listener_failure=shutdown_on_listener_failure,
        restart_on_failure=restart_on_failure,
        restart_delay=as_timedelta("restart_delay", restart_delay),
        start_timeout=as_timedelta("start_timeout", start_timeout),
    )
    make = factory.resolve(main)
    if (before := session.consumers.get(name)) is not None:
        before.stop()
    runner = session.consumers[name] = Runner(name, make, options)
    with screen.looking():
        try:
            runner.start()
            session.show([runner])
        finally:
            screen.show(runner.console.take())
    return Consumer(runner)
