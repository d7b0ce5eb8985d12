"""The tables of staged jobs as DataFrames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from kit.errors import KitError
from kit.stages.rows import STATUSES, in_transaction, install
from kit.sync import run_sync

if TYPE_CHECKING:
    import pandas as pd


def runs(pipeline: str | None = None, *, branches: bool = False) -> pd.DataFrame:
    """Return a row for each run, oldest first.

    Args:
        pipeline: only the runs of this one.
        branches: a row for each branch too; ``parent`` and ``branch`` say whose it is, and which (Int64).

    Returns:
        ``id`` (Int64), ``pipeline`` and ``stage`` (string), ``status`` (category), ``branches`` (done/all, as
        text), ``data`` (dict), ``attempts`` (Int64, of this stage), ``error`` (string), ``job`` (Int64, the
        one that will move it), ``created`` and ``updated`` (UTC).
    """
    return _table(
        f"""SELECT id, {"parent, branch, " if branches else ""}pipeline, stage, status,
            (SELECT nullif(count(*) FILTER (WHERE status = 'done') || '/' || count(*), '0/0')
             FROM kit_runs b WHERE b.parent = r.id) AS branches,
            data, attempts, error, job, created, updated
        FROM kit_runs r WHERE ($1::text IS NULL OR pipeline = $1) AND ($2 OR parent IS NULL)
        ORDER BY coalesce(parent, id), branch NULLS FIRST""",
        *(pipeline, branches),
    )


def history(run: int | None = None) -> pd.DataFrame:
    """Return a row for each transition of a run and its branches, oldest first; without a run, of all.

    Returns:
        ``created`` (UTC), ``run`` and ``branch`` (Int64), ``stage`` (string), ``status`` (category),
        ``attempt`` and ``job`` (Int64), ``error`` (string).
    """
    return _table(
        """SELECT created, run, branch, stage, status, attempt, job, error FROM kit_run_history
        WHERE $1::bigint IS NULL OR run = $1 ORDER BY id""",
        run,
    )


def _table(query: str, *args: Any) -> pd.DataFrame:
    """Run a query on the tables, which are made if they are missing."""
    # Here, so that a worker which only serves a pipeline does not import pandas.
    import pandas as pd

    from kit.tables import sql

    try:
        frame = sql(query, *args)
    except KitError as error:
        if not isinstance(error.__cause__, asyncpg.UndefinedTableError):
            raise
        run_sync(in_transaction(install))
        frame = sql(query, *args)
    frame["status"] = pd.Categorical(frame["status"], STATUSES)
    return frame
