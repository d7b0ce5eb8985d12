"""Statements of a worker about a step: it began, it failed, or where the run goes next."""

from __future__ import annotations

from datetime import timedelta

from pgqueuer import Job
from pgqueuer.models import TracebackRecord

from kit.errors import KitError
from kit.stages.checks import message
from kit.stages.store import jobs
from kit.stages.store.jobs import Run
from kit.stages.store.people import hold, new_rows
from kit.stages.store.schema import Connection, Row

PATIENCE = "5s"  # a step waits so long for a lock; then it is undone and comes again later
BRIEFLY = "500ms"  # the same for the run's own row, which branches share and lock only shortly


class Overtaken(Exception):
    """The run was canceled, or moved by hand, while its handler worked. This step must leave nothing."""


class Taken(Exception):
    """Another worker does this step, or was frozen or cut off during it."""


class Suspect(Exception):
    """A worker died during this step before, so no other such step may run beside it."""


async def begin(connection: Connection, run: int, job: int, *, again: bool, alone: bool) -> Row | None:
    """Mark a run as running and return its row; None if ``job`` may not move it, or no longer.

    From here on this connection holds the step's advisory lock. The lock ends when the connection breaks, or
    goes back to the pool. The lock is the step's, not the run's: the next step may begin before that.

    Args:
        connection: one without an open transaction.
        run: the run, or branch, that the job names.
        job: the job's id.
        again: whether this worker itself broke off the last try.
        alone: whether no other step in which a worker died runs beside this one.

    Raises:
        Taken: another worker holds the lock. Do not wait for it: it may be frozen.
        Suspect: a worker died during this step, and ``alone`` is not set.
        KitError: there is no such run.
    """
    # A run that is "running" although nobody has the lock was left by a worker that died. The step's commit
    # makes the row durable. Until then "running" is only for people to see, so it need not wait for the disk.
    row: Row | None = await connection.fetchrow(
        f"""WITH found AS MATERIALIZED (
            SELECT id, crashes > 0 OR status = 'running' AND NOT $3 AS suspect,
                   pg_try_advisory_lock(token # job) AS free,
                   set_config('lock_timeout', '{PATIENCE}', false),
                   set_config('synchronous_commit', 'off', true)
            FROM kit_runs WHERE id = $1 AND job = $2 AND status IN ('pending', 'running', 'waiting')
        ), begun AS (
            UPDATE kit_runs r SET status = 'running', attempts = attempts + 1, updated = clock_timestamp(),
                crashes = crashes + (status = 'running' AND NOT $3)::int
            FROM found WHERE free AND ($4 OR NOT suspect)
                AND r.id = $1 AND job = $2 AND status IN ('pending', 'running', 'waiting')
            RETURNING r.id, token, parent, branch, pipeline, stage, data, attempts, failures, crashes, job,
                deadline, (SELECT data FROM kit_runs root WHERE root.id = r.parent) AS root_data,
                extract(epoch FROM deadline - clock_timestamp())::float8 AS seconds_left)
        SELECT found.free, found.suspect, begun.* FROM found LEFT JOIN begun ON true""",
        *(run, job, again, alone),
    )
    if row is None:
        if await connection.fetchval("SELECT EXISTS (SELECT FROM kit_runs WHERE id = $1)", run):
            return None
        raise KitError(f"Job {job} names run {run}, and there is no such run.")
    if not row["free"]:
        raise Taken(f"another worker is at run {run}")
    if row["suspect"] and not alone:
        raise Suspect
    return None if row["id"] is None else row


async def give_back(connection: Connection, row: Row) -> None:
    """Write that a step which had begun will begin again: its worker did not die during it."""
    await connection.execute(
        """UPDATE kit_runs SET status = 'pending', updated = clock_timestamp()
           WHERE id = $1 AND token = $2 AND job = $3 AND status = 'running'""",
        *(row["id"], row["token"], row["job"]),
    )


async def move(
    connection: Connection,
    row: Row,
    stage: str,
    status: str,
    *,
    data: str = "{}",
    job: int | None = None,
    error: str | None = None,
) -> None:
    """Write a run's stage and status, what is added to its data, and the job that moves it on.

    Raises:
        Overtaken: ``row`` is not what the run is any more.
    """
    moved = await connection.fetchval(
        """UPDATE kit_runs SET stage = $4, status = $5, data = data || $6::jsonb, job = $7, error = $8,
               attempts = CASE WHEN stage = $4 THEN attempts ELSE 0 END,
               crashes = CASE WHEN stage = $4 THEN crashes ELSE 0 END,
               failures = CASE WHEN stage = $4 THEN failures + ($8::text IS NOT NULL)::int ELSE 0 END,
               updated = clock_timestamp()
           WHERE id = $1 AND token = $2 AND job IS NOT DISTINCT FROM $3 AND status <> 'canceled'
           RETURNING id""",
        *(row["id"], row["token"], row["job"], stage, status, data, job, error),
    )
    if moved is None:
        raise Overtaken


async def advance(connection: Connection, row: Row, stage: str | None, data: str) -> None:
    """Write what a stage adds to a run, and the job of the next ``stage``; None: the run is done.

    Raises:
        Overtaken: ``row`` is not what the run is any more.
    """
    if stage is None:
        return await move(connection, row, row["stage"], "done", data=data)
    [job] = await jobs.enqueue(connection, row["pipeline"], stage, [Run(row["id"], row["token"])])
    return await move(connection, row, stage, "pending", data=data, job=job)


async def split(connection: Connection, row: Row, count: int) -> None:
    """Write ``count`` branches of a run and their jobs; the run waits for them."""
    await move(connection, row, row["stage"], "waiting")
    runs = await new_rows(connection, count)
    ids = await jobs.enqueue(connection, row["pipeline"], row["stage"], runs)
    await connection.execute(
        """INSERT INTO kit_runs (id, token, job, branch, parent, pipeline, stage, deadline)
           SELECT id, token, job, place - 1, $4, $5, $6, $7
           FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])
               WITH ORDINALITY AS new (id, token, job, place)""",
        *([run.id for run in runs], [run.token for run in runs], ids),
        *(row["id"], row["pipeline"], row["stage"], row["deadline"]),
    )


async def join(connection: Connection, row: Row, stage: str | None, data: str) -> None:
    """Write what a branch returned. If it was the last one, move its run on to ``stage``.

    Raises:
        Overtaken: ``row`` is not what the branch is any more.
        asyncpg.LockNotAvailableError: somebody keeps the run locked; this step has to come again later.
    """
    run = await _lock(connection, row["parent"])
    if run is None or run["job"] is not None:
        raise Overtaken  # the tables were emptied, or the whole stage was started again
    await move(connection, row, row["stage"], "done", data=data)
    joined = await _results(connection, run["id"], row["stage"])
    if joined is not None:
        await advance(connection, run, stage, f'{{"{row["stage"]}": {joined}}}')


async def fail(connection: Connection, row: Row, job: Job, error: Exception, delay: timedelta | None) -> None:
    """Write why a step failed, and with a ``delay`` the job of its next try; without, hold the run."""
    text = message(error)
    if row["parent"] is not None:
        await _lock(connection, row["parent"])
    # The job is deleted here, not by PGQueuer later, because the next job has the same dedupe key.
    record = TracebackRecord.from_exception(error, job.id)
    await jobs.queries(connection).log_jobs([(job, "exception", record)])
    if delay is None:
        await move(connection, row, row["stage"], "failed", error=text)
        if row["parent"] is not None:
            await hold(connection, row["parent"], f"Branch {row['branch']}: {text}")
    else:
        again = [Run(row["id"], row["token"])]
        [new] = await jobs.enqueue(connection, row["pipeline"], row["stage"], again, delay)
        await move(connection, row, row["stage"], "waiting", job=new, error=text)


async def _lock(connection: Connection, run: int) -> Row | None:
    """Lock and return a run's row; None if there is none.

    Whoever writes to a branch locks its run first, so there are no deadlocks.
    """
    row: Row | None = await connection.fetchrow(
        f"""WITH patience AS MATERIALIZED (SELECT set_config('lock_timeout', '{BRIEFLY}', true))
            SELECT r.* FROM patience, kit_runs r WHERE id = $1 FOR UPDATE OF r""",
        run,
    )
    return row


async def _results(connection: Connection, run: int, stage: str) -> str | None:
    """Return what the branches of a stage returned, as a JSON list in order; None until all are done."""
    found: str | None = await connection.fetchval(
        """SELECT jsonb_agg(data ORDER BY branch) FROM kit_runs WHERE parent = $1 AND stage = $2
           AND NOT EXISTS (SELECT FROM kit_runs WHERE parent = $1 AND stage = $2 AND status <> 'done')""",
        *(run, stage),
    )
    return found
