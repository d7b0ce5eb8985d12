"""Compare the database in which a consumer works with the kit's: its `main` can connect to any."""

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
    """Return the place that a manager which does not run yet is connected to; empty if it is no Postgres.

    Raises:
        KitError: PGQueuer's tables are not there, and the kit reads another database.
    """
    place: Place = {}
    with suppress(Exception):  # PGQueuer will raise what is wrong with its connection
        table = manager.queries.qbe.settings.qualified.queue_table  # type: ignore[union-attr]
        (place,) = await driver_of(manager).fetch(_PLACE, table)
    target = _target() if place and place["table"] is None else None
    if target is not None and target.name != place["database"]:
        raise KitError(
            f"PGQueuer's tables are not in {_database(place)}, to which main() connects. They are in "
            f"{target.name!r} on {target.where}: asyncpg.connect() without an address leads there."
        )
    return place


async def difference(name: str, place: Place) -> str | None:
    """Return a message, if a consumer works in another place than `kit.jobs` and the others read."""
    if not place or (target := _target()) is None:
        return None
    try:
        async with target.connect(limit=PATIENCE) as connection:
            (read,) = await connection.fetch(_PLACE, target.names.queue_table)
    except KitError:  # no answer: each call of the kit's reports that
        return None
    if place["started"] != read["started"]:
        there, here = _database(place), f"{target.name!r} on {target.where}"
    elif place["database"] != read["database"]:
        there, here = f"the database {place['database']!r}", repr(read["database"])
    elif place["table"] != read["table"]:
        there, here = f"the table {place['table']}", str(read["table"])
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
