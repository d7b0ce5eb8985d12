"""All queries of the kit on PGQueuer's tables and their columns.

If another version of PGQueuer names a column differently, this file changes. The tables are made, marked
and emptied in `schema` and `emptying`. `kit.stages`, which works without the rest of the kit, has its own.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pgqueuer.domain.settings import QualifiedNames

LOG_READ = 100_000  # the newest rows of somebody else's log, of which a picture is made
ENDINGS = ("successful", "exception", "canceled", "deleted")  # statuses in the log after which a job is gone
DRAWN = 300  # jobs of a kind that the board draws, at most
PAYLOAD = 120  # bytes of a payload that it shows

# Why PGQueuer cannot read a row, or NULL. A consumer that picks such a job ends.
_UNREADABLE = """CASE
    WHEN jsonb_typeof(headers) NOT IN ('object', 'null') THEN 'its headers are ' || left(headers::text, 60)
        || ', and PGQueuer reads a JSON object there, such as {"who": "ada"}'
    WHEN LEAST(created, updated, heartbeat, execute_after) < '0001-01-03 UTC'
        OR GREATEST(created, updated, heartbeat) > '9999-12-29 UTC'
    THEN 'one of its times is infinite, or outside of the years 1 to 9999'
END"""


def _epoch(column: str, name: str) -> str:
    return f"extract(epoch FROM {column})::float8 AS {name}"


_JOB = f"""
    q.id, q.status::text AS status, q.entrypoint, q.priority, q.attempts AS tries,
    left(q.queue_manager_id::text, 8) AS worker, {_epoch("q.created", "created")}, {
    _epoch("q.execute_after", "due")
}, {_epoch("q.updated", "updated")}, substring(q.payload FOR {PAYLOAD}) AS payload,
    octet_length(q.payload) AS size"""
_TRANSITION = f"""
    l.id AS number, l.job_id, l.status::text AS became, l.entrypoint AS of, l.priority AS at_priority,
    {_epoch("l.created", "at")}, l.traceback->>'exception_type' AS kind,
    l.traceback->>'exception_message' AS message,
    left(l.traceback #>> '{{additional_context,queue_manager_id}}', 8) AS whose"""


# In tables that the kit made: the number of jobs, whether one runs, and the number of rows of the log.
AMOUNT = """
    SELECT (SELECT count(*) FROM pgqueuer), EXISTS (SELECT FROM pgqueuer WHERE status = 'picked'),
        (SELECT count(*) FROM pgqueuer_log)"""


class Busy(NamedTuple):
    """Statements on the jobs that run, or are due now or soon."""

    exists: str
    exists_for: str
    number: str
    first: str
    entrypoints: str


class QueueTables:
    """The statements on PGQueuer's tables of one database, as text. ``$1`` and so on are their arguments.

    Args:
        names: the tables' names there.
        long: whether the log may be long. Pictures then read only its newest `LOG_READ` rows.
    """

    def __init__(self, names: QualifiedNames, *, long: bool = False) -> None:
        self.queue = queue = names.queue_table
        self.log = log = names.queue_table_log
        self._statistics = names.statistics_table
        newest = f"(SELECT * FROM {log} ORDER BY id DESC LIMIT {LOG_READ})"
        self.recent_log = recent_log = newest if long else log

        # The schedules, by id.
        self.schedules = f"SELECT * FROM {names.schedules_table} ORDER BY id"

        # One row, if the log has more rows than a picture reads.
        self.is_log_long = f"SELECT id FROM {log} LIMIT 1 OFFSET {LOG_READ - 1}"

        # One job, for `kit.why`.

        # Job `$1` while it waits, runs or is held; no row after its end.
        self.job = f"""
            SELECT id, status::text, entrypoint, priority, queue_manager_id::text AS worker, unreadable,
                CASE WHEN execute_after > at
                    THEN LEAST(execute_after, at + interval '1000 years') - at END AS due_in,
                CASE WHEN unreadable IS NULL THEN at - updated END AS since,
                CASE WHEN unreadable IS NULL THEN at - heartbeat END AS silent
            FROM (SELECT *, clock_timestamp() AS at, {_UNREADABLE} AS unreadable
                FROM {queue} WHERE id = $1) AS job"""

        # The first jobs of the entrypoints `$1` that come before priority `$2` and id `$3`.
        self.ahead = f"""
            SELECT id, count(*) OVER () AS number FROM {queue}
            WHERE status = 'queued' AND execute_after <= clock_timestamp() AND entrypoint = ANY($1::text[])
              AND (priority > $2 OR priority = $2 AND id < $3)
            ORDER BY priority DESC, id LIMIT 3"""

        # The running jobs of each entrypoint, as PGQueuer counts them for a `concurrency_limit`.
        self.at_work = f"""
            SELECT entrypoint, array_agg(id ORDER BY id) AS jobs FROM {queue}
            WHERE queue_manager_id IS NOT NULL AND status = 'picked' GROUP BY entrypoint"""

        # The last status of job `$1`, and how long ago it changed to it.
        self.last_transition = f"""
            SELECT status::text, clock_timestamp() - created AS ago FROM {log}
            WHERE job_id = $1 ORDER BY id DESC LIMIT 1"""

        # The last exception of job `$1`.
        self.last_error = f"""
            SELECT traceback->>'exception_type' AS kind, traceback->>'exception_message' AS message,
                traceback->>'traceback' AS traceback
            FROM {log} WHERE job_id = $1 AND traceback IS NOT NULL ORDER BY id DESC LIMIT 1"""

        # The jobs that a consumer has.

        # The picked jobs of the managers with the ids `$1`.
        self.picked_by = f"""
            SELECT entrypoint, id FROM {queue}
            WHERE status = 'picked' AND queue_manager_id::text = ANY($1::text[]) ORDER BY id"""

        # The picked jobs of manager `$1` that it cannot read, and why.
        self.picked_and_unreadable = f"""
            SELECT id, {_UNREADABLE} AS wrong FROM {queue}
            WHERE status = 'picked' AND queue_manager_id::text = $1 AND {_UNREADABLE} IS NOT NULL
            ORDER BY id"""

        # What is still to be done, for `kit.wait`.

        # The jobs that have been running for `$2` seconds, except those with the ids `$1`.
        self.running_for = f"""
            SELECT id, entrypoint FROM {queue} WHERE status = 'picked' AND NOT id = ANY($1)
                AND clock_timestamp() - updated >= make_interval(secs => $2) ORDER BY id"""

        # The number of jobs that are not due yet, and the time until the first is.
        self.not_due = f"""
            SELECT count(*), min(execute_after) - clock_timestamp() AS next FROM {queue}
            WHERE status = 'queued' AND execute_after > clock_timestamp()"""

        # For pictures. Times are seconds since 1970.

        # The number of the log's newest row.
        self.newest_transition = f"SELECT coalesce(max(l.id), 0) FROM {log} l"

        # `$3` rows of the log from row `$1` on, except the rows `$2`, each with its job as it is.
        self.tail = f"""
            SELECT {_TRANSITION}, {_JOB} FROM {log} l LEFT JOIN {queue} q ON q.id = l.job_id
            WHERE l.id >= $1 AND l.id <> ALL($2::bigint[]) ORDER BY l.id LIMIT $3"""

        # The last status of each of the jobs `$1`.
        self.fate = f"""
            SELECT DISTINCT ON (l.job_id) {_TRANSITION}, {_JOB}
            FROM {log} l LEFT JOIN {queue} q ON q.id = l.job_id
            WHERE l.job_id = ANY($1::bigint[]) ORDER BY l.job_id, l.id DESC"""

        # The jobs on the board: those that run, are next, are due next, and are held.
        kinds = (
            "q.status = 'picked' ORDER BY q.updated",
            "q.status = 'queued' AND q.execute_after <= now() ORDER BY q.priority DESC, q.id",
            "q.status = 'queued' AND q.execute_after > now() ORDER BY q.execute_after",
            "q.status = 'failed' ORDER BY q.id DESC",
        )
        self.drawn_jobs = " UNION ALL ".join(
            f"(SELECT {_JOB} FROM {queue} q WHERE {kind} LIMIT {DRAWN})" for kind in kinds
        )

        # The number of jobs in each status, and since when the oldest is due.
        self.counts = f"""
            SELECT q.status::text AS status, count(*) AS number,
                {_epoch("min(greatest(q.created, q.execute_after))", "oldest")}
            FROM {queue} q GROUP BY q.status"""

        # The number of ended jobs, by status.
        self.endings = f"""
            SELECT l.status::text AS status, count(*) AS number FROM {recent_log} l
            WHERE l.status IN {ENDINGS} GROUP BY 1"""

        # The last heartbeat of each manager that has jobs.
        self.beats = f"""
            SELECT left(q.queue_manager_id::text, 8) AS worker, {_epoch("max(q.heartbeat)", "beat")}
            FROM {queue} q WHERE q.status = 'picked' GROUP BY 1"""

        # The schedules that are due next.
        self.drawn_schedules = f"""
            SELECT id, entrypoint, expression, status::text AS state, {_epoch("next_run", "next")},
                {_epoch("greatest(coalesce(last_run, created), updated)", "last")}
            FROM {names.schedules_table} ORDER BY next_run LIMIT 20"""

        # The log of the `$1` jobs that changed last, by job.
        self.histories = f"""
            WITH chosen AS (
                SELECT job_id, max(id) AS newest FROM {recent_log} AS recent
                GROUP BY job_id ORDER BY newest DESC LIMIT $1)
            SELECT l.job_id, l.entrypoint, l.priority, l.status, {_epoch("l.created", "at")},
                {_epoch("(l.traceback->>'timestamp')::timestamptz", "raised")},
                l.traceback #>> '{{additional_context,queue_manager_id}}' AS raised_by,
                q.queue_manager_id::text AS held_by,
                {_epoch("(SELECT clock_timestamp())", "now")}
            FROM {log} l JOIN chosen USING (job_id) LEFT JOIN {queue} q ON q.id = l.job_id
            ORDER BY l.job_id, l.id"""

    # Whole tables. `last` is the number of rows, the newest ones; None: all.

    def jobs(self, last: int | None = None) -> str:
        """The queue, by id."""
        return f"SELECT * FROM {_newest(self.queue, last)} ORDER BY id"

    def transitions(self, last: int | None = None) -> str:
        """The log, oldest first."""
        return f"SELECT * FROM {_newest(self.log, last)} ORDER BY id"

    def transitions_of_job(self, last: int | None = None) -> str:
        """The log of job ``$1``, oldest first."""
        return f"SELECT * FROM {_newest(self.log, last, 'WHERE job_id = $1')} ORDER BY id"

    def statistics(self, last: int | None = None) -> str:
        """The statistics, together with the rows of the log that PGQueuer has not counted yet."""
        return f"""
            SELECT created, entrypoint, priority, status, sum(count)::bigint AS count
            FROM (
                SELECT created, entrypoint, priority, status, count
                FROM {_newest(self._statistics, last)}
                UNION ALL
                SELECT date_trunc('second', created), entrypoint, priority, status, 1
                FROM {_newest(self.log, last, "WHERE NOT aggregated")}
            ) AS counted
            GROUP BY created, entrypoint, priority, status
            ORDER BY created, entrypoint, priority DESC, status"""

    def busy(self, soon: timedelta, named: int) -> Busy:
        """The jobs that run or are due within ``soon``; ``named`` of them are listed."""
        # Not now(): it is a little older than the rows that the statement sees. A job that was put back in
        # between, for an immediate retry, would look as if it were not due yet.
        now = f"clock_timestamp() + interval '{soon.total_seconds()} s'"
        busy = f"{self.queue} WHERE (status = 'picked' OR status = 'queued' AND execute_after <= {now})"
        return Busy(
            exists=f"SELECT EXISTS (SELECT FROM {busy})",
            exists_for=f"SELECT EXISTS (SELECT FROM {busy} AND (entrypoint = ANY($1) OR id = ANY($2)))",
            number=f"SELECT count(*) FROM {busy}",
            first=f"""
                SELECT id, entrypoint, status::text, now() - updated AS since FROM {busy}
                ORDER BY id LIMIT {named}""",
            entrypoints=f"SELECT DISTINCT entrypoint FROM {busy} ORDER BY 1",
        )


def _newest(table: str, last: int | None, condition: str = "") -> str:
    """Return the source for a FROM: all rows of a table, or the ``last`` ones by id."""
    newest = "" if last is None else f"ORDER BY id DESC LIMIT {last}"
    return f"(SELECT * FROM {table} {condition} {newest}) AS chosen"
