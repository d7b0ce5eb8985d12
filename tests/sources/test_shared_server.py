"""One server and several people on it: nobody takes, or empties without a word, what is another's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest

import kit
from kit.database import dsn as dsns
from kit.database import emptying
from kit.database.schema import MARK
from kit.sources import Postgres, external, open_database
from tests.sources.processes import CONSUMER, Program, ask

Sql = Callable[..., Any]
ONE_JOB = "INSERT INTO pgqueuer (priority, status, entrypoint) VALUES (0, 'queued', 'fetch') RETURNING id"


@pytest.fixture
def two(server: Postgres, sql: Sql, name: str) -> Iterator[tuple[str, str]]:
    """The DSNs of two roles that may make databases, and have no part in each other."""
    roles = (f"{name}_ada", f"{name}_bob")
    for role in roles:
        sql(f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD 'secret'")
    login = server.dsn.split("//")[1].split("@")[0]
    first, second = (dsns.beside(server.dsn, "postgres").replace(login, f"{role}:secret") for role in roles)
    yield first, second
    for role in roles:
        for database in (external.PREFIX + name, f"{external.PREFIX}{role}_{name}"):
            sql(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        sql(f"DROP ROLE {role}")


def test_two_roles_each_get_a_database_of_their_own(two: tuple[str, str], name: str) -> None:
    ada = kit.postgres(database=name, dsn=two[0])
    ask(ada.dsn, ONE_JOB)
    bob = kit.postgres(database=name, dsn=two[1])
    assert (ada.name, bob.name) == (f"pgqueuer_kit_{name}", f"pgqueuer_kit_{name}_bob_{name}")
    kit.reset()
    assert kit.postgres(database=name, dsn=two[1]).name == bob.name
    assert ask(ada.dsn, "SELECT count(*) FROM pgqueuer") == 1


MANY = 12


@pytest.fixture
def many(server: Postgres, sql: Sql, name: str) -> Iterator[list[str]]:
    """The DSNs of as many roles as a class has; half of them name a database of their own."""
    roles = [f"{name}_{number}" for number in range(MANY)]
    login = server.dsn.split("//")[1].split("@")[0]
    for role in roles:
        sql(f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD 'secret'")
    for role in roles[::2]:
        sql(f"CREATE DATABASE {role} OWNER {role}")
    databases = [role if number % 2 == 0 else "postgres" for number, role in enumerate(roles)]
    yield [
        dsns.beside(server.dsn, database).replace(login, f"{role}:secret")
        for role, database in zip(roles, databases, strict=True)
    ]
    for role in roles:
        for database in (external.PREFIX + name, f"{external.PREFIX}{role}_{name}", role):
            sql(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        sql(f"DROP ROLE {role}")


def test_a_class_that_starts_the_same_lesson_at_once_gets_a_database_each(many: list[str], name: str) -> None:
    together = threading.Barrier(MANY)

    def start(dsn: str) -> Postgres:
        together.wait()
        return open_database(database=name, dsn=dsn, fresh=True)

    with ThreadPoolExecutor(MANY) as pool:
        opened = list(pool.map(start, many))
    assert len({each.name for each in opened}) == MANY
    owner = (
        "SELECT pg_get_userbyid(datdba) = current_user FROM pg_database WHERE datname = current_database()"
    )
    assert all(ask(each.dsn, owner) for each in opened)


def test_a_name_that_other_roles_have_both_of_is_said_plainly(
    two: tuple[str, str], name: str, sql: Sql
) -> None:
    kit.postgres(database=name, dsn=two[0])
    kit.postgres(database=f"{name}_bob_{name}", dsn=two[0])  # as the kit would name bob's own
    with pytest.raises(kit.KitError, match=r"belongs to another role\. Use another name"):
        kit.postgres(database=name, dsn=two[1])
    sql(f"DROP DATABASE {external.PREFIX}{name}_bob_{name} WITH (FORCE)")


def test_a_queue_that_another_program_uses_is_not_emptied_without_a_word(
    two: tuple[str, str], name: str, home: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    database = kit.postgres(database=name, dsn=two[0])
    ask(database.dsn, ONE_JOB.replace("'fetch'", "'nobody knows it'"))
    with Program(home, database.dsn, code=CONSUMER) as program:
        program.says()
        capsys.readouterr()
        kit.postgres(database=name, dsn=two[0])
        said = capsys.readouterr().out
    assert "Emptied: 1 job." in said
    assert "Another program uses the queue in this database" in said


def test_a_transaction_that_was_left_open_is_named_until_the_connection_is_reset(
    server: Postgres, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kit.postgres("embedded", database=name)

    async def left_open() -> tuple[int, list[str]]:
        connection = await asyncpg.connect()
        said = []
        try:
            await connection.execute("BEGIN")
            for _ in range(2):
                await asyncio.sleep(emptying.FORGOTTEN * 1.2)
                capsys.readouterr()
                kit.postgres("embedded", database=name)
                said.append(capsys.readouterr().out)
                await connection.reset()
            return connection.get_server_pid(), said
        finally:
            await connection.close()

    pid, (before, after) = asyncio.run(left_open())
    assert before.startswith(
        f"Beware: connection {pid} (without a name, idle in transaction) has had a trans"
    )
    assert "await connection.reset()" in before
    assert after == ""


def test_ids_do_not_start_anew_while_a_consumer_has_a_job(server: Postgres, name: str, home: Any) -> None:
    database = kit.postgres("embedded", database=name)
    with Program(home, database.dsn, code=CONSUMER) as program:
        program.says()
        last = ask(database.dsn, ONE_JOB.replace("'queued', 'fetch'", "'picked', 'elsewhere'"))
        kit.postgres("embedded", database=name)
        assert ask(database.dsn, ONE_JOB) == last + 1


def test_ids_start_anew_when_whoever_had_a_job_is_gone(server: Postgres, name: str) -> None:
    database = kit.postgres("embedded", database=name)
    ask(database.dsn, ONE_JOB.replace("'queued'", "'picked'"))
    kit.postgres("embedded", database=name)
    assert ask(database.dsn, ONE_JOB) == 1


def test_a_marked_table_of_staged_jobs_does_not_make_somebodys_database_the_kits(
    server: Postgres, sql: Sql, name: str
) -> None:
    sql(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
    sql(f"CREATE DATABASE {name} OWNER {name}")
    login = server.dsn.split("//")[1].split("@")[0]
    dsn = dsns.beside(server.dsn, name).replace(login, f"{name}:secret")
    try:
        ask(dsn, "CREATE TABLE kit_runs AS SELECT 1 AS id")
        ask(dsn, f"COMMENT ON TABLE kit_runs IS '{MARK}'")
        with pytest.raises(kit.KitError, match="is not empty"):
            kit.postgres(dsn=dsn)
        assert ask(dsn, "SELECT count(*) FROM kit_runs") == 1
    finally:
        sql(f"DROP DATABASE {name} WITH (FORCE)")
        sql(f"DROP ROLE {name}")


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("postgresql://me:secret@localhost:99999/db", "'99999'"),
        ("postgresql://me:secret@[::zz]:5432/db", "address"),
        ("me:secret@localhost/db", "does not begin with 'postgresql://'"),
        ("postgresql://me:secret@[::1/db", "address"),
    ],
)
def test_a_dsn_that_cannot_be_one_is_refused_without_its_password(dsn: str, said: str) -> None:
    with pytest.raises(kit.KitError) as raised:
        kit.postgres(dsn=dsn)
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(kit.KitError, match=r"database=5: a name is a text"):
        kit.postgres("embedded", database=5)  # type: ignore[arg-type]


async def test_the_setup_cell_run_again_stops_the_consumer(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from pgqueuer import AsyncpgDriver, PgQueuer

    async def main() -> PgQueuer:
        return PgQueuer(AsyncpgDriver(await asyncpg.connect()))

    kit.postgres("embedded", database=name)
    consumer = kit.run(main, name="lesson")
    capsys.readouterr()
    kit.postgres("embedded", database=name)
    assert consumer.state == "stopped"
    assert capsys.readouterr().out == ""
