"""``kit.look()``: the tables and pictures of somebody's own PGQueuer database, which stays as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kit import tables
from kit.database import dsn as dsns
from kit.database.creation import quoted
from kit.database.target import LOG_READ, Target, Unreachable
from kit.errors import KitError
from kit.pictures.board import board
from kit.pictures.timeline import timeline
from kit.session import session
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

# Where the kit's own statements find names without a schema. Into any other one, whoever owns the database
# could have put a function or an operator that fits better, and runs with the looker's rights.
_ITS_OWN = "pg_catalog"

# Every table that may be a queue: PGQueuer's log stands beside it, under the same prefix.
_QUEUES = """
SELECT nspname, left(q.relname, -length('pgqueuer')) AS prefix
FROM pg_class q JOIN pg_namespace n ON n.oid = q.relnamespace
JOIN pg_class log ON log.relnamespace = n.oid AND log.relname = q.relname || '_log'
WHERE q.relkind IN ('r', 'p') AND log.relkind IN ('r', 'p') AND q.relname ~ 'pgqueuer$'
ORDER BY nspname, prefix
"""

# What the names of a queue's tables stand for. A view is none: what it does when it is read is anybody's.
_TABLES = """
SELECT name, quote_ident(nspname) AS schema, quote_ident(nspname) || '.' || quote_ident(relname) AS table,
       has_table_privilege(c.oid, 'SELECT') AS readable
FROM unnest($1::text[], $2::oid[]) WITH ORDINALITY AS asked (name, oid, place)
LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = relnamespace)
ON c.oid = asked.oid AND relkind IN ('r', 'p') ORDER BY place
"""


def look(dsn: str, *, prefix: str | None = None, schema: str | None = None) -> Look:
    """Attach the kit's tables and pictures to a PGQueuer database of your own, without touching it.

    Postgres itself holds it to reading: each call is a transaction, ``BEGIN READ ONLY … ROLLBACK``, of one
    statement that returns rows, and a query is ended after 5 seconds. Nothing is created, nothing is
    listened to, and the database does not become this process's: `kit.postgres`, `kit.run` and `kit.reset`
    have nothing to do with it.

    What no transaction holds is a function that reaches out of it, such as ``pg_terminate_backend``,
    ``lo_export`` or ``dblink``, and whatever the tables' owner lets run when they are read, such as a row
    policy. A role that may only SELECT from the four tables is enough, and has no right to do harm so: look
    with that rather than as a superuser.

    Args:
        dsn: which database: ``postgresql://user:password@host:5432/database``.
        prefix: what its tables' names begin with; None: what ``PGQUEUER_PREFIX`` says now, or nothing.
        schema: the schema they are in; None: what ``PGQUEUER_SCHEMA`` says now, or the role's search path.

    Returns:
        A :class:`Look`, also a context manager.

    Raises:
        KitError: the database cannot be reached, there are no PGQueuer tables under that name (those that
            are there are named), or the role may not read them.
    """
    target = Target(dsns.complete(dsns.check(dsn, "dsn="), session.outside()), read_only=True)
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
    """A database that is looked at. Its calls are the kit's own, and read from there."""

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
            log = self._target.names.queue_table_log
            if len(tables.sql(f"SELECT id FROM {log} LIMIT 1 OFFSET {LOG_READ - 1}")):
                print(f"The log is long: of jobs that have ended, its newest {LOG_READ:,} rows are counted.")
            return board()

    def close(self) -> None:
        """Stop the board. No other call leaves a connection open."""
        if (board := session.boards.pop(self._target, None)) is not None:
            board.close()


def _settings(prefix: str | None, schema: str | None) -> DBSettings:
    """Return PGQueuer's names as they are now: `db_settings` would keep them for the whole process."""
    from pgqueuer.domain.settings import DBSettings
    from pydantic import ValidationError

    said: dict[str, Any] = {} if prefix is None else {"prefix": prefix}
    if schema is not None:  # it is searched, and the variable is not asked
        said["db_schema"] = None
    try:
        return DBSettings(**said)
    except (ValidationError, KeyError):  # the second from the oldest pydantic, about the prefix
        raise KitError(f"prefix={prefix!r}: it is letters, digits and _, and begins with no digit.") from None


async def _find(target: Target, settings: DBSettings) -> Look:
    """Find the four tables of a queue, and refuse where this role cannot read them."""
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
    """Say which tables are not there, and which queues are."""
    said = f"{target!r} has no PGQueuer tables of that name: there is no table {', '.join(missing)}."
    queues = await connection.fetch(_QUEUES)
    if not queues:
        return f"{said} Nor a queue of another name: is it the right database? `pgq install` makes one."
    ways = [f"kit.look(dsn, prefix={row['prefix']!r}, schema={row['nspname']!r})" for row in queues]
    return f"{said} There is a queue under another name; look at it with {' or '.join(ways)}."
