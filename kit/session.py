"""The kit's only global state: this process's databases and consumers, and its original ``PG*``."""

from __future__ import annotations

import os
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from kit.database.dsn import VARIABLES
from kit.database.target import Target
from kit.errors import KitError

NO_POSTGRES = "There is no Postgres in this process yet. Run kit.postgres() first."


class OpenedDatabase(Protocol):
    """A database that this process uses, such as `kit.postgres` returns."""

    @property
    def target(self) -> Target: ...  # noqa: D102

    @property
    def source(self) -> str: ...  # noqa: D102

    def stop(self) -> None: ...  # noqa: D102


class RunningConsumer(Protocol):
    """The parts of a `kit.Consumer` that other modules use.

    ``backends`` are the pids of the Postgres processes that serve its connections.
    """

    name: str
    problem: str | None
    entrypoints: tuple[str, ...]
    limits: dict[str, int]
    heartbeat_timeout: float
    batch_size: int
    schedules: tuple[str, ...]
    done: int
    failed: int
    held: int
    retried: int
    console: Any
    when_changed: Callable[[], object]

    @property
    def backends(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def state(self) -> str: ...  # noqa: D102

    @property
    def alive(self) -> bool: ...  # noqa: D102

    def running_jobs(self) -> list[int]: ...  # noqa: D102

    def unseen(self, notices_only: bool) -> Any: ...  # noqa: D102

    def catch_up(self) -> None: ...  # noqa: D102

    def stop(self, timeout: float = ...) -> None: ...  # noqa: D102


class Stoppable(Protocol):
    """Something that is served until it is stopped."""

    def stop(self) -> None: ...  # noqa: D102


class Closable(Protocol):
    """Something that follows a database until it is closed."""

    def close(self) -> None: ...  # noqa: D102


# The database that reading calls use inside a block of `Session.looking_at`.
_LOOKED_AT: ContextVar[Target | None] = ContextVar("looked at", default=None)


@dataclass(slots=True)
class _OfThisProcess:
    """The part of the state that a fork does not inherit: it takes no threads along, and so no consumers."""

    # The consumers by name, running or not.
    consumers: dict[str, RunningConsumer] = field(default_factory=dict)
    boards: dict[Target, Closable] = field(default_factory=dict)  # the board of each database
    dashboard: Stoppable | None = None  # the dashboard that `kit.web` served last
    # Pids of the Postgres processes that this process's consumers have used.
    backends: set[int] = field(default_factory=set)
    # For each id of a PGQueuer manager its consumer's name. Picked jobs have the manager's id.
    managers: dict[str, str] = field(default_factory=dict)
    # For each consumer's name the last jobs that it started, and when (seconds since 1970).
    began: dict[str, deque[tuple[int, float]]] = field(default_factory=dict)
    # The same for the end of their handlers; the log has the end up to a tenth of a second later.
    ended: dict[str, deque[tuple[int, float]]] = field(default_factory=dict)
    advised: set[str] = field(default_factory=set)  # advice that is shown once in a process, and was
    watching: int = 0  # how many calls are about to show consumers' output
    # Hold it to change the number of running consumers.
    lock: threading.Lock = field(default_factory=threading.Lock)
    running: int = 0  # how many consumers run
    # Changes of this process that are undone when its last consumer ends.
    changes: ExitStack = field(default_factory=ExitStack)
    # Consumers' tasks that could not be cancelled; kept, or Python would warn about them.
    unending: list[object] = field(default_factory=list)


@dataclass(slots=True)
class Session(_OfThisProcess):
    """The state of this process."""

    _opened: list[OpenedDatabase] = field(default_factory=list)
    _outside: dict[str, str] = field(default_factory=dict)
    courses: list[str] = field(default_factory=list)  # packages whose exercises were added to the kit's
    drill: Any = None  # the open drill of the exercises on call: a broken queue
    guesses: dict[str, dict[str, Any]] = field(default_factory=dict)  # predictions of this process
    scratch: OpenedDatabase | None = None  # the database in which answers to exercises are checked
    sender: Any = None  # what sends events of exercises to a class
    parent: Any = None  # the process from which those are forked that run the answers
    # Bytes of memory that this process had when all its garbage was last collected; 0: not known.
    memory: int = 0
    # The process that kills this process's workers when this one is gone; `kit.worker` starts it.
    guard: subprocess.Popen[bytes] | None = None
    guarded: set[int] = field(default_factory=set)  # pids of the workers that the guard knows
    # Events of exercises that could not be written to their file.
    unwritten: list[dict[str, Any]] = field(default_factory=list)
    # Shows new consumers in the cell that started them; set by `kit.pictures`.
    show: Callable[[Sequence[RunningConsumer]], object] = lambda consumers: None

    def forget_consumers(self) -> None:
        """Start without consumers and boards, as after a fork."""
        new = _OfThisProcess()
        for each in fields(new):
            setattr(self, each.name, getattr(new, each.name))

    def known_backends(self) -> set[int]:
        """Return the pids of the Postgres processes that consumers of this process use or have used."""
        for consumer in list(self.consumers.values()):
            self.backends.update(consumer.backends)
        return self.backends

    @property
    def database(self) -> OpenedDatabase | None:
        """The database that the kit's calls use and ``PG*`` name; None when the kit opened none."""
        return self._opened[-1] if self._opened else None

    def outside(self) -> Mapping[str, str]:
        """Return the ``PG*`` variables that this process started with."""
        return self._outside if self._opened else os.environ

    @contextmanager
    def looking_at(self, target: Target) -> Iterator[None]:
        """Let the calls in this block read from ``target``; this process's own database stays the same."""
        before = _LOOKED_AT.set(target)
        try:
            yield
        finally:
            _LOOKED_AT.reset(before)

    @contextmanager
    def ending_what_begins(self) -> Iterator[None]:
        """Stop the consumers, boards and dashboard that were started in the block, when it ends."""
        consumers, boards, dashboard = [*self.consumers.values()], [*self.boards], self.dashboard
        try:
            yield
        finally:
            for name, consumer in [*self.consumers.items()]:
                if consumer not in consumers:
                    consumer.stop(timeout=0)
                    del self.consumers[name]
            for target in self.boards.keys() - boards:
                self.boards.pop(target).close()
            if self.dashboard is not None and self.dashboard is not dashboard:
                self.dashboard.stop()
                self.dashboard = None

    def target(self) -> Target:
        """Return the database opened last, else the one that ``PG*`` name now.

        They name one in a terminal after ``eval "$(kit env)"``; ``asyncpg.connect()`` reads them, too.

        Raises:
            KitError: nothing in this process says which database to use.
        """
        if (looked_at := _LOOKED_AT.get()) is not None:
            return looked_at
        if self.database is not None:
            return self.database.target
        if os.environ.get("PGHOST") and os.environ.get("PGDATABASE"):
            return Target.of_variables(os.environ)
        raise KitError(NO_POSTGRES)

    def enter(self, opened: OpenedDatabase) -> None:
        """Make ``opened`` the database of this process; an earlier use of the same database ends."""
        before = self.database
        if before is opened:
            return
        if before is None:
            self._outside = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        self._opened.append(opened)
        self._point()
        if before is not None and before.target == opened.target:  # the same cell again: one use is enough
            before.stop()

    def leave(self, opened: OpenedDatabase) -> None:
        """Go back to the database before ``opened``, or to the ``PG*`` that this process started with."""
        was = self.database
        self._opened = [each for each in self._opened if each is not opened]
        if was is opened:
            self._point()

    def _point(self) -> None:
        outside = dict.fromkeys(VARIABLES) | self._outside
        wanted = self.database.target.environment(self._outside) if self.database is not None else outside
        for name, value in wanted.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


session = Session()
