"""A server for one process alone: whoever crashes it hurts nobody else."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

import kit
from kit.sources import docker, open_database, registry
from tests.sources.processes import Program, ask, processes, servers
from tests.waiting import wait_until

CRASH = "COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'"
ALONE = Program.code.replace('database="lesson"', 'database="lesson", alone=True')
SOURCES = ["embedded", pytest.param("docker", marks=pytest.mark.docker)]


def crash(dsn: str) -> None:
    """Crash the server of ``dsn``, and return when it has recovered."""
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        ask(dsn, CRASH)

    def answers() -> bool:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return bool(ask(dsn, "SELECT true"))
        return False

    wait_until("the server after its crash", answers)


@pytest.mark.parametrize("source", SOURCES)
async def test_a_crash_of_it_reaches_no_session_of_the_shared_server_nor_of_anothers_own(
    source: str, own_home: Path
) -> None:
    with (
        open_database(source, "lesson") as shared,
        Program(own_home, source, code=ALONE, KIT_POSTGRES_IMAGE=docker.image()) as other,
        kit.postgres(source, database="lesson", alone=True) as own,
    ):
        everybodys = [await asyncpg.connect(dsn) for dsn in (shared.dsn, other.says()["dsn"])]
        crash(own.dsn)
        assert [await connection.fetchval("SELECT 1") for connection in everybodys] == [1, 1]
        for connection in everybodys:
            await connection.close()
    wait_until("the end of the keepers", lambda: not processes(own_home, "server.json"))


def test_the_line_says_that_nobody_else_uses_it_and_the_same_cell_again_takes_the_same(
    own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, again = (kit.postgres("embedded", database="lesson", alone=True) for _ in range(2))
    (said,) = capsys.readouterr().out.splitlines()  # the same cell again says nothing
    assert said.endswith(": you asked for it; nobody else uses it.")
    assert first.dsn == again.dsn
    assert len(servers(own_home)) == 1


def test_programs_that_start_at_once_get_a_server_each_and_what_the_dead_had_is_used_again(
    own_home: Path,
) -> None:
    with Program(own_home, "embedded", code=ALONE) as one, Program(own_home, "embedded", code=ALONE) as two:
        assert one.says()["dsn"] != two.says()["dsn"]
        one.kill()
        two.kill()
    wait_until("the end of both servers", lambda: not processes(own_home))
    with Program(own_home, "embedded", code=ALONE) as three:
        three.says()
        assert len(registry.known()) == 2


def test_without_a_source_it_is_of_the_kind_that_runs_already_and_nobody_is_led_there(own_home: Path) -> None:
    with open_database("embedded", "lesson") as shared, kit.postgres(database="lesson", alone=True) as own:
        assert (own.source, own.why) == ("embedded", "one of its kind runs already; nobody else uses it")
        with open_database(database="lesson") as later:
            assert later.dsn == shared.dsn != own.dsn


@pytest.mark.parametrize("named", ["dsn=", "KIT_DSN"])
def test_somebodys_server_is_not_to_be_had_alone(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dsn = "postgresql://me:secret@db.example.org/shop"
    monkeypatch.setenv("KIT_DSN", dsn)
    monkeypatch.delenv("KIT_POSTGRES", raising=False)
    with pytest.raises(kit.KitError, match=rf"^{named} names a server that others .*'embedded', alone=True"):
        kit.postgres(dsn=dsn if named == "dsn=" else None, alone=True)


def test_a_database_beside_it_is_on_the_same_server(own_home: Path) -> None:
    with kit.postgres("embedded", database="lesson", alone=True) as own, own.database("other") as beside:
        assert beside.target.variables()["PGPORT"] == own.target.variables()["PGPORT"]
        assert ask(beside.dsn, "SELECT count(*) FROM pgqueuer") == 0
