"""Staged jobs: work in several steps. Nothing is lost, and nothing is done twice.

A *run* is one journey of such work, a *stage* one step of it. Table ``kit_runs`` has a row for each run. The
payload of a stage's job is only the reference to that row::

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

Delivery is at least once: the job of a killed worker comes again. The effect happens exactly once, for
two reasons. What a stage writes (on ``step.connection``), the data it adds and the job of the next stage
commit in *one* transaction. And the row names the one job that may move it (column ``job``), so that a job
that comes again finds the row moved on, and does nothing.

No step waits for another worker, which may be frozen. If another worker does the same step, or locks what
this one needs, the step is undone and its job comes again a little later. A run whose worker died in the
same stage three times is held (``crashes=``), so one poisonous run does not kill every worker.

The tables belong to the queue beside them. In a database of the kit's own a reset empties them. In somebody
else's database no reset touches them. Reading never makes tables.

Limits: a handler keeps a transaction open, so a stage takes seconds, not hours. A run goes only forward, and
a branch is one stage long. Nothing here waits for a signal from outside, undoes an earlier stage, or carries
runs over to a new order of stages. Work that needs those needs a workflow engine.
"""

from __future__ import annotations

from typing import Any

from kit.stages.checks import to_json
from kit.stages.pipeline import Pipeline
from kit.stages.stage import Step
from kit.stages.store import calls, people
from kit.stages.tables import history, runs
from kit.threads import run_sync

__all__ = ["Pipeline", "Step", "cancel", "history", "retry", "runs"]


def retry(run: int, data: dict[str, Any] | None = None) -> None:
    """Let a held run go on, at the stage and in the branches where it is held.

    Also a run whose job somebody deleted from the queue. Attempts count from 0 again, and a deadline of the
    whole run holds no longer.

    Args:
        run: the run's id.
        data: corrections, added to the run's data first.

    Raises:
        KitError: there is nothing to try again, or Postgres does not answer within 10 seconds.
    """
    run_sync(calls.call(people.resume, run, to_json(data, "A correction")))


def cancel(run: int) -> None:
    """End a run where it is, with its branches, and delete their jobs.

    A handler that works on it is not interrupted, but what it writes on the step's connection is undone.

    Raises:
        KitError: the run has ended already, or Postgres does not answer within 10 seconds.
    """
    run_sync(calls.call(people.cancel, run))
