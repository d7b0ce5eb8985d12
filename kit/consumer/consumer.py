"""`Consumer`: what a learner has of a consumer that runs in the background."""

from __future__ import annotations

from kit import notebook
from kit.consumer.console import Failure, Line, Lines
from kit.consumer.runner import Runner, State
from kit.threads import Duration, as_timedelta


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
