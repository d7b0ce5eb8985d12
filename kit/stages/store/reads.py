"""Queries that read runs, each with a double that returns no rows, for a database without the tables."""

from __future__ import annotations

_RUN = (
    "id bigint, parent bigint, branch int, pipeline text, stage text, status text, branches text, "
    "data jsonb, attempts int, error text, job bigint, created timestamptz, updated timestamptz"
)
_TRANSITION = (
    "created timestamptz, run bigint, branch int, stage text, status text, attempt int, job bigint, "
    "error text"
)


def runs(*, branches: bool) -> tuple[str, str]:
    """Return the query for runs (with ``branches``, also theirs) of pipeline ``$1``, and its empty double."""
    query = """SELECT id, parent, branch, pipeline, stage, status,
        (SELECT nullif(count(*) FILTER (WHERE status = 'done') || '/' || count(*), '0/0')
         FROM kit_runs b WHERE b.parent = r.id) AS branches,
        data, attempts, error, job, created, updated
    FROM kit_runs r WHERE $1::text IS NULL OR pipeline = $1"""
    columns = "id, pipeline, stage, status, branches, data, attempts, error, job, created, updated"
    shown, which = (f"parent, branch, {columns}", "true") if branches else (columns, "parent IS NULL")
    wanted = (
        f"SELECT {shown} FROM ({{}}) AS r WHERE {which} ORDER BY coalesce(parent, id), branch NULLS FIRST"
    )
    return wanted.format(query), wanted.format(_nothing(_RUN))


def history() -> tuple[str, str]:
    """Return the query for the transitions of run ``$1``, or of all, and its empty double."""
    return (
        """SELECT created, run, branch, stage, status, attempt, job, error FROM kit_run_history
        WHERE $1::bigint IS NULL OR run = $1 ORDER BY id""",
        _nothing(_TRANSITION),
    )


def _nothing(columns: str) -> str:
    """Return a query without arguments that has these columns, and no row."""
    typed = (column.split() for column in columns.split(", "))
    return f"SELECT {', '.join(f'NULL::{kind} AS {name}' for name, kind in typed)} WHERE false"
