"""Where a consumer works, which may be elsewhere than the kit looks: its `main` can connect to anything."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kit.consumer.factory import Manager, driver_of
from kit.errors import KitError
from kit.errors.postgres import tables_are_missing
from kit.session import session

PATIENCE = 2.0  # seconds for Postgres to say where it is
Place = Mapping[str, Any]

_PLACE = """
    SELECT pg_postmaster_start_time() AS started, current_database() AS database,
        coalesce(host(inet_server_addr()) || ':' || inet_server_port(), 'a socket') AS address,
        (SELECT nspname || '.' || relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
         WHERE pg_class.oid = to_regclass($1::text)) AS table
"""


async def place_of(manager: Manager) -> Place | None:
    """Return where a manager that does not run yet is connected; None where that is no Postgres."""
    with suppress(Exception):  # what is wrong with its connection is said when PGQueuer uses it
        table = manager.queries.qbe.settings.qualified.queue_table  # type: ignore[union-attr]
        (place,) = await driver_of(manager).fetch(_PLACE, table)
        return place
    return None


async def not_where_the_kit_looks(name: str, place: Place | None) -> str | None:
    """Return what to say if a consumer works elsewhere than where `kit.jobs` and the others look."""
    if place is None:
        return None
    with suppress(KitError):
        target = session.target()
        async with target.connect(limit=PATIENCE) as connection:
            (looks,) = await connection.fetch(_PLACE, target.names.queue_table)
        if place["started"] != looks["started"]:
            there, here = _database(place), f"{target.name!r} on {target.where}"
        elif place["database"] != looks["database"]:
            there, here = f"the database {place['database']!r}", repr(looks["database"])
        elif place["table"] != looks["table"]:
            there, here = f"the table {place['table']}", str(looks["table"])
        else:
            return None
        return (
            f"Consumer {name!r} works in {there}; kit.jobs(), kit.wait() and kit.reset() look at {here}. To "
            "have all in one place, connect with asyncpg.connect(), without an address or a schema."
        )
    return None


def has_no_tables(error: Exception, place: Place | None) -> str | None:
    """Return what to say if PGQueuer's tables are not where the consumer is, but where the kit looks."""
    if place is None or not tables_are_missing(error):
        return None
    with suppress(KitError):
        target = session.target()
        if target.name != place["database"]:
            return (
                f"PGQueuer's tables are not in {_database(place)}, to which main() connects. They are in "
                f"{target.name!r} on {target.where}: asyncpg.connect() without an address leads there."
            )
    return None


def _database(place: Place) -> str:
    return f"the database {place['database']!r} on {place['address']}"
