"""What the board asks of PGQueuer's tables, and how a row changes a job's card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit import payloads
from kit.pictures.board.state import (
    DRAWN,
    ENDED_KEPT,
    ENDINGS,
    PAYLOAD_BYTES,
    RATE_SECONDS,
    TRACE_LENGTH,
    Card,
)

if TYPE_CHECKING:
    import asyncpg

    from kit.database.target import Target

TAIL = 2000  # log rows in one look; where there are more, the picture as a whole is cheaper


def _seconds(column: str, name: str) -> str:
    return f"extract(epoch FROM {column})::float8 AS {name}"


_NOW = _seconds("clock_timestamp()", "now")
_JOB = f"""
    q.id AS q_id, q.entrypoint AS q_entrypoint, q.status::text AS q_status, q.priority AS q_priority,
    q.attempts, q.queue_manager_id::text AS consumer, {_seconds("q.created", "q_created")},
    {_seconds("q.updated", "q_updated")}, {_seconds("q.execute_after", "due")},
    {_seconds("q.heartbeat", "heartbeat")}"""
_PAYLOAD = f"substring(q.payload FOR {PAYLOAD_BYTES}) AS payload, octet_length(q.payload) AS size"
_LOG = f"""
    l.id AS l_id, l.job_id, l.entrypoint AS l_entrypoint, l.status::text AS l_status,
    l.priority AS l_priority, {_seconds("l.created", "at")},
    l.traceback->>'exception_type' AS error_type, l.traceback->>'exception_message' AS error_message,
    right(l.traceback->>'traceback', {TRACE_LENGTH}) AS trace"""
_ENDED = "l.status IN ({})".format(", ".join(f"'{status}'" for status in ENDINGS))


class Queries:
    """What is asked of PGQueuer's tables in ``target``.

    Attributes:
        tail: the log from row ``$1`` on, at most ``$2`` rows, each with its job's row in the queue.
        gaps: the same of the log's rows ``$1``.
        history: the log of the jobs ``$1``; ``last_ended``: the jobs that ended last.
        queue: the queue with payloads; ``look``: without. ``jobs``: the jobs ``$1`` of it.
        mark: the time, and the log's last row.
        count: jobs in the queue by entrypoint, status and priority.
        beats: the newest heartbeat of each worker that has jobs.
        ended: ends in the log after row ``$1``, by entrypoint and status; ``rate``: by second.
    """

    def __init__(self, target: Target) -> None:
        names = target.names
        queue, log, recent = f"{names.queue_table} q", f"{names.queue_table_log} l", f"{target.recent_log} l"
        both = f"SELECT {_LOG}, {_JOB}, {_PAYLOAD}, {_NOW} FROM {log} LEFT JOIN {queue} ON q.id = l.job_id"
        self.tail = f"{both} WHERE l.id >= $1 ORDER BY l.id LIMIT $2"
        self.gaps = f"{both} WHERE l.id = ANY($1::bigint[]) ORDER BY l.id"
        self.history = f"SELECT {_LOG} FROM {log} WHERE l.job_id = ANY($1::bigint[]) ORDER BY l.id"
        self.last_ended = f"""
            SELECT l.job_id FROM {recent} WHERE {_ENDED} ORDER BY l.id DESC LIMIT {ENDED_KEPT}"""
        self.queue = f"SELECT {_JOB}, {_PAYLOAD} FROM {queue} ORDER BY q.id LIMIT {DRAWN + 1}"
        self.jobs = f"SELECT {_JOB}, {_PAYLOAD} FROM {queue} WHERE q.id = ANY($1::bigint[])"
        self.look = f"SELECT {_JOB} FROM {queue} ORDER BY q.id LIMIT {DRAWN + 1}"
        self.mark = f"""
            SELECT {_NOW}, l.id, l.job_id, {_seconds("l.created", "at")} FROM (SELECT 1) one
            LEFT JOIN (SELECT * FROM {names.queue_table_log} ORDER BY id DESC LIMIT 1) l ON true"""
        self.count = f"""
            SELECT q.entrypoint, q.status::text AS status, q.priority, count(*) AS number
            FROM {queue} GROUP BY q.entrypoint, q.status, q.priority"""
        self.beats = f"""
            SELECT q.queue_manager_id::text AS consumer, {_seconds("max(q.heartbeat)", "heartbeat")}
            FROM {queue} WHERE q.status = 'picked' GROUP BY 1"""
        self.ended = f"""
            SELECT l.entrypoint, l.status::text AS status, count(*) AS number
            FROM {recent} WHERE {_ENDED} AND l.id > $1 GROUP BY l.entrypoint, l.status"""
        # now(), because an index is of no use to clock_timestamp(), which every row might see otherwise
        self.rate = f"""
            SELECT extract(epoch FROM date_trunc('second', l.created))::bigint AS second, count(*) AS number
            FROM {log} WHERE {_ENDED} AND l.created > now() - interval '{RATE_SECONDS} seconds'
            GROUP BY 1"""


def take_log(cards: dict[int, Card], row: asyncpg.Record) -> Card:
    """Let one row of the log change its job's card."""
    job, status, at = row["job_id"], row["l_status"], row["at"]
    card = cards.get(job)
    if card is None:
        card = cards[job] = Card(job, row["l_entrypoint"], row["l_priority"], status)
    # A row that commits late tells of a time before the job ended; no job comes back from that.
    late = card.status in ENDINGS and status not in ENDINGS
    if status == "queued":
        card.created = card.created or at
    elif status == "picked":
        card.picked = at
    else:
        card.ended, card.consumer, card.heartbeat, card.due = at, None, None, None
    if not late:
        card.status = status
    if row["error_type"] is not None:
        message = (row["error_message"] or "").strip().splitlines()
        card.error = f"{row['error_type']}: {message[0][:200]}" if message else row["error_type"]
        card.trace = row["trace"]
    return card


def take_job(cards: dict[int, Card], row: asyncpg.Record) -> bool:
    """Let one row of the queue change its job's card; return whether it did."""
    job, status = row["q_id"], row["q_status"]
    card = cards.get(job)
    if card is None:
        card = cards[job] = Card(job, row["q_entrypoint"], row["q_priority"], status)
        card.picked = row["q_updated"] if status == "picked" else None
    seen = {
        "status": status,
        "priority": row["q_priority"],
        "attempts": row["attempts"],
        "created": row["q_created"],
        "due": row["due"] if status == "queued" else None,
        "heartbeat": row["heartbeat"] if status == "picked" else None,
        "consumer": row["consumer"],
    }
    if "payload" in row.keys():  # noqa: SIM118 - a record iterates over its values
        seen |= {"payload": payloads.beginning(row["payload"], row["size"]), "size": row["size"]}
    changed = False
    for name, value in seen.items():
        if getattr(card, name) != value:
            setattr(card, name, value)
            changed = True
    return changed
