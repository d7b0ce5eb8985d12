"""`kit.look` shows somebody's own queue, and leaves no trace in it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import matplotlib as mpl
import pytest
import pytest_asyncio
from pgqueuer.domain.settings import DBSettings, db_settings
from pgqueuer.queries import Queries

import kit
from kit.database.queue_tables import LOG_READ
from kit.database.target import Target
from kit.looking import Look
from kit.pictures.board.detail import of_job
from kit.session import session
from kit.sources import Postgres
from tests.pictures.conftest import Hands
from tests.waiting import until

CATALOGS = ("pg_class", "pg_proc", "pg_trigger", "pg_type", "pg_namespace", "pg_index", "pg_description")

ROW, SEQUENCE = "ctid, xmin, t::text", "last_value, is_called"
CLASS = "oid, relname, relkind, relacl, relfilenode"  # what else is there, autovacuum changes


@pytest_asyncio.fixture
async def theirs(queue_database: Postgres) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(queue_database.dsn)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def reader(theirs: asyncpg.Connection, queue_database: Postgres) -> AsyncIterator[str]:
    """The DSN of a role that may do nothing in this database but SELECT from PGQueuer's tables."""
    role = f"reader_{queue_database.name[-8:]}"
    await theirs.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    await theirs.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    named = queue_database.target.variables()
    yield f"postgresql://{role}:secret@{named['PGHOST']}:{named['PGPORT']}/{queue_database.name}"
    await theirs.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
def looked(reader: str) -> Iterator[Look]:
    with kit.look(reader) as looked:
        yield looked


async def everything(connection: asyncpg.Connection) -> dict[str, list[str]]:
    """Every row of the database's tables and catalog with its place and transaction, and its sequences."""
    found: list[Any] = await connection.fetch(
        "SELECT oid::regclass::text, relkind FROM pg_class WHERE relkind IN ('r', 'S')"
        " AND (relnamespace = 'public'::regnamespace OR relname = ANY($1))",
        list(CATALOGS),
    )
    return {
        name: sorted(
            str(tuple(row))
            for row in await connection.fetch(
                f"SELECT {SEQUENCE if kind == b'S' else CLASS if name == 'pg_class' else ROW} FROM {name} t"
            )
        )
        for name, kind in found
    }


async def test_a_role_that_may_only_select_sees_all_and_the_database_stays_as_it_was(
    theirs: asyncpg.Connection, reader: str
) -> None:
    mpl.use("agg")
    hands = Hands(theirs)
    await hands.enqueue(b"one", b"two", b"three")
    picked = await hands.pick(2)
    await hands.end(picked[:1])
    await hands.end(picked[1:], "exception", ValueError("no"))
    before = await everything(theirs)
    with kit.look(reader) as looked:
        assert list(looked.jobs()["text"]) == ["three"]
        assert list(looked.log(1)["status"]) == ["queued", "picked", "successful"]
        assert list(looked.log(last=1)["error"]) == ["ValueError: no"]
        assert looked.schedules().empty
        assert looked.statistics()["count"].sum() == 7
        assert looked.sql("SELECT $1::int AS n", 5)["n"].item() == 5
        assert "3 jobs: 1 done" in looked.timeline(by="worker").get_title("left")
        board = looked.board()
        assert board.history.totals() == {"queued": 1, "successful": 1, "exception": 1}
        await hands.enqueue(b"four")
        before |= {name: rows for name, rows in (await everything(theirs)).items() if "pgqueuer" in name}
        await until("what was enqueued is on the board", lambda: board.history.totals()["queued"] == 2)
        for change in ("DELETE FROM pgqueuer", "SELECT nextval('pgqueuer_id_seq')"):
            with pytest.raises(kit.KitError, match=r"read-only transaction|permission denied"):
                looked.sql(change)
    assert await everything(theirs) == before
    assert not board.running
    await until_no_connection(theirs, reader)


async def until_no_connection(theirs: asyncpg.Connection, dsn: str) -> None:
    role = Target(dsn).variables()["PGUSER"]
    deadline = time.monotonic() + 20
    while await theirs.fetchval("SELECT count(*) FROM pg_stat_activity WHERE usename = $1", role):
        assert time.monotonic() < deadline, "a connection is left"
        await asyncio.sleep(0.02)


def test_the_owner_too_can_change_nothing_and_has_5_seconds(queue_database: Postgres) -> None:
    with kit.look(queue_database.dsn) as looked:
        settings = looked.sql(
            "SELECT name, setting FROM pg_settings"
            " WHERE name IN ('default_transaction_read_only', 'statement_timeout')"
        )
        assert dict(settings.values) == {"default_transaction_read_only": "on", "statement_timeout": "5000"}
        for trick in (
            "SELECT set_config('transaction_read_only', 'off', false), nextval('pgqueuer_id_seq')",
            "SET transaction_read_only = off; DELETE FROM pgqueuer",
            "WITH gone AS (DELETE FROM pgqueuer RETURNING 1) SELECT * FROM gone",
        ):
            with pytest.raises(kit.KitError, match="This SQL does not work"):
                looked.sql(trick)


WRITER = """
CREATE PROCEDURE writer(INOUT n int) LANGUAGE plpgsql AS
    $$BEGIN COMMIT; SET TRANSACTION READ WRITE; DELETE FROM pgqueuer; COMMIT; END$$;
CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS
    $$BEGIN SET TRANSACTION READ WRITE; DELETE FROM pgqueuer; RETURN 1; END$$;
"""
REFUSED_BY_POSTGRES = (
    "DELETE FROM pgqueuer",
    "CALL writer(1)",
    "SELECT writes()",
    "EXPLAIN ANALYZE SELECT writes()",
    "EXPLAIN ANALYZE DELETE FROM pgqueuer",
    "CREATE TABLE copied AS SELECT 1",
    "SELECT 1 INTO TEMP copied",
    "SELECT * FROM pgqueuer FOR UPDATE",
    "SELECT lo_create(0)",
    "SELECT 1; DELETE FROM pgqueuer",
    "SELECT 1) AS q) TO STDOUT; COMMIT; DELETE FROM pgqueuer; --",
)
REFUSED_BY_THE_KIT = (
    "DO $$BEGIN COMMIT; SET TRANSACTION READ WRITE; DELETE FROM pgqueuer; END$$",
    "SET TRANSACTION READ WRITE",
    "COMMIT",
    "PREPARE TRANSACTION 'left behind'",
    "VACUUM pgqueuer",
    "REINDEX TABLE pgqueuer",
    "ALTER SYSTEM SET work_mem = '5MB'",
    "NOTIFY news",
    "COPY (SELECT 1) TO PROGRAM 'cat'",
    "CHECKPOINT",
    "SET ROLE postgres",
)


async def test_no_statement_of_a_superuser_changes_anything(
    theirs: asyncpg.Connection, queue_database: Postgres
) -> None:
    heard: list[tuple[object, ...]] = []
    await theirs.add_listener("news", lambda *told: heard.append(told))
    await theirs.execute(WRITER)
    await Hands(theirs).enqueue(b"precious")
    before = await everything(theirs)
    with kit.look(queue_database.dsn) as looked:
        for trick in REFUSED_BY_POSTGRES:
            with pytest.raises(kit.KitError, match="This SQL does not work"):
                looked.sql(trick)
        for trick in REFUSED_BY_THE_KIT:
            with pytest.raises(kit.KitError, match="it runs what returns rows"):
                looked.sql(trick)
        looked.sql("SELECT pg_notify('news', 'unheard'), pg_advisory_lock(1)")
        looked.sql("DECLARE numbers CURSOR WITH HOLD FOR SELECT 1")
    await theirs.execute("NOTIFY news, 'heard'")
    await until("what was told last is heard", lambda: heard)
    assert [payload for *_, payload in heard] == ["heard"]
    assert await everything(theirs) == before
    assert await theirs.fetchval("SELECT count(*) FROM pg_prepared_xacts") == 0
    assert await theirs.fetchval("SELECT pg_try_advisory_lock(1)")


# Each fits as well as Postgres' own, or better, and stands before it on the role's search path.
SHADOWS = """
CREATE FUNCTION betray() RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE 'ran as the looker'; END$$;
CREATE FUNCTION "left"(name, int) RETURNS text LANGUAGE sql AS 'SELECT betray()::text';
CREATE FUNCTION to_regclass(text) RETURNS regclass LANGUAGE sql AS 'SELECT NULL::regclass FROM betray()';
CREATE FUNCTION quote_ident(name) RETURNS text LANGUAGE sql AS 'SELECT betray()::text';
CREATE FUNCTION has_table_privilege(oid, text) RETURNS bool LANGUAGE sql AS 'SELECT true FROM betray()';
CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT now() FROM betray()';
CREATE FUNCTION octet_length(bytea) RETURNS int LANGUAGE sql AS 'SELECT 1 FROM betray()';
CREATE FUNCTION same(name, text) RETURNS bool LANGUAGE sql AS 'SELECT true FROM betray()';
CREATE FUNCTION same(name, name) RETURNS bool LANGUAGE sql AS 'SELECT true FROM betray()';
CREATE FUNCTION same(oid, oid) RETURNS bool LANGUAGE sql AS 'SELECT true FROM betray()';
CREATE FUNCTION same(bigint, bigint) RETURNS bool LANGUAGE sql AS 'SELECT true FROM betray()';
CREATE FUNCTION beside(name, text) RETURNS text LANGUAGE sql AS 'SELECT betray()::text';
CREATE OPERATOR = (LEFTARG = name, RIGHTARG = text, FUNCTION = same);
CREATE OPERATOR = (LEFTARG = name, RIGHTARG = name, FUNCTION = same);
CREATE OPERATOR = (LEFTARG = oid, RIGHTARG = oid, FUNCTION = same);
CREATE OPERATOR = (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = same);
CREATE OPERATOR || (LEFTARG = name, RIGHTARG = text, FUNCTION = beside);
CREATE OPERATOR ~ (LEFTARG = name, RIGHTARG = text, FUNCTION = same);
CREATE DOMAIN oid AS text CHECK (false);
CREATE VIEW pg_class AS SELECT betray()::text;
CREATE VIEW pg_stat_activity AS SELECT betray()::text;
"""


async def test_no_function_operator_or_view_of_the_databases_owner_runs_in_place_of_postgres_own(
    theirs: asyncpg.Connection, reader: str
) -> None:
    mpl.use("agg")
    await Hands(theirs).enqueue(b"one", b"two")
    await theirs.execute(
        f"ALTER ROLE {Target(reader).variables()['PGUSER']} SET search_path = public, pg_catalog"
    )
    await theirs.execute(SHADOWS)
    with kit.look(reader) as looked:
        assert looked.jobs()["text"].tolist() == ["one", "two"]
        assert len(looked.log()) == len(looked.log(1)) + len(looked.log(2)) == 2
        assert looked.schedules().empty
        assert looked.statistics()["count"].sum() == 2
        assert "2 jobs" in looked.timeline(by="worker").get_title("left")
        board = looked.board()
        async with looked._target.connect() as connection:
            told = await of_job(connection, looked._target, 1)
        assert board.history.totals() == {"queued": 2}
        assert board.history.tables["jobs"][1]["payload"] == "one"
        assert told["why"].endswith("No consumer is connected to its database.")
    with pytest.raises(kit.KitError, match=r"prefix='', schema='public'"):
        kit.look(reader, prefix="other_")


async def test_a_view_is_not_taken_for_a_queue(theirs: asyncpg.Connection, queue_database: Postgres) -> None:
    for name in ("pgqueuer", "pgqueuer_log", "pgqueuer_statistics", "pgqueuer_schedules"):
        await theirs.execute(f"CREATE VIEW seen_{name} AS SELECT * FROM {name}")
    with pytest.raises(kit.KitError, match="no table seen_pgqueuer, seen_pgqueuer_log") as refused:
        kit.look(queue_database.dsn, prefix="seen_")
    assert "prefix='seen_'" not in str(refused.value)


async def test_tables_in_a_schema_with_any_name_are_found_by_that_or_by_the_roles_search_path(
    theirs: asyncpg.Connection, reader: str
) -> None:
    role = Target(reader).variables()["PGUSER"]
    await theirs.execute('CREATE SCHEMA "Our Shop"')
    for name in ("pgqueuer", "pgqueuer_log", "pgqueuer_statistics", "pgqueuer_schedules"):
        await theirs.execute(f'ALTER TABLE {name} SET SCHEMA "Our Shop"')
    await theirs.execute(f'GRANT USAGE ON SCHEMA "Our Shop" TO {role}')
    with pytest.raises(kit.KitError, match="there is no table pgqueuer") as refused:
        kit.look(reader)
    assert str(refused.value).endswith("look at it with kit.look(dsn, prefix='', schema='Our Shop').")
    with kit.look(reader, prefix="", schema="Our Shop") as looked:
        assert looked.jobs().empty
    await theirs.execute(f'ALTER ROLE {role} SET search_path = "Our Shop"')
    with kit.look(reader) as looked:
        assert looked.jobs().empty
        assert looked.sql("SELECT * FROM pgqueuer").empty


async def test_it_does_not_become_this_processs_database_and_no_reset_empties_it(
    theirs: asyncpg.Connection, looked: Look, queue_database: Postgres, queue_server: Postgres
) -> None:
    await Hands(theirs).enqueue(b"precious")
    variables = {name: value for name, value in os.environ.items() if name.startswith("PG")}
    before = set(session.boards)  # of other tests
    with queue_server.database("pytest_mine") as mine:
        assert session.target() == mine.target
        assert looked.jobs()["text"].item() == "precious"
        assert kit.jobs().empty
        looked.board()
        kit.reset()
        assert session.target() == mine.target
        assert session.boards.keys() - before == {looked._target}
        mine.drop()
    assert looked.jobs()["text"].item() == "precious"
    assert {name: value for name, value in os.environ.items() if name.startswith("PG")} == variables


async def test_tables_with_a_prefix_in_a_schema_of_their_own_are_named_or_found_by_the_variables(
    theirs: asyncpg.Connection, queue_database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    await theirs.execute("CREATE SCHEMA shop")
    frozen = db_settings()
    named = DBSettings(prefix="app_", db_schema="shop")
    with monkeypatch.context() as patch:
        patch.setenv("PGQUEUER_PREFIX", "app_")
        patch.setenv("PGQUEUER_SCHEMA", "shop")
        db_settings.cache_clear()
        await Queries.from_asyncpg_connection(theirs).install()
        await Queries.from_asyncpg_connection(theirs).enqueue("fit", b"a tyre")
        db_settings.cache_clear()
        with kit.look(queue_database.dsn) as looked:
            assert looked.jobs()["text"].item() == "a tyre"
        assert db_settings.cache_info().currsize == 0, "the settings are as they were, not read yet"
    assert db_settings() == frozen
    assert named.qualified.queue_table == "shop.app_pgqueuer"
    with kit.look(queue_database.dsn, prefix="app_", schema="shop") as looked:
        assert looked.log()["entrypoint"].item() == "fit"
        board = looked.board()
        assert board.history.totals() == {"queued": 1}
        async with looked._target.connect() as connection:
            told = await of_job(connection, looked._target, 1)
        assert told["why"] == "Job 1 is queued. No consumer is connected to its database."
        assert board.history.tables["jobs"][1]["payload"] == "a tyre"
        assert kit.jobs().empty


async def test_what_is_wrong_is_said_with_what_helps(
    theirs: asyncpg.Connection, reader: str, queue_database: Postgres
) -> None:
    await theirs.execute("CREATE TABLE app_pgqueuer (); CREATE TABLE app_pgqueuer_log ()")
    with pytest.raises(kit.KitError) as refused:
        kit.look(reader, prefix="ap_")
    assert "there is no table ap_pgqueuer" in str(refused.value)
    assert "kit.look(dsn, prefix='app_', schema='public')" in str(refused.value)
    assert "kit.look(dsn, prefix='', schema='public')" in str(refused.value)
    with pytest.raises(kit.KitError, match=r"no PGQueuer tables of that name.*is it the right database\?"):
        kit.look(Target(queue_database.dsn).beside("postgres").dsn)
    await theirs.execute(f"REVOKE SELECT ON pgqueuer_log FROM {Target(reader).variables()['PGUSER']}")
    with pytest.raises(kit.KitError, match=r"may not read pgqueuer_log .*GRANT SELECT ON pgqueuer_log TO"):
        kit.look(reader)
    with pytest.raises(kit.KitError, match=r"Cannot look at .*password") as refused:
        kit.look(reader.replace("secret", "wrong"))
    assert "wrong" not in str(refused.value)
    with pytest.raises(kit.KitError, match="Cannot look at"):
        kit.look("postgresql://ada:secret@127.0.0.1:1/none")
    with pytest.raises(kit.KitError, match="prefix='a-b'"):
        kit.look(reader, prefix="a-b")
    with pytest.raises(kit.KitError, match="last=0"):
        kit.look(queue_database.dsn).log(last=0)


async def test_of_a_long_log_each_call_reads_the_newest_rows_only(
    theirs: asyncpg.Connection, reader: str, looked: Look, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measured in blocks of 8 KiB that a query touches, which no busy machine changes."""
    await theirs.execute(
        "INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint, created, aggregated)"
        " SELECT n / 2, (ARRAY['picked', 'successful']::pgqueuer_status[])[n % 2 + 1], 0, 'old',"
        f" now() - interval '1 day', true FROM generate_series(1, {5 * LOG_READ}) n"
    )
    await theirs.execute("ANALYZE pgqueuer_log")
    whole = int(await theirs.fetchval("SELECT pg_relation_size('pgqueuer_log') / 8192"))
    read = f"SELECT * FROM {looked._target.queue_tables.recent_log} AS recent"
    assert await blocks(theirs, read) < whole / 3
    assert await blocks(theirs, "SELECT * FROM pgqueuer_log") >= whole
    await theirs.execute("SELECT pg_stat_force_next_flush()")
    seen = await fetched(theirs)
    assert len(looked.log()) == 10_000
    assert looked.log(job_id=5)["status"].tolist() == ["picked", "successful"]
    await until_no_connection(theirs, reader)
    assert await fetched(theirs) - seen < 2 * 10_000
    mpl.use("agg")
    seen = await fetched(theirs)
    looked.timeline()
    looked.board()
    looked.close()
    await until_no_connection(theirs, reader)
    assert await fetched(theirs) - seen < 5 * LOG_READ, "less than the log once, by all queries together"
    assert f"its newest {LOG_READ:,} rows are counted" in capsys.readouterr().out


async def blocks(connection: asyncpg.Connection, query: str) -> int:
    said = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {query}")
    plan = json.loads(said)[0]["Plan"]
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


async def fetched(connection: asyncpg.Connection) -> int:
    """Return how many rows of the log were read by sessions that have ended, or reported meanwhile."""
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    number: int = await connection.fetchval(
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'pgqueuer_log'"
    )
    return number
