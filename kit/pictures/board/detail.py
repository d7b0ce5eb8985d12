"""What the board tells of one job when it is asked: everything that the tables know of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from kit.database.target import Target
from kit.errors.place import is_learners
from kit.errors.text import headline
from kit.pictures.board.state import BoardState
from kit.reasons import explain

if TYPE_CHECKING:
    import asyncpg


FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line \d+, in .*\n(?:    .*\n)*', re.MULTILINE)


async def of_job(
    connection: asyncpg.Connection, target: Target, state: BoardState, job: int
) -> dict[str, Any]:
    """Return what is known of ``job`` in ``target``.

    Its ``life`` is a list of ``at`` (seconds since 1970), ``status`` and ``note``. ``why``, ``todo``,
    ``payload``, ``traceback`` and ``sql`` are text, and may be missing.

    Raises:
        KitError: there is no such job, or there are no tables of PGQueuer's.
    """
    why, todo = await explain(connection, target, job)
    log = target.names.queue_table_log
    rows = await connection.fetch(LIFE.format(log=log), job)
    trace = next((row["trace"] for row in rows if row["trace"]), None)
    told = {
        "why": why,
        "todo": todo,
        "life": [{"at": row["at"], "status": row["status"], "note": _note(row)} for row in rows],
        "sql": f"SELECT * FROM {log} WHERE job_id = {job} ORDER BY id",
    }
    with state.lock:
        card = state.cards.get(job)
        if card is not None and card.payload is not None:
            told["payload"] = card.payload
    return told | ({"traceback": own_frame_first(trace)} if trace else {})


def own_frame_first(trace: str) -> str:
    """Return a traceback under its last line and the last frame that the learner wrote."""
    own = [frame for frame in FRAME.finditer(trace) if is_learners(frame["file"])]
    if not own:
        return trace
    return f"{trace.strip().splitlines()[-1]}\n{own[-1].group().rstrip()}\n\n{trace}"


def _note(row: asyncpg.Record) -> str:
    return headline(row["kind"], row["said"] or "") if row["kind"] else ""


LIFE = """
SELECT extract(epoch FROM created)::float8 AS at, status::text, traceback->>'exception_type' AS kind,
       traceback->>'exception_message' AS said,
       CASE WHEN id = max(id) FILTER (WHERE traceback IS NOT NULL) OVER ()
            THEN traceback->>'traceback' END AS trace
FROM {log} WHERE job_id = $1 ORDER BY id
"""
