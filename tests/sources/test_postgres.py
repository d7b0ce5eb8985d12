"""``kit.postgres()``: which source, what it says, and what it does to this process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import kit
from kit.database import dsn as dsns
from kit.session import session
from kit.sources import Postgres, open_database
from tests.sources.processes import CONSUMER, Program, ask

Sql = Callable[..., Any]
NAMES = ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE")
ONE_JOB = "INSERT INTO pgqueuer (priority, status, entrypoint) VALUES (0, 'queued', 'fetch')"


@pytest.fixture(autouse=True)
def embedded_server(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the server of these tests."""
    for variable in (*NAMES, "KIT_DSN", "KIT_POSTGRES"):
        monkeypatch.delenv(variable, raising=False)


def test_it_says_in_one_line_what_where_and_why(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    database = kit.postgres("embedded", database=name)
    said = f"PostgreSQL {database.version}, embedded, database {name!r}: you asked for it.\n"
    assert capsys.readouterr().out == said
    kit.postgres("embedded", database=name)
    assert capsys.readouterr().out == "", "a section that begins again has nothing new to say"


def test_the_password_is_not_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    database = kit.postgres("embedded", database=name)
    password = dsns.variables(database.dsn)["PGPASSWORD"]
    assert password not in repr(database) + capsys.readouterr().out


async def test_afterwards_asyncpg_needs_no_arguments(name: str) -> None:
    kit.postgres("embedded", database=name)
    connection = await asyncpg.connect()
    try:
        assert await connection.fetchval("SELECT current_database()") == name
        assert await connection.fetchval("SELECT count(*) FROM pgqueuer") == 0
    finally:
        await connection.close()


def test_afterwards_pgq_needs_no_arguments(name: str) -> None:
    kit.postgres("embedded", database=name)
    done = subprocess.run(
        [sys.executable, "-m", "pgqueuer", "verify", "--expect", "present"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_calling_it_again_adopts_the_server_and_empties_the_database(name: str) -> None:
    first = kit.postgres("embedded", database=name)
    ask(first.dsn, ONE_JOB)
    second = kit.postgres("embedded", database=name)
    assert second.dsn == first.dsn
    assert ask(second.dsn, "SELECT count(*) FROM pgqueuer") == 0


def test_not_fresh_keeps_the_rows(name: str) -> None:
    ask(kit.postgres("embedded", database=name).dsn, ONE_JOB)
    assert ask(kit.postgres("embedded", database=name, fresh=False).dsn, "SELECT count(*) FROM pgqueuer") == 1


class Stoppable:
    name = "main"
    alive = True
    stopped = False
    backends = ()

    def stop(self) -> None:
        self.stopped = True


def test_it_stops_the_consumers_of_this_process_unless_it_is_told_to_keep_all(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = Stoppable()
    monkeypatch.setattr(session, "consumers", {"main": consumer})
    kit.postgres("embedded", database=name, fresh=False)
    assert not consumer.stopped
    kit.postgres("embedded", database=name)
    assert consumer.stopped


def test_stop_puts_the_variables_back_as_they_were(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example.org")
    before = {variable: os.environ.get(variable) for variable in NAMES}
    kit.postgres("embedded", database=name)
    again = kit.postgres("embedded", database=name)
    assert os.environ["PGHOST"] == "127.0.0.1"
    again.stop()
    assert {variable: os.environ.get(variable) for variable in NAMES} == before
    assert session.database is None


def test_a_block_inside_another_goes_back_to_the_outer_database(name: str) -> None:
    with kit.postgres("embedded", database=name) as outer:
        with outer.database(f"{name}_inner") as inner:
            assert os.environ["PGDATABASE"] == inner.name == f"{name}_inner"
            inner.drop()
        assert os.environ["PGDATABASE"] == name
        assert session.database is outer
    assert session.database is None


def test_another_database_of_the_server_does_not_change_this_process(name: str) -> None:
    with kit.postgres("embedded", database=name) as database:
        beside = database.database(f"{name}_beside")
        assert ask(beside.dsn, "SELECT count(*) FROM pgqueuer") == 0
        assert os.environ["PGDATABASE"] == name
        beside.drop()
        beside.stop()


def test_without_an_argument_it_uses_the_server_that_runs_already(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kit.postgres(database=name).source == "embedded"
    assert "it runs already" in capsys.readouterr().out


def test_kit_postgres_decides_for_a_whole_class(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KIT_POSTGRES", "embedded")
    monkeypatch.setenv("KIT_DSN", "postgresql://nowhere.invalid/db")
    assert kit.postgres(database=name).source == "embedded"
    assert capsys.readouterr().out.endswith(": it runs already.\n")


def test_who_never_set_kit_postgres_does_not_read_of_it(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kit lab` starts a server and sets the variable for its kernels."""
    monkeypatch.setenv("KIT_POSTGRES", "embedded")
    assert kit.postgres().why == "KIT_POSTGRES asks for it"
    assert kit.postgres().why == "it runs already"
    assert kit.postgres("embedded").why == "you asked for it"


def test_a_dsn_comes_before_docker_and_embedded(
    name: str, server: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KIT_DSN", dsns.beside(server.dsn, "postgres"))
    assert kit.postgres(database=name).source == "external"
    assert "KIT_DSN names it" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["embeded", "Docker", "sqlite"])
def test_a_source_that_there_is_not_is_named_and_the_others_listed(source: str) -> None:
    with pytest.raises(kit.KitError, match=f"no source {source!r}.*auto, docker, embedded, external"):
        kit.postgres(source)


def test_a_wrong_kit_postgres_is_told_from_a_wrong_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIT_POSTGRES", "dokcer")
    with pytest.raises(kit.KitError, match="'dokcer', which KIT_POSTGRES names"):
        kit.postgres()


def test_external_without_a_dsn_asks_for_one() -> None:
    with pytest.raises(kit.KitError, match="Set KIT_DSN"):
        kit.postgres("external")


def test_a_dsn_for_the_embedded_server_is_refused() -> None:
    with pytest.raises(kit.KitError, match=r"the source asks for 'embedded'\. Leave one of them out"):
        kit.postgres("embedded", dsn="postgresql://localhost/x")


def test_a_dsn_beside_kit_postgres_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIT_POSTGRES", "embedded")
    with pytest.raises(kit.KitError, match=r"KIT_POSTGRES asks for 'embedded'.*\(\"external\", dsn=…\)"):
        kit.postgres(dsn="postgresql://localhost/x")


def test_an_address_of_sqlalchemys_leads_to_the_server(server: Postgres, name: str) -> None:
    dsn = (
        dsns.beside(server.dsn, "postgres").replace("postgresql://", "postgresql+asyncpg://") + "?ssl=prefer"
    )
    with kit.postgres(dsn=dsn, database=name) as opened:
        assert ask(opened.dsn, "SELECT count(*) FROM pgqueuer") == 0


@pytest.mark.parametrize("bad", ["", "x" * 64, "a\nb", "postgres", "template1"])
def test_a_name_that_no_database_can_have_is_refused(bad: str) -> None:
    with pytest.raises(kit.KitError, match="name"):
        kit.postgres("embedded", database=bad)


@pytest.mark.parametrize("unusual", ["Größe 1", '"quotes"', "semi;colon", "per%cent/slash", "drop'table"])
def test_an_unusual_name_is_taken_as_it_is(unusual: str) -> None:
    with kit.postgres("embedded", database=unusual) as database:
        assert ask(database.dsn, "SELECT current_database()") == unusual
        assert os.environ["PGDATABASE"] == unusual
        database.drop()


def test_somebody_elses_database_of_that_name_is_left_alone(name: str, sql: Sql) -> None:
    sql(f"CREATE DATABASE {name}")
    sql("CREATE TABLE precious AS SELECT 42 AS answer", database=name)
    with pytest.raises(kit.KitError, match=f"{name!r} already, and the kit did not make it"):
        kit.postgres("embedded", database=name)
    assert sql("SELECT answer FROM precious", database=name) == 42
    assert sql("SELECT to_regclass('pgqueuer')", database=name) is None


def test_a_consumer_of_another_program_is_told_in_a_second_line(
    name: str, home: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    database = kit.postgres("embedded", database=name)
    assert len(capsys.readouterr().out.splitlines()) == 1
    with Program(home, database.dsn, code=CONSUMER) as program:
        program.says()
        database = kit.postgres("embedded", database=name)
        said = capsys.readouterr().out.splitlines()
        assert len(said) == 2
        assert "Another program uses the queue" in said[1]


async def test_an_open_connection_of_this_program_is_no_stranger(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    database = kit.postgres("embedded", database=name)
    connection = await asyncpg.connect()
    try:
        assert len(capsys.readouterr().out.splitlines()) == 1
        await connection.execute(ONE_JOB)
        session.leave(database)
        kit.postgres("embedded", database=name)
        assert "Emptied: 1 job." in capsys.readouterr().out, "as when a kernel was restarted"
        await connection.execute(ONE_JOB)
        kit.postgres("embedded", database=name)
        assert capsys.readouterr().out == ""
    finally:
        await connection.close()


def test_opening_a_database_prints_nothing_and_keeps_its_rows(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for expected in (0, 1):
        database = open_database("embedded", name)
        assert ask(database.dsn, "SELECT count(*) FROM pgqueuer") == expected
        ask(database.dsn, ONE_JOB)
        database.stop()
    assert capsys.readouterr().out == ""
    assert session.database is None


def test_a_prefix_for_pgqueuers_tables_is_said_instead_of_failing_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGQUEUER_PREFIX", "mine_")
    with pytest.raises(kit.KitError, match="PGQUEUER_PREFIX is set to 'mine_'"):
        kit.postgres("embedded")
