"""A PostgreSQL that somebody else owns, named by a DSN: reach it, and say plainly why it cannot be used."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from kit.errors import KitError
from kit.sources import databases

if TYPE_CHECKING:
    import asyncpg

PREFIX = "pgqueuer_kit_"  # so that nobody wonders where a database on their server comes from

# What a DSN may name, and the variable that tells asyncpg and libpq the same.
VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "database": "PGDATABASE",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}


def variables(dsn: str) -> dict[str, str]:
    """Return the ``PG*`` variables that say what ``dsn`` says, so that ``asyncpg.connect()`` needs none."""
    parts = urlsplit(dsn)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    names, ports = [], []
    for each in filter(None, hosts.split(",")):
        name, colon, port = each.rpartition(":")
        bare = each.endswith("]") or not colon  # an IPv6 address without a port ends with a bracket
        names.append(unquote(each if bare else name).strip("[]"))
        ports.append("5432" if bare else port)
    found = {
        "PGHOST": ",".join(names),
        "PGPORT": ",".join(ports),
        "PGUSER": unquote(user),
        "PGPASSWORD": unquote(password),
        "PGDATABASE": unquote(parts.path.removeprefix("/")),
    }
    asked = {VARIABLES[key]: value for key, value in parse_qsl(parts.query) if key in VARIABLES}
    return {name: value for name, value in (asked | {k: v for k, v in found.items() if v}).items() if value}


def beside(dsn: str, database: str) -> str:
    """Return ``dsn`` with another database in it."""
    parts = urlsplit(dsn)
    query = urlencode(
        [(key, value) for key, value in parse_qsl(parts.query) if key not in ("dbname", "database")]
    )
    # urlunsplit would drop the slashes before an empty host
    return f"{parts.scheme}://{parts.netloc}/{quote(database, safe='')}" + (f"?{query}" if query else "")


def shown(dsn: str) -> str:
    """Return where ``dsn`` leads, for a message: without the password."""
    named = variables(dsn)
    host, port = named.get("PGHOST", "the default host"), named.get("PGPORT")
    return f"{host}:{port}" if port else host


async def prepare(dsn: str, said_by: str, name: str) -> str:
    """Make database ``pgqueuer_kit_<name>`` on somebody's server and return its DSN.

    Where this role may not make databases, take the one that ``dsn`` names, if the kit made it or its tables
    earlier or if it is empty.

    Args:
        dsn: the server, and a database on it that this role may connect to.
        said_by: where the DSN comes from, for messages.
        name: the database's name without the prefix.

    Raises:
        KitError: the server cannot be reached, or a right is missing; the message says which.
    """
    import asyncpg

    own = PREFIX + name.removeprefix(PREFIX)
    databases.check_name(own)
    async with reach(dsn, said_by) as admin:
        try:
            await databases.ensure(admin, dsn, own, template=False)
            return beside(dsn, own)
        except asyncpg.InsufficientPrivilegeError:
            await _take(admin)
            return dsn


@asynccontextmanager
async def reach(dsn: str, said_by: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect to the server that ``dsn`` names; ``said_by`` tells where the DSN comes from, for messages.

    Raises:
        KitError: it is no DSN, or no server there lets this role in.
    """
    if urlsplit(dsn).scheme not in ("postgresql", "postgres"):
        raise KitError(
            f"{said_by} is not the DSN of a PostgreSQL: it starts with {dsn[:10]!r}. "
            'Write it like "postgresql://user:password@host:5432/database".'
        )
    try:
        async with databases.connection(dsn) as opened:
            yield opened
    except databases.NotThere as error:
        raise KitError(
            f"{said_by} names {shown(dsn)}, and no PostgreSQL lets this program in there: {error}. Check the "
            "address, user and password, or use a server of the kit's own: kit.postgres('embedded')."
        ) from None


async def _take(inside: asyncpg.Connection) -> None:
    """Put PGQueuer's schema into the database of this connection, if it is empty or was taken before."""
    import asyncpg

    role = str(await inside.fetchval("SELECT current_user"))
    database = str(await inside.fetchval("SELECT current_database()"))
    mend = f"ALTER ROLE {databases.quoted(role)} CREATEDB"
    if await databases.is_ours(inside, database) or await inside.fetch(databases.MARKED):
        return
    foreign = await inside.fetchval(_WHAT_IS_THERE)
    if foreign:
        raise KitError(
            f"The role {role!r} may not make databases there, and the database {database!r} is not empty (it "
            f"has {foreign}) and not the kit's, so the kit leaves it alone. Either an administrator lets the "
            f"kit make a database of its own ({mend};), or you name an empty database in the DSN."
        )
    try:
        await databases.install(inside)
    except asyncpg.InsufficientPrivilegeError as error:
        raise KitError(
            f"The role {role!r} may neither make databases there nor tables in {database!r}: "
            f"{databases.words(error)}. An administrator mends that with one of these: {mend};  or, in that "
            f"database, GRANT CREATE ON SCHEMA public TO {databases.quoted(role)};"
        ) from None


_WHAT_IS_THERE = """
SELECT string_agg(what, ', ') FROM (
    SELECT pg_describe_object(classid, objid, 0) AS what FROM (
        SELECT 'pg_class'::regclass AS classid, oid AS objid, relnamespace AS space FROM pg_class
            WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace FROM pg_proc
        UNION ALL SELECT 'pg_type'::regclass, oid, typnamespace FROM pg_type WHERE typtype IN ('e', 'd', 'r')
    ) AS things
    WHERE objid >= 16384 AND space NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_(toast|temp)')
    AND NOT EXISTS (SELECT FROM pg_depend WHERE pg_depend.classid = things.classid
                    AND pg_depend.objid = things.objid AND deptype = 'e')
    LIMIT 3) AS found
"""
