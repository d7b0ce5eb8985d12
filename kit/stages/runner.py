"""A step of a run: call the stage's handler, and write the outcome into the row exactly once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
from pgqueuer import Job, PgQueuer, RetryRequested
from pgqueuer.domain.errors import retry_request

from kit.errors import KitError
from kit.errors.postgres import worth_another_try
from kit.errors.text import storable
from kit.stages.checks import message, no_stage, reference, to_json
from kit.stages.stage import Stage, Step
from kit.stages.store import steps
from kit.stages.store.schema import Connection, Row
from kit.stages.store.steps import Overtaken, Suspect, Taken

PAUSE = 0.5  # seconds between two tries to reach a Postgres that is away, or a step that is taken
LATER = 5.0  # seconds that the pause before a taken step grows to
LONGEST = 3600.0  # seconds that a back-off grows to

logger = logging.getLogger("pgqueuer.stages")  # shown where PGQueuer's own warnings are


@dataclass(frozen=True)
class StageRunner:
    """One pipeline, served by one PgQueuer.

    Attributes:
        pipeline: its name.
        declared: its stages.
        following: what may follow each stage; None is the end of the run.
    """

    pipeline: str
    declared: Mapping[str, Stage]
    following: Mapping[str, tuple[str | None, ...]]
    pgq: PgQueuer
    pool: asyncpg.Pool[Any]
    suspects: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def deliver(self, job: Job) -> None:
        """Do the step that ``job`` stands for. It returns or raises only once the outcome is in the row.

        PGQueuer deletes a job when its handler has ended, so an earlier end would lose the run. Without an
        outcome PGQueuer queues the job again, if it still exists.
        """
        run = reference(job)
        try:
            failure = await self._persist(run, job)
        except asyncio.CancelledError:
            # A consumer that is cut short cancels its handlers, and PGQueuer deletes their jobs.
            raise RetryRequested(reason="the consumer was stopped during this step") from None
        except (Taken, asyncpg.LockNotAvailableError) as error:
            delay = timedelta(seconds=min(PAUSE * 2 ** min(job.attempts, 10), LATER))
            raise RetryRequested(delay, reason=str(error)) from None
        except Overtaken:
            # The queue may have another run's job with this id, if ids have started again.
            raise RetryRequested(
                reason=f"run {run} was canceled, or moved by hand, during this step"
            ) from None
        if failure is not None:
            raise failure

    async def _persist(self, run: int, job: Job) -> Exception | None:
        """Do the step, again if Postgres was away. Return the exception for PGQueuer, if it failed."""
        again = False
        while True:
            try:
                try:
                    return await self._attempt(run, job, again=again)
                except Suspect:
                    async with self.suspects:
                        return await self._attempt(run, job, again=again, alone=True)
            except Exception as error:
                if not worth_another_try(error):
                    raise
                if self.pgq.shutdown.is_set():
                    raise RetryRequested(reason=str(error)) from error
                logger.warning("Run %s tries %s again: %s", run, job.entrypoint, error)
                again = True
                await asyncio.sleep(PAUSE)

    async def _attempt(self, run: int, job: Job, *, again: bool, alone: bool = False) -> Exception | None:
        """Do the step once. If it failed, record that, and return the exception for PGQueuer."""
        async with self.pool.acquire() as connection:
            row = await steps.begin(connection, run, job.id, again=again, alone=alone)
            if row is None:
                return None  # the step is done, or the run was canceled
            try:
                return await self._outcome(connection, row, job)
            except (asyncio.CancelledError, asyncpg.LockNotAvailableError):
                with suppress(Exception):
                    await steps.give_back(connection, row)
                raise

    async def _outcome(self, connection: Connection, row: Row, job: Job) -> Exception | None:
        try:
            async with connection.transaction():
                await self._step(connection, row)
        except (Overtaken, asyncpg.LockNotAvailableError, asyncpg.exceptions.TransactionRollbackError):
            raise
        except Exception as error:
            # If the connection broke, this raises too, and the step runs again.
            return await self._fail(connection, row, job, error)
        return None

    async def _step(self, connection: Connection, row: Row) -> None:
        """Run the stage's handler, or split the run into branches, and write the outcome."""
        stage = self.declared.get(row["stage"])
        if stage is None:
            raise KitError(no_stage(self.pipeline, row["stage"], list(self.declared)))
        if row["crashes"] >= stage.crashes:
            raise KitError(
                f"Stage {stage.name!r} was cut short {row['crashes']} times, because its worker died "
                "(os._exit, a kill, out of memory). Mend the stage, then kit.stages.retry(run)."
            )
        limits = [limit for limit in (stage.deadline, row["seconds_left"]) if limit is not None]
        if limits and min(limits) <= 0:
            raise KitError(f"The run's deadline passed before stage {stage.name!r} began.")
        following = self.following[stage.name]
        run, branch = row["parent"] or row["id"], row["branch"]
        data, item = json.loads(row["root_data"] or row["data"]), None
        if stage.each is None:
            data = _fit(stage, data)
        else:
            items = _list(stage, data, branch)
            if branch is not None:
                item = _fit(stage, items[branch])
            elif items:
                return await steps.split(connection, row, len(items))
            else:
                none = f'{{"{stage.name}": []}}'
                return await steps.advance(connection, row, following[0], none)
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
            return await steps.advance(connection, row, step.next, text)
        return await steps.join(connection, row, step.next, text)

    async def _fail(self, connection: Connection, row: Row, job: Job, error: Exception) -> Exception | None:
        """Record why the step failed and when it is tried again. Return the exception for PGQueuer."""
        stage, delay = self.declared.get(row["stage"]), None
        if (asked := retry_request(error)) is not None:  # PGQueuer's own way to ask for another try
            delay = asked.delay
        elif stage and row["failures"] < stage.retries and not isinstance(error, KitError):
            # A KitError means that the data or the stages are wrong, and the next try would not change that.
            delay = timedelta(seconds=min(stage.backoff * 2 ** min(row["failures"], 30), LONGEST))
        failure = storable(error)
        async with connection.transaction():
            await steps.fail(connection, row, job, failure, delay)
        if delay is None:
            return failure
        retry = RetryRequested(delay, message(failure))  # for the log: the job itself is already gone
        retry.__cause__ = failure
        return retry


def _list(stage: Stage, data: dict[str, Any], branch: int | None) -> list[Any]:
    items = data.get(str(stage.each))
    if not isinstance(items, list) or (branch is not None and branch >= len(items)):
        raise KitError(
            f"Stage {stage.name!r} has a branch for each item of the list data[{stage.each!r}], and that is "
            f"{items!r:.200}. Correct it with kit.stages.retry(run, {{{stage.each!r}: […]}})."
        )
    return items


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
