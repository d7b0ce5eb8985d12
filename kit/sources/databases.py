"""A server's databases: make one with PGQueuer's schema, and know what the kit made.

What the kit makes carries its mark, as a comment: on a database that is all the kit's, and on each of
PGQueuer's tables. Where it may make no database of its own and takes an empty one, only the tables carry it.
"""

from __future__ import annotations

import re
import secrets
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from kit.errors import KitError

if TYPE_CHECKING:
    import asyncpg

MARK = (
    "made by pgqueuer-kit"  # a table of this kit's with this comment is emptied by a reset, and never dropped
)
MARKED = f"""
SELECT oid::regclass::text FROM pg_class
WHERE relkind IN ('r', 'p') AND obj_description(oid, 'pg_class') LIKE '{MARK}%' ORDER BY relname
"""
APPLICATION = "pgqueuer-kit"
CONNECT_TIMEOUT = 10.0  # seconds
TABLES = ("pgqueuer", "pgqueuer_log", "pgqueuer_schedules", "pgqueuer_statistics")
TEMPLATE = "pgqueuer_kit_template_"
RESERVED = ("postgres", "template0", "template1")

# All that PGQueuer's schema consists of, as one hash: a reset compares it to see whether it is still whole.
_SHAPE = """
WITH t AS (SELECT oid, relname, relpersistence, reloptions, relrowsecurity FROM pg_class
           WHERE relname = ANY($1) AND relkind = 'r' AND pg_table_is_visible(oid))
SELECT md5(string_agg(line, E'\\n' ORDER BY line COLLATE "C")) FROM (
    SELECT concat_ws(' ', relname, relpersistence, reloptions, relrowsecurity) AS line FROM t
    UNION ALL SELECT concat_ws(' ', relname, attname, format_type(atttypid, atttypmod), attnotnull,
                               attidentity, pg_get_expr(adbin, adrelid))
        FROM t JOIN pg_attribute ON attrelid = oid AND attnum > 0 AND NOT attisdropped
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    UNION ALL SELECT pg_get_indexdef(indexrelid) FROM t JOIN pg_index ON indrelid = t.oid
    UNION ALL SELECT concat_ws(' ', relname, conname, pg_get_constraintdef(c.oid))
        FROM t JOIN pg_constraint c ON conrelid = t.oid
    UNION ALL SELECT concat_ws(' ', pg_get_triggerdef(g.oid), tgenabled, prosrc)
        FROM t JOIN pg_trigger g ON tgrelid = t.oid AND NOT tgisinternal JOIN pg_proc ON pg_proc.oid = tgfoid
    UNION ALL SELECT pg_get_ruledef(r.oid) FROM t JOIN pg_rewrite r ON ev_class = t.oid
    UNION ALL SELECT concat_ws(' ', 'label', enumlabel)
        FROM pg_enum WHERE enumtypid = to_regtype('pgqueuer_status')
    UNION ALL SELECT concat_ws(' ', 'setting', setrole, setconfig) FROM pg_db_role_setting
        WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS lines
"""


class NotThere(KitError):
    """No server answers, it does not let this role in, or it went away."""


@asynccontextmanager
async def connection(dsn: str | None, database: str | None = None) -> AsyncIterator[asyncpg.Connection]:
    """Open one of the kit's own connections; its name in ``pg_stat_activity`` is the kit's.

    Without a DSN, ``PG*`` say where. ``database`` names another database of that server.

    Raises:
        NotThere: it cannot be opened, or broke while it was used.
        KitError: the server refused what was asked of it.
    """
    import asyncpg

    try:
        opened = await asyncpg.connect(
            dsn, database=database, timeout=CONNECT_TIMEOUT, server_settings={"application_name": APPLICATION}
        )
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise NotThere(str(error) or type(error).__name__) from error
    try:
        yield opened
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError) as error:
        raise NotThere(str(error)) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        if opened.is_closed():  # asyncpg's words for a connection that broke while it was used
            raise NotThere("the connection broke") from error
        raise
    except asyncpg.DiskFullError as error:
        raise KitError(
            f"The server's disk is full: {words(error)}. Free some space and try again."
        ) from error
    except asyncpg.PostgresError as error:
        raise KitError(f"PostgreSQL refused what the kit asked for: {words(error)}.") from error
    finally:
        # Closing waits for the server's side, too, and what follows may need the connection gone.
        await opened.close(timeout=CONNECT_TIMEOUT)


def words(error: BaseException) -> str:
    """Return what a server said, its detail and hint too, as sentences on one line without the last stop."""
    return re.sub(r"\.?\s*\n(DETAIL|HINT):\s+", ". ", str(error)).strip().rstrip(".")


def check_name(name: str) -> None:
    """Refuse a database name that PostgreSQL would refuse, cut short, or that is one of its own.

    Raises:
        KitError: the name cannot be used; the message says why.
    """
    if not name or not name.isprintable() or len(name.encode()) > 63:
        raise KitError(
            f"{name!r} cannot name a database: a name has 1 to 63 bytes and no control characters. "
            'Use one such as "priorities".'
        )
    if name in RESERVED or name.startswith(TEMPLATE):
        raise KitError(f"{name!r} is a database that the server itself needs. Use another name.")


def quoted(name: str) -> str:
    """Return ``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def note() -> str:
    """Return the mark of the PGQueuer that is installed."""
    return f"{MARK} for PGQueuer {_pgqueuer_version()}"


def _pgqueuer_version() -> str:
    from importlib.metadata import version

    return version("pgqueuer")


async def is_ours(admin: asyncpg.Connection, name: str) -> bool | None:
    """Return whether the kit made the database ``name``; None when there is none of that name."""
    row = await admin.fetchrow(
        "SELECT shobj_description(oid, 'pg_database') AS comment FROM pg_database WHERE datname = $1", name
    )
    return None if row is None else str(row["comment"]).startswith(MARK)


async def ensure(admin: asyncpg.Connection, dsn: str | None, name: str, *, template: bool) -> bool:
    """Make database ``name`` with PGQueuer's schema where there is none; return whether it was made now.

    Args:
        admin: a connection to any database of the server.
        dsn: how that connection was made.
        name: the database to make.
        template: copy it from a template database, which is made the first time.

    Raises:
        KitError: a database of that name is somebody else's.
        asyncpg.InsufficientPrivilegeError: this role may not make databases.
    """
    async with _one_at_a_time(admin):
        ours = await is_ours(admin, name)
        if ours is False:
            raise KitError(
                f"There is a database {name!r} already, and the kit did not make it, so it leaves it alone. "
                f'Use another name: kit.postgres(database="my_{name}").'
            )
        if ours is None:
            await create(admin, dsn, name, template=template)
        return ours is None


async def recreate(admin: asyncpg.Connection, dsn: str | None, name: str, *, template: bool) -> None:
    """Drop database ``name``, which the kit made, and make it again; whoever is connected is cut off."""
    async with _one_at_a_time(admin):
        await drop(admin, name)
        await create(admin, dsn, name, template=template)


async def drop(admin: asyncpg.Connection, name: str) -> None:
    """Drop database ``name`` and cut off whoever is connected to it; do nothing unless the kit made it."""
    if await is_ours(admin, name):
        await admin.execute(f"DROP DATABASE {quoted(name)} WITH (FORCE)")


async def create(admin: asyncpg.Connection, dsn: str | None, name: str, *, template: bool) -> None:
    """Make database ``name`` with PGQueuer's schema. It has its name only when it is whole and marked."""
    source = await _template(admin, dsn) if template else "template0"
    making = f"pgqueuer_kit_making_{secrets.token_hex(6)}"
    await admin.execute(f"CREATE DATABASE {making} TEMPLATE {source}")
    try:
        await admin.execute(f"COMMENT ON DATABASE {making} IS '{note()}'")
        if not template:
            async with connection(dsn, making) as inside:
                await install(inside)
        await admin.execute(f"ALTER DATABASE {making} RENAME TO {quoted(name)}")
    except BaseException:
        await admin.execute(f"DROP DATABASE IF EXISTS {making} WITH (FORCE)")
        raise


async def _template(admin: asyncpg.Connection, dsn: str | None) -> str:
    """Return the template with this PGQueuer's schema and this kit's marks; make it where there is none."""
    form = (
        "".join(c if c.isalnum() else "_" for c in _pgqueuer_version()) + f"_{zlib.crc32(_SHAPE.encode()):x}"
    )
    name = TEMPLATE + form
    if await is_ours(admin, name) is None:
        for row in await admin.fetch(
            "SELECT datname FROM pg_database WHERE starts_with(datname, $1)", TEMPLATE
        ):
            await drop(admin, row[0])  # of another release
        await create(admin, dsn, name, template=False)
        await admin.execute(
            f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false"
        )  # an open one cannot be copied
    return name


@asynccontextmanager
async def _one_at_a_time(admin: asyncpg.Connection) -> AsyncIterator[None]:
    key = f"hashtext('{MARK}')"
    await admin.execute(f"SELECT pg_advisory_lock({key})")
    try:
        yield
    finally:
        await admin.execute(f"SELECT pg_advisory_unlock({key})")


async def install(inside: asyncpg.Connection) -> None:
    """Make PGQueuer's schema and mark each of its tables; the first carries the schema's shape, too."""
    from pgqueuer.queries import Queries

    async with inside.transaction():
        await Queries.from_asyncpg_connection(inside).install()
        for table in TABLES:
            await inside.execute(f"COMMENT ON TABLE {table} IS '{note()}'")
        await inside.execute(f"COMMENT ON TABLE pgqueuer IS '{await whole(inside)}'")


async def whole(inside: asyncpg.Connection) -> str:
    """Return what the comment on the table ``pgqueuer`` says as long as the schema is as the kit made it."""
    return f"{note()}, shape {await inside.fetchval(_SHAPE, list(TABLES))}"


async def another(inside: asyncpg.Connection) -> str:
    """Return a database of the server to be connected to while this one is dropped."""
    rows = await inside.fetch(
        "SELECT datname FROM pg_database WHERE datallowconn AND datname <> current_database() "
        "AND has_database_privilege(oid, 'CONNECT') ORDER BY datname <> 'postgres', datname LIMIT 1"
    )
    return str(rows[0][0])


async def strangers(inside: asyncpg.Connection, dsn: str) -> tuple[str, ...]:
    """Return who else, outside this process, uses the queue of this database, each in a few words.

    ``dsn`` is how the connection was made.
    """
    import psutil

    from kit.sources import external

    rows = await inside.fetch(
        "SELECT pid, application_name, client_port FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND application_name <> $1 AND query ~* 'pgqueuer'",
        APPLICATION,
    )
    if not rows:
        return ()
    port = external.variables(dsn).get("PGPORT", "5432")
    sockets = [each for each in psutil.Process().net_connections("tcp") if each.raddr]
    own = {each.laddr.port for each in sockets if str(each.raddr.port) == port}
    if await inside.fetchval("SELECT client_port FROM pg_stat_activity WHERE pid = pg_backend_pid()") in own:
        rows = [row for row in rows if row["client_port"] not in own]
    else:  # a container's network or a proxy stands between, so that a port does not tell whose it is
        rows = rows[max(len(own) - 1, 0) :]
    return tuple(
        f"connection {row['pid']}" + (f" of {row['application_name']!r}" if row["application_name"] else "")
        for row in rows
    )
