"""`Consumer`: a consumer in the background, as learners and pictures know it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from kit import notebook
from kit.consumer.console import Console, Failure, Line, Lines, Unseen
from kit.consumer.options import Options
from kit.threads import Duration

State = Literal["starting", "running", "paused", "reconnecting", "stopping", "stopped", "killed", "failed"]


class Consumer:
    """A consumer in the background: `kit.run` starts it in this process, `kit.spawn` in one of its own.

    Attributes:
        name: its name in messages and pictures; another consumer of this name replaces it.
        problem: why it failed, in plain words; None while it has not.
        entrypoints, schedules: the names it has handlers for, in the order they were registered.
        limits: the concurrency limit of each entrypoint; 0 is none.
        heartbeat_timeout, batch_size: as in `kit.run`; the first in seconds.
        done, failed: how many jobs' handlers came to their end, and how many raised, without those that asked
            for a retry.
        held, retried: how many of those that raised are held, and how often a retry was asked for.
        console: its output.
        when_changed: called, on any thread, when any of this has changed.
        cell: the number of the cell that started it; None outside of a notebook.
    """

    def __init__(self, name: str, options: Options, *, worker: bool = False) -> None:
        self.name = name
        self.problem: str | None = None
        self.entrypoints: tuple[str, ...] = ()
        self.schedules: tuple[str, ...] = ()
        self.limits: dict[str, int] = {}
        self.heartbeat_timeout = options.heartbeat_timeout
        self.batch_size = options.batch_size
        self.done = self.failed = self.held = self.retried = 0
        self.console = Console(name, self.has_changed, worker=worker)
        self.when_changed: Callable[[], object] = lambda: None
        self.cell = notebook.cell_number()
        self._state: State = "starting"

    def __repr__(self) -> str:
        kind = "Worker" if self.console.worker else "Consumer"
        why = f" ({self.problem})" if self.problem else ""
        names = ", ".join(self.entrypoints + self.schedules) or "none"
        return (
            f"<{kind} {self.name!r}: {self.state}{why}; {self._where()}entrypoints: {names}; "
            f"{self.done} done, {self.failed} failed>"
        )

    def _ipython_display_(self) -> None:
        show_as_value(self, [self])

    def _where(self) -> str:
        return ""

    @property
    def state(self) -> State:
        """What it does now, in one word.

        ``"starting"``, ``"running"``, ``"paused"``, ``"reconnecting"`` (Postgres is gone), ``"stopping"``,
        ``"stopped"``, ``"killed"`` or ``"failed"`` (an error ended it).
        """
        return self._state

    @property
    def output(self) -> Lines[Line]:
        """What handlers printed and how they ended, oldest first: the last 10 000 lines."""
        return Lines(self.console.lines.copy())

    @property
    def errors(self) -> Lines[Failure]:
        """The exceptions handlers ended with, oldest first: the last 200."""
        return Lines(self.console.failures.copy())

    def stop(self, timeout: Duration = 5.0) -> None:
        """Take no more jobs, wait for the handlers that run, and end; a second call does nothing.

        After ``timeout`` seconds (or a timedelta) those that still run are cancelled and named, and their
        jobs are put back into the queue. A paused worker is resumed for this.
        """
        raise NotImplementedError

    def unseen(self, notices_only: bool = False) -> Unseen:
        """Return its output that was not shown yet; it counts as shown from now on."""
        return self.console.take(notices_only=notices_only)

    def catch_up(self) -> None:
        """Return when its output up to this moment is known here."""

    def has_changed(self) -> None:
        """Call `when_changed`, because one of its attributes has changed."""
        self.when_changed()


def show_as_value(what: object, consumers: Sequence[Consumer]) -> None:
    """Show a cell's value, but not consumers that run and were started by this cell: their panel is there."""
    now = notebook.cell_number() if notebook.in_notebook() else None
    if now is None or not all(one.cell == now and one.state == "running" for one in consumers):
        notebook.publish({"text/plain": repr(what)})
