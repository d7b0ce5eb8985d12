"""The ``kit`` command, run as a learner runs it: as a program, in a real shell, against a real Postgres."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, Queries

import kit
from kit.cli import doctor, servers, terminal
from kit.database import PLAYGROUND, schema
from kit.sources import open_database, registry, sharing
from kit.threads import run_sync
from tests.cli.command import nothing_is_used, nothing_runs, refused, run
from tests.waiting import wait_until

CONSUMER = """
from contextlib import asynccontextmanager

import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer


@asynccontextmanager
async def main():
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))

    @pgq.entrypoint("greet")
    async def greet(job):
        print("hello", job.payload.decode())

    yield pgq
    await connection.close()
"""


# The command itself


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_bare_command_shows_what_there_is(arguments):
    answer = run(*arguments)
    assert answer.returncode == 0
    for command in ("lab", "env", "doctor", "reset", "stop", "class"):
        assert re.search(rf"^  {command} +[A-Z].*\.$", answer.stdout, re.MULTILINE)


def test_the_version_is_the_distributions():
    assert re.fullmatch(r"pgqueuer-kit \d+\.\d+\.\d+\n", run("--version").stdout)


def test_the_command_and_the_notebooks_call_the_same_database_playground():
    assert inspect.signature(kit.postgres).parameters["database"].default == PLAYGROUND


# kit env

BASH = shutil.which("bash") if sys.platform != "win32" else None
needs_bash = pytest.mark.skipif(BASH is None, reason="there is no bash here")


def in_bash(script: str, folder: Path) -> str:
    assert BASH is not None
    answer = subprocess.run([BASH, "-ec", script], capture_output=True, text=True, timeout=180, cwd=folder)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@needs_bash
def test_in_a_terminal_after_kit_env_a_job_is_enqueued_and_run_with_no_arguments(tmp_path):
    (tmp_path / "consumer.py").write_text(CONSUMER)
    said = in_bash(
        'eval "$(kit env from_a_terminal)"; pgq queue greet Ada; pgq run consumer:main --mode drain; '
        'python -c "import kit; print(list(kit.log().status))"',
        tmp_path,
    )
    assert "hello Ada" in said
    assert said.splitlines()[-1] == "['queued', 'picked', 'successful']"


@needs_bash
@pytest.mark.parametrize(
    "substitution", ["kit env", "kit env; true"], ids=["a command", "a list of commands"]
)
def test_postgres_stays_up_as_long_as_the_terminal_and_no_longer(tmp_path, substitution):
    assert BASH is not None
    wait_until("the servers and terminals of the tests before to end", nothing_is_used)
    script = f'eval "$({substitution})"; echo ready; read line'
    with subprocess.Popen(
        [BASH, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        assert shell.stdout.readline() == "ready\n"
        (server,) = registry.known()
        (user,) = sharing.users(server.folder)
        assert servers.describe(user).startswith(f"the terminal of process {shell.pid} ")
        # The keeper looks twice a second: it must see no user but the terminal, and leave the server up.
        with contextlib.suppress(subprocess.TimeoutExpired):
            shell.wait(2)
        assert server.running() is not None
        shell.stdin.close()
    wait_until("Postgres to stop after its last terminal", nothing_runs)


@needs_bash
def test_kit_env_leaves_the_jobs_of_a_database_where_they_are(tmp_path):
    said = in_bash(
        'eval "$(kit env kept)"; pgq queue greet Ada; eval "$(kit env kept)"; '
        'python -c "import kit; print(len(kit.jobs()))"',
        tmp_path,
    )
    assert said.splitlines()[-1] == "1"


@needs_bash
def test_kit_env_takes_away_a_variable_that_would_lead_elsewhere(tmp_path):
    said = in_bash(
        "export PGSERVICE=elsewhere PGHOST=elsewhere PGDSN=postgresql://elsewhere PGSSLMODE=require; "
        'eval "$(kit env)"; pgq queue greet Ada; echo ${PGSERVICE-gone} ${PGDSN-gone} $PGSSLMODE $PGDATABASE',
        tmp_path,
    )
    assert said.splitlines()[-1] == "gone gone disable playground"


@needs_bash
def test_a_terminal_that_runs_kit_env_again_is_held_for_once(tmp_path):
    shell, *said = in_bash(
        'echo $$; eval "$(kit env one)"; eval "$(kit env two)"; kit stop', tmp_path
    ).splitlines()
    assert len([line for line in said if line.startswith(f"Used by the terminal of process {shell} ")]) == 1


@needs_bash
@pytest.mark.docker
def test_a_container_serves_a_terminal_too_and_goes_with_it(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_POSTGRES", "docker")
        said = in_bash(
            'lines=$(kit env); eval "$lines"; pgq queue greet Ada; '
            'python -c "import kit; print(kit.jobs().entrypoint[0])"; kit stop',
            tmp_path,
        ).splitlines()
    assert said[-3] == "greet"
    assert said[-1] == "The Postgres in Docker is stopped, and its container with all databases is removed."


@needs_bash
def test_a_postgres_of_somebody_else_is_named_as_their_dsn_names_it(tmp_path):
    with open_database("embedded", "somewhere") as somebodys, pytest.MonkeyPatch.context() as patch:
        patch.delenv("KIT_POSTGRES")
        patch.setenv("KIT_DSN", somebodys.dsn)
        said = in_bash('eval "$(kit env)"; pgq queue greet Ada; echo $PGDATABASE', tmp_path)
        patch.delenv("KIT_DSN")
        with open_database("embedded", "pgqueuer_kit_playground") as theirs:
            assert run_sync(count_in(theirs.dsn)) == 1
    assert said.splitlines()[-1] == "pgqueuer_kit_playground"


AWKWARD = {"PGPASSWORD": 'it\'s "$HOME" \\ `id` %PATH% é!', "PGDATABASE": "two words"}
SHELLS = {
    "bash": ["bash", "-c"],
    "zsh": ["zsh", "-c"],
    "dash": ["dash", "-c"],
    "fish": ["fish", "-c"],
    "pwsh": ["pwsh", "-NoProfile", "-Command"],
}


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_reads_back_exactly_the_values_that_were_written_for_it(name, tmp_path):
    program = shutil.which(name)
    if program is None or (sys.platform == "win32" and name != "pwsh"):
        pytest.skip(f"there is no {name} here")
    show = tmp_path / "show.py"
    show.write_text(
        "import json, os; print(json.dumps({k: os.environ.get(k) for k in ('PGPASSWORD', 'PGDATABASE')}))"
    )
    python = f"& '{sys.executable}' '{show}'" if name == "pwsh" else f"'{sys.executable}' '{show}'"
    script = terminal.lines(AWKWARD, terminal.language_of(name)) + "\n" + python
    answer = subprocess.run([program, *SHELLS[name][1:], script], capture_output=True, text=True, timeout=60)
    assert json.loads(answer.stdout) == AWKWARD


def test_an_unknown_shell_is_refused_with_the_ones_the_kit_knows():
    assert "does not know the shell 'tcsh'. It knows: ash, bash" in refused(run("env", "--shell", "tcsh"))


# kit reset


@pytest.fixture
def jobs_in() -> Iterator[Callable[[str], kit.Postgres]]:
    with contextlib.ExitStack() as opened:

        def make(name: str) -> kit.Postgres:
            database = open_database("embedded", name)
            opened.callback(database.stop)
            run_sync(enqueue_in(database.dsn))
            return database

        yield make


async def enqueue_in(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await Queries(AsyncpgDriver(connection)).enqueue("greet", b"Ada")
    await connection.close()


async def count_in(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    count = await connection.fetchval("SELECT count(*) FROM pgqueuer")
    await connection.close()
    return int(count)


async def execute_in(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()


def test_kit_reset_empties_the_database_it_is_given_and_no_other(jobs_in):
    emptied, kept = jobs_in("emptied"), jobs_in("kept_full")
    answer = run("reset", "emptied")
    assert answer.stdout == f"Database 'emptied' on {emptied.target.where} is empty again.\n"
    assert run_sync(count_in(emptied.dsn)) == 0
    assert run_sync(count_in(kept.dsn)) == 1


def test_kit_reset_without_a_name_empties_the_database_of_its_terminal(jobs_in):
    database = jobs_in("of_this_terminal")
    assert run("reset", PGDATABASE="of_this_terminal").returncode == 0
    assert run_sync(count_in(database.dsn)) == 0


def test_kit_reset_refuses_a_database_the_kit_did_not_make(jobs_in):
    database = jobs_in("somebodys")
    run_sync(execute_in(database.dsn, "COMMENT ON DATABASE somebodys IS NULL"))
    assert "'somebodys'" in refused(run("reset", "somebodys"))
    assert run_sync(count_in(database.dsn)) == 1
    run_sync(execute_in(database.dsn, f"COMMENT ON DATABASE somebodys IS '{schema.MARK}'"))


# kit stop


def test_kit_stop_says_so_when_nothing_runs():
    wait_until("the servers and terminals of the tests before to end", nothing_is_used)
    answer = run("stop")
    assert answer.returncode == 0
    assert answer.stdout == "No Postgres of the kit's is running.\n"


@needs_bash
def test_kit_stop_stops_what_only_terminals_keep_up(tmp_path):
    said = in_bash('eval "$(kit env)"; kit stop; kit stop', tmp_path).splitlines()
    assert re.fullmatch(r"Used by the terminal of process \d+ \(process \d+\)\.", said[0])
    assert said[1:] == [
        "The embedded Postgres is stopped. Its databases are kept.",
        "No Postgres of the kit's is running.",
    ]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that uses the kit's Postgres until it is told to end."""
    code = "import kit; kit.postgres(database='in_use'); print('ready', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "ready\n":
            assert process.poll() is None
        yield process
        process.kill()


def test_kit_stop_leaves_a_server_alone_that_a_program_uses_and_names_the_program(program):
    answer = run("stop")
    assert "It is in use, so it was left running" in refused(answer)
    assert f"(process {program.pid})" in answer.stdout
    assert not nothing_runs()


def test_kit_stop_with_force_stops_it_for_good_and_keeps_its_databases(program, jobs_in):
    database = jobs_in("outlives_a_stop")
    assert run("stop", "--force").returncode == 0
    assert nothing_runs()
    database.stop()
    with open_database("embedded", "outlives_a_stop") as again:
        assert run_sync(count_in(again.dsn)) == 1


# kit doctor


def findings(answer: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {match[2]: match[1] for match in re.finditer(r"^(\S+) +(\w+) ", answer.stdout, re.MULTILINE)}


UTF8 = {"PYTHONIOENCODING": "utf-8"}


def test_kit_doctor_finds_nothing_broken_here_and_leaves_nothing_running():
    wait_until("the servers and terminals of the tests before to end", nothing_is_used)
    answer = run("doctor", **UTF8)
    assert answer.returncode == 0, answer.stdout
    assert list(findings(answer)) == list(doctor._CHECKS)
    assert "✗" not in answer.stdout
    assert "embedded starts here and lets the kit in" in answer.stdout
    wait_until("the end of the server that was tried", nothing_runs)


def test_kit_doctor_names_the_running_server_and_who_uses_it(program):
    answer = run("doctor", **UTF8)
    assert re.search(
        rf"✓ Postgres +embedded on 127\.0\.0\.1:\d+, used by .*process {program.pid}\)", answer.stdout
    )


TROUBLES = {
    "a word KIT_POSTGRES does not know": ({"KIT_POSTGRES": "dcoker"}, "Settings", "KIT_POSTGRES is 'dcoker'"),
    "an external server without an address": (
        {"KIT_POSTGRES": "external"},
        "Settings",
        "no KIT_DSN names one",
    ),
    "a DSN nobody answers": (
        {"KIT_DSN": "postgresql://me:secret@127.0.0.1:1/mine"},
        "Settings",
        "KIT_DSN names 127.0.0.1:1, and no PostgreSQL lets",
    ),
    "Docker asked for and off": (
        {"KIT_POSTGRES": "docker", "DOCKER_HOST": "tcp://127.0.0.1:1"},
        "Docker",
        "KIT_POSTGRES asks for it, and no Docker engine answered",
    ),
    "no binaries and no Docker": (
        {"KIT_PG_BIN": "/nowhere", "DOCKER_HOST": "tcp://127.0.0.1:1"},
        "Binaries",
        "set KIT_PG_BIN",
    ),
    "a home that is a file": ({"KIT_HOME": __file__}, "Disk", "set KIT_HOME"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_kit_doctor_finds_and_says_what_mends(trouble):
    environment, name, words = TROUBLES[trouble]
    answer = run("doctor", **UTF8, **environment)
    assert answer.returncode == 1
    assert findings(answer)[name] == "✗"
    assert words in answer.stdout
    assert "secret" not in answer.stdout
    assert answer.stderr == ""


def test_kit_doctor_takes_docker_being_off_lightly_while_there_are_binaries():
    answer = run("doctor", DOCKER_HOST="tcp://127.0.0.1:1", **UTF8)
    assert answer.returncode == 0
    assert findings(answer)["Docker"] == "–"


def test_kit_doctor_names_each_package_that_is_missing_or_of_a_wrong_version(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda _: ["not-there>=1", "typer<0.1", 'x; extra == "test"'])
    finding = doctor._packages()
    assert finding.state == "broken"
    assert re.fullmatch(r"not-there is missing; typer is [\d.]+, and the kit needs <0\.1", finding.says)
    assert "pip install" in finding.mend


def test_a_check_that_fails_itself_is_a_finding_and_the_others_go_on(monkeypatch):
    def fails() -> doctor.Finding:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(doctor, "_CHECKS", {"Ports": fails, "Python": doctor._python})
    (_, failed), (_, python) = doctor.examine()
    assert failed.state == "broken"
    assert failed.says == "this could not be looked at: ZeroDivisionError: division by zero"
    assert python.state == "good"


def test_kit_doctor_writes_words_where_a_terminal_has_no_ticks():
    answer = run("doctor", PYTHONIOENCODING="ascii")
    assert findings(answer)["Python"] == "ok"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else"
)
def test_kit_doctor_works_for_an_ordinary_user_without_a_home(request):
    temporary = tempfile.mkdtemp()  # where IPython leaves a folder for who has no home
    request.addfinalizer(lambda: shutil.rmtree(temporary))
    os.chmod(temporary, 0o777)
    environment = os.environ | UTF8 | {"HOME": "/nonexistent", "TMPDIR": temporary}
    options: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": [], "cwd": "/"}
    options |= {"env": environment, "capture_output": True, "text": True, "timeout": 120}
    try:
        subprocess.run([sys.executable, "-c", "import kit"], check=True, **options)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this environment is closed to other accounts")
    answer = subprocess.run([sys.executable, "-m", "kit.cli.app", "doctor"], **options)
    assert answer.stderr == ""
    assert list(findings(answer)) == list(doctor._CHECKS)
    assert "this could not be looked at" not in answer.stdout
    assert findings(answer)["Kernel"] == "✓"
    assert findings(answer)["Disk"] == "✗", "KIT_HOME is root's own here"


@pytest.mark.parametrize("runs", [True, False], ids=["while it runs", "when it is down"])
def test_kit_doctor_says_what_to_delete_when_nobody_gets_into_the_server(runs, own_home):
    opened = open_database("embedded")
    assert opened.server_folder is not None
    password = opened.server_folder / "password"
    whole = password.read_text()
    if not runs:
        opened.stop()
        wait_until("the end of the server", nothing_runs)
    try:
        for damaged in (b"", b"\xff cut sh"):
            password.write_bytes(damaged)
            finding = doctor._server()
            assert finding.state == "broken"
            assert f"delete the folder {str(opened.server_folder)!r}" in finding.says
    finally:
        password.write_text(whole)
        opened.stop()
    assert doctor._server().state == "good"


@pytest.mark.parametrize("variable", [("PGSSLMODE", "require"), ("PGTARGETSESSIONATTRS", "read-only")])
def test_kit_doctor_does_not_care_what_the_environment_says_of_other_servers(variable):
    answer = run("doctor", **UTF8, **dict([variable]))
    assert answer.returncode == 0, answer.stdout


def test_kit_doctor_names_another_package_that_brings_a_kit(tmp_path, monkeypatch):
    assert doctor._name().state == "good"
    theirs = tmp_path / "kit-0.5.dist-info"
    theirs.mkdir()
    (theirs / "METADATA").write_text("Metadata-Version: 2.1\nName: kit\nVersion: 0.5\n")
    (theirs / "top_level.txt").write_text("kit\n")
    monkeypatch.syspath_prepend(tmp_path)
    finding = doctor._name()
    assert finding.state == "broken"
    assert finding.says == "kit brings a package `kit`, too, and one hides the other"
    assert "pip uninstall kit`" in finding.mend
