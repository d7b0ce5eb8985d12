"""This process: its databases, the ``PG*`` it came with, its consumers: the kit's only global state."""

from __future__ import annotations

import os
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
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
    """A `kit.Consumer`, as far as others than its makers need to know it.

    ``backends`` are the Postgres processes (pids) that it is known to use.
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
    """What is served until it is stopped."""

    def stop(self) -> None: ...  # noqa: D102


class Closable(Protocol):
    """What follows a database until it is closed."""

    def close(self) -> None: ...  # noqa: D102


# What calls that read are pointed at while a block of `Session.looking_at` lasts.
_LOOKED_AT: ContextVar[Target | None] = ContextVar("looked at", default=None)


class Session:
    """What this process has running.

    Attributes:
        consumers: the consumer that has each name, running or not.
        boards: the board that follows each database.
        courses: packages whose exercises were added to the kit's.
        dashboard: PGQueuer's own, when it was served last.
        drill: the broken queue that is open, of the exercises on call.
        backends: the Postgres processes that this process's consumers are known to have used.
        managers: which consumer each id stood for that PGQueuer wrote on the jobs it had picked.
        began: the jobs that the consumers of each name took up, and when (seconds since 1970), the last ones.
        ended: when their handlers ended, in the same way; the log says it up to a tenth of a second later.
        told: what is said once a process, and has been.
        watching: how many calls are about to show what consumers have to say.
        lock: to be held while how many consumers run is changed.
        running: how many consumers run.
        changes: what running consumers have changed of this process, to be put back when the last one ends.
        scratch: the database in which answers to exercises are checked.
        memory: this process's, in bytes, when all its objects were looked at for garbage; 0 is not known.
        guard: the process that kills this process's workers when this one is gone; `kit.worker` starts it.
        guarded: the workers (pids) it knows.
        unwritten: what was done in exercises, where it cannot be written down.
        show: shows consumers in the cell that has just started them; where it is, `kit.pictures` sets it.
        unending: tasks of consumers that could not be cancelled, kept so that Python says nothing of them.
    """

    __slots__ = (
        "_opened",
        "_outside",
        "backends",
        "began",
        "boards",
        "changes",
        "consumers",
        "courses",
        "dashboard",
        "drill",
        "ended",
        "guard",
        "guarded",
        "lock",
        "managers",
        "memory",
        "running",
        "scratch",
        "show",
        "told",
        "unending",
        "unwritten",
        "watching",
    )

    def __init__(self) -> None:
        self._opened: list[OpenedDatabase] = []
        self._outside: dict[str, str] = {}
        self.show: Callable[[Sequence[RunningConsumer]], object] = lambda consumers: None
        self.memory = 0
        self.scratch: OpenedDatabase | None = None
        self.drill: Any = None
        self.courses: list[str] = []
        self.unwritten: list[dict[str, Any]] = []
        self.guard: subprocess.Popen[bytes] | None = None
        self.guarded: set[int] = set()
        self.forget_consumers()

    def forget_consumers(self) -> None:
        """Start without consumers and boards, as after a fork, which takes no threads along."""
        self.consumers: dict[str, RunningConsumer] = {}
        self.boards: dict[Target, Closable] = {}
        self.dashboard: Stoppable | None = None
        self.backends: set[int] = set()
        self.managers: dict[str, str] = {}
        self.began: dict[str, deque[tuple[int, float]]] = {}
        self.ended: dict[str, deque[tuple[int, float]]] = {}
        self.told: set[str] = set()
        self.watching = 0
        self.lock = threading.Lock()
        self.running = 0
        self.changes = ExitStack()
        self.unending: list[object] = []

    def known_backends(self) -> set[int]:
        """Return the Postgres processes that consumers of this process use, or are known to have used."""
        for consumer in list(self.consumers.values()):
            self.backends.update(consumer.backends)
        return self.backends

    @property
    def database(self) -> OpenedDatabase | None:
        """The database that the kit's calls use and ``PG*`` name; None when the kit opened none."""
        return self._opened[-1] if self._opened else None

    def outside(self) -> Mapping[str, str]:
        """Return the ``PG*`` variables that this process came with."""
        return self._outside if self._opened else os.environ

    @contextmanager
    def looking_at(self, target: Target) -> Iterator[None]:
        """Let what this block calls read from ``target``, which does not become this process's database."""
        before = _LOOKED_AT.set(target)
        try:
            yield
        finally:
            _LOOKED_AT.reset(before)

    @contextmanager
    def ending_what_begins(self) -> Iterator[None]:
        """Stop the consumers, boards and dashboard that the block has started, when it ends."""
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
        """Return what to connect to: the database opened last, else what ``PG*`` name now.

        The second is a terminal after ``eval "$(kit env)"``, which ``asyncpg.connect()`` understands, too.

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
        """Make ``opened`` the database of this process; the same one, opened before, is let go."""
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
        """Go back to the database before ``opened``, or to the ``PG*`` that this process came with."""
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
