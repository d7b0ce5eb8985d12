"""``run()``: start a consumer in the background of this process, or say at once why it cannot start."""

from __future__ import annotations

from typing import Unpack

from kit.consumer import console, factory
from kit.consumer.consumer import Consumer
from kit.consumer.options import Given, checked, takes_options
from kit.consumer.runner import Runner
from kit.session import session


@takes_options
def run(main: object, *, name: str = "consumer", **options: Unpack[Given]) -> Consumer:
    """Run a PGQueuer consumer in the background of this process, as ``pgq run`` does in one of its own.

    It returns when the consumer runs: entrypoints registered, listening. Calling it again with the same
    ``name`` stops the one before and takes its place; consumers with different names run side by side.
    Durations are seconds, or a timedelta.

    Args:
        main: the factory ``pgq run`` takes, an ``@asynccontextmanager`` that yields a `PgQueuer` (or a
            `QueueManager` or `SchedulerManager`); the older coroutine that returns one; or ``"module:name"``.
        name: its name in messages. Running another consumer of the same name replaces it.
        **options: as in `Options`.

    Raises:
        KitError: it could not start, and why.
    """
    how = checked("kit.run", name, options)
    make = factory.resolve(main)
    if (before := session.consumers.get(name)) is not None:
        before.stop()
    runner = session.consumers[name] = Runner(name, make, how)
    with console.about_to_show():
        try:
            runner.start()
            session.show([runner])
        finally:
            console.show(runner.console.take())
    return runner
