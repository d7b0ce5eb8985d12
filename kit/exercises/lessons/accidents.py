"""Accidents that happen for certain, which several exercises need. A check ends them before it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kit.exercises.answers import Answer

_CUT = """
CREATE SEQUENCE kit_enqueued;
CREATE FUNCTION kit_cut() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.entrypoint = '{entrypoint}' AND nextval('kit_enqueued') = {which} THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
        PERFORM pg_sleep(5);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER kit_cut BEFORE INSERT ON pgqueuer FOR EACH ROW EXECUTE FUNCTION kit_cut();
"""


@asynccontextmanager
async def session_cut_at_enqueue(answer: Answer, entrypoint: str, which: int) -> AsyncIterator[None]:
    """End the session that enqueues the n-th job of this entrypoint, in the midst of it.

    It is counted by a sequence, which no rollback takes back.
    """
    await answer.sql(_CUT.format(entrypoint=entrypoint, which=which))
    try:
        yield
    finally:  # or the next check would find PGQueuer's schema changed
        await answer.sql(
            "DROP TRIGGER kit_cut ON pgqueuer; DROP FUNCTION kit_cut; DROP SEQUENCE kit_enqueued;"
        )
