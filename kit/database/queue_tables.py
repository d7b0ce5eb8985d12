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
        self.queue = names.queue_table
        self.log = names.queue_table_log
        self._schedules = names.schedules_table
        self._statistics = names.statistics_table
        newest = f"(SELECT * FROM {self.log} ORDER BY id DESC LIMIT {LOG_READ})"
        self.recent_log = newest if long else self.log

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

    def schedules(self) -> str:
        """The schedules, by id."""
        return f"SELECT * FROM {self._schedules} ORDER BY id"

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

    @property
    def is_log_long(self) -> str:
        """One row, if the log has more rows than a picture reads."""
        return f"SELECT id FROM {self.log} LIMIT 1 OFFSET {LOG_READ - 1}"

    # One job, for `kit.why`.

    @property
    def job(self) -> str:
        """Job ``$1`` while it waits, runs or is held; no row after its end."""
        return f"""
            SELECT id, status::text, entrypoint, priority, queue_manager_id::text AS worker, unreadable,
                CASE WHEN execute_after > at
                    THEN LEAST(execute_after, at + interval '1000 years') - at END AS due_in,
                CASE WHEN unreadable IS NULL THEN at - updated END AS since,
                CASE WHEN unreadable IS NULL THEN at - heartbeat END AS silent
            FROM (SELECT *, clock_timestamp() AS at, {_UNREADABLE} AS unreadable
                FROM {self.queue} WHERE id = $1) AS job"""

    @property
    def ahead(self) -> str:
        """The first jobs of the entrypoints ``$1`` that come before priority ``$2`` and id ``$3``."""
        return f"""
            SELECT id, count(*) OVER () AS number FROM {self.queue}
            WHERE status = 'queued' AND execute_after <= clock_timestamp() AND entrypoint = ANY($1::text[])
              AND (priority > $2 OR priority = $2 AND id < $3)
            ORDER BY priority DESC, id LIMIT 3"""

    @property
    def at_work(self) -> str:
        """The running jobs of each entrypoint, as PGQueuer counts them for a `concurrency_limit`."""
        return f"""
            SELECT entrypoint, array_agg(id ORDER BY id) AS jobs FROM {self.queue}
            WHERE queue_manager_id IS NOT NULL AND status = 'picked' GROUP BY entrypoint"""

    @property
    def last_transition(self) -> str:
        """The last status of job ``$1``, and how long ago it changed to it."""
        return f"""
            SELECT status::text, clock_timestamp() - created AS ago FROM {self.log}
            WHERE job_id = $1 ORDER BY id DESC LIMIT 1"""

    @property
    def last_error(self) -> str:
        """The last exception of job ``$1``."""
        return f"""
            SELECT traceback->>'exception_type' AS kind, traceback->>'exception_message' AS message,
                traceback->>'traceback' AS traceback
            FROM {self.log} WHERE job_id = $1 AND traceback IS NOT NULL ORDER BY id DESC LIMIT 1"""

    # The jobs that a consumer has.

    @property
    def picked_by(self) -> str:
        """The picked jobs of the managers with the ids ``$1``."""
        return f"""
            SELECT entrypoint, id FROM {self.queue}
            WHERE status = 'picked' AND queue_manager_id::text = ANY($1::text[]) ORDER BY id"""

    @property
    def picked_and_unreadable(self) -> str:
        """The picked jobs of manager ``$1`` that it cannot read, and why."""
        return f"""
            SELECT id, {_UNREADABLE} AS wrong FROM {self.queue}
            WHERE status = 'picked' AND queue_manager_id::text = $1 AND {_UNREADABLE} IS NOT NULL
            ORDER BY id"""

    # What is still to be done, for `kit.wait`.

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

    @property
    def running_for(self) -> str:
        """The jobs that have been running for ``$2`` seconds, except those with the ids ``$1``."""
        return f"""
            SELECT id, entrypoint FROM {self.queue} WHERE status = 'picked' AND NOT id = ANY($1)
                AND clock_timestamp() - updated >= make_interval(secs => $2) ORDER BY id"""

    @property
    def not_due(self) -> str:
        """The number of jobs that are not due yet, and the time until the first is."""
        return f"""
            SELECT count(*), min(execute_after) - clock_timestamp() AS next FROM {self.queue}
            WHERE status = 'queued' AND execute_after > clock_timestamp()"""

    # For pictures. Times are seconds since 1970.

    @property
    def newest_transition(self) -> str:
        """The number of the log's newest row."""
        return f"SELECT coalesce(max(l.id), 0) FROM {self.log} l"

    @property
    def tail(self) -> str:
        """``$3`` rows of the log from row ``$1`` on, except the rows ``$2``, each with its job as it is."""
        return f"""
            SELECT {_TRANSITION}, {_JOB} FROM {self.log} l LEFT JOIN {self.queue} q ON q.id = l.job_id
            WHERE l.id >= $1 AND l.id <> ALL($2::bigint[]) ORDER BY l.id LIMIT $3"""

    @property
    def fate(self) -> str:
        """The last status of each of the jobs ``$1``."""
        return f"""
            SELECT DISTINCT ON (l.job_id) {_TRANSITION}, {_JOB}
            FROM {self.log} l LEFT JOIN {self.queue} q ON q.id = l.job_id
            WHERE l.job_id = ANY($1::bigint[]) ORDER BY l.job_id, l.id DESC"""

    @property
    def drawn_jobs(self) -> str:
        """The jobs on the board: those that run, are next, are due next, and are held."""
        kinds = (
            "q.status = 'picked' ORDER BY q.updated",
            "q.status = 'queued' AND q.execute_after <= now() ORDER BY q.priority DESC, q.id",
            "q.status = 'queued' AND q.execute_after > now() ORDER BY q.execute_after",
            "q.status = 'failed' ORDER BY q.id DESC",
        )
        return " UNION ALL ".join(
            f"(SELECT {_JOB} FROM {self.queue} q WHERE {kind} LIMIT {DRAWN})" for kind in kinds
        )

    @property
    def counts(self) -> str:
        """The number of jobs in each status, and since when the oldest is due."""
        return f"""
            SELECT q.status::text AS status, count(*) AS number,
                {_epoch("min(greatest(q.created, q.execute_after))", "oldest")}
            FROM {self.queue} q GROUP BY q.status"""

    @property
    def endings(self) -> str:
        """The number of ended jobs, by status."""
        return f"""
            SELECT l.status::text AS status, count(*) AS number FROM {self.recent_log} l
            WHERE l.status IN {ENDINGS} GROUP BY 1"""

    @property
    def beats(self) -> str:
        """The last heartbeat of each manager that has jobs."""
        return f"""
            SELECT left(q.queue_manager_id::text, 8) AS worker, {_epoch("max(q.heartbeat)", "beat")}
            FROM {self.queue} q WHERE q.status = 'picked' GROUP BY 1"""

    @property
    def drawn_schedules(self) -> str:
        """The schedules that are due next."""
        return f"""
            SELECT id, entrypoint, expression, status::text AS state, {_epoch("next_run", "next")},
                {_epoch("greatest(coalesce(last_run, created), updated)", "last")}
            FROM {self._schedules} ORDER BY next_run LIMIT 20"""

    @property
    def histories(self) -> str:
        """The log of the ``$1`` jobs that changed last, by job."""
        return f"""
            WITH chosen AS (
                SELECT job_id, max(id) AS newest FROM {self.recent_log} AS recent
                GROUP BY job_id ORDER BY newest DESC LIMIT $1)
            SELECT l.job_id, l.entrypoint, l.priority, l.status, l.created,
                (l.traceback->>'timestamp')::timestamptz AS raised,
                l.traceback #>> '{{additional_context,queue_manager_id}}' AS raised_by,
                q.queue_manager_id::text AS held_by, (SELECT clock_timestamp()) AS now
            FROM {self.log} l JOIN chosen USING (job_id) LEFT JOIN {self.queue} q ON q.id = l.job_id
            ORDER BY l.job_id, l.id"""


def _newest(table: str, last: int | None, condition: str = "") -> str:
    """Return the source for a FROM: all rows of a table, or the ``last`` ones by id."""
    newest = "" if last is None else f"ORDER BY id DESC LIMIT {last}"
    return f"(SELECT * FROM {table} {condition} {newest}) AS chosen"
