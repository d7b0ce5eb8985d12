"""Somebody else's server: the kit makes a database of its own there, and touches nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import kit
from kit.database import dsn as dsns
from kit.sources import Postgres, external
from tests.sources.processes import ask

Sql = Callable[..., Any]
ONE_JOB = "INSERT INTO pgqueuer (priority, status, entrypoint) VALUES (0, 'queued', 'fetch')"


@pytest.fixture
def shop(sql: Sql, name: str) -> Iterator[str]:
    """A database full of somebody's rows, and what it holds after the test must be what it held before."""
    database = f"{name}_shop"
    sql(f"CREATE DATABASE {database}")
    sql("CREATE TABLE orders AS SELECT generate_series(1, 100) AS id", database=database)
    sql("CREATE TABLE pgqueuer_log AS SELECT 'a table of this name, too' AS text", database=database)
    contents = """
        SELECT (SELECT string_agg(id::text, ',' ORDER BY id) FROM orders)
            || (SELECT string_agg(text, ',') FROM pgqueuer_log)
            || (SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE oid >= 16384)"""
    before = sql(contents, database=database)
    yield database
    assert sql(contents, database=database) == before
    sql(f"DROP DATABASE {database}")


@pytest.fixture
def role(sql: Sql, name: str) -> Iterator[str]:
    """A role that may log in, and nothing more."""
    sql(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
    yield name
    for database in (f"{name}_own", external.PREFIX + name):
        sql(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    sql(f"DROP ROLE {name}")


def dsn_of(server: Postgres, role: str, database: str) -> str:
    return dsns.beside(server.dsn, database).replace(
        server.dsn.split("//")[1].split("@")[0], f"{role}:secret"
    )


def test_it_makes_a_database_of_its_own_beside_somebodys(server: Postgres, shop: str, name: str) -> None:
    dsn = dsns.beside(server.dsn, shop)
    for _ in range(2):
        database = kit.postgres(database=name, dsn=dsn)
        assert database.name == f"pgqueuer_kit_{name}"
        assert ask(database.dsn, "SELECT count(*) FROM pgqueuer") == 0
        ask(database.dsn, ONE_JOB)
        ask(database.dsn, "CREATE TABLE mine (id int)")
    kit.reset()
    assert ask(database.dsn, "SELECT to_regclass('mine')") is None


def test_a_role_that_may_make_databases_and_nothing_more_is_enough(
    server: Postgres, shop: str, sql: Sql, role: str
) -> None:
    sql(f"ALTER ROLE {role} CREATEDB")
    with kit.postgres(database=role, dsn=dsn_of(server, role, shop)) as database:
        ask(database.dsn, "CREATE TABLE mine (id int)")
        ask(database.dsn, ONE_JOB)
        kit.reset()
        assert ask(database.dsn, "SELECT count(*) FROM pgqueuer") == 0
        ask(database.dsn, "ALTER TABLE pgqueuer ADD COLUMN colour text")
        kit.reset()
        assert ask(database.dsn, "SELECT count(*) FROM pgqueuer") == 0


def test_no_template_is_left_on_somebodys_server(server: Postgres, shop: str, sql: Sql, name: str) -> None:
    marked = "SELECT count(*) FROM pg_shdescription WHERE description LIKE 'made by pgqueuer-kit%'"
    before = sql(marked)
    with kit.postgres(database=name, dsn=dsns.beside(server.dsn, shop)):
        assert sql(marked) == before + 1


def test_somebodys_full_database_is_refused_where_no_other_can_be_made(
    server: Postgres, shop: str, role: str
) -> None:
    with pytest.raises(kit.KitError, match=f'not empty.*orders.*ALTER ROLE "{role}" CREATEDB'):
        kit.postgres(database=role, dsn=dsn_of(server, role, shop))


def test_somebodys_empty_database_is_taken_where_no_other_can_be_made(
    server: Postgres, sql: Sql, role: str
) -> None:
    sql(f"CREATE DATABASE {role}_own OWNER {role}")
    dsn = dsn_of(server, role, f"{role}_own")
    for _ in range(2):
        database = kit.postgres(database="priorities", dsn=dsn)
        assert database.name == f"{role}_own"
        assert ask(database.dsn, "SELECT count(*) FROM pgqueuer") == 0
        ask(database.dsn, ONE_JOB)


def test_in_a_database_that_was_taken_only_the_kits_tables_are_emptied(
    server: Postgres, sql: Sql, role: str
) -> None:
    sql(f"CREATE DATABASE {role}_own OWNER {role}")
    with kit.postgres(dsn=dsn_of(server, role, f"{role}_own")) as database:
        ask(database.dsn, "CREATE TABLE diary AS SELECT 'dear diary' AS entry")
        ask(database.dsn, "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        ask(database.dsn, ONE_JOB)
        kit.reset()
        assert ask(database.dsn, "SELECT count(*) FROM pgqueuer") == 0
        assert ask(database.dsn, "SELECT entry FROM diary") == "dear diary"
        ask(database.dsn, "ALTER TABLE pgqueuer ADD COLUMN colour text")
        kit.reset()
        assert ask(database.dsn, "SELECT entry FROM diary") == "dear diary"
        assert ask(database.dsn, "SELECT one()") == 1
        ask(database.dsn, "CREATE TABLE mine (job bigint REFERENCES pgqueuer)")
        with pytest.raises(kit.KitError, match="foreign key"):
            kit.reset()
        ask(database.dsn, "DROP TABLE pgqueuer CASCADE")
        ask(database.dsn, "CREATE VIEW seen AS SELECT * FROM pgqueuer_log")
        with pytest.raises(kit.KitError, match="seen"):
            kit.reset()
        assert ask(database.dsn, "SELECT count(*) FROM seen") == 0


def test_without_the_right_to_make_tables_the_error_names_the_grant(
    server: Postgres, sql: Sql, role: str
) -> None:
    sql(f"CREATE DATABASE {role}_own")
    with pytest.raises(kit.KitError, match=f'GRANT CREATE ON SCHEMA public TO "{role}"'):
        kit.postgres(dsn=dsn_of(server, role, f"{role}_own"))


def test_somebodys_database_of_the_name_the_kit_would_use_is_left_alone(
    server: Postgres, sql: Sql, shop: str, name: str
) -> None:
    taken = external.PREFIX + name
    sql(f"CREATE DATABASE {taken}")
    sql("CREATE TABLE precious AS SELECT 42 AS answer", database=taken)
    with pytest.raises(kit.KitError, match="the kit did not make it"):
        kit.postgres(database=name, dsn=dsns.beside(server.dsn, shop))
    assert sql("SELECT answer FROM precious", database=taken) == 42


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("postgresql://me:secret@127.0.0.1:1/db", "127.0.0.1:1, and no PostgreSQL lets this program in"),
        ("postgresql://me:secret@nowhere.invalid/db", "nowhere.invalid:5432"),
        ("host=localhost dbname=db", "it does not begin with 'postgresql://'"),
        ("mysql://me:secret@localhost/db", "is not the DSN of a PostgreSQL"),
        ("postgresql://me:secret@localhost:port/db", "names the port 'port'"),
    ],
)
def test_a_dsn_that_leads_nowhere_is_said_without_its_password(dsn: str, said: str) -> None:
    with pytest.raises(kit.KitError) as raised:
        kit.postgres(dsn=dsn)
    assert said in str(raised.value)
    assert "dsn=" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_wrong_password_is_said(server: Postgres, role: str) -> None:
    dsn = dsn_of(server, role, "postgres").replace("secret", "wrong")
    with pytest.raises(kit.KitError, match="password authentication failed"):
        kit.postgres(dsn=dsn)


@pytest.mark.parametrize(
    ("dsn", "variables"),
    [
        (
            "postgresql://a%40b:c%2Fd@db.example.org:6432/e%20f?sslmode=require",
            {
                "PGHOST": "db.example.org",
                "PGPORT": "6432",
                "PGUSER": "a@b",
                "PGPASSWORD": "c/d",
                "PGDATABASE": "e f",
            }
            | {"PGSSLMODE": "require"},
        ),
        ("postgres://[::1]:5433/x", {"PGHOST": "::1", "PGPORT": "5433", "PGDATABASE": "x"}),
        ("postgresql://[::1]/x", {"PGHOST": "::1", "PGPORT": "5432", "PGDATABASE": "x"}),
        ("postgresql://one:1,two:2/x", {"PGHOST": "one,two", "PGPORT": "1,2", "PGDATABASE": "x"}),
        ("postgresql:///x?host=/var/run/postgresql", {"PGHOST": "/var/run/postgresql", "PGDATABASE": "x"}),
        (
            "postgresql://me@host?dbname=x",
            {"PGHOST": "host", "PGPORT": "5432", "PGUSER": "me", "PGDATABASE": "x"},
        ),
    ],
)
def test_the_variables_say_what_the_dsn_says(dsn: str, variables: dict[str, str]) -> None:
    assert dsns.variables(dsn) == variables


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("postgresql://a:b@h:1/x?sslmode=require", "postgresql://a:b@h:1/y%20z?sslmode=require"),
        ("postgresql:///x?host=/run", "postgresql:///y%20z?host=%2Frun"),
        ("postgresql://h?dbname=x", "postgresql://h/y%20z"),
    ],
)
def test_another_database_in_a_dsn(dsn: str, expected: str) -> None:
    assert dsns.beside(dsn, "y z") == expected
