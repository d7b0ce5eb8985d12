"""What lies on disk is not simply believed, and nothing killed, frozen or damaged keeps a server up."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

import kit
from kit.cli import servers as command
from kit.sources import account, files, open_database, registry, sharing
from kit.sources.embedded import Embedded
from tests.sources.processes import ROOT, Program, ask, keepers, processes, servers
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals and accounts")
as_root = pytest.mark.skipif(not files.is_root(), reason="only root can make files of another account")
NOBODY = 65534
GONE = '{"id": "gone", "host": "127.0.0.1", "port": 1, "password": "x"}'


def folder_of(home: Path) -> Path:
    [folder] = home.glob("embedded-*")
    return folder


def stop_quietly() -> list[str]:
    said: list[str] = []
    command.stop_all(force=True, say=said.append)
    return said


# What server.json says


@pytest.mark.parametrize(
    "record",
    [
        '{"module": "subprocess", "class": "Popen", "arguments": [["touch", "%s"]]}',
        '{"source": "subprocess", "runs": "%s"}',
        '{"source": ["docker"], "runs": "%s"}',
        "[]",
        "null",
        '{"source": "embed',
        "",
        "\x00\xff",
    ],
)
def test_a_record_that_names_no_source_of_the_kits_runs_nothing_and_is_passed_over_in_a_line(
    record: str, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = own_home / "ran"
    strange = own_home / "strange"
    strange.mkdir(mode=0o700)
    (strange / "server.json").write_text(record.replace("%s", str(ran)), "latin-1")
    assert registry.known() == []
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "strange/server.json' is passed over" in said
    assert stop_quietly() == ["No Postgres of the kit's is running."]
    assert not ran.exists()


@as_root
@pytest.mark.parametrize("whose", ["folder", "record"])
def test_a_record_of_another_account_is_passed_over(
    whose: str, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = own_home / "docker"
    strange.mkdir(mode=0o755)
    record = strange / "server.json"
    record.write_text('{"source": "docker", "runs": "evil"}')
    assert registry.known() != []
    os.chown(strange if whose == "folder" else record, NOBODY, NOBODY)
    assert registry.known() == []
    assert "is not this account's alone" in capsys.readouterr().err


@as_root
def test_the_folder_of_another_account_is_said_plainly(own_home: Path) -> None:
    folder = Embedded.find().folder
    folder.mkdir(mode=0o777)
    os.chown(folder, NOBODY, NOBODY)
    with pytest.raises(kit.KitError, match=r"belongs to the account 'nobody'.*KIT_HOME"):
        kit.postgres("embedded")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("link", [True, False], ids=["a link", "a folder that the kit did not make"])
def test_a_folder_of_somebodys_is_refused_and_stays_as_it_is(link: bool, own_home: Path) -> None:
    folder = Embedded.find().folder
    theirs = own_home / "theirs" if link else folder
    theirs.mkdir(mode=0o755)
    (theirs / "program").touch(0o755)
    if link:
        folder.symlink_to(theirs)
    what = "is a link" if link else "is a folder that the kit did not make"
    with pytest.raises(kit.KitError, match=f"{folder.name}' {what}.*KIT_HOME"):
        kit.postgres("embedded")
    assert [path.name for path in theirs.iterdir()] == ["program"]
    assert stat.S_IMODE((theirs / "program").stat().st_mode) == 0o755
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o755


def test_a_file_that_somebody_puts_into_the_servers_folder_keeps_its_mode(own_home: Path) -> None:
    with open_database("embedded"):
        program = folder_of(own_home) / "program"
        program.touch(0o755)
        folder_of(own_home).chmod(0o755)
    with open_database("embedded"):
        assert stat.S_IMODE(program.stat().st_mode) == 0o755
        assert stat.S_IMODE(folder_of(own_home).stat().st_mode) & 0o066 == 0


# Closed to others


def test_nothing_of_a_server_is_open_to_other_accounts(own_home: Path) -> None:
    with Program(own_home, "embedded") as program:
        program.says()
        wait_until("the keeper", lambda: keepers(own_home))
        folder = folder_of(own_home)
        assert stat.S_IMODE(folder.stat().st_mode) == (0o711 if files.is_root() else 0o700)
        for path in folder.rglob("*"):
            if "data" not in path.relative_to(folder).parts[:1] and "programs" not in str(path):
                assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


@as_root
def test_giving_a_file_to_the_account_follows_no_link(own_home: Path) -> None:
    precious = own_home / "precious"
    precious.touch()
    (own_home / "link").symlink_to(precious)
    account.give(own_home / "link")
    assert precious.stat().st_uid == 0


# Killed and frozen


def wait_for_another_keeper(home: Path, before: psutil.Process) -> None:
    wait_until("another keeper", lambda: keepers(home) not in ([], [before]))


def test_a_killed_keeper_is_replaced_while_somebody_uses_the_server(own_home: Path) -> None:
    with Program(own_home, "embedded") as program:
        dsn = program.says()["dsn"]
        for _ in range(2):
            wait_until("a keeper", lambda: keepers(own_home))
            [before] = keepers(own_home)
            before.kill()
            wait_for_another_keeper(own_home, before)
        assert ask(dsn, "SELECT 1") == 1


def test_a_program_and_its_keeper_that_are_killed_leave_nothing_behind(own_home: Path) -> None:
    with Program(own_home, "embedded") as program:
        program.says()
        wait_until("the keeper", lambda: keepers(own_home))
        for each in keepers(own_home):
            each.kill()
        program.kill()
        wait_until("the end of the server", lambda: not processes(own_home))


def test_a_program_and_its_keeper_that_are_killed_while_they_start_leave_nothing_behind(
    own_home: Path,
) -> None:
    with Program(own_home, "embedded") as program:
        wait_until("the start of the cluster", lambda: list(own_home.glob("embedded-*/making-*")))
        program.kill()
        for each in keepers(own_home):
            each.kill()
    wait_until("the end of what was begun", lambda: not processes(own_home))


def test_a_frozen_keeper_holds_up_nobody_and_ends_with_kit_stop(own_home: Path) -> None:
    with Program(own_home, "embedded") as program:
        program.says()
        wait_until("the keeper", lambda: sharing.is_held(folder_of(own_home) / "keeper.lock"))
        [frozen] = keepers(own_home)
        frozen.suspend()
        with Program(own_home, "embedded") as second:
            assert ask(second.says()["dsn"], "SELECT 1") == 1
        assert stop_quietly()[-1] == "The embedded Postgres is stopped. Its databases are kept."
        wait_until("the end of the frozen keeper", lambda: not keepers(own_home) and not servers(own_home))
        wait_until("the end of what runs the keeper again", lambda: len(processes(own_home)) == 0)


def test_whoever_waits_for_another_process_is_told_what_for(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sharing, "SOON", 0.05)
    monkeypatch.setattr(sharing, "LATE", 0.05)
    entered = threading.Event()

    def enter() -> None:
        with sharing.locked(own_home / "embedded"):
            entered.set()

    waiting = threading.Thread(target=enter)
    with sharing.locked(own_home / "embedded"):
        waiting.start()
        wait_until("the word", lambda: "Waiting for another process" in capsys.readouterr().err)
        assert not entered.is_set()
    waiting.join(30)
    assert entered.is_set()


def test_a_keeper_that_is_frozen_while_it_stops_the_server_holds_up_nobody(own_home: Path) -> None:
    with Program(own_home, "embedded") as program:
        program.says()
        wait_until("the keeper", lambda: sharing.is_held(folder_of(own_home) / "keeper.lock"))
        [keeper] = keepers(own_home)
        [server] = servers(own_home)
        server.suspend()  # so that it takes a while to stop
    wait_until("the keeper that stops it", lambda: sharing.is_held(folder_of(own_home) / "start.lock"))
    keeper.suspend()
    server.resume()
    with Program(own_home, "embedded") as second:
        assert ask(second.says()["dsn"], "SELECT 1") == 1
    assert not keeper.is_running()


@pytest.mark.parametrize("used", [True, False])
def test_a_keeper_whose_docker_is_gone_for_good_gives_up_and_says_so(used: bool, own_home: Path) -> None:
    folder = own_home / "docker"
    with sharing.locked(folder):
        lease = sharing.Lease(folder)
    if not used:
        lease.release()
    files.write(folder / "container.json", GONE)
    files.write(folder / "server.json", '{"source": "docker", "runs": "postgres:18"}')
    environment = os.environ | {"DOCKER_HOST": "tcp://127.0.0.1:1", "PYTHONPATH": str(ROOT)}
    code = (
        "import sys, pathlib; from kit.sources import keeper; keeper.GIVE_UP = 2;"
        "keeper.keep(pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "server.json")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "The keeper gave up" in done.stdout.splitlines()[-1]
    lease.release()


def test_kit_stop_ends_a_keeper_whose_docker_is_gone(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    folder = own_home / "docker"
    with sharing.locked(folder):
        lease = sharing.Lease(folder)
        files.write(folder / "container.json", GONE)
        files.write(folder / "server.json", '{"source": "docker", "runs": "postgres:18"}')
        sharing.start_keeper(folder)
    wait_until("the keeper", lambda: sharing.is_held(folder / "keeper.lock"))
    with pytest.raises(kit.KitError, match=r"could not be removed.*kit stop"):
        stop_quietly()
    wait_until("the end of the keeper", lambda: not processes(own_home))
    lease.release()


def test_sixteen_programs_at_once_some_killed_half_way_leave_one_server_and_then_none(own_home: Path) -> None:
    with contextlib.ExitStack() as stack:
        programs = [stack.enter_context(Program(own_home, "embedded")) for _ in range(16)]
        for victim in programs[::4]:
            victim.kill()
        said = {each.says().get("dsn") for each in programs if each not in programs[::4]}
        assert len(said) == 1
        assert None not in said
        assert len(servers(own_home)) == 1
    wait_until("the end of the server", lambda: not processes(own_home))
    assert list((folder_of(own_home) / "users").iterdir()) == []


# Damaged


@pytest.mark.parametrize("damage", ["", "garbage\x00", None])
def test_a_damaged_password_file_is_said_at_once_with_what_to_delete(
    damage: str | None, own_home: Path
) -> None:
    with Program(own_home, "embedded") as program:
        program.says()
        password = folder_of(own_home) / "password"
        password.unlink()
        if damage is not None:
            password.write_text(damage)
        begin = time.monotonic()
        with pytest.raises(kit.KitError, match=r"password'.*kit stop --force.*delete the folder"):
            kit.postgres("embedded")
        assert time.monotonic() - begin < 5
    wait_until("the end of the server", lambda: not processes(own_home))
    shutil.rmtree(folder_of(own_home))
    with kit.postgres("embedded") as database:
        assert ask(database.dsn, "SELECT 1") == 1


@pytest.mark.parametrize("garbage", ["garbage", "99999", "-1", "", "\x00", "5" * 30])
def test_garbage_in_the_file_of_the_port_is_not_used(garbage: str, own_home: Path) -> None:
    folder = Embedded.find().folder
    with sharing.locked(folder):
        (folder / "port").write_text(garbage)
    with open_database("embedded") as database:
        assert ask(database.dsn, "SELECT 1") == 1


@pytest.mark.parametrize("bad", ["/tmp/a\nb", "~nobody-of-that-name/kit", "/tmp/\x1b[31m"])
def test_a_home_that_no_path_can_be_is_said_plainly(bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIT_HOME", bad)
    with pytest.raises(kit.KitError, match=r"KIT_HOME is '.*unset it"):
        kit.postgres("embedded")
