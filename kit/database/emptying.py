"""Empty a database: all of one that the kit made; in any other one only what the kit made there."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kit.database import creation, schema
from kit.database.other_consumers import consumers_connected
from kit.database.queue_tables import AMOUNT
from kit.database.schema import MARK
from kit.database.target import Target
from kit.display.text import number_of
from kit.errors import KitError
from kit.errors.text import server_message

if TYPE_CHECKING:
    import asyncpg

PATIENCE = 3.0  # seconds that somebody's open transaction may hold up an emptying
FORGOTTEN = 0.5  # seconds that a transaction waits for its next statement before it is named
ATTEMPT = "200ms"  # below deadlock_timeout: this side gives up before a consumer has to

# For a database of the kit's own: a DROP … CASCADE for each object that has no mark.
_DROPS = f"""
WITH marked AS (SELECT oid FROM pg_class WHERE obj_description(oid, 'pg_class') LIKE '{MARK}%'),
part AS (  -- of something else: a serial column's sequence, a range's constructor, what an extension brought
    SELECT classid, objid FROM pg_depend WHERE deptype IN ('i', 'e') AND objsubid = 0
    UNION SELECT classid, objid FROM pg_depend JOIN pg_class ON objid = pg_class.oid
    WHERE classid = 'pg_class'::regclass AND deptype = 'a' AND relkind = 'S'),
needed AS (
    SELECT refobjid AS oid
    FROM pg_depend JOIN pg_trigger ON objid = pg_trigger.oid JOIN marked ON tgrelid = marked.oid
    WHERE classid = 'pg_trigger'::regclass AND refclassid = 'pg_proc'::regclass
    AND tgname ~ '^(tg_pgqueuer_changed$|kit_)'
    UNION SELECT atttypid FROM pg_attribute JOIN marked ON attrelid = marked.oid WHERE attnum > 0)
SELECT format('DROP EXTENSION IF EXISTS %I CASCADE', extname) FROM pg_extension WHERE extname <> 'plpgsql'
UNION ALL SELECT format('DROP EVENT TRIGGER IF EXISTS %I', evtname) FROM pg_event_trigger
UNION ALL SELECT format('DROP PUBLICATION IF EXISTS %I', pubname) FROM pg_publication
UNION ALL SELECT format('DROP SCHEMA IF EXISTS %I CASCADE', nspname) FROM pg_namespace
    WHERE oid >= 16384 AND nspname !~ '^pg_(toast|temp)' AND nspname <> 'public'
UNION ALL SELECT format('DROP %s IF EXISTS %s CASCADE', CASE relkind WHEN 'v' THEN 'VIEW'
        WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE'
        ELSE 'TABLE' END, oid::regclass)
    FROM pg_class WHERE relnamespace = to_regnamespace('public') AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    AND oid NOT IN (TABLE marked) AND ('pg_class'::regclass, oid) NOT IN (TABLE part)
UNION ALL SELECT format('DROP ROUTINE IF EXISTS %s CASCADE', oid::regprocedure)
    FROM pg_proc WHERE pronamespace = to_regnamespace('public')
    AND oid NOT IN (TABLE needed) AND ('pg_proc'::regclass, oid) NOT IN (TABLE part)
UNION ALL SELECT format('DROP TYPE IF EXISTS %s CASCADE', oid::regtype)
    FROM pg_type WHERE typnamespace = to_regnamespace('public') AND typtype IN ('e', 'd', 'r', 'c')
    AND oid NOT IN (TABLE needed) AND ('pg_type'::regclass, oid) NOT IN (TABLE part)
UNION ALL SELECT format('SELECT lo_unlink(%s)', oid) FROM pg_largeobject_metadata
"""

_HOLDING = """
SELECT pid, application_name, state, left(query, 80) AS query,
       extract(epoch FROM now() - xact_start)::int AS seconds
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
"""
_FIRST = "ORDER BY xact_start LIMIT 1"


# The contents of a database except its rows: for each catalog the number of entries and the sum of their
# transactions, without the server's own (oid below 16384); and whether there are too many rows to delete.
_PARTS = (
    "pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'",
    "pg_class WHERE oid >= 16384",
    "pg_attribute WHERE attrelid >= 16384",
    "pg_depend WHERE objid >= 16384",
    "pg_proc WHERE oid >= 16384",
    "pg_type WHERE oid >= 16384",
    "pg_enum",
    "pg_trigger",
    "pg_largeobject_metadata",
    "pg_publication",
    "pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())",
)
_MADE_OF = f"""
SELECT concat_ws(' ',
    (SELECT sum(pg_relation_size(oid)) > 4000000 FROM pg_class WHERE oid >= 16384 AND relkind = 'r'),
    {", ".join(f"(SELECT array[count(*), sum(xmin::text::bigint)] FROM {part})" for part in _PARTS)})
"""


class _Damaged(Exception):
    """PGQueuer's schema is not as the kit made it."""


@dataclass(frozen=True)
class Emptied:
    """The result of an emptying.

    Attributes:
        jobs: how many jobs there were.
        log_rows: how many rows the log had.
        made_anew: whether the database was made anew.
    """

    jobs: int
    log_rows: int
    made_anew: bool

    def __str__(self) -> str:
        jobs = number_of(self.jobs, "job")
        rows = f"{number_of(self.log_rows, 'row')} of the log"
        return " and ".join(text for text, count in ((jobs, self.jobs), (rows, self.log_rows)) if count)


async def empty(inside: asyncpg.Connection, target: Target) -> Emptied:
    """Empty the database that ``inside`` is connected to.

    In a database of the kit's own, the marked tables (PGQueuer's and those of staged jobs) lose their rows,
    and everything else is dropped. In any other database only marked tables lose their rows. Connections stay
    open, unless PGQueuer's schema itself was damaged: then the database is made anew, which ends them. Job
    ids start at 1 again, unless a consumer has a job now: it would finish the new job with the same id.

    Args:
        inside: a connection of the kit's own.
        target: the database of that connection.

    Raises:
        KitError: the kit made nothing there, or somebody's open transaction is in the way.
    """
    name = str(await inside.fetchval("SELECT current_database()"))
    all_ours = bool(await creation.is_ours(inside, name))
    if not all_ours and not await schema.queue_is_ours(inside):
        raise KitError(
            f"The kit did not make the database {name!r}, nor PGQueuer's tables in it, so it empties "
            "nothing there. kit.postgres() makes a database of its own."
        )
    try:
        jobs, log_rows = await _patiently(inside, name, all_ours)
        return Emptied(jobs, log_rows, made_anew=False)
    except _Damaged:
        if not all_ours:
            await _reinstall(inside, name)
        else:
            beside = target.beside(await creation.maintenance_database(inside))
            async with beside.connect(patient=True) as admin:
                await creation.recreate(admin, beside, name)
        return Emptied(0, 0, made_anew=True)


async def _patiently(inside: asyncpg.Connection, name: str, all_ours: bool) -> tuple[int, int]:
    import asyncpg

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            async with inside.transaction():
                await inside.execute(
                    f"SET LOCAL lock_timeout = '{ATTEMPT}'; SET LOCAL client_min_messages = 'error'"
                )
                return await _drop_and_truncate(inside, all_ours)
        except asyncpg.InsufficientPrivilegeError:
            raise _Damaged from None  # an object of another role: the owner may still drop the database
        except asyncpg.FeatureNotSupportedError as error:
            reason = server_message(error)
            raise KitError(f"The database {name!r} could not be emptied: {reason}.") from None
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            if time.monotonic() > deadline:
                raise KitError(await _who_is_in_the_way(inside, name)) from None
            await asyncio.sleep(0.05)


async def _drop_and_truncate(inside: asyncpg.Connection, all_ours: bool) -> tuple[int, int]:
    """Drop unmarked objects, if ``all_ours``, and empty marked tables; return how many rows these had."""
    if all_ours:
        drops = [row[0] for row in await inside.fetch(_DROPS)]
        if drops:
            await inside.execute(";".join(drops))
    comment = await inside.fetchval("SELECT obj_description(to_regclass('pgqueuer'), 'pg_class')")
    if comment != await schema.intact_mark(inside):
        raise _Damaged
    marked = [row[0] for row in await inside.fetch(schema.MARKED)]
    await inside.execute(f"LOCK TABLE {', '.join(marked)}")
    row = await inside.fetchrow(AMOUNT)
    assert row is not None
    jobs, picked, log_rows = row
    busy = picked and (await consumers_connected(inside, []))[1]
    await inside.execute(f"TRUNCATE {', '.join(marked)} {'CONTINUE' if busy else 'RESTART'} IDENTITY")
    return int(jobs), int(log_rows)


async def _who_is_in_the_way(inside: asyncpg.Connection, name: str) -> str:
    row = await inside.fetchrow(_HOLDING + _FIRST)
    if row is None:
        return f"The database {name!r} was too busy to be emptied within {PATIENCE:.0f} s. Try again."
    return (
        f"The database {name!r} could not be emptied within {PATIENCE:.0f} s: {_holder(row)} Commit it, roll "
        "it back or close that connection, then try again."
    )


async def left_open(inside: asyncpg.Connection) -> str | None:
    """Return what is to be said of a transaction that somebody has left open; None if there is none."""
    waits = f"state LIKE 'idle in%' AND now() - state_change > interval '{FORGOTTEN} s'"
    row = await inside.fetchrow(f"{_HOLDING} AND {waits} {_FIRST}")
    return _holder(row) if row is not None else None


def _holder(row: asyncpg.Record) -> str:
    return (
        f"connection {row['pid']} ({row['application_name'] or 'without a name'}, {row['state']}) has had a "
        f"transaction open for {row['seconds']} s. Its last statement: {row['query']!r}."
    )


async def _reinstall(inside: asyncpg.Connection, name: str) -> None:
    """Replace PGQueuer's damaged schema in a database that is not the kit's."""
    import asyncpg

    try:
        async with inside.transaction():
            if marked := [row[0] for row in await inside.fetch(schema.MARKED)]:
                await inside.execute(f"DROP TABLE {', '.join(marked)}")
            await inside.execute(
                "DROP FUNCTION IF EXISTS fn_pgqueuer_changed; DROP TYPE IF EXISTS pgqueuer_status"
            )
            await schema.install(inside)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise KitError(
            f"PGQueuer's tables in the database {name!r} are not as the kit made them, and they could not be "
            f"replaced: {server_message(error)}."
        ) from None


async def made_of(inside: asyncpg.Connection) -> str:
    """Return a description of this database without its rows, to compare it later."""
    return str(await inside.fetchval(_MADE_OF))


async def delete_rows(inside: asyncpg.Connection, made_of_before: str) -> bool:
    """Delete the rows of PGQueuer's tables, if nothing else has changed; return whether that was so.

    With few rows this is faster than TRUNCATE, which makes new files.
    """
    if await made_of(inside) != made_of_before:
        return False
    deletes = "; ".join(f"DELETE FROM {table}" for table in schema.TABLES)
    await inside.execute(f"{deletes}; SELECT setval(oid, 1, false) FROM pg_class WHERE relkind = 'S'")
    return True
