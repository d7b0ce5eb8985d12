"""Somebody else's PostgreSQL, named by a DSN: connect to it, or say plainly why it cannot be used."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from kit.database import creation, schema
from kit.database import dsn as dsns
from kit.database.target import Target, Unreachable
from kit.errors import KitError
from kit.errors.text import server_message
from kit.session import session

if TYPE_CHECKING:
    import asyncpg

PREFIX = "pgqueuer_kit_"  # tells the server's owner where a database comes from


def target(dsn: str, named_by: str) -> Target:
    """Return the database of ``dsn``, completed by the ``PG*`` variables that this process started with.

    Raises:
        KitError: it can be no DSN.
    """
    return Target(dsns.complete(dsns.check(dsn, named_by), session.outside()))


async def prepare(server: Target, named_by: str, name: str) -> Target:
    """Make database ``pgqueuer_kit_<name>`` on somebody else's server and return its target.

    If another role owns that database, this one is named ``pgqueuer_kit_<role>_<name>``.

    If this role may not make databases, the one that ``server`` names is used: if it is empty, or if the kit
    made it, or PGQueuer's tables in it, earlier.

    Args:
        server: the server, and a database on it that this role may connect to.
        named_by: where the DSN comes from, for messages: ``dsn=`` or ``KIT_DSN``.
        name: the database's name without the prefix.

    Raises:
        KitError: the server cannot be reached, or a right is missing; the message says which.
    """
    import asyncpg

    short = name.removeprefix(PREFIX)
    async with reach(server, named_by) as admin:
        role = str(await admin.fetchval("SELECT current_user"))
        try:
            for own in (f"{PREFIX}{short}", f"{PREFIX}{role}_{short}"):
                if await creation.ensure(admin, server, creation.check_name(own)) is not None:
                    return server.beside(own)
        except asyncpg.InsufficientPrivilegeError:
            await _take(admin)
            return server
    raise KitError(
        f"The database {own!r} belongs to another role. Use another name: kit.postgres(database=…)."
    )


@asynccontextmanager
async def reach(server: Target, named_by: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect to somebody else's server; ``named_by`` is where the DSN comes from, for messages.

    Raises:
        KitError: there is no server, or it refuses this role.
    """
    try:
        async with server.connect(patient=True) as opened:
            yield opened
    except Unreachable as error:
        raise KitError(
            f"{named_by} names {server.where}, and no PostgreSQL lets this program in there: "
            f"{error.reason}. Check the address, user and password, or use a server of the kit's "
            "own: kit.postgres('embedded')."
        ) from None


async def _take(inside: asyncpg.Connection) -> None:
    """Install PGQueuer's schema in this database, if the database is empty; leave it if the kit did so."""
    import asyncpg

    role = str(await inside.fetchval("SELECT current_user"))
    database = str(await inside.fetchval("SELECT current_database()"))
    mend = f"ALTER ROLE {creation.quoted(role)} CREATEDB"
    if await creation.is_ours(inside, database) or await schema.queue_is_ours(inside):
        return
    foreign = await inside.fetchval(_WHAT_IS_THERE)
    if foreign:
        raise KitError(
            f"The role {role!r} may not make databases there, and the database {database!r} is not empty (it "
            f"has {foreign}) and not the kit's, so the kit leaves it alone. Either an administrator lets the "
            f"kit make a database of its own ({mend};), or you name an empty database in the DSN."
        )
    try:
        await schema.install(inside)
    except asyncpg.InsufficientPrivilegeError as error:
        raise KitError(
            f"The role {role!r} may neither make databases there nor tables in {database!r}: "
            f"{server_message(error)}. An administrator mends that with one of these: {mend};  or, in "
            f"that database, GRANT CREATE ON SCHEMA public TO {creation.quoted(role)};"
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
