"""``kit.look()``: the tables and pictures of somebody's own PGQueuer database, which stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kit import tables
from kit.database import dsn as dsns
from kit.database.target import LOG_READ, Target, Unreachable
from kit.errors import KitError
from kit.pictures.board import board
from kit.pictures.timeline import timeline
from kit.session import session
from kit.threads import Duration, run_sync

if TYPE_CHECKING:
    import asyncpg
    import pandas as pd
    from matplotlib.axes import Axes
    from pgqueuer.domain.settings import DBSettings

    from kit.pictures.board.widget import Board
    from kit.pictures.timeline.drawing import By, Color

LAST = 10_000  # rows of a table, unless more are asked for

# Every table that may be a queue: PGQueuer's log stands beside it, under the same prefix.
_QUEUES = """
SELECT nspname, left(c.relname, -length('pgqueuer')) AS prefix
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relname ~ 'pgqueuer$'
AND EXISTS (SELECT FROM pg_class log WHERE log.relnamespace = n.oid AND log.relname = c.relname || '_log')
ORDER BY nspname, prefix
"""


def look(dsn: str, *, prefix: str | None = None, schema: str | None = None) -> Look:
    """Attach the kit's tables and pictures to a PGQueuer database of your own, without touching it.

    Postgres itself holds every connection to reading: they are opened with ``default_transaction_read_only``.
    It ends a query after 5 seconds. Nothing is created, nothing is listened to, and the database does not
    become this process's: `kit.postgres`, `kit.run` and `kit.reset` have nothing to do with it. A role that
    may only SELECT is enough.

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
    target = Target(
        dsns.complete(dsns.check(dsn, "dsn="), session.outside()),
        read_only=True,
        tables=_settings(prefix, schema).qualified,
    )
    try:
        run_sync(_check(target))
    except Unreachable as error:
        raise KitError(
            f"Cannot look at {target!r}: {error.reason}. Check the address, the user and the password. Where "
            "a pooler such as PgBouncer stands in between, name Postgres itself: only it can promise that "
            "nothing is changed."
        ) from error
    return Look(target)


class Look:
    """A database that is looked at. Its calls are the kit's own, and read from there."""

    def __init__(self, target: Target) -> None:
        self._target = target

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
        """Do what `kit.sql` does, with statements that only read."""
        with session.looking_at(self._target):
            return tables.sql(query, *args)

    def timeline(
        self,
        by: By = "entrypoint",
        *,
        color: Color = "outcome",
        last: int | None = 60,
        window: Duration | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Do what `kit.timeline` does, from the log's newest 100,000 rows."""
        with session.looking_at(self._target):
            return timeline(by, color=color, last=last, window=window, ax=ax)

    def board(self) -> Board:
        """Do what `kit.board` does, by looking at the tables now and then.

        Jobs that have ended are counted in the newest rows of the log; where there are more, it says so.
        """
        longer = self.sql(
            f"SELECT count(*) FROM {self._target.recent_log} AS recent HAVING count(*) >= {LOG_READ}"
        )
        if len(longer):
            print(f"The log is long: of jobs that have ended, its newest {LOG_READ:,} rows are counted.")
        with session.looking_at(self._target):
            return board()

    def close(self) -> None:
        """Stop the board. No other call leaves a connection open."""
        if (board := session.boards.pop(self._target, None)) is not None:
            board.close()


def _settings(prefix: str | None, schema: str | None) -> DBSettings:
    """Return PGQueuer's names as they are now: `db_settings` would keep them for the whole process."""
    from pgqueuer.domain.settings import DBSettings
    from pydantic import ValidationError

    said = {"prefix": prefix, "db_schema": schema}
    try:
        return DBSettings(**{name: value for name, value in said.items() if value is not None})  # type: ignore[arg-type]
    except (ValidationError, KeyError):  # the second from the oldest pydantic, about the prefix
        raise KitError(
            f"prefix={prefix!r}, schema={schema!r}: these are letters, digits and _, and begin with no digit."
        ) from None


async def _check(target: Target) -> None:
    """Refuse a database in which this role cannot read the four tables of a queue."""
    found = target.names
    names = [found.queue_table, found.queue_table_log, found.statistics_table, found.schedules_table]
    async with target.connect() as connection:
        missing = await _those(connection, names, "to_regclass(name) IS NULL")
        if missing:
            raise KitError(await _what_is_there(connection, target, missing))
        closed = await _those(connection, names, "NOT has_table_privilege(to_regclass(name)::oid, 'SELECT')")
        if closed:
            role, tables = await connection.fetchval("SELECT quote_ident(current_user)"), ", ".join(closed)
            raise KitError(
                f"The role {role} may not read {tables} in {target.name!r}. Whoever owns them can allow it: "
                f"GRANT SELECT ON {tables} TO {role};"
            )


async def _those(connection: asyncpg.Connection, names: list[str], condition: str) -> list[str]:
    rows = await connection.fetch(f"SELECT name FROM unnest($1::text[]) AS name WHERE {condition}", names)
    return [row["name"] for row in rows]


async def _what_is_there(connection: asyncpg.Connection, target: Target, missing: list[str]) -> str:
    """Say which tables are not there, and which queues are."""
    said = f"{target!r} has no PGQueuer tables of that name: there is no {', '.join(missing)}."
    queues = await connection.fetch(_QUEUES)
    if not queues:
        return f"{said} Nor a queue of another name: is it the right database? `pgq install` makes one."
    ways = [f"kit.look(dsn, prefix={row['prefix']!r}, schema={row['nspname']!r})" for row in queues]
    return f"{said} There is a queue under another name; look at it with {' or '.join(ways)}."
