"""``kit.look()``: the tables and pictures of somebody's own PGQueuer database, which stays as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kit import tables
from kit.database.creation import quoted
from kit.database.queue_tables import LOG_READ
from kit.database.target import Target, Unreachable
from kit.errors import KitError
from kit.pictures.board import board
from kit.pictures.timeline import timeline
from kit.session import session
from kit.sources import external
from kit.threads import run_sync

if TYPE_CHECKING:
    import asyncpg
    import pandas as pd
    from matplotlib.axes import Axes
    from pgqueuer.domain.settings import DBSettings

    from kit.pictures.board.widget import Board
    from kit.pictures.timeline.drawing import By, Color

LAST = 10_000  # rows of a table, unless more are asked for

_FOUR = ("queue_table", "queue_table_log", "statistics_table", "schedules_table")  # of `QualifiedNames`

# The schema in which the kit's own statements find names. Into any other schema the database's owner could
# have put a function or an operator that fits better and runs with the reader's rights.
_ITS_OWN = "pg_catalog"

# Every table that may be a queue: one with a log beside it, under the same prefix.
_QUEUES = """
SELECT nspname, left(q.relname, -length('pgqueuer')) AS prefix
FROM pg_class q JOIN pg_namespace n ON n.oid = q.relnamespace
JOIN pg_class log ON log.relnamespace = n.oid AND log.relname = q.relname || '_log'
WHERE q.relkind IN ('r', 'p') AND log.relkind IN ('r', 'p') AND q.relname ~ 'pgqueuer$'
ORDER BY nspname, prefix
"""

# The tables behind the names of a queue's tables. Views do not count: reading one may do anything.
_TABLES = """
SELECT name, quote_ident(nspname) AS schema, quote_ident(nspname) || '.' || quote_ident(relname) AS table,
       has_table_privilege(c.oid, 'SELECT') AS readable
FROM unnest($1::text[], $2::oid[]) WITH ORDINALITY AS asked (name, oid, place)
LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = relnamespace)
ON c.oid = asked.oid AND relkind IN ('r', 'p') ORDER BY place
"""


def look(dsn: str, *, prefix: str | None = None, schema: str | None = None) -> Look:
    """Attach the kit's tables and pictures to a PGQueuer database of your own, without touching it.

    Postgres itself makes sure that it only reads: each call is a transaction of one statement that returns
    rows, ``BEGIN READ ONLY … ROLLBACK``, and a query is ended after 5 seconds. Nothing is created and nothing
    is listened to. The database does not become this process's: `kit.postgres`, `kit.run` and `kit.reset`
    have nothing to do with it.

    A transaction cannot hold back a function that reaches out of it, such as ``pg_terminate_backend``,
    ``lo_export`` or ``dblink``, nor code of the tables' owner that runs when they are read, such as a row
    policy. So do not look as a superuser: a role that may only SELECT from the four tables is enough, and has
    no right to do such harm.

    Args:
        dsn: which database: ``postgresql://user:password@host:5432/database``.
        prefix: the beginning of its tables' names; None: the value of ``PGQUEUER_PREFIX`` now, or nothing.
        schema: the schema they are in; None: the value of ``PGQUEUER_SCHEMA`` now, or the role's search path.

    Returns:
        A :class:`Look`, also a context manager.

    Raises:
        KitError: the database cannot be reached, there are no PGQueuer tables under that name (those that
            are there are named), or the role may not read them.
    """
    target = replace(external.target(dsn, "dsn="), read_only=True)
    if schema is not None:
        target = replace(target, search_path=quoted(str(schema)))
    try:
        return run_sync(_find(target, _settings(prefix, schema)))
    except Unreachable as error:
        raise KitError(
            f"Cannot look at {target!r}: {error.reason}. Check the address, the user and the password. Where "
            "a pooler such as PgBouncer stands in between, name Postgres itself: only it can promise that "
            "nothing is changed."
        ) from error


class Look:
    """Somebody's own database. Its calls are the kit's own, and read from there."""

    def __init__(self, target: Target, schema: str) -> None:
        self._target = target
        self._with_schema = replace(target, search_path=f"{_ITS_OWN}, {schema}")

    def __repr__(self) -> str:
        return f"<look at {self._target.name!r} on {self._target.where}, read-only>"

    def __enter__(self) -> Look:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def jobs(self, *, last: int | None = LAST) -> pd.DataFrame:
        """Do what `kit.jobs` does, for the jobs that were enqueued last."""
        with session.looking_at(self._target):
            return tables.jobs(last=last)

    def log(self, job_id: int | None = None, *, last: int | None = LAST) -> pd.DataFrame:
        """Do what `kit.log` does, for the log's newest rows."""
        with session.looking_at(self._target):
            return tables.log(job_id, last=last)

    def schedules(self) -> pd.DataFrame:
        """Do what `kit.schedules` does."""
        with session.looking_at(self._target):
            return tables.schedules()

    def statistics(self, *, last: int | None = LAST) -> pd.DataFrame:
        """Do what `kit.statistics` does, for the newest counts."""
        with session.looking_at(self._target):
            return tables.statistics(last=last)

    def sql(self, query: str, *args: Any) -> pd.DataFrame:
        """Do what `kit.sql` does, with a statement that only reads.

        A table without a schema's name is one of the queue's schema.
        """
        with session.looking_at(self._with_schema):
            return tables.sql(query, *args)

    def timeline(
        self,
        by: By = "entrypoint",
        *,
        color: Color = "outcome",
        last: int | None = 60,
    ) -> Axes:
        """Do what `kit.timeline` does, from the log's newest 100,000 rows."""
        with session.looking_at(self._target):
            return timeline(by, color=color, last=last)

    def board(self) -> Board:
        """Do what `kit.board` does, by looking at the tables now and then.

        Jobs that have ended are counted in the newest rows of the log; where there are more, it says so.
        """
        with session.looking_at(self._target):
            if len(tables.sql(self._target.queue_tables.is_log_long)):
                print(f"The log is long: of jobs that have ended, its newest {LOG_READ:,} rows are counted.")
            return board()

    def close(self) -> None:
        """Stop the board. No other call leaves a connection open."""
        if (board := session.boards.pop(self._target, None)) is not None:
            board.close()


def _settings(prefix: str | None, schema: str | None) -> DBSettings:
    """Return PGQueuer's settings as they are now; `db_settings` would keep them for the whole process."""
    from pgqueuer.domain.settings import DBSettings
    from pydantic import ValidationError

    options: dict[str, Any] = {} if prefix is None else {"prefix": prefix}
    if schema is not None:  # the search path has it, and the variable does not count
        options["db_schema"] = None
    try:
        return DBSettings(**options)
    except (ValidationError, KeyError):  # the second from the oldest pydantic, about the prefix
        raise KitError(f"prefix={prefix!r}: it is letters, digits and _, and begins with no digit.") from None


async def _find(target: Target, settings: DBSettings) -> Look:
    """Find the four tables of a queue, and raise an error if this role cannot read them."""
    asked = settings.qualified
    names = [getattr(asked, field) for field in _FOUR]
    async with target.connect() as connection:
        oids = await connection.fetch(
            "SELECT pg_catalog.to_regclass(name)::pg_catalog.oid"
            " FROM pg_catalog.unnest($1::pg_catalog.text[]) AS name",
            names,
        )
        await connection.execute(f"SET LOCAL search_path = {_ITS_OWN}")
        rows = await connection.fetch(_TABLES, names, [row[0] for row in oids])
        missing = [row["name"] for row in rows if row["table"] is None]
        if missing:
            raise KitError(await _what_is_there(connection, target, missing))
        if closed := ", ".join(row["name"] for row in rows if not row["readable"]):
            role = await connection.fetchval("SELECT quote_ident(current_user)")
            raise KitError(
                f"The role {role} may not read {closed} in {target.name!r}. Whoever owns them can allow it: "
                f"GRANT SELECT ON {closed} TO {role};"
            )
    found = replace(asked, **dict(zip(_FOUR, (row["table"] for row in rows), strict=True)))
    return Look(replace(target, search_path=_ITS_OWN, tables=found), rows[0]["schema"])


async def _what_is_there(connection: asyncpg.Connection, target: Target, missing: list[str]) -> str:
    """Return a message with the tables that are missing and the queues that exist."""
    text = f"{target!r} has no PGQueuer tables of that name: there is no table {', '.join(missing)}."
    queues = await connection.fetch(_QUEUES)
    if not queues:
        return f"{text} Nor a queue of another name: is it the right database? `pgq install` makes one."
    ways = [f"kit.look(dsn, prefix={row['prefix']!r}, schema={row['nspname']!r})" for row in queues]
    return f"{text} There is a queue under another name; look at it with {' or '.join(ways)}."
