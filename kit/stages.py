"""Staged jobs: work in several steps, of which nothing is lost and nothing is done twice.

A *run* is one journey of such work, a *stage* one step of it. Table ``kit_runs`` holds a row a run, and the
payload of a stage's job is nothing but the reference to that row::

    orders = Pipeline("orders")

    @orders.stage()
    async def validate(step):                  # step.data: what the run knows so far
        return {"boxes": ["books", "lamp"]}    # added to it

    @orders.stage(each="boxes", retries=3)     # a branch for each box; `ship` waits for all of them
    async def pack(step):
        await step.connection.execute("INSERT INTO packed VALUES ($1)", step.item)

    @orders.stage()
    async def ship(step): ...

    @asynccontextmanager
    async def main():
        connection = await asyncpg.connect()
        async with orders.serve(PgQueuer(AsyncpgDriver(connection))) as pgq:
            yield pgq
        await connection.close()

    run = await orders.start(connection, {"order": 1})

Delivery is at least once: the job of a killed worker comes again. The effect is there exactly once, for
two reasons. What a stage writes (on ``step.connection``), the data it adds and the job of the next stage
commit in *one* transaction. And the row names the one job that may move it (column ``job``), so that a job
that comes again finds the row moved on, and does nothing.

Where this ends: a handler keeps a transaction open, so a stage takes seconds, not hours. A run goes only
forward, a branch is one stage long, and nothing here waits for a signal from outside, undoes an earlier
stage, or carries runs over to a new order of stages. Work that needs those needs a workflow engine.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import asyncpg
from pgqueuer import Job, PgQueuer, RetryRequested
from pgqueuer.domain.errors import retry_request

from kit import current, run_tables
from kit.errors import KitError
from kit.run_tables import Connection, Overtaken, Row
from kit.sync import run_sync

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Pipeline", "Step", "cancel", "history", "retry", "runs"]

PAUSE = 0.5  # seconds between two tries to reach a Postgres that is away
LONGEST = 3600.0  # seconds that a back-off grows to

logger = logging.getLogger("pgqueuer.stages")  # shown where PGQueuer's own warnings are


# Postgres is away, or broke the connection, or undid the transaction to end a deadlock: the step runs again.
_AWAY = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.TransactionRollbackError,
)


@dataclass
class Step:
    """What a stage's handler is given.

    Attributes:
        run: the run's id.
        stage: the stage's name.
        data: what the run knows so far, as a dict; an instance of the stage's ``model``, if it has one.
        connection: the connection whose transaction commits with this step. What you write through it is
            there exactly once. Do not end the transaction yourself.
        attempt: 1 at the first try, and one more each time this stage is tried again.
        item: the item of this branch (an instance of the stage's ``model``, if it has one); else None.
        branch: the item's place in the list, from 0; None outside of a branch.
        next: the stage that follows. Where ``then=`` names several, set it to one of them; None ends the run.
    """

    run: int
    stage: str
    data: Any
    connection: Connection
    attempt: int
    item: Any
    branch: int | None
    next: str | None


Handler: TypeAlias = Callable[[Step], Awaitable[Any]]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True)
class _Stage:
    name: str
    handler: Handler
    then: tuple[str | None, ...]
    each: str | None
    model: Any
    retries: int
    backoff: float
    deadline: float | None


class Pipeline:
    """Stages in the order in which a run goes through them.

    Args:
        name: the first half of each entrypoint: stage ``pack`` of ``orders`` is entrypoint ``orders.pack``.
    """

    def __init__(self, name: str) -> None:
        self.name = _checked(name)
        self._stages: dict[str, _Stage] = {}

    def __repr__(self) -> str:
        return f"<Pipeline {self.name!r}: {', '.join(self._stages) or 'no stages yet'}>"

    def stage(
        self,
        name: str | None = None,
        *,
        then: str | Sequence[str | None] = (),
        each: str | None = None,
        model: Any = None,
        retries: int = 0,
        backoff: float = 1.0,
        deadline: float | None = None,
    ) -> Callable[[H], H]:
        """Declare the next stage: a decorator for its handler, an ``async def`` that takes a `Step`.

        The handler returns a dict (or a pydantic model, or None) that is added to the run's data.

        Args:
            name: the stage's name; the function's, if left out.
            then: the stage that follows, or several to choose from with ``step.next`` (the first, if the
                handler does not set it; None ends the run). They stand below this one. Left out: the next.
            each: the key of a list in the data. The stage runs once for each item, in branches beside each
                other. The next stage begins when all are done, and finds what they returned, in the list's
                order, in the data under this stage's name.
            model: a pydantic model that the data (in a branch: the item) must fit.
            retries: how often the stage is tried again when its handler raises, before the run is held.
            backoff: seconds before the first of these tries. Each later one waits twice as long, at most an
                hour.
            deadline: seconds that one try may take.

        Raises:
            KitError: the handler is not async, or the stage's name is taken.
        """
        if callable(name):
            raise KitError(
                f"A stage is declared with parentheses: @….stage() above `async def {name.__name__}`."
            )
        following = (then,) if isinstance(then, str) else tuple(then)
        if each is not None and len(following) > 1:
            raise KitError(
                f"Branches cannot choose the next stage: each={each!r} goes with one stage in then=."
            )

        def declare(handler: H) -> H:
            is_async: bool = inspect.iscoroutinefunction(handler)
            if not is_async:
                raise KitError(f"A stage's handler is an `async def` that takes the step, not {handler!r}.")
            stage = _checked(name or handler.__name__)
            known = self._stages.get(stage)
            # The same function again is a notebook cell that was run again: it takes the old one's place.
            if known and _origin(known.handler) != _origin(handler):
                raise KitError(f"{self.name!r} has a stage {stage!r} already. Give this one another name=.")
            self._stages[stage] = _Stage(stage, handler, following, each, model, retries, backoff, deadline)
            return handler

        return declare

    @property
    def stages(self) -> dict[str, tuple[str | None, ...]]:
        """Each stage, in order of declaration, with those that may follow it (None: the run ends).

        Raises:
            KitError: there is no stage, or ``then=`` names one that does not stand below it.
        """
        if not self._stages:
            raise KitError(
                f"Pipeline {self.name!r} has no stages yet. Declare one with its .stage decorator."
            )
        names = [*self._stages, None]
        flow = {}
        for place, stage in enumerate(self._stages.values(), start=1):
            flow[stage.name] = stage.then or (names[place],)
            if strange := [name for name in flow[stage.name] if name not in names[place:]]:
                below = " or ".join(map(repr, names[place:]))
                raise KitError(
                    f"Stage {stage.name!r} has then={strange[0]!r}, and that is no stage declared below it. "
                    f"A run goes only forward, here to {below}."
                )
        return flow

    async def start(self, connection: Connection, data: Any = None, *, deadline: float | None = None) -> int:
        """Begin a run: its row and the job of its first stage, in one transaction (yours, if one is open).

        Args:
            connection: an asyncpg connection of your own, not the one a consumer works with.
            data: what the run knows at the start: a dict that JSON can hold, or a pydantic model.
            deadline: seconds from now within which the run must end; after that it is held.

        Returns:
            The run's id.

        Raises:
            KitError: JSON cannot hold the data, or the stages make no sense.
        """
        first, text = next(iter(self.stages)), run_tables.to_json(data, "The data of a run")
        await run_tables.install(connection)
        async with connection.transaction():
            return await run_tables.new_run(connection, self.name, first, text, deadline)

    @asynccontextmanager
    async def serve(
        self, pgq: PgQueuer, *, dsn: str | None = None, connections: int = 10
    ) -> AsyncIterator[PgQueuer]:
        """Register an entrypoint for each stage on ``pgq``, and serve it as long as the block lasts.

        Yields ``pgq``. The steps work on connections of their own, because ``pgq``'s belongs to PGQueuer.

        Args:
            dsn: where they lead; to the database that ``PG*`` name, if left out.
            connections: how many there may be, which is how many steps this consumer does at once.

        Raises:
            KitError: ``pgq`` serves a pipeline of this name already, or the stages make no sense.
        """
        entrypoints = [f"{self.name}.{stage}" for stage in self.stages]
        if taken := [name for name in entrypoints if name in pgq.qm.entrypoint_registry]:
            raise KitError(
                f"This PgQueuer has an entrypoint {taken[0]!r} already: two pipelines are named "
                f"{self.name!r}. Give one of them another name."
            )
        async with asyncpg.create_pool(dsn or current.dsn(), min_size=0, max_size=connections) as pool:
            async with pool.acquire() as connection:
                await run_tables.install(connection)
                async with connection.transaction():
                    await run_tables.adopt(connection, self.name, list(self._stages))
            for entrypoint in entrypoints:
                # A failing stage puts its job away itself. What is left to hold is a payload without a run.
                pgq.entrypoint(entrypoint, on_failure="hold")(_Server(self, pgq, pool).deliver)
            yield pgq

    def picture(self) -> Any:
        """Return a picture of this pipeline's runs, each at its stage, and beside it the same in words."""
        from kit.pictures.flow import draw

        return draw(self.name, self.stages, runs(self.name))


@dataclass(frozen=True)
class _Server:
    """One pipeline, served by one PgQueuer."""

    pipeline: Pipeline
    pgq: PgQueuer
    pool: asyncpg.Pool[Any]

    async def deliver(self, job: Job) -> None:
        """Do the step that ``job`` stands for. It returns or raises only once the outcome is in the row.

        PGQueuer puts a job away when its handler has ended, so to end before that would lose the run.
        """
        run = run_tables.reference(job)
        try:
            while True:
                try:
                    failure = await self._attempt(run, job)
                    break
                except _AWAY as error:
                    if self.pgq.shutdown.is_set():
                        raise RetryRequested(reason=str(error)) from error
                    logger.warning("Run %s tries %s again: %s", run, job.entrypoint, error)
                    await asyncio.sleep(PAUSE)
        except asyncio.CancelledError:
            # A consumer that is cut short cancels its handlers, and PGQueuer deletes the job of such a one.
            raise RetryRequested(reason="the consumer was stopped during this step") from None
        if failure is not None:
            raise failure

    async def _attempt(self, run: int, job: Job) -> Exception | None:
        """Do the step once. Return what PGQueuer is to be told if it failed, once that is recorded."""
        async with self.pool.acquire() as connection:
            row = await run_tables.begin(connection, run, job.id)
            if row is None:
                return None  # the step is done, or the run was canceled
            try:
                async with connection.transaction():
                    await self._step(connection, row)
            except Overtaken:
                return None
            except asyncpg.exceptions.TransactionRollbackError:
                raise
            except Exception as error:
                # If it was the connection that broke, this raises too, and the step runs again.
                return await self._fail(connection, row, job, error)
            return None

    async def _step(self, connection: Connection, row: Row) -> None:
        """Run the stage's handler, or split the run into branches, and write the outcome."""
        stage = self.pipeline._stages.get(row["stage"])
        if stage is None:
            raise KitError(run_tables.no_stage(self.pipeline.name, row["stage"], list(self.pipeline._stages)))
        limits = [limit for limit in (stage.deadline, row["seconds_left"]) if limit is not None]
        if limits and min(limits) <= 0:
            raise KitError(f"The run's deadline passed before stage {stage.name!r} began.")
        following = self.pipeline.stages[stage.name]
        run, branch = row["parent"] or row["id"], row["branch"]
        data, item = json.loads(row["root_data"] or row["data"]), None
        if stage.each is None:
            data = _fit(stage, data)
        else:
            items = _list(stage, data, branch)
            if branch is not None:
                item = _fit(stage, items[branch])
            elif items:
                return await run_tables.split(connection, row, len(items))
            else:
                none = _results(stage, "[]")
                return await self._advance(connection, run, row["job"], stage, following[0], none)
        step = Step(run, stage.name, data, connection, row["attempts"], item, branch, following[0])
        try:
            async with asyncio.timeout(min(limits, default=None)) as timer:
                result = await stage.handler(step)
        except TimeoutError:
            if not timer.expired():
                raise
            raise TimeoutError(f"stage {stage.name!r} was not done within {min(limits):g} s") from None
        text = run_tables.to_json(result, f"What stage {stage.name!r} returns")
        if step.next not in following:
            allowed = ", ".join(map(repr, following))
            raise KitError(f"Stage {stage.name!r} set step.next to {step.next!r}; then= allows {allowed}.")
        if branch is None:
            return await self._advance(connection, run, row["job"], stage, step.next, text)
        await run_tables.lock(connection, run)
        await run_tables.move(connection, row["id"], row["job"], stage.name, "done", data=text)
        joined = await run_tables.results(connection, run, stage.name)
        if joined is not None:  # this branch was the last
            await self._advance(connection, run, None, stage, step.next, _results(stage, joined))
        return None

    async def _advance(
        self,
        connection: Connection,
        run: int,
        by: int | None,
        stage: _Stage,
        following: str | None,
        data: str,
    ) -> None:
        """Write what a stage adds and, with it, the job of the one that follows."""
        if following is None:
            return await run_tables.move(connection, run, by, stage.name, "done", data=data)
        [job] = await run_tables.enqueue(connection, self.pipeline.name, following, [run])
        return await run_tables.move(connection, run, by, following, "pending", data=data, job=job)

    async def _fail(self, connection: Connection, row: Row, job: Job, error: Exception) -> Exception | None:
        """Record why the step failed, and when it is tried again. Return what PGQueuer is to be told."""
        stage, delay = self.pipeline._stages.get(row["stage"]), None
        if (asked := retry_request(error)) is not None:  # PGQueuer's own way to ask for another try
            delay = asked.delay
        elif stage and row["failures"] < stage.retries and not isinstance(error, KitError):
            # A KitError says that the data or the stages are wrong, and so they will be at the next try.
            delay = timedelta(seconds=min(stage.backoff * 2 ** min(row["failures"], 30), LONGEST))
        failure = run_tables.storable(error)
        with suppress(Overtaken):
            async with connection.transaction():
                await run_tables.fail(connection, row, job, failure, delay)
            if delay is None:
                return failure
            retry = RetryRequested(delay, run_tables.message(failure))  # says so; the job itself is put away
            retry.__cause__ = failure
            return retry
        return None


def runs(pipeline: str | None = None, *, branches: bool = False) -> pd.DataFrame:
    """Return a row for each run, oldest first.

    Args:
        pipeline: only the runs of this one.
        branches: a row for each branch too; ``parent`` and ``branch`` say whose it is, and which (Int64).

    Returns:
        ``id`` (Int64), ``pipeline`` and ``stage`` (string), ``status`` (category), ``branches`` (done/all, as
        text), ``data`` (dict), ``attempts`` (Int64, of this stage), ``error`` (string), ``job`` (Int64, the
        one that will move it), ``created`` and ``updated`` (UTC).
    """
    return run_tables.table(
        f"""SELECT id, {"parent, branch, " if branches else ""}pipeline, stage, status,
            (SELECT nullif(count(*) FILTER (WHERE status = 'done') || '/' || count(*), '0/0')
             FROM kit_runs b WHERE b.parent = r.id) AS branches,
            data, attempts, error, job, created, updated
        FROM kit_runs r WHERE ($1::text IS NULL OR pipeline = $1) AND ($2 OR parent IS NULL)
        ORDER BY coalesce(parent, id), branch NULLS FIRST""",
        *(pipeline, branches),
    )


def history(run: int | None = None) -> pd.DataFrame:
    """Return a row for each transition of a run and its branches, oldest first; without a run, of all.

    Returns:
        ``created`` (UTC), ``run`` and ``branch`` (Int64), ``stage`` (string), ``status`` (category),
        ``attempt`` and ``job`` (Int64), ``error`` (string).
    """
    return run_tables.table(
        """SELECT created, run, branch, stage, status, attempt, job, error FROM kit_run_history
        WHERE $1::bigint IS NULL OR run = $1 ORDER BY id""",
        run,
    )


def retry(run: int, data: dict[str, Any] | None = None) -> None:
    """Let a held run go on, at the stage and in the branches where it is held.

    Also a run whose job somebody deleted from the queue. Attempts count from 0 again, and a deadline of the
    whole run holds no longer.

    Args:
        run: the run's id.
        data: corrections, added to the run's data first.

    Raises:
        KitError: there is nothing to try again.
    """
    run_sync(run_tables.in_transaction(run_tables.resume, run, run_tables.to_json(data, "A correction")))


def cancel(run: int) -> None:
    """End a run where it is, with its branches, and delete their jobs.

    A handler that works on it is not interrupted, but what it writes on the step's connection is undone.

    Raises:
        KitError: the run has ended already.
    """
    run_sync(run_tables.in_transaction(run_tables.cancel, run))


def _checked(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
        raise KitError(f"The name of a pipeline or a stage is letters, digits, - and _, not {name!r}.")
    return name


def _origin(handler: Any) -> tuple[str, str]:
    return handler.__module__, handler.__qualname__


def _list(stage: _Stage, data: dict[str, Any], branch: int | None) -> list[Any]:
    items = data.get(str(stage.each))
    if not isinstance(items, list) or (branch is not None and branch >= len(items)):
        raise KitError(
            f"Stage {stage.name!r} has a branch for each item of the list data[{stage.each!r}], and that is "
            f"{items!r:.200}. Correct it with kit.stages.retry(run, {{{stage.each!r}: […]}})."
        )
    return items


def _results(stage: _Stage, results: str) -> str:
    return f'{{"{stage.name}": {results}}}'


def _fit(stage: _Stage, value: Any) -> Any:
    """Return ``value`` as an instance of the stage's model, if it has one."""
    if stage.model is None:
        return value
    from pydantic import ValidationError

    try:
        return stage.model.model_validate(value)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'it'}: {e['msg']}" for e in error.errors())
        what = f"The {'data' if stage.each is None else 'item'} of stage {stage.name!r}"
        raise KitError(f"{what} does not fit {stage.model.__name__}: {wrong}") from None
