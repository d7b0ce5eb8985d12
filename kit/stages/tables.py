"""The tables of staged jobs as DataFrames, which are empty where there are no tables: reading makes none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from kit.errors import KitError
from kit.stages.store import reads, schema

if TYPE_CHECKING:
    import pandas as pd


def runs(pipeline: str | None = None, *, branches: bool = False) -> pd.DataFrame:
    """Return a row for each run, oldest first.

    Args:
        pipeline: only the runs of this one.
        branches: also a row for each branch; ``parent`` is its run, ``branch`` its number (both Int64).

    Returns:
        ``id`` (Int64), ``pipeline`` and ``stage`` (string), ``status`` (category), ``branches`` (done/all, as
        text), ``data`` (dict), ``attempts`` (Int64, of this stage), ``error`` (string), ``job`` (Int64, the
        one that will move it), ``created`` and ``updated`` (UTC).

    Raises:
        KitError: no Postgres, or it does not answer.
    """
    return _frame(reads.runs(branches=branches), pipeline)


def history(run: int | None = None) -> pd.DataFrame:
    """Return a row for each transition of a run and its branches, oldest first; without a run, of all.

    Returns:
        ``created`` (UTC), ``run`` and ``branch`` (Int64), ``stage`` (string), ``status`` (category),
        ``attempt`` and ``job`` (Int64), ``error`` (string).

    Raises:
        KitError: no Postgres, or it does not answer.
    """
    return _frame(reads.history(), run)


def _frame(queries: tuple[str, str], *args: Any) -> pd.DataFrame:
    """Run the first of two queries, or the second if the tables are missing."""
    # Imported here, because a worker that only serves a pipeline does not need pandas.
    import pandas as pd

    from kit.tables import sql

    query, nothing = queries
    try:
        frame = sql(query, *args)
    except KitError as error:
        if not isinstance(error.__cause__, asyncpg.UndefinedTableError):
            raise
        frame = sql(nothing)
    frame["status"] = pd.Categorical(frame["status"], schema.STATUSES)
    return frame
