"""Statements about runs from outside of a step: start, hold, retry, cancel, and a consumer's start."""

from __future__ import annotations

import secrets

from kit.errors import KitError
from kit.stages.checks import no_stage
from kit.stages.store import jobs
from kit.stages.store.jobs import Run
from kit.stages.store.schema import Connection, Row

OPEN = "status IN ('pending', 'running', 'waiting')"


async def new_rows(connection: Connection, count: int) -> list[Run]:
    """Return ids and tokens for ``count`` new rows."""
    query = "SELECT nextval(pg_get_serial_sequence('kit_runs', 'id')) FROM generate_series(1, $1::int)"
    return [Run(row[0], secrets.randbits(63)) for row in await connection.fetch(query, count)]


async def new_run(
    connection: Connection, pipeline: str, stage: str, data: str, deadline: float | None
) -> int:
    """Write a run and the job of its first stage; return its id."""
    [run] = await new_rows(connection, 1)
    [job] = await jobs.enqueue(connection, pipeline, stage, [run])
    await connection.execute(
        """INSERT INTO kit_runs (id, token, pipeline, stage, data, job, deadline)
           VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp() + $7 * interval '1 second')""",
        *(run.id, run.token, pipeline, stage, data, job, deadline),
    )
    return run.id


async def hold(connection: Connection, run: int, error: str) -> None:
    """Hold a run where it is."""
    await connection.execute(
        """UPDATE kit_runs SET status = 'failed', error = $2, job = NULL, updated = clock_timestamp()
           WHERE id = $1""",
        *(run, error),
    )


async def adopt(connection: Connection, pipeline: str, stages: list[str]) -> None:
    """Repair, when a consumer starts, what a crash or a change of the stages may have left."""
    # Runs in a stage that the pipeline no longer has: nobody would ever take their jobs. Runs that a frozen
    # worker has locked are left out, or this consumer would wait for that worker.
    strays = await connection.fetch(
        f"""SELECT id, stage, job FROM kit_runs WHERE pipeline = $1 AND stage <> ALL ($2) AND {OPEN}
            ORDER BY parent NULLS FIRST, id FOR UPDATE SKIP LOCKED""",
        *(pipeline, stages),
    )
    for stray in strays:
        await hold(connection, stray["id"], no_stage(pipeline, stray["stage"], stages))
    await jobs.end(connection, [stray["job"] for stray in strays])
    # Jobs that PGQueuer holds because it could not queue them again when its connection broke.
    held = await connection.fetch(
        f"""SELECT r.job FROM kit_runs r JOIN {jobs.queue(connection)} q
            ON q.id = r.job AND q.status = 'failed' WHERE r.pipeline = $1 AND r.{OPEN}""",
        pipeline,
    )
    await jobs.queries(connection).requeue_jobs([row["job"] for row in held])


async def resume(connection: Connection, run: int, correction: str) -> None:
    """Enqueue again the held parts of a run, and those that wait for a job that is not in the queue."""
    row = await _lock(connection, run)
    stuck = await connection.fetch(
        f"""SELECT id, token, job FROM kit_runs WHERE (id = $1 OR parent = $1) AND stage = $2 AND (
                status = 'failed' OR job IS NOT NULL AND NOT EXISTS (
                    SELECT FROM {jobs.queue(connection)} q
                    WHERE q.id = kit_runs.job AND q.status IN ('queued', 'picked')))
            ORDER BY branch""",
        *(run, row["stage"]),
    )
    if not stuck:
        raise KitError(f"Run {run} is {row['status']}: there is nothing to try again.")
    if len(stuck) > 1:  # the run itself is only held because branches are
        stuck = [other for other in stuck if other["id"] != run]
    await jobs.end(connection, [other["job"] for other in stuck])  # PGQueuer may hold them
    again = [Run(other["id"], other["token"]) for other in stuck]
    new = await jobs.enqueue(connection, row["pipeline"], row["stage"], again)
    await connection.execute(
        """UPDATE kit_runs SET status = 'waiting', error = NULL, deadline = NULL, data = data || $2::jsonb,
               updated = clock_timestamp() WHERE id = $1""",
        *(run, correction),
    )
    await connection.execute(
        """UPDATE kit_runs SET status = 'pending', error = NULL, deadline = NULL, attempts = 0, failures = 0,
               crashes = 0, job = new.job, updated = clock_timestamp()
           FROM unnest($1::bigint[], $2::bigint[]) AS new (run, job) WHERE id = new.run""",
        *([other.id for other in again], new),
    )


async def cancel(connection: Connection, run: int) -> None:
    """End a run and its branches, and delete their jobs."""
    row = await _lock(connection, run)
    if row["status"] in ("done", "canceled"):
        raise KitError(f"Run {run} is {row['status']} already.")
    ended = await connection.fetch(
        """WITH open AS (SELECT id, job FROM kit_runs WHERE (id = $1 OR parent = $1) AND status <> 'done')
           UPDATE kit_runs SET status = 'canceled', job = NULL, updated = clock_timestamp()
           FROM open WHERE kit_runs.id = open.id RETURNING open.job""",
        run,
    )
    await jobs.end(connection, [row["job"] for row in ended])


async def _lock(connection: Connection, run: int) -> Row:
    """Lock and return a run's row. Whoever writes to its branches locks it first."""
    row: Row | None = await connection.fetchrow("SELECT * FROM kit_runs WHERE id = $1 FOR UPDATE", run)
    if row is None:
        raise KitError(f"There is no run {run!r}. kit.stages.runs() lists them.")
    if row["parent"] is not None:
        raise KitError(f"{run!r} is branch {row['branch']} of run {row['parent']}: name the run.")
    return row
