"""PGQueuer's tables as DataFrames. Each call reads on a connection of its own.

The calls are plain, not awaited. They also work while a cell awaits, while the consumer is stopped, and
inside a running loop. The dtypes are listed in :mod:`kit.tables.frames`; all times are UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import numpy as np
import pandas as pd

from kit.display import payloads
from kit.errors import KitError
from kit.errors.hints import hint
from kit.errors.postgres import NO_TABLES, postgres_is_away, tables_are_missing
from kit.errors.text import headline
from kit.session import session
from kit.tables import times
from kit.tables.columns import text
from kit.tables.frames import DataFrame, frame
from kit.threads import run_sync

__all__ = ["jobs", "log", "schedules", "sql", "statistics"]

LOCK_TIMEOUT = 5  # seconds; a lock that the same notebook holds would stop a cell for ever


def jobs(*, last: int | None = None) -> pd.DataFrame:
    """Return the queue, the table ``pgqueuer``: every job that waits, runs or is held, in order of ``id``.

    A finished job is no longer here; see :func:`log`. PGQueuer takes the highest priority first and the
    lowest ``id`` of those: ``.sort_values(["priority", "id"], ascending=[False, True])``.

    Args:
        last: only the newest so many jobs; None: all.

    Returns:
        ========================= =================== =======================================================
        ``id``                    Int64               the job's number
        ``status``                category            ``queued``, ``picked`` or ``failed``, which means held
        ``entrypoint``            string              who is to run it
        ``priority``              Int64               higher is sooner
        ``text``                  string              the payload read as UTF-8; a note where it is no text
        ``attempts``              Int64               how often it was retried
        ``created``               datetime64[us, UTC] when it was enqueued
        ``payload``               object              ``bytes``, or None
        ``execute_after``         datetime64[us, UTC] not before this time
        ``updated``               datetime64[us, UTC] when it last changed
        ``heartbeat``             datetime64[us, UTC] when its consumer last said that it is alive
        ``queue_manager_id``      string              the consumer that has it, or NULL
        ``headers``               object              ``dict``, or None
        ``dedupe_key``            string              no second job with this key may wait or run
        ``slot``                  Int64               its place under a concurrency limit
        ========================= =================== =======================================================

    Raises:
        KitError: no Postgres, or no PGQueuer tables in it.
    """
    table = _table(session.target().queue_tables.jobs(_checked(last)))
    table["text"] = _described(table["payload"], payloads.text)
    return _columns_first(
        table,
        "id status entrypoint priority text attempts created",
        "payload execute_after updated heartbeat queue_manager_id headers dedupe_key slot",
    )


def log(job_id: int | None = None, *, last: int | None = None) -> pd.DataFrame:
    """Return the table ``pgqueuer_log``: one row for each time a job changed its status, oldest first.

    Args:
        job_id: only the story of this job.
        last: only this many rows, the newest; None: all.

    Returns:
        ========================= =================== =======================================================
        ``job_id``                Int64               the job
        ``status``                category            what it became
        ``entrypoint``            string              as in :func:`jobs`
        ``priority``              Int64               as in :func:`jobs`
        ``created``               datetime64[us, UTC] when it became that
        ``error``                 string              the exception, ``KeyError: 'subject'``, or NULL
        ``traceback``             object              PGQueuer's record of the exception, a ``dict``, or None
        ``aggregated``            boolean             whether ``pgqueuer_statistics`` counts it
        ``id``                    Int64               the row's own number
        ========================= =================== =======================================================

    Raises:
        KitError: no Postgres, or no PGQueuer tables in it.
    """
    statements, last = session.target().queue_tables, _checked(last)
    if job_id is None:
        table = _table(statements.transitions(last))
    else:
        table = _table(statements.transitions_of_job(last), job_id)
    table["error"] = _described(table["traceback"], _error)
    return _columns_first(table, "job_id status entrypoint priority created error", "traceback aggregated id")


def schedules() -> pd.DataFrame:
    """Return the table ``pgqueuer_schedules``: one row for each recurring task, in order of ``id``.

    Returns:
        ========================= =================== =======================================================
        ``id``                    Int64               the schedule's number
        ``entrypoint``            string              the function that runs
        ``expression``            string              when, as cron writes it: ``*/5 * * * *``
        ``status``                category            ``queued``, or ``picked`` while it runs
        ``next_run``              datetime64[us, UTC] when it is due
        ``last_run``              datetime64[us, UTC] when it last ran, or NULL
        ``created``               datetime64[us, UTC] when it was registered
        ``updated``               datetime64[us, UTC] when it last changed
        ``heartbeat``             datetime64[us, UTC] when its consumer last said that it is alive
        ========================= =================== =======================================================

    Raises:
        KitError: no Postgres, or no PGQueuer tables in it.
    """
    table = _table(session.target().queue_tables.schedules)
    return _columns_first(
        table, "id entrypoint expression status next_run last_run", "created updated heartbeat"
    )


def statistics(*, last: int | None = None) -> pd.DataFrame:
    """Return how many jobs got which status in which second, oldest first, up to this moment.

    PGQueuer keeps these counts in ``pgqueuer_statistics`` and adds to them from the log now and then. The
    rows of the log that it has not added yet are counted here as well; nothing is written.

    Args:
        last: count only this many rows of either table, the newest; None: all.

    Returns:
        ========================= =================== =======================================================
        ``created``               datetime64[us, UTC] the second
        ``entrypoint``            string              as in :func:`jobs`
        ``priority``              Int64               as in :func:`jobs`
        ``status``                category            what the jobs became
        ``count``                 Int64               how many
        ========================= =================== =======================================================

    Raises:
        KitError: no Postgres, or no PGQueuer tables in it.
    """
    return _table(session.target().queue_tables.statistics(_checked(last)))


def sql(query: str, *args: Any) -> pd.DataFrame:
    """Run one SQL statement in this process's database and return its rows.

    Args:
        query: the statement; ``$1``, ``$2``, … stand for ``args``.
        args: the values for them, never pasted into the text: ``kit.sql("… WHERE id = $1", 7)``.

    Returns:
        A frame with the statement's columns, each with the dtype of its Postgres type (see
        :mod:`kit.tables.frames`). After INSERT, UPDATE, CREATE and others that return no rows, one row with
        the column ``command``: ``UPDATE 3``.

    Raises:
        KitError: what is wrong with the statement and where; or no Postgres; or a lock that somebody else
            held for 5 seconds.
    """
    if not isinstance(query, str):
        raise KitError(f"kit.sql takes SQL in a string, not {query!r}.")
    return run_sync(_read(query, args))


async def _read(query: str, args: tuple[Any, ...]) -> DataFrame:
    target = session.target()
    async with target.connect(patient=True) as connection:
        # SET, because a pooler in between may refuse what it does not know at the start.
        await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}s'; SET timezone = 'UTC'")
        await times.set_codecs(connection)
        with _in_plain_words(query):
            if target.read_only:
                await _refuse_what_is_no_query(connection, query)
            return await frame(connection, query, *args)


async def _refuse_what_is_no_query(connection: asyncpg.Connection, query: str) -> None:
    """Refuse statements that a read-only transaction cannot undo, such as COPY … TO PROGRAM.

    They return no rows and cannot be explained. INSERT and the like can, and Postgres itself refuses those.
    """
    if not (await connection.prepare(query)).get_attributes():
        try:
            await connection.prepare(f"EXPLAIN {query}")
        except asyncpg.PostgresSyntaxError:
            words = "kit.look() only reads: it runs what returns rows, such as SELECT or SHOW."
            raise KitError(words) from None


@contextmanager
def _in_plain_words(query: str) -> Iterator[None]:
    try:
        yield
    except asyncpg.LockNotAvailableError as error:
        raise KitError(
            f"Somebody else holds a lock that this needs, and kept it for {LOCK_TIMEOUT} seconds. Commit or"
            " roll back the transaction that is open elsewhere, and run the cell again."
        ) from error
    except asyncpg.QueryCanceledError as error:
        raise KitError(f"Postgres stopped this query: {error}.") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if postgres_is_away(error):
            raise
        raise KitError(_complaint(error, query)) from error


def _complaint(error: asyncpg.PostgresError | asyncpg.InterfaceError, query: str) -> str:
    """Return Postgres' message with the place in the query that it is about."""
    where = ""
    if position := getattr(error, "position", None):
        before, after = query[: int(position) - 1], query[int(position) - 1 :]
        near = after.splitlines()[0].strip() if after.strip() else ""
        line = f"in line {before.count(chr(10)) + 1}, " if "\n" in query.strip() else ""
        where = f" ({line}at {near!r})" if near else f" ({line}at the end)"
    more = [part for part in (error.detail, error.hint, hint(error)) if part]
    return "\n".join([f"This SQL does not work: {error.args[0]}{where}.", *more])


def _table(query: str, *args: Any) -> DataFrame:
    try:
        return run_sync(_read(query, args))
    except KitError as error:
        if tables_are_missing(error.__cause__):
            raise KitError(f"{NO_TABLES} ({error.__cause__})") from error.__cause__
        raise


def _checked(last: int | None) -> int | None:
    if last is not None and (type(last) is not int or last < 1):
        raise KitError(f"last={last!r}: it is a number of rows, 1 or more; None for all.")
    return last


def _columns_first(table: DataFrame, order: str, folded: str) -> DataFrame:
    """Return ``table`` with its columns in this order; the ``folded`` ones are drawn in a fold.

    Columns that only another version of PGQueuer has come last, and are not folded.
    """
    first = [name for name in f"{order} {folded}".split() if name in table]
    ordered = table[first + [name for name in table if name not in first]]
    ordered.folded = tuple(name for name in folded.split() if name in table)
    return ordered


def _described(values: pd.Series[Any], describe: Callable[[Any], str]) -> Any:
    """Return the text that ``describe`` returns for each value, and NULL for NULL, which is frequent."""
    column = values.to_numpy()
    texts = np.full(len(column), None, object)
    for at in np.flatnonzero(values.notna()):
        texts[at] = describe(column[at])
    return text(texts)


def _error(record: dict[str, Any]) -> str:
    line = headline(record.get("exception_type") or "exception", record.get("exception_message") or "")
    return line.removesuffix(" …")
