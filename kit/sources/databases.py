"""A server's databases: make one with PGQueuer's schema, empty it, drop it, and touch nothing else.

What the kit made carries its mark as a comment, on the database or on the table, and only what
carries the mark is ever emptied or dropped.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kit.errors import KitError
from kit.sources.shared import Address

if TYPE_CHECKING:
    import asyncpg

MARK = "made by pgqueuer-kit"
APPLICATION = "pgqueuer-kit"


def dsn(address: Address, database: str) -> str:
    """Return the DSN of ``database`` on the server at ``address``."""
    return (
        f"postgresql://{quote(address.user, safe='')}:{quote(address.password, safe='')}"
        f"@{address.host}:{address.port}/{quote(database, safe='')}"
    )


async def connect(target: str, **options: Any) -> asyncpg.Connection:
    """Open one of the kit's own connections, which carry the kit's name in ``pg_stat_activity``."""
    import asyncpg

    return await asyncpg.connect(target, server_settings={"application_name": APPLICATION}, **options)


def template_name() -> str:
    """Return the name of the template for this version of PGQueuer."""
    return "pgqueuer_kit_template_" + version("pgqueuer").replace(".", "_")


async def ensure(address: Address, name: str) -> bool:
    """Make database ``name`` with PGQueuer's schema where it is missing; return whether it was made now."""
    admin = await connect(dsn(address, "postgres"))
    try:
        await admin.execute("SELECT pg_advisory_lock(hashtext('pgqueuer-kit'))")
        if await _exists(admin, name):
            return False
        template = template_name()
        if not await _exists(admin, template):
            making = template + "_making"
            await admin.execute(f'DROP DATABASE IF EXISTS "{making}"')
            await admin.execute(f'CREATE DATABASE "{making}"')
            await _install(dsn(address, making))
            await admin.execute(f'ALTER DATABASE "{making}" RENAME TO "{template}"')
            await admin.execute(f"COMMENT ON DATABASE \"{template}\" IS '{MARK}'")
        await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        await admin.execute(f"COMMENT ON DATABASE \"{name}\" IS '{MARK}'")
        return True
    finally:
        await admin.close()


async def _exists(connection: asyncpg.Connection, name: str) -> bool:
    return bool(await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name))


async def _install(target: str) -> None:
    from pgqueuer.queries import Queries

    connection = await connect(target)
    try:
        await Queries.from_asyncpg_connection(connection).install()
    finally:
        await connection.close()


async def drop(address: Address, name: str) -> None:
    """Drop database ``name``, which the kit made, and cut whoever is connected to it."""
    admin = await connect(dsn(address, "postgres"))
    try:
        await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await admin.close()


async def empty(target: str) -> None:
    """Make the database empty again: PGQueuer's tables without rows, and nothing beside them."""
    connection = await connect(target)
    try:
        mark = await connection.fetchval(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
        )
        if mark != MARK:
            name = await connection.fetchval("SELECT current_database()")
            raise KitError(f"The kit did not make database {name!r}, so it does not empty it.")
        await connection.execute(
            "TRUNCATE pgqueuer, pgqueuer_log, pgqueuer_schedules, pgqueuer_statistics RESTART IDENTITY"
        )
    finally:
        await connection.close()


async def server_version(target: str) -> str:
    """Return the server's version, for example ``18.1``."""
    connection = await connect(target)
    try:
        return str(await connection.fetchval("SHOW server_version")).split()[0]
    finally:
        await connection.close()
