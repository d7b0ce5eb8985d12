"""Where a consumer works, which may be elsewhere than the kit looks: its `main` can connect to anything."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kit.consumer.factory import Manager, driver_of
from kit.database.target import Target
from kit.errors import KitError
from kit.session import session

PATIENCE = 2.0  # seconds for Postgres to say where it is
Place = Mapping[str, Any]

_PLACE = """
    SELECT pg_postmaster_start_time() AS started, current_database() AS database,
        coalesce(host(inet_server_addr()) || ':' || inet_server_port(), 'a socket') AS address,
        (SELECT nspname || '.' || relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
         WHERE pg_class.oid = to_regclass($1::text)) AS table
"""


async def place_of(manager: Manager) -> Place:
    """Return where a manager that does not run yet is connected; nothing where that is no Postgres.

    Raises:
        KitError: PGQueuer's tables are not there, and the kit looks elsewhere.
    """
    place: Place = {}
    with suppress(Exception):  # what is wrong with its connection is said when PGQueuer uses it
        table = manager.queries.qbe.settings.qualified.queue_table  # type: ignore[union-attr]
        (place,) = await driver_of(manager).fetch(_PLACE, table)
    target = _target() if place and place["table"] is None else None
    if target is not None and target.name != place["database"]:
        raise KitError(
            f"PGQueuer's tables are not in {_database(place)}, to which main() connects. They are in "
            f"{target.name!r} on {target.where}: asyncpg.connect() without an address leads there."
        )
    return place


async def not_where_the_kit_looks(name: str, place: Place) -> str | None:
    """Return what to say if a consumer works elsewhere than where `kit.jobs` and the others look."""
    if not place or (target := _target()) is None:
        return None
    try:
        async with target.connect(limit=PATIENCE) as connection:
            (looks,) = await connection.fetch(_PLACE, target.names.queue_table)
    except KitError:  # nobody answers there; each call of the kit's says so
        return None
    if place["started"] != looks["started"]:
        there, here = _database(place), f"{target.name!r} on {target.where}"
    elif place["database"] != looks["database"]:
        there, here = f"the database {place['database']!r}", repr(looks["database"])
    elif place["table"] != looks["table"]:
        there, here = f"the table {place['table']}", str(looks["table"])
    else:
        return None
    return (
        f"Consumer {name!r} works in {there}; kit.jobs(), kit.wait() and kit.reset() look at {here}. To have "
        "all in one place, connect with asyncpg.connect(), without an address or a schema."
    )


def _target() -> Target | None:
    try:
        return session.target()
    except KitError:  # this process has none yet
        return None


def _database(place: Place) -> str:
    return f"the database {place['database']!r} on {place['address']}"
