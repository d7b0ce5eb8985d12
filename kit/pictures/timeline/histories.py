"""What each job, or each staged run, was doing when: read from the log and from the runs' history."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from kit import palette
from kit.session import session
from kit.stages.tables import spans
from kit.tables import sql

if TYPE_CHECKING:
    import pandas as pd

Doing = Literal["waiting", "running"]

UNKNOWN = "worker not known"
NOBODY = "nobody yet"
CLOCKS_DIFFER = 0.05  # seconds that Postgres's clock may be ahead of ours, in a container for one

_GOES_ON = ("queued", "picked")  # any other status ends a job, or holds it


# How what became of something looks, in the order in which it is named.
OUTCOMES = {look.word: look for status, look in palette.JOBS.items() if status not in _GOES_ON}
OUTCOMES |= {"running": palette.JOBS["picked"], "waiting": palette.WAITING, "pending": palette.WAITING}


class Span(NamedTuple):
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
            ``waiting`` or ``running``. A run's is its status: ``done``, ``held`` or ``canceled``.
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
    target = session.target()
    table, recent = target.names.queue_table_log, target.recent_log
    rows = sql(
        f"""
        WITH chosen AS (
            SELECT job_id, max(id) AS newest FROM {recent} AS recent
            WHERE $2::interval IS NULL OR created > clock_timestamp() - $2::interval
            GROUP BY job_id ORDER BY newest DESC LIMIT $1)
        SELECT l.job_id, l.entrypoint, l.priority, l.status, l.created, (SELECT clock_timestamp()) AS now
        FROM {table} l JOIN chosen USING (job_id) ORDER BY l.job_id, l.id""",
        last,
        window,
    )
    histories = []
    for job, steps in itertools.groupby(_rows(rows), key=lambda row: row[0]):
        transitions = list(steps)
        _, entrypoint, priority, *_, now = transitions[0]
        history = History(job, entrypoint, priority)
        _go_through(history, [(status, at) for _, _, _, status, at, _ in transitions], now)
        histories.append(history)
    return sorted(histories, key=lambda history: (history.spans[0].begin, history.id))


def _go_through(history: History, transitions: list[tuple[str, datetime]], now: datetime) -> None:
    """Take in what a job became and when, from first to last."""
    ends = [at for _, at in transitions[1:]]
    for (status, at), end in zip(transitions, [*ends, None], strict=True):
        if status not in _GOES_ON:
            history.outcome, history.ended = palette.JOBS[status].word, at
            if not history.spans:  # the log was cleared before
                history.spans.append(Span("waiting", at, at))
            continue
        doing: Doing = "running" if status == "picked" else "waiting"
        if doing == "waiting" and history.spans:
            history.retries.append(at)
        history.outcome, history.ended = doing, None
        history.spans.append(Span(doing, at, end or max(now, at)))


def name_consumers(histories: list[History]) -> None:
    """Group jobs by who ran them.

    PGQueuer keeps a job's consumer in its row while the job runs, and in the log with an exception; of other
    jobs it keeps none. This process remembers the jobs that its own consumers took up.
    """
    target = session.target()
    began = {} if target.read_only else session.began  # ids of this process's jobs mean others there
    rows = sql(
        f"""
        SELECT id AS job, queue_manager_id::text AS worker
        FROM {target.names.queue_table} WHERE queue_manager_id IS NOT NULL
        UNION ALL SELECT job_id, traceback #>> '{{additional_context,queue_manager_id}}'
        FROM {target.recent_log} AS recent WHERE traceback IS NOT NULL"""
    )
    ids: dict[int, str] = {job: worker for job, worker in _rows(rows) if isinstance(worker, str)}
    begun = {history.id: history.spans[0].begin.timestamp() for history in histories}
    here: dict[int, tuple[float, str]] = {}
    for name, jobs in list(began.items()):
        for job, time in jobs.copy():
            # Ids begin again after a reset: what began before a job was there was another one's.
            if job in begun and time >= begun[job] - CLOCKS_DIFFER:
                here[job] = max(here.get(job, (0.0, "")), (time, name))
    for history in histories:
        worker = ids.get(history.id)
        if worker is not None:
            history.group = session.managers.get(worker, f"worker {worker[:8]}")
        elif history.id in here:
            history.group = here[history.id][1]
        else:
            history.group = NOBODY if history.waited() is None else UNKNOWN


def histories_of_runs(last: int | None, window: timedelta | None) -> list[History]:
    """Return the staged runs that moved last, oldest first; none where there are no staged jobs."""
    histories: dict[int, History] = {}
    for run, _, pipeline, stage, status, outcome, begin, until in _rows(spans(last, window)):
        history = histories.setdefault(run, History(run, pipeline, outcome=palette.RUNS[outcome].word))
        if status in ("pending", "running", "waiting"):
            doing: Doing = "running" if status == "running" else "waiting"
            history.spans.append(Span(doing, begin, until, stage))
        elif status == outcome:
            history.ended = max(begin, history.ended or begin)
    return sorted(histories.values(), key=lambda history: (history.spans[0].begin, history.id))


def _rows(frame: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Return a frame's rows as plain Python values, with times that are quick to reckon with."""
    import pandas as pd

    columns = [
        pd.DatetimeIndex(column).to_pydatetime() if column.dtype.kind == "M" else column.tolist()
        for _, column in frame.items()
    ]
    return zip(*columns, strict=True)
