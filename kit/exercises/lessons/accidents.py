"""Accidents that happen for certain, which several exercises need. A check ends them before it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kit.exercises.answers import Answer

_CUT = """
CREATE SEQUENCE kit_counted;
CREATE FUNCTION kit_cut() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {condition} AND nextval('kit_counted') = {which} THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
        PERFORM pg_sleep(5);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER kit_cut BEFORE INSERT ON pgqueuer FOR EACH ROW EXECUTE FUNCTION kit_cut();
"""

# Whoever writes here waits, as long as the check holds the lock.
_TRAP = """
CREATE FUNCTION kit_trap_{name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {condition} THEN PERFORM pg_advisory_xact_lock_shared(4711); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER kit_trap BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION kit_trap_{name}();
"""
_TRAPPED = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"


@asynccontextmanager
async def session_cut_at_enqueue(answer: Answer, condition: str, which: int = 1) -> AsyncIterator[None]:
    """End the session that enqueues the n-th job for which ``condition`` (of ``NEW``) is true, in the midst of it.

    They are counted by a sequence, which no rollback takes back.
    """
    await answer.sql(_CUT.format(condition=condition, which=which))
    try:
        yield
    finally:  # or the next check would find PGQueuer's schema changed
        await answer.sql(
            "DROP TRIGGER kit_cut ON pgqueuer; DROP FUNCTION kit_cut; DROP SEQUENCE kit_counted;"
        )


@asynccontextmanager
async def traps(answer: Answer, **conditions: str) -> AsyncIterator[None]:
    """Let whoever writes a row for which the condition holds, by table, wait until the block ends.

    Then their sessions are ended, so that nothing of what they waited with takes effect.
    """
    await answer.sql("SELECT pg_advisory_lock(4711)")
    for table, condition in conditions.items():
        await answer.sql(_TRAP.format(name=table, table=table, condition=condition))
    try:
        yield
    finally:
        await answer.sql(f"SELECT pg_terminate_backend(pid, 2000) {_TRAPPED}")
        await answer.sql("SELECT pg_advisory_unlock(4711)")


def trapped(number: int) -> str:
    """Return the condition that so many sessions are in a trap."""
    return f"SELECT count(*) >= {number} {_TRAPPED}"
