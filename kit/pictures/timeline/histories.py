"""What each job, or each staged run, was doing when: read from the log and from the runs' history."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from datetime import datetime, timedelta
from typing import Any, Literal

from pgqueuer.domain.settings import db_settings

from kit import palette
from kit.session import session
from kit.stages.tables import spans
from kit.tables import sql

Doing = Literal["waiting", "running"]

UNKNOWN = "worker not known"
NOBODY = "nobody yet"

_GOES_ON = ("queued", "picked")  # any other status ends a job, or holds it


@dataclasses.dataclass(frozen=True)
class Span:
    """A stretch of time, what was done in it, and in which stage of a run it was."""

    doing: Doing
    begin: datetime
    end: datetime
    stage: str = ""


@dataclasses.dataclass
class History:
    """One job, or one staged run.

    Attributes:
        id: the job's or the run's.
        group: its entrypoint, worker or pipeline.
        priority: the job's; 0 for a run.
        outcome: ``successful``, ``exception``, ``held``, ``canceled`` or ``deleted``; while it has not ended,
            ``waiting`` or ``running``. A run's is its status: ``done``, ``failed`` or ``canceled``.
        spans: what it did, in order; a run's branches one after the other.
        retries: when it was put back into the queue.
        ended: when it ended; None while it has not.
    """

    id: int
    group: str
    priority: int = 0
    outcome: str = "waiting"
    spans: list[Span] = dataclasses.field(default_factory=list)
    retries: list[datetime] = dataclasses.field(default_factory=list)
    ended: datetime | None = None

    def seconds(self, doing: Doing) -> float | None:
        """Return how long it did that, all in all; None if it never did."""
        spans = [span.end - span.begin for span in self.spans if span.doing == doing]
        return sum(spans, timedelta()).total_seconds() if spans else None

    def picked(self) -> datetime | None:
        """Return when it first began to run; None while it has not."""
        return next((span.begin for span in self.spans if span.doing == "running"), None)

    def waited(self) -> float | None:
        """Return the seconds from the queue to the first pick; None while it has not been picked."""
        picked = self.picked()
        return None if picked is None else (picked - self.spans[0].begin).total_seconds()


def histories_of_jobs(last: int | None, window: timedelta | None) -> list[History]:
    """Return the jobs that the log last spoke of, oldest first."""
    table = db_settings().qualified.queue_table_log
    rows = _rows(
        f"""
        WITH chosen AS (
            SELECT job_id, max(id) AS newest FROM {table}
            WHERE $2::interval IS NULL OR created > clock_timestamp() - $2::interval
            GROUP BY job_id ORDER BY newest DESC LIMIT $1)
        SELECT l.job_id, l.status::text AS status, l.entrypoint, l.priority, l.created,
               clock_timestamp() AS now
        FROM {table} l JOIN chosen USING (job_id) ORDER BY l.job_id, l.id""",
        last,
        window,
    )
    histories: dict[int, History] = {}
    for row in rows:
        new = History(row["job_id"], row["entrypoint"], row["priority"])
        history = histories.setdefault(row["job_id"], new)
        _go_on(history, row["status"], row["created"])
    for history in histories.values():
        _close(history, rows[0]["now"])
    return sorted(histories.values(), key=lambda history: (history.spans[0].begin, history.id))


def _go_on(history: History, status: str, at: datetime) -> None:
    """Take in the next transition of a job."""
    if history.spans:
        history.spans[-1] = dataclasses.replace(history.spans[-1], end=at)
    if status not in _GOES_ON:
        history.outcome, history.ended = palette.JOBS[status].word, at
        if not history.spans:  # the log was cleared before
            history.spans.append(Span("waiting", at, at))
        return
    doing: Doing = "running" if status == "picked" else "waiting"
    if doing == "waiting" and history.spans:
        history.retries.append(at)
    history.outcome, history.ended = doing, None
    history.spans.append(Span(doing, at, at))


def _close(history: History, now: datetime) -> None:
    """Let what has not ended reach up to now."""
    if history.ended is None:
        history.spans[-1] = dataclasses.replace(history.spans[-1], end=max(now, history.spans[-1].begin))


def name_consumers(histories: list[History]) -> None:
    """Group jobs by who ran them.

    PGQueuer keeps a job's consumer in its row while the job runs, and in the log with an exception; of other
    jobs it keeps none. This process's consumers know the jobs they run and those whose handlers printed.
    """
    names = db_settings().qualified
    rows = _rows(
        f"""
        SELECT id AS job, queue_manager_id::text AS worker
        FROM {names.queue_table} WHERE queue_manager_id IS NOT NULL
        UNION ALL SELECT job_id, traceback #>> '{{additional_context,queue_manager_id}}'
        FROM {names.queue_table_log} WHERE traceback IS NOT NULL"""
    )
    ids: dict[int, str] = {row["job"]: row["worker"] for row in rows if isinstance(row["worker"], str)}
    begun = {history.id: history.spans[0].begin for history in histories}
    here: dict[int, str] = {}
    for name, consumer in list(session.consumers.items()):
        # Ids begin again after a reset: what was printed before a job was there is another one's.
        told = [job for job, time in consumer.jobs_seen() if time >= begun.get(job, time)]
        here |= dict.fromkeys([*told, *consumer.running_jobs()], name)
    called = {ids[job]: name for job, name in here.items() if job in ids}
    for history in histories:
        worker = ids.get(history.id)
        if history.id in here:
            history.group = here[history.id]
        elif worker is not None:
            history.group = called.get(worker, f"worker {worker[:8]}")
        else:
            history.group = NOBODY if history.waited() is None else UNKNOWN


def histories_of_runs(last: int | None, window: timedelta | None) -> list[History]:
    """Return the staged runs that moved last, oldest first; none where there are no staged jobs."""
    histories: dict[int, History] = {}
    for step in spans(last, window).to_dict("records"):
        new = History(step["run"], step["pipeline"], outcome=step["outcome"])
        _take_step(histories.setdefault(step["run"], new), step)
    return sorted(histories.values(), key=lambda history: (history.spans[0].begin, history.id))


def _take_step(history: History, step: dict[Hashable, Any]) -> None:
    """Take in one row of a run's history."""
    if step["status"] in ("pending", "running", "waiting"):
        doing: Doing = "running" if step["status"] == "running" else "waiting"
        history.spans.append(Span(doing, step["begin"], step["until"], step["stage"]))
    elif step["status"] == history.outcome:
        history.ended = max(step["begin"], history.ended or step["begin"])


def _rows(query: str, *args: Any) -> list[dict[Hashable, Any]]:
    return sql(query, *args).to_dict("records")
