"""PGQueuer's schema in a database: make it, mark it as the kit's, and check that it is unchanged.

The mark is a comment. A database of the kit's own carries it, and each of PGQueuer's tables. Where the role
may not make databases, and the kit uses an empty one, only the tables carry it.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

MARK = "made by pgqueuer-kit"  # a reset empties tables with this comment, and never drops them
MARKED = f"""
SELECT oid::regclass::text FROM pg_class
WHERE relkind IN ('r', 'p') AND obj_description(oid, 'pg_class') LIKE '{MARK}%' ORDER BY relname
"""
TABLES = ("pgqueuer", "pgqueuer_log", "pgqueuer_schedules", "pgqueuer_statistics")

# A hash of all parts of PGQueuer's schema, by which a reset sees whether somebody has changed it.
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


def mark() -> str:
    """Return the mark of the PGQueuer that is installed."""
    return f"{MARK} for PGQueuer {pgqueuer_version()}"


def pgqueuer_version() -> str:
    """Return the version of the PGQueuer that is installed."""
    from importlib.metadata import version

    return version("pgqueuer")


def shape_number() -> str:
    """Return a number for the statement that makes the hash; it changes with that statement."""
    return f"{zlib.crc32(_SHAPE.encode()):x}"


async def install(inside: asyncpg.Connection) -> None:
    """Make PGQueuer's schema and mark its tables; the mark of ``pgqueuer`` has the schema's hash in it."""
    from pgqueuer.queries import Queries

    async with inside.transaction():
        await Queries.from_asyncpg_connection(inside).install()
        for table in TABLES:
            await inside.execute(f"COMMENT ON TABLE {table} IS '{mark()}'")
        await inside.execute(f"COMMENT ON TABLE pgqueuer IS '{await intact_mark(inside)}'")


async def intact_mark(inside: asyncpg.Connection) -> str:
    """Return the comment that the table ``pgqueuer`` has as long as nobody has changed the schema."""
    return f"{mark()}, shape {await inside.fetchval(_SHAPE, list(TABLES))}"


async def queue_is_ours(inside: asyncpg.Connection) -> bool:
    """Return whether the kit made PGQueuer's tables in the database of this connection.

    Marked tables of another kind, such as those of staged jobs, do not count.
    """
    return any(row[0] in TABLES for row in await inside.fetch(MARKED))
