"""Drills: a broken queue, made for real in the database of a lesson, and its service on call."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, Unpack

import asyncpg
from pgqueuer import AsyncpgDriver, Queries

from kit.consumer.options import Given
from kit.database import creation, emptying
from kit.errors import KitError
from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise
from kit.session import NO_POSTGRES, session
from kit.sources import Postgres
from kit.threads import run_sync
from kit.worker.spawn import spawn
from kit.worker.worker import Worker

FILE = "programs/on_call.py"
MODULE = "programs.on_call"

BUSY = 60.0  # seconds that a machine that is busy may take for what takes one

T = TypeVar("T")


@dataclass
class Incident:
    """A drill that is open, and what an author makes its broken queue with.

    Attributes:
        exercise: the drill.
        first: the workers that ran when it was opened.
        commands: the lines that started them.
    """

    exercise: Exercise
    first: list[Any] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    @property
    def restarted(self) -> bool:
        """Whether a worker that was there is gone, and another one was started."""
        others = [one for one in session.consumers.values() if one not in self.first]
        return bool(others) and not all(one.alive for one in self.first)

    def do(self, work: Callable[[Answer], Awaitable[T]]) -> T:
        """Do something with an `Answer` whose database is that of the lesson."""

        async def doing() -> T:
            opened = database()
            async with opened.target.connect(patient=True) as inside:
                return await work(Answer(self.exercise, {}, {}, opened, inside, []))

        return run_sync(doing())

    def sql(self, query: str) -> None:
        """Run statements."""
        self.do(lambda answer: answer.sql(query))

    def until(self, condition: str) -> None:
        """Wait until a query's one value is true."""
        self.do(lambda answer: answer.until(condition, limit=BUSY))

    def service(self, text: str) -> None:
        """Write the file of the service."""
        Path(FILE).parent.mkdir(exist_ok=True)
        Path(FILE).write_text(text, "utf-8")

    def start(self, factory: str = "main", name: str = "worker", **options: Unpack[Given]) -> None:
        """Start the service in a process of its own, as the learner would start it again."""
        self.first.append(spawn(f"{MODULE}:{factory}", name=name, **options))
        given = [f'"{MODULE}:{factory}"', *([f'name="{name}"'] if name != "worker" else [])]
        self.commands.append(f"kit.spawn({', '.join(given + [f'{k}={v}' for k, v in options.items()])})")


def begin(exercise: Exercise) -> str:
    """Make the broken queue of a drill, and return the lines that started its service.

    Raises:
        KitError: there is no Postgres in this process yet, the kit did not make its database, or the queue
            could not be made in time.
    """
    assert exercise.breaks is not None
    opened = database()
    run_sync(_refuse_a_database_of_somebody(opened))
    print("This breaks what is in the queue, and takes some seconds …", flush=True)
    backends = {pid for consumer in session.consumers.values() for pid in consumer.backends}
    for name, consumer in list(session.consumers.items()):
        if isinstance(consumer, Worker):
            consumer.kill()  # of its jobs nothing is kept
        else:
            consumer.stop(0.5)
        session.consumers.pop(name, None)
    incident = Incident(exercise)
    session.drill = None
    run_sync(_empty(opened, backends))
    try:
        with redirect_stdout(io.StringIO()):  # what the kit says of its service may be the answer
            exercise.breaks(incident)
    except BaseException as error:
        for worker in incident.first:
            worker.kill()
        if isinstance(error, TimeoutError):
            late = f"The drill {exercise.id!r} could not be made in time. Open it once more."
            raise KitError(late) from None
        raise
    session.drill = incident
    return "\n".join([f"# The service is {FILE}. It was started with", *dict.fromkeys(incident.commands)])


def database() -> Postgres:
    """Return the database of the lesson.

    Raises:
        KitError: there is none yet.
    """
    if not isinstance(session.database, Postgres):
        raise KitError(NO_POSTGRES)
    return session.database


async def _refuse_a_database_of_somebody(opened: Postgres) -> None:
    async with opened.target.connect(patient=True) as inside:
        name = await inside.fetchval("SELECT current_database()")
        if not await creation.is_ours(inside, name):
            raise KitError(
                f"The kit did not make the database {name!r}, and a drill breaks what is in it. Call "
                "kit.postgres('embedded', database='on_call') first: that makes one."
            )


async def _empty(opened: Postgres, backends: set[int]) -> None:
    async with opened.target.connect(patient=True) as inside:
        # What is left of a worker that was killed would count as one that still has jobs. Another process may
        # have a pid that was a worker's.
        await inside.execute(
            "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE pid = ANY($1::int[])"
            " AND datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()",
            [*backends],
        )
        await inside.execute("SET lock_timeout = '1s'")
        with suppress(asyncpg.PostgresError):  # what the drill before has taken from PGQueuer's schema
            await Queries(AsyncpgDriver(inside)).upgrade()
        await emptying.empty(inside, opened.target)
