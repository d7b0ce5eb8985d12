"""What the board tells of one job when it is asked: everything that the tables know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgqueuer.domain.settings import db_settings

from kit.pictures.board.state import BoardState

if TYPE_CHECKING:
    import asyncpg


async def of_job(connection: asyncpg.Connection, state: BoardState, job: int) -> dict[str, Any]:
    """Return what is known of ``job``.

    Its ``life`` is a list of ``at`` (seconds since 1970), ``status`` and ``note``. ``why``, ``todo``,
    ``payload``, ``traceback`` and ``sql`` are text, and may be missing.
    """
    rows = await connection.fetch(LIFE.format(log=db_settings().queue_table_log), job)
    return {"life": [dict(row) for row in rows]}


LIFE = """
SELECT extract(epoch FROM created)::float8 AS at, status::text, '' AS note
FROM {log} WHERE job_id = $1 ORDER BY id
"""
