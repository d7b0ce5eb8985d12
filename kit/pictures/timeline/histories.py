"""What each job was doing when: read from the log. Times are seconds since 1970."""

from __future__ import annotations

import dataclasses
import itertools
import math
from bisect import bisect_left
from typing import Any, Literal, NamedTuple

from kit.display import palette
from kit.session import session
from kit.tables import sql

Doing = Literal["waiting", "running"]

UNKNOWN = "worker not known"
NOBODY = "nobody yet"
RETRIED, TAKEN_OVER = "retried", "taken over"  # how an attempt ended that was not the last one
CLOCKS_DIFFER = 0.05  # seconds that Postgres's clock may be ahead of ours, in a container for one

_GOES_ON = ("queued", "picked")  # any other status ends a job, or holds it

# How what became of something looks, in the order in which it is named.
OUTCOMES = {look.word: look for status, look in palette.JOBS.items() if status not in _GOES_ON}
OUTCOMES |= {"running": palette.JOBS["picked"], "waiting": palette.WAITING}
OUTCOMES |= {RETRIED: palette.AGAIN, TAKEN_OVER: palette.AGAIN}


class Span(NamedTuple):
    """A stretch of time, what was done in it, how that ended, and by whom."""

    doing: Doing
    begin: float
    end: float
    outcome: str = ""
    worker: str = UNKNOWN


@dataclasses.dataclass
class History:
    """One job, or one of its attempts.

    Attributes:
        id: the job's.
        group: its entrypoint or worker.
        priority: the job's.
        outcome: what became of it, one of `OUTCOMES`.
        spans: what it did, in order.
        ended: when it ended; None while it has not.
    """

    id: int
    group: str
    priority: int
    outcome: str = "waiting"
    spans: list[Span] = dataclasses.field(default_factory=list)
    ended: float | None = None

    def seconds(self, doing: Doing) -> float | None:
        """Return how long it did that, all in all; None if it never did."""
        spans = [span.end - span.begin for span in self.spans if span.doing == doing]
        return sum(spans) if spans else None

    def picked(self) -> float | None:
        """Return when it first began to run; None while it has not."""
        return next((span.begin for span in self.spans if span.doing == "running"), None)

    def waited(self) -> float | None:
        """Return the seconds that it waited, before all its attempts; None while it has not been picked."""
        if self.picked() is None:
            return None
        going_on = self.spans[-1] if self.outcome == "waiting" else None
        return sum(
            one.end - one.begin for one in self.spans if one.doing == "waiting" and one is not going_on
        )


def histories_of_jobs(last: int) -> list[History]:
    """Return the jobs that the log last spoke of, oldest first."""
    target = session.target()
    rows = sql(target.queue_tables.histories, last)
    known = _Known(read_only=target.read_only)
    histories = []
    values = zip(*(column.tolist() for _, column in rows.items()), strict=True)
    for job, steps in itertools.groupby(values, key=lambda row: row[0]):
        transitions = list(steps)
        _, entrypoint, priority, *_, now = transitions[0]
        history = History(job, entrypoint, priority)
        _go_through(history, [row[3:] for row in transitions], now, known)
        histories.append(history)
    return sorted(histories, key=lambda history: (history.spans[0].begin, history.id))


class _Known:
    """What this process remembers of the jobs that its own consumers took up: who, and until when.

    PGQueuer keeps a job's consumer in its row while the job runs, and in the log with an exception; of other
    jobs it keeps none. An end is in the log when that is written, a while after the handler has ended.
    """

    def __init__(self, *, read_only: bool) -> None:
        self.began: dict[int, list[tuple[float, str]]] = {}
        self.ended: dict[int, list[float]] = {}
        if not read_only:  # there, ids of this process's jobs mean others
            for name, jobs in list(session.began.items()):
                for job, at in jobs.copy():
                    self.began.setdefault(job, []).append((at, name))
            for jobs in list(session.ended.values()):
                for job, at in jobs.copy():
                    self.ended.setdefault(job, []).append(at)

    def worker(self, job: int, begin: float, end: float, ids: list[Any]) -> str:
        """Return who ran a job between two moments, from the ids that PGQueuer keeps or from memory."""
        for worker in ids:
            if isinstance(worker, str):
                return session.managers.get(worker, f"worker {worker[:8]}")
        least, most = begin - CLOCKS_DIFFER, end + CLOCKS_DIFFER
        return next((name for at, name in sorted(self.began.get(job, [])) if least <= at <= most), UNKNOWN)

    def end(self, job: int, begin: float, end: float, raised: float) -> float:
        """Return when a handler ended that is logged as ended at ``end``."""
        ends = sorted(self.ended.get(job, []))
        place = bisect_left(ends, begin)
        if not math.isnan(raised):
            return min(max(raised, begin), end)
        return min(ends[place], end) if place < len(ends) else end


def _go_through(history: History, rows: list[tuple[Any, ...]], now: float, known: _Known) -> None:
    """Take in what a job became and when, from first to last; every time it was picked is an attempt."""
    for row, after in itertools.zip_longest(rows, rows[1:]):
        status, at, *_, held_by, _ = row
        if status not in _GOES_ON:
            history.outcome, history.ended = palette.JOBS[status].word, at
            if not history.spans:  # the log was cleared before
                history.spans.append(Span("waiting", at, at))
            continue
        history.ended = None
        end = after[1] if after else max(now, at)
        if status == "queued":
            history.outcome = "waiting"
            history.spans.append(Span("waiting", at, end))
            continue
        history.outcome, ids = "running", [held_by]
        if after:
            outcome = {"picked": TAKEN_OVER, "queued": RETRIED}.get(after[0]) or palette.JOBS[after[0]].word
            ids = [after[3]]
            finish = end if outcome == TAKEN_OVER else known.end(history.id, at, end, after[2])
        else:
            outcome, finish = "running", end
        worker = known.worker(history.id, at, end, ids)
        history.spans.append(Span("running", at, finish, outcome, worker))


def by_worker(histories: list[History]) -> list[History]:
    """Return the attempts of jobs as histories of their own, each in the group of who made it."""
    attempts = []
    for job in histories:
        runs = [place for place, span in enumerate(job.spans) if span.doing == "running"]
        for first, place in zip([0, *(place + 1 for place in runs)], runs, strict=False):
            span = job.spans[place]
            spans, ended = job.spans[first : place + 1], None if span.outcome == "running" else span.end
            made = dataclasses.replace(job, group=span.worker, outcome=span.outcome, spans=spans, ended=ended)
            attempts.append(made)
        if not runs:
            attempts.append(dataclasses.replace(job, group=NOBODY))
    return attempts
