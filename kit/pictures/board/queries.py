"""What the board asks of PGQueuer's tables, and how a row changes a job's card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgqueuer.domain.settings import db_settings

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

TAIL = 2000  # log rows in one look; where there are more, the picture as a whole is cheaper
_QUEUE = db_settings().qualified.queue_table
_LOG_TABLE = db_settings().qualified.queue_table_log


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
_BOTH = (
    f"SELECT {_LOG}, {_JOB}, {_PAYLOAD}, {_NOW} FROM {_LOG_TABLE} l LEFT JOIN {_QUEUE} q ON q.id = l.job_id"
)

TAIL_SQL = f"{_BOTH} WHERE l.id >= $1 ORDER BY l.id LIMIT $2"
GAPS_SQL = f"{_BOTH} WHERE l.id = ANY($1::bigint[]) ORDER BY l.id"
HISTORY_SQL = f"SELECT {_LOG} FROM {_LOG_TABLE} l WHERE l.job_id = ANY($1::bigint[]) ORDER BY l.id"
LAST_ENDED_SQL = f"SELECT l.job_id FROM {_LOG_TABLE} l WHERE {_ENDED} ORDER BY l.id DESC LIMIT {ENDED_KEPT}"
QUEUE_SQL = f"SELECT {_JOB}, {_PAYLOAD} FROM {_QUEUE} q ORDER BY q.id LIMIT {DRAWN + 1}"
JOBS_SQL = f"SELECT {_JOB}, {_PAYLOAD} FROM {_QUEUE} q WHERE q.id = ANY($1::bigint[])"
LOOK_SQL = f"SELECT {_JOB} FROM {_QUEUE} q ORDER BY q.id LIMIT {DRAWN + 1}"
MARK_SQL = f"""
    SELECT {_NOW}, l.id, l.job_id, {_seconds("l.created", "at")}
    FROM (SELECT 1) one LEFT JOIN (SELECT * FROM {_LOG_TABLE} ORDER BY id DESC LIMIT 1) l ON true"""
COUNT_SQL = f"""
    SELECT entrypoint, status::text AS status, priority, count(*) AS number
    FROM {_QUEUE} GROUP BY 1, 2, 3"""
ENDED_SQL = f"""
    SELECT l.entrypoint, l.status::text AS status, count(*) AS number
    FROM {_LOG_TABLE} l WHERE {_ENDED} AND l.id > $1 GROUP BY 1, 2"""
RATE_SQL = f"""
    SELECT extract(epoch FROM date_trunc('second', l.created))::bigint AS second, count(*) AS number
    FROM {_LOG_TABLE} l
    WHERE {_ENDED} AND l.created > clock_timestamp() - interval '{RATE_SECONDS} seconds' GROUP BY 1"""


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
