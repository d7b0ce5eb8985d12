"""``kit.reset()``: the same database, empty again, and not one row of anybody else's."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, PgQueuer
from pgqueuer.models import Job
from pgqueuer.queries import Queries

import kit
from kit.database import dsn as dsns
from kit.database import emptying, schema
from kit.database.target import Target
from kit.session import session
from kit.sources import Postgres
from tests.sources.processes import ask

Sql = Callable[..., Any]
ONE_JOB = "INSERT INTO pgqueuer (priority, status, entrypoint) VALUES (0, 'queued', 'fetch') RETURNING id"
OTHER_THINGS = """
CREATE TABLE orders (id serial PRIMARY KEY, at int GENERATED ALWAYS AS IDENTITY, total numeric);
CREATE TABLE lines (order_id int REFERENCES orders) PARTITION BY RANGE (order_id);
CREATE TABLE lines_1 PARTITION OF lines FOR VALUES FROM (1) TO (10);
CREATE VIEW big AS SELECT * FROM orders;
CREATE MATERIALIZED VIEW bigger AS SELECT * FROM big;
CREATE SEQUENCE numbers;
CREATE TYPE mood AS ENUM ('good');
CREATE TYPE pair AS (one int, two int);
CREATE TYPE span AS RANGE (subtype = int4);
CREATE DOMAIN cents AS int;
CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE nothing() LANGUAGE sql AS '';
CREATE AGGREGATE total(int) (sfunc = int4pl, stype = int);
CREATE SCHEMA shop CREATE TABLE shelves (id int);
CREATE PUBLICATION news;
SELECT lo_create(0);
INSERT INTO pgqueuer_schedules (expression, entrypoint) VALUES ('* * * * *', 'tick');
"""
WHAT_IS_THERE = """
SELECT array_agg(what ORDER BY what) FROM (
    SELECT relname::text AS what FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'c')
    UNION ALL SELECT relname FROM pg_class WHERE relkind = 'S' AND oid >= 16384
    UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT typname FROM pg_type
        WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd', 'r')
    UNION ALL SELECT nspname FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_'
    UNION ALL SELECT pubname FROM pg_publication
    UNION ALL SELECT oid::text FROM pg_largeobject_metadata) AS things
"""


@pytest.fixture
def database(server: Postgres, name: str) -> Iterator[Postgres]:
    with kit.postgres("embedded", database=name) as opened:
        yield opened


@pytest.fixture
async def connection(database: Postgres) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(database.dsn)
    yield opened
    await opened.close()


async def test_rows_go_and_numbers_start_again(connection: asyncpg.Connection) -> None:
    assert [await connection.fetchval(ONE_JOB) for _ in range(3)] == [1, 2, 3]
    kit.reset()
    assert await connection.fetchval("SELECT count(*) FROM pgqueuer") == 0
    assert await connection.fetchval(ONE_JOB) == 1


async def test_all_that_the_learner_made_beside_the_queue_goes(connection: asyncpg.Connection) -> None:
    before = await connection.fetchval(WHAT_IS_THERE)
    await connection.execute(OTHER_THINGS)
    assert len(await connection.fetchval(WHAT_IS_THERE)) > len(before) + 15
    kit.reset()
    assert await connection.fetchval(WHAT_IS_THERE) == before
    assert await connection.fetchval("SELECT count(*) FROM pgqueuer_schedules") == 0


async def test_a_table_with_the_kits_mark_is_emptied_and_stays(connection: asyncpg.Connection) -> None:
    await connection.execute("CREATE TYPE stage AS ENUM ('a'); CREATE TABLE runs (id serial, stage stage)")
    await connection.execute(f"COMMENT ON TABLE runs IS '{schema.MARK}'")
    await connection.execute("INSERT INTO runs (stage) VALUES ('a')")
    kit.reset()
    assert await connection.fetchval("SELECT count(*) FROM runs") == 0
    assert await connection.fetchval("INSERT INTO runs (stage) VALUES ('a') RETURNING id") == 1


async def test_a_running_consumer_goes_on_after_a_reset(database: Postgres) -> None:
    done: asyncio.Queue[int] = asyncio.Queue()
    consuming, producing = await asyncpg.connect(database.dsn), await asyncpg.connect(database.dsn)
    queuer, queries = PgQueuer(AsyncpgDriver(consuming)), Queries(AsyncpgDriver(producing))

    @queuer.entrypoint("fetch")
    async def fetch(job: Job) -> None:
        done.put_nowait(job.id)

    running = asyncio.create_task(queuer.run(dequeue_timeout=datetime.timedelta(seconds=0.2)))
    for _ in range(3):
        [enqueued] = await queries.enqueue("fetch", None)
        async with asyncio.timeout(20):
            assert await done.get() == enqueued
        kit.reset()
    queuer.shutdown.set()
    await running
    await consuming.close()
    await producing.close()


async def test_a_reset_while_jobs_run_hurts_neither_side(database: Postgres) -> None:
    consuming, producing = await asyncpg.connect(database.dsn), await asyncpg.connect(database.dsn)
    queuer, queries = PgQueuer(AsyncpgDriver(consuming)), Queries(AsyncpgDriver(producing))
    done: asyncio.Queue[int] = asyncio.Queue()

    @queuer.entrypoint("fetch")
    async def fetch(job: Job) -> None:
        done.put_nowait(job.id)

    async def produce() -> None:
        while True:
            await queries.enqueue(["fetch"] * 20, [None] * 20, [0] * 20)

    running = asyncio.create_task(queuer.run(dequeue_timeout=datetime.timedelta(seconds=0.2)))
    producer = asyncio.create_task(produce())
    for _ in range(5):
        async with asyncio.timeout(20):
            for _ in range(20):
                await done.get()
        await asyncio.to_thread(kit.reset)
        assert not running.done()
        assert not producer.done()
    producer.cancel()
    await asyncio.gather(producer, return_exceptions=True)
    queuer.shutdown.set()
    await running
    await consuming.close()
    await producing.close()


@pytest.mark.parametrize(
    "damage",
    [
        "ALTER TABLE pgqueuer ADD COLUMN colour text",
        "DROP TABLE pgqueuer_log",
        "DROP TABLE pgqueuer CASCADE",
        "ALTER TABLE pgqueuer SET UNLOGGED",
        "DROP TRIGGER tg_pgqueuer_changed ON pgqueuer",
        "CREATE TRIGGER more BEFORE UPDATE ON pgqueuer EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "DROP INDEX pgqueuer_unique_dedupe_key",
        "ALTER TYPE pgqueuer_status ADD VALUE 'lost'",
        "DROP SCHEMA public CASCADE",
        "DROP TYPE pgqueuer_status CASCADE",
    ],
)
async def test_a_damaged_schema_is_made_anew_and_said(
    database: Postgres, connection: asyncpg.Connection, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = "SELECT obj_description('pgqueuer'::regclass, 'pg_class')"
    before = ask(database.dsn, whole)
    await connection.execute(damage)
    capsys.readouterr()
    kit.reset()
    assert "made anew" in capsys.readouterr().out
    assert ask(database.dsn, whole) == before
    async with database.target.connect() as inside:
        assert await schema.intact_mark(inside) == before


async def test_a_second_reset_finds_nothing_to_repair(
    database: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(database.dsn, "DROP TABLE pgqueuer_log")
    kit.reset()
    capsys.readouterr()
    kit.reset()
    assert capsys.readouterr().out == ""


async def test_an_open_transaction_is_named_instead_of_waiting_for_ever(
    connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emptying, "PATIENCE", 0.5)
    async with connection.transaction():
        await connection.execute("SELECT * FROM pgqueuer")
        with pytest.raises(
            kit.KitError, match=rf"connection {connection.get_server_pid()} .*SELECT \* FROM pgqueuer"
        ):
            kit.reset()
    kit.reset()


def somebodys(dsn: str) -> Postgres:
    return Postgres(Target(dsn), "external", "", "", [], None, None, None, lambda _: somebodys(dsn))


def test_a_database_that_the_kit_did_not_make_is_refused_and_keeps_every_row(
    server: Postgres, name: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql(f"CREATE DATABASE {name}")
    sql("CREATE TABLE pgqueuer AS SELECT 42 AS answer", database=name)
    monkeypatch.setattr(session, "_opened", [somebodys(dsns.beside(server.dsn, name))])
    with pytest.raises(kit.KitError, match=f"did not make the database {name!r}"):
        kit.reset()
    assert sql("SELECT answer FROM pgqueuer", database=name) == 42


def test_a_reset_without_a_database_says_what_to_run_first() -> None:
    with pytest.raises(kit.KitError, match=r"Run kit\.postgres\(\) first"):
        kit.reset()


def test_a_terminal_that_names_the_database_by_variables_can_reset_it(
    database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(database.dsn, ONE_JOB)
    monkeypatch.setattr(session, "_opened", [])
    kit.reset()
    assert ask(database.dsn, "SELECT count(*) FROM pgqueuer") == 0


def test_a_reset_of_a_server_that_is_gone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_opened", [somebodys("postgresql://a:b@127.0.0.1:1/x")])
    with pytest.raises(kit.KitError, match=r"does not answer any more.*kit\.postgres\(\) again"):
        kit.reset()
