"""A server's databases: make one with PGQueuer's schema, drop it, and tell which the kit made."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from kit.database import schema
from kit.database.target import Target
from kit.errors import KitError

if TYPE_CHECKING:
    import asyncpg

TEMPLATE = "pgqueuer_kit_template_"
RESERVED = ("postgres", "template0", "template1")
_IS_ANOTHERS = "SELECT NOT pg_has_role(datdba, 'MEMBER') FROM pg_database WHERE datname = $1"


def check_name(name: object) -> str:
    """Return ``name``, if a database can have it and the server does not need that database itself.

    Raises:
        KitError: the name cannot be used; the message says why.
    """
    if not isinstance(name, str):
        raise KitError(f'database={name!r}: a name is a text, such as database="priorities".')
    if not name or not name.isprintable() or len(name.encode()) > 63:
        raise KitError(
            f"{name!r} cannot name a database: a name has 1 to 63 bytes and no control characters. "
            'Use one such as "priorities".'
        )
    if name in RESERVED or name.startswith(TEMPLATE):
        raise KitError(f"{name!r} is a database that the server itself needs. Use another name.")
    return name


def quoted(name: str) -> str:
    """Return ``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


async def is_ours(admin: asyncpg.Connection, name: str) -> bool | None:
    """Return whether the kit made the database ``name``; None when there is none of that name."""
    row = await admin.fetchrow(
        "SELECT shobj_description(oid, 'pg_database') AS comment FROM pg_database WHERE datname = $1", name
    )
    return None if row is None else str(row["comment"]).startswith(schema.MARK)


async def ensure(admin: asyncpg.Connection, target: Target, name: str) -> bool | None:
    """Make database ``name`` with PGQueuer's schema, if it does not exist.

    On a server of the kit's own it is a copy of a template database, which is made the first time.

    Args:
        admin: a connection to any database of the server.
        target: the database of that connection.
        name: the database to make.

    Returns:
        Whether it was made now; None if it belongs to a role that this role is no member of.

    Raises:
        KitError: a database of that name is somebody else's.
        asyncpg.InsufficientPrivilegeError: this role may not make databases.
    """
    import asyncpg

    async with _one_at_a_time(admin):
        if await is_ours(admin, name) is None:
            # The lock holds inside one database: a process that is connected to another one may be faster.
            with suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                await _create(admin, target, name, await _template(admin, target))
                return True
        ours = await is_ours(admin, name)
    if await admin.fetchval(_IS_ANOTHERS, name):
        return None
    if not ours:
        raise KitError(
            f"There is a database {name!r} already, and the kit did not make it, so it leaves it alone. "
            f'Use another name: kit.postgres(database="my_{name}").'
        )
    return False


async def recreate(admin: asyncpg.Connection, target: Target, name: str) -> None:
    """Drop database ``name``, which the kit made, and make it again; its connections are cut off."""
    async with _one_at_a_time(admin):
        await drop(admin, name)
        await _create(admin, target, name, await _template(admin, target))


async def drop(admin: asyncpg.Connection, name: str) -> None:
    """Drop database ``name``, if the kit made it; its connections are cut off."""
    if await is_ours(admin, name):
        await admin.execute(f"DROP DATABASE {quoted(name)} WITH (FORCE)")


async def _create(admin: asyncpg.Connection, target: Target, name: str, template: str | None) -> None:
    """Make database ``name`` with PGQueuer's schema. It gets this name when it is complete and marked."""
    making = f"pgqueuer_kit_making_{secrets.token_hex(6)}"
    await admin.execute(f"CREATE DATABASE {making} TEMPLATE {template or 'template0'}")
    try:
        await admin.execute(f"COMMENT ON DATABASE {making} IS '{schema.mark()}'")
        if template is None:
            async with target.beside(making).connect(patient=True) as inside:
                await schema.install(inside)
        await admin.execute(f"ALTER DATABASE {making} RENAME TO {quoted(name)}")
    except BaseException:
        await admin.execute(f"DROP DATABASE IF EXISTS {making} WITH (FORCE)")
        raise


async def copy(admin: asyncpg.Connection, name: str, another: str) -> None:
    """Make database ``another`` as a copy of ``name``, whose connections are cut off."""
    await admin.execute(_END_SESSIONS, name)
    await admin.execute(f"CREATE DATABASE {quoted(another)} TEMPLATE {quoted(name)}")
    await admin.execute(f"COMMENT ON DATABASE {quoted(another)} IS '{schema.mark()}'")


async def rename(admin: asyncpg.Connection, name: str, another: str) -> None:
    """Rename database ``name`` to ``another``; its connections are cut off."""
    await admin.execute(_END_SESSIONS, name)
    await admin.execute(f"ALTER DATABASE {quoted(name)} RENAME TO {quoted(another)}")


_END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'
"""


async def _template(admin: asyncpg.Connection, target: Target) -> str | None:
    """Return the template with this PGQueuer's schema and this kit's marks; make it if it is missing.

    On somebody else's server there is none.
    """
    if not target.own:
        return None
    form = "".join(c if c.isalnum() else "_" for c in schema.pgqueuer_version()) + "_" + schema.shape_number()
    name = TEMPLATE + form
    if await is_ours(admin, name) is None:
        for row in await admin.fetch(
            "SELECT datname FROM pg_database WHERE starts_with(datname, $1)", TEMPLATE
        ):
            await drop(admin, row[0])  # a template of another release
        await _create(admin, target, name, None)
        # a database with connections cannot be copied
        await admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
    return name


@asynccontextmanager
async def _one_at_a_time(admin: asyncpg.Connection) -> AsyncIterator[None]:
    key = f"hashtext('{schema.MARK}')"
    await admin.execute(f"SELECT pg_advisory_lock({key})")
    try:
        yield
    finally:
        await admin.execute(f"SELECT pg_advisory_unlock({key})")


async def maintenance_database(inside: asyncpg.Connection) -> str:
    """Return another database of the server, to connect to while this one is dropped."""
    rows = await inside.fetch(
        "SELECT datname FROM pg_database WHERE datallowconn AND datname <> current_database() "
        "AND has_database_privilege(oid, 'CONNECT') ORDER BY datname <> 'postgres', datname LIMIT 1"
    )
    return str(rows[0][0])
