"""What the board tells of a job when it is asked: why it is there, and its traceback."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kit.database.target import Target
from kit.errors.place import is_learners
from kit.reasons import explain

if TYPE_CHECKING:
    import asyncpg

FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line \d+, in .*\n(?:    .*\n)*', re.MULTILINE)
LONGEST = 4000  # characters


async def of_job(connection: asyncpg.Connection, target: Target, job: int) -> dict[str, str]:
    """Return ``why`` a job of ``target`` is where it is, and the last ``traceback`` in its log, if there is
    one.

    Raises:
        KitError: there is no such job, or there are no tables of PGQueuer's.
    """
    why = await explain(connection, target, job)
    raised = await connection.fetchrow(target.queue_tables.last_error, job)
    trace = raised and raised["traceback"]
    return {"why": why, "traceback": own_frame_first(trace)[:LONGEST]} if trace else {"why": why}


def own_frame_first(trace: str) -> str:
    """Return a traceback under its last line and the last frame that the learner wrote."""
    own = [frame for frame in FRAME.finditer(trace) if is_learners(frame["file"])]
    if not own:
        return trace
    return f"{trace.strip().splitlines()[-1]}\n{own[-1].group().rstrip()}\n\n{trace}"
