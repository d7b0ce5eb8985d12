"""`Answer`, which a check is given: the learner's own things, and a database of the check's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
from pgqueuer import AsyncpgDriver, Queries

from kit.errors.place import place_in
from kit.errors.text import headline, server_message
from kit.exercises.exercise import Exercise, NotYet, row_of
from kit.exercises.running import LIMIT, Process, Ran, pack
from kit.session import session
from kit.sources import Postgres

ROWS = 200  # rows of a learner's query that are looked at
STATEMENT = "2s"  # how long a learner's query may take


class Answer:
    """A learner's answer, and what a check does with it.

    Attributes:
        guess: what `kit.predict` was given, by name.
        q: PGQueuer's `Queries` on the scratch database, in the kernel; for what a producer does.
    """

    def __init__(
        self,
        exercise: Exercise,
        namespace: Mapping[str, Any],
        guess: Mapping[str, Any],
        scratch: Postgres,
        inside: asyncpg.Connection,
        ready: list[Process],
    ) -> None:
        self.guess = guess
        self.q = Queries(AsyncpgDriver(inside))
        self._exercise = exercise
        self._namespace = namespace
        self._scratch = scratch
        self._inside = inside
        self._ready = ready
        self._used: list[Process] = []

    @property
    def file(self) -> str:
        """What the learner has written into the exercise's file."""
        return Path(self._exercise.file or "").read_text("utf-8", errors="replace")

    def __getitem__(self, name: str) -> Any:
        """Return what the learner has under one of the exercise's names."""
        return self._namespace[name]

    # The database

    async def sql(self, query: str, *args: Any) -> list[tuple[Any, ...]]:
        """Run a statement of the check's, and return its rows."""
        if not args and ";" in query.strip().rstrip(";"):
            await self._inside.execute(query)
            return []
        return [tuple(row) for row in await self._inside.fetch(query, *args)]

    async def ask(self, name: str, *args: Any, on: asyncpg.Connection | None = None) -> list[tuple[Any, ...]]:
        """Run the learner's own query, which stands under ``name``, and return its rows, 200 at most.

        Args:
            args: values for ``$1``, ``$2``, …; those that it does not use are left out.
            on: a connection with a transaction that goes on; without it, one that is ended at once.

        Raises:
            NotYet: it is no text, Postgres refuses it, or it takes longer than two seconds.
        """
        query, connection = self[name], on or self._inside
        if not isinstance(query, str):
            raise NotYet("no-text", name=name, type=type(query).__name__)
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT}'")
                prepared = await connection.prepare(query)
                cursor = await prepared.cursor(*args[: len(prepared.get_parameters())])
                return [tuple(row) for row in await cursor.fetch(ROWS)]
        except asyncpg.QueryCanceledError:
            raise NotYet("slow-query", name=name) from None
        except (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError):
            raise
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.DataError) as error:
            raise NotYet("refused", name=name, said=server_message(error)) from None

    @asynccontextmanager
    async def another(self) -> AsyncIterator[asyncpg.Connection]:
        """Open another session in the scratch database, as another program would."""
        async with self._scratch.target.connect() as connection:
            yield connection

    async def enqueue(
        self, entrypoint: str, payloads: Sequence[bytes | None], priorities: Sequence[int] = (), **more: Any
    ) -> list[Any]:
        """Enqueue a job for each payload, and return their ids."""
        count = len(payloads)
        given = {key: value if isinstance(value, list) else [value] * count for key, value in more.items()}
        return list(
            await self.q.enqueue(  # type: ignore[call-overload]
                [entrypoint] * count, list(payloads), list(priorities) or [0] * count, **given
            )
        )

    async def write_log(self, *rows: tuple[Any, ...]) -> None:
        """Write rows into the log: job id, entrypoint, status, seconds since the log began, and an error.

        The error is ``"KeyError: 'subject'"``, or left out. The log began an hour ago.
        """
        began = datetime.now().astimezone() - timedelta(hours=1)
        for job, entrypoint, status, seconds, *error in rows:
            record = None
            if error:
                kind, _, said = error[0].partition(": ")
                record = json.dumps(
                    {"exception_type": kind, "exception_message": said, "traceback": error[0]}
                )
            await self._inside.execute(
                "INSERT INTO pgqueuer_log (job_id, entrypoint, status, priority, created, traceback)"
                " VALUES ($1, $2, $3, 0, $4, $5)",
                job, entrypoint, status, began + timedelta(seconds=seconds), record,
            )  # fmt: skip

    async def log(self, *statuses: str) -> list[tuple[Any, ...]]:
        """Return the log, oldest first: job id, entrypoint, status, and the type of its error or None."""
        return await self.sql(
            "SELECT job_id, entrypoint, status::text, traceback->>'exception_type' FROM pgqueuer_log"
            " WHERE cardinality($1::text[]) = 0 OR status::text = ANY($1) ORDER BY id",
            list(statuses),
        )

    async def no_exceptions(self, message: str = "raised") -> None:
        """Raise `NotYet` with the learner's line where a job has ended with an exception."""
        rows = await self.sql(
            "SELECT traceback::text FROM pgqueuer_log WHERE traceback IS NOT NULL"
            " AND status IN ('exception', 'failed') ORDER BY id LIMIT 1"
        )
        if rows:
            record = json.loads(rows[0][0])
            line = headline(str(record["exception_type"]), str(record["exception_message"]))
            raise NotYet(message, error=line, place=place_in(str(record["traceback"])))

    # The learner's code

    async def run(
        self,
        main: Any = None,
        *,
        how: Mapping[str, Mapping[str, Any]] | None = None,
        schedule: str | None = None,
        hurry: bool = False,
        limit: float = LIMIT,
        **handlers: Any,
    ) -> Ran:
        """Run a consumer in a process of its own until its queue is empty.

        Args:
            main: a factory; without it, ``handlers`` makes a consumer.
            how: for each entrypoint of ``handlers``, the options of ``pgq.entrypoint``.
            schedule: run this schedule of ``main`` once, instead of jobs.
            hurry: let no job wait for its time, so that a retry comes at once.
            limit: seconds that it may take, from when the process is ready.
            handlers: a handler for each entrypoint.

        Raises:
            NotYet: it did not end in time, ended its process, or could not start.
        """
        stop = asyncio.Event()
        hurrying = asyncio.create_task(self._hurry(stop)) if hurry else None
        try:
            ran = await self._do(self._consumer(main, how, schedule, handlers), limit)
        finally:
            stop.set()
            if hurrying is not None:
                await hurrying
        self._refuse(ran)
        return ran

    async def _hurry(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._inside.execute(
                "UPDATE pgqueuer SET execute_after = now() WHERE execute_after > now()"
            )
            await asyncio.sleep(0.02)

    async def until(self, condition: str, *, limit: float = 20.0) -> None:
        """Wait until a query's one value is true.

        Raises:
            TimeoutError: it is not, within ``limit`` seconds.
        """
        async with asyncio.timeout(limit):
            while not await self._inside.fetchval(condition):
                await asyncio.sleep(0.02)

    async def call(self, function: Any, *arguments: Any, limit: float = LIMIT) -> Any:
        """Call a function of the learner's in a process of its own, and return what it gives, as JSON has it.

        Raises:
            NotYet: it raised, or did not end in time.
        """
        (only,) = await self.calls([(function, arguments)], limit=limit)
        if error := only.get("error"):
            raise NotYet(
                "raised",
                error=headline(error["type"], error["message"]),
                place=place_in(error["traceback"]),
            )
        return only["value"]

    async def run_function(self, function: Any, *arguments: Any, limit: float = LIMIT) -> Ran:
        """Do as `call` does, and return what became of the process: what was printed, too."""
        ran = await self._do({"calls": [(function, arguments)], "at_once": False}, limit)
        self._refuse(ran)
        (only,) = ran.value
        if error := only.get("error"):
            self._refuse(Ran(error=error))
        return ran

    async def calls(
        self, calls: Sequence[tuple[Any, tuple[Any, ...]]], *, at_once: bool = False, limit: float = LIMIT
    ) -> list[dict[str, Any]]:
        """Call functions one after the other, or ``at_once``, all in one process of its own.

        Returns:
            For each a dict: ``value``, or ``error`` with its ``type``, ``message`` and ``traceback``.
        """
        ran = await self._do({"calls": [tuple(call) for call in calls], "at_once": at_once}, limit)
        self._refuse(ran)
        return list(ran.value)

    def environment(self) -> dict[str, str]:
        """Return the environment of a program that is to work in the scratch database."""
        named = dict(session.outside()) | self._scratch.target.variables()
        return {key: value for key, value in named.items() if key.startswith("PG")}

    async def begin(
        self, main: Any = None, *, how: Any = None, limit: float = LIMIT, **handlers: Any
    ) -> Process:
        """Begin what `run` does and return the process, to be killed, or ended with `Process.end`."""
        process = await self._next()
        process.give(self._packed(self._consumer(main, how, None, handlers), limit))
        return process

    def _consumer(
        self, main: Any, how: Any, schedule: str | None, handlers: Mapping[str, Any]
    ) -> dict[str, Any]:
        how = how or {}
        options = {"dequeue_timeout": 0.05, "batch_size": 10}
        return {
            "main": main,
            "handlers": [(name, handler, dict(how.get(name, {}))) for name, handler in handlers.items()],
            "options": options | dict(how.get("", {})),
            "schedule": schedule,
        }

    async def _do(self, work: Mapping[str, Any], limit: float) -> Ran:
        packed = self._packed(work, limit)
        return await (await self._next()).do(packed, limit=limit)

    def _packed(self, work: Mapping[str, Any], limit: float) -> bytes:
        return pack(
            work,
            namespace=self._namespace,
            lent=self._exercise.lent,
            limit=limit,
            author=self._exercise.check.__module__,
            environment=self.environment(),
        )

    async def _next(self) -> Process:
        process = self._ready.pop(0) if self._ready else await Process.start()
        self._used.append(process)
        return process

    def _refuse(self, ran: Ran) -> None:
        if ran.error is None:
            return
        from kit.consumer import factory

        kind, message = ran.error["type"], ran.error["message"]
        stand_in = type(kind, (Exception,), {})(message)
        said = factory.explain(stand_in, "Your code").rstrip(".")
        raise NotYet("no-start", said=said, place=place_in(ran.error["traceback"]))

    async def end(self) -> None:
        """End every process."""
        for process in [*self._used, *self._ready]:
            await process.end()

    # Comparing

    def guessed(self, name: str, measured: Any, misled: Mapping[Any, str], otherwise: str) -> None:
        """Raise `NotYet` where a prediction is not what was measured.

        Args:
            name: what was predicted.
            measured: what it is.
            misled: for guesses that people make, or their length where it is a list, the key of a message.
            otherwise: the key for every other guess.
        """
        guess = _as_guessed(self.guess[name])
        if not _alike(guess, _as_guessed(measured), 0.0):
            key = misled.get(guess if not isinstance(guess, list) else len(guess)) or otherwise
            raise NotYet(key, expected=[(name, measured)], actual=[(name, self.guess[name])])

    def same(
        self,
        actual: Sequence[Any],
        expected: Sequence[Any],
        message: str,
        *,
        columns: Sequence[str] = (),
        in_order: bool = True,
        close: float = 0.0,
        **words: Any,
    ) -> None:
        """Raise `NotYet` with this message where the rows differ; numbers may be ``close``.

        Further columns at the right of ``actual`` do not count. A row of one column may be given bare.
        """
        want = [_row(row) for row in expected]
        have = [_row(row) for row in actual]
        width = len(want[0]) if want else 0
        cut = [row[:width] if want else row for row in have]
        left, right = (cut, want) if in_order else (sorted(cut, key=repr), sorted(want, key=repr))
        if len(left) != len(right) or not all(
            _alike(a, b, close) for x, y in zip(left, right, strict=True) for a, b in _pairs(x, y)
        ):
            raise NotYet(message, expected=want, actual=have, columns=columns, **words)


def _as_guessed(value: Any) -> Any:
    """Return a guess as it is compared: lists for tuples, small letters, a number without quotes."""
    if isinstance(value, list | tuple):
        return [_as_guessed(each) for each in value]
    if isinstance(value, str):
        word = value.strip().lower()
        return int(word) if word.isdecimal() else word
    return value if isinstance(value, Hashable) else repr(value)


def _pairs(one: tuple[Any, ...], two: tuple[Any, ...]) -> list[tuple[Any, Any]]:
    return list(zip(one, two, strict=True)) if len(one) == len(two) else [(one, two)]


def _row(row: Any) -> tuple[Any, ...]:
    return tuple(map(_plain, row_of(row)))


def _plain(value: Any) -> Any:
    """Return a value as it is compared: an interval as seconds, a Decimal as a float."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return float(value)
    return value


def _alike(one: Any, two: Any, close: float) -> bool:
    numbers = (int, float)
    if isinstance(one, numbers) and isinstance(two, numbers) and not isinstance(one, bool):
        return abs(one - two) <= close + 1e-9
    return bool(one == two)
