"""Accidents that happen for certain, which several exercises need."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kit.exercises.answers import Answer

_CUT = """
CREATE SEQUENCE accident_counted_{name};
CREATE FUNCTION accident_cut_{name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {condition} AND nextval('accident_counted_{name}') = {which} THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
        PERFORM pg_sleep(5);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER accident_cut BEFORE INSERT ON {name} FOR EACH ROW EXECUTE FUNCTION accident_cut_{name}();
"""

# Whoever wrote here waits at the commit, as long as the check holds the lock: what another connection did has taken effect.
_TRAP = """
CREATE FUNCTION accident_trap_{name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {condition} THEN PERFORM pg_advisory_xact_lock_shared(4711); END IF;
    RETURN NEW;
END $$;
CREATE CONSTRAINT TRIGGER accident_trap AFTER INSERT OR UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION accident_trap_{name}();
"""
_TRAPPED = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"


async def cut_session_at_enqueue(answer: Answer, condition: str, which: int = 1) -> None:
    """End the session that enqueues the n-th job for which ``condition`` (of ``NEW``) is true, in the midst of it.

    They are counted by a sequence, which no rollback takes back. The next check's database has none of it.
    """
    await answer.sql(_CUT.format(name="pgqueuer", condition=condition, which=which))


async def cut_session_at_update(answer: Answer, table: str, condition: str) -> None:
    """End the first session that updates a row of ``table`` for which the condition is true, when it commits.

    So late, because what it did on another connection has taken effect by then.
    """
    cut = _CUT.format(name=table, condition=condition, which=1)
    cut = cut.replace("TRIGGER accident_cut BEFORE INSERT", "CONSTRAINT TRIGGER accident_cut AFTER UPDATE")
    await answer.sql(cut.replace("FOR EACH ROW", "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"))


@asynccontextmanager
async def traps(answer: Answer, **conditions: str) -> AsyncIterator[None]:
    """Let whoever commits a row for which the condition holds, by table, wait until the block ends.

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
