"""A step of a run: what its handler is given, and how its outcome gets into the row exactly once."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
from pgqueuer import Job, PgQueuer, RetryRequested
from pgqueuer.domain.errors import retry_request

from kit.errors import KitError
from kit.stages import rows
from kit.stages.rows import Connection, Overtaken, Row
from kit.stages.values import message, no_stage, reference, storable, to_json

if TYPE_CHECKING:
    from kit.stages.pipeline import Pipeline, Stage

PAUSE = 0.5  # seconds between two tries to reach a Postgres that is away
LONGEST = 3600.0  # seconds that a back-off grows to

logger = logging.getLogger("pgqueuer.stages")  # shown where PGQueuer's own warnings are

# Postgres is away, or broke the connection, or undid the transaction to end a deadlock: the step runs again.
AWAY = (
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


@dataclass(frozen=True)
class Server:
    """One pipeline, served by one PgQueuer."""

    pipeline: Pipeline
    pgq: PgQueuer
    pool: asyncpg.Pool[Any]

    async def deliver(self, job: Job) -> None:
        """Do the step that ``job`` stands for. It returns or raises only once the outcome is in the row.

        PGQueuer puts a job away when its handler has ended, so to end before that would lose the run.
        """
        run = reference(job)
        try:
            while True:
                try:
                    failure = await self._attempt(run, job)
                    break
                except AWAY as error:
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
            row = await rows.begin(connection, run, job.id)
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
        stage = self.pipeline.declared.get(row["stage"])
        if stage is None:
            raise KitError(no_stage(self.pipeline.name, row["stage"], list(self.pipeline.declared)))
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
                return await rows.split(connection, row, len(items))
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
        text = to_json(result, f"What stage {stage.name!r} returns")
        if step.next not in following:
            allowed = ", ".join(map(repr, following))
            raise KitError(f"Stage {stage.name!r} set step.next to {step.next!r}; then= allows {allowed}.")
        if branch is None:
            return await self._advance(connection, run, row["job"], stage, step.next, text)
        await rows.lock(connection, run)
        await rows.move(connection, row["id"], row["job"], stage.name, "done", data=text)
        joined = await rows.results(connection, run, stage.name)
        if joined is not None:  # this branch was the last
            await self._advance(connection, run, None, stage, step.next, _results(stage, joined))
        return None

    async def _advance(
        self,
        connection: Connection,
        run: int,
        by: int | None,
        stage: Stage,
        following: str | None,
        data: str,
    ) -> None:
        """Write what a stage adds and, with it, the job of the one that follows."""
        if following is None:
            return await rows.move(connection, run, by, stage.name, "done", data=data)
        [job] = await rows.enqueue(connection, self.pipeline.name, following, [run])
        return await rows.move(connection, run, by, following, "pending", data=data, job=job)

    async def _fail(self, connection: Connection, row: Row, job: Job, error: Exception) -> Exception | None:
        """Record why the step failed, and when it is tried again. Return what PGQueuer is to be told."""
        stage, delay = self.pipeline.declared.get(row["stage"]), None
        if (asked := retry_request(error)) is not None:  # PGQueuer's own way to ask for another try
            delay = asked.delay
        elif stage and row["failures"] < stage.retries and not isinstance(error, KitError):
            # A KitError says that the data or the stages are wrong, and so they will be at the next try.
            delay = timedelta(seconds=min(stage.backoff * 2 ** min(row["failures"], 30), LONGEST))
        failure = storable(error)
        with suppress(Overtaken):
            async with connection.transaction():
                await rows.fail(connection, row, job, failure, delay)
            if delay is None:
                return failure
            retry = RetryRequested(delay, message(failure))  # says so; the job itself is put away
            retry.__cause__ = failure
            return retry
        return None


def _list(stage: Stage, data: dict[str, Any], branch: int | None) -> list[Any]:
    items = data.get(str(stage.each))
    if not isinstance(items, list) or (branch is not None and branch >= len(items)):
        raise KitError(
            f"Stage {stage.name!r} has a branch for each item of the list data[{stage.each!r}], and that is "
            f"{items!r:.200}. Correct it with kit.stages.retry(run, {{{stage.each!r}: […]}})."
        )
    return items


def _results(stage: Stage, results: str) -> str:
    return f'{{"{stage.name}": {results}}}'


def _fit(stage: Stage, value: Any) -> Any:
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
