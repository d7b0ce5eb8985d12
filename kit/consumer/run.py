"""``run()``: start a consumer in the background of this process, or say at once why that cannot be."""

from __future__ import annotations

from typing import Unpack

from kit import notebook
from kit.consumer import factory, screen
from kit.consumer.console import Failure, Line, Lines
from kit.consumer.options import Given, checked, takes_options
from kit.consumer.runner import Runner, State
from kit.session import session
from kit.threads import Duration, as_timedelta


@takes_options
def run(main: object, *, name: str = "consumer", **options: Unpack[Given]) -> Consumer:
    """Run a PGQueuer consumer in the background of this process, as ``pgq run`` does in one of its own.

    It returns when the consumer runs: entrypoints registered, listening. Calling it again with the same
    ``name`` stops the one before and takes its place; consumers with different names run side by side.
    Durations are seconds, or a timedelta.

    Args:
        main: the factory ``pgq run`` takes, an ``@asynccontextmanager`` that yields a `PgQueuer` (or a
            `QueueManager` or `SchedulerManager`); the older coroutine that returns one; or ``"module:name"``.
        name: what it is called in messages. Running another one by the same name replaces it.
        **options: as in `Options`.

    Raises:
        KitError: it could not start, and why.
    """
    how = checked("kit.run", name, options)
    make = factory.resolve(main)
    if (before := session.consumers.get(name)) is not None:
        before.stop()
    runner = session.consumers[name] = Runner(name, make, how)
    with screen.looking():
        try:
            runner.start()
            session.show([runner])
        finally:
            screen.show(runner.console.take())
    return Consumer(runner)


class Consumer:
    """A consumer that `kit.run` started."""

    __slots__ = ("_runner",)

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def __repr__(self) -> str:
        names = ", ".join(self.entrypoints + self.schedules) or "none"
        why = f" ({self.problem})" if self.problem else ""
        return (
            f"<Consumer {self.name!r}: {self.state}{why}; entrypoints: {names}; "
            f"{self.done} done, {self.failed} failed>"
        )

    def _ipython_display_(self) -> None:
        """Add nothing as a cell's result: its panel is in the cell of `kit.run`."""
        if not notebook.in_notebook():
            print(repr(self))

    @property
    def name(self) -> str:
        """The name it was given: `kit.run` with the same name takes its place."""
        return self._runner.name

    @property
    def state(self) -> State:
        """What it does now, in one word.

        ``"starting"``, ``"running"``, ``"reconnecting"`` (Postgres is gone), ``"stopping"``, ``"stopped"`` or
        ``"failed"`` (an error ended it).
        """
        return self._runner.state

    @property
    def problem(self) -> str | None:
        """Why it failed, in plain words; None while it has not."""
        return self._runner.problem

    @property
    def entrypoints(self) -> tuple[str, ...]:
        """The names it has handlers for, in the order they were registered."""
        return self._runner.entrypoints

    @property
    def schedules(self) -> tuple[str, ...]:
        """The names of its schedules."""
        return self._runner.schedules

    @property
    def done(self) -> int:
        """The number of jobs whose handler came to its end."""
        return self._runner.done

    @property
    def failed(self) -> int:
        """The number of jobs whose handler raised, without those that asked for a retry."""
        return self._runner.failed

    @property
    def output(self) -> Lines[Line]:
        """What handlers printed and what became of them, oldest first: the last 10 000 lines."""
        return Lines(self._runner.console.lines.copy())

    @property
    def errors(self) -> Lines[Failure]:
        """The exceptions handlers ended with, oldest first: the last 200."""
        return Lines(self._runner.console.failures.copy())

    def stop(self, timeout: Duration = 5.0) -> None:
        """Stop taking jobs, and wait for the handlers that run; a second call does nothing.

        After ``timeout`` seconds (or a timedelta) those that still run are cancelled and named, and their
        jobs are put back into the queue.
        """
        self._runner.stop(as_timedelta("timeout", timeout, zero=True).total_seconds())
