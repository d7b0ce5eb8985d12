"""The pytest fixtures, used as any project would use them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver
from pgqueuer.queries import Queries

from kit.database import temporary
from kit.sources import Postgres
from tests.sources.processes import ROOT, ask

A_PROJECT = """
import asyncio, os
import asyncpg
import pytest
from pgqueuer import AsyncpgDriver
from pgqueuer.queries import Queries

async def enqueue():
    connection = await asyncpg.connect()
    await Queries(AsyncpgDriver(connection)).enqueue("fetch", b"x")
    rows = await connection.fetch("SELECT id FROM pgqueuer")
    await connection.close()
    return [row["id"] for row in rows]

names = []

@pytest.mark.parametrize("number", [1, 2])
def test_each_test_has_a_queue_of_its_own(queue_database, number):
    assert asyncio.run(enqueue()) == [1]
    assert os.environ["PGDATABASE"] == queue_database.name
    assert queue_database.name not in names
    names.append(queue_database.name)

def test_a_test_that_fails_is_cleaned_up_after(queue_database):
    names.append(queue_database.name)
    assert False

def test_variables_are_back_and_databases_gone(queue_server):
    assert "PGDATABASE" not in os.environ
    async def left():
        connection = await asyncpg.connect(queue_server.dsn)
        found = await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = ANY($1)", names)
        await connection.close()
        return found
    assert len(names) == 3 and asyncio.run(left()) == 0
"""


OPTING_IN = 'pytest_plugins = ["kit.testing"]'
MADE_BY_TESTS = "SELECT array_agg(datname::text) FROM pg_database WHERE datname LIKE '%pytest%'"


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"KIT_POSTGRES": "embedded", "PYTEST_ADDOPTS": ""} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


async def test_the_fixture_gives_an_empty_queue_that_needs_no_arguments(queue_database: Postgres) -> None:
    connection = await asyncpg.connect()
    try:
        assert await connection.fetchval("SELECT count(*) FROM pgqueuer") == 0
        await Queries(AsyncpgDriver(connection)).enqueue(["fetch"], [b"x"], [0])
        assert await connection.fetchval("SELECT count(*) FROM pgqueuer") == 1
    finally:
        await connection.close()
    assert os.environ["PGDATABASE"] == queue_database.name


def test_another_project_gets_the_fixtures_by_naming_the_plugin(server: Postgres, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(OPTING_IN)
    (tmp_path / "test_project.py").write_text(A_PROJECT)
    before = ask(server.dsn, MADE_BY_TESTS)
    done = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_project.py")
    assert "1 failed, 3 passed" in done.stdout, done.stdout + done.stderr
    assert ask(server.dsn, MADE_BY_TESTS) == before


def test_a_project_with_a_kit_of_its_own_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "__init__.py").write_text("tools = 3")
    (tmp_path / "test_tools.py").write_text("import kit\n\ndef test_tools():\n    assert kit.tools == 3")
    done = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", PYTHONPATH="")
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_example_in_the_readme_passes_as_it_is_written_and_warns_of_nothing(tmp_path: Path) -> None:
    section = re.split(r"^## ", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith("In your own tests")]
    for code in re.findall(r"^```(?:python|toml)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        name = re.match(r"# (\S+)\n", code)
        assert name is not None, code
        (tmp_path / name[1]).write_text(code)
    done = run(tmp_path, "-W", "error", "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider")
    assert "1 passed" in done.stdout, done.stdout + done.stderr


KILLED = """
import os, signal

def test_it(queue_database):
    print("made", queue_database.name, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_what_a_killed_session_left_is_removed_by_the_next_and_what_a_living_one_uses_is_not(
    server: Postgres, tmp_path: Path, queue_database: Postgres
) -> None:
    (tmp_path / "conftest.py").write_text(OPTING_IN)
    (tmp_path / "test_killed.py").write_text(KILLED)
    (tmp_path / "test_next.py").write_text("def test_it(queue_server): pass")
    killed = run(tmp_path, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test_killed.py")
    assert killed.returncode == -signal.SIGKILL
    (left,) = re.findall(r"made (\S+)", killed.stdout)
    assert left in ask(server.dsn, MADE_BY_TESTS)

    done = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_next.py")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    there = ask(server.dsn, MADE_BY_TESTS)
    assert left not in there
    assert queue_database.name in there, "this process lives, and nobody is connected to its database"


def test_whose_a_database_is_can_be_told_from_its_name() -> None:
    mine = temporary.name("pytest")
    host, pid, start, token = mine.removeprefix("pytest_").split("_")
    assert len(f"pgqueuer_kit_{mine}") <= 63
    assert not temporary.owner_is_dead("pytest", mine)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert temporary.owner_is_dead("pytest", f"pytest_{host}_{ended.pid}_{time.time():.0f}_{token}")
    assert temporary.owner_is_dead("pytest", f"pgqueuer_kit_pytest_{host}_{pid}_{int(start) - 3600}_{token}")
    anothers = f"pytest_00000000_{ended.pid}_{start}_{token}"
    assert not temporary.owner_is_dead("pytest", anothers), "another machine's"
    assert not temporary.owner_is_dead("pytest", "pytest_of_somebody_else")


def test_pytest_starts_without_importing_what_only_a_database_needs(tmp_path: Path) -> None:
    heavy = "{'asyncpg', 'pgqueuer', 'psutil', 'docker', 'testcontainers', 'pandas', 'IPython'}"
    done = run(tmp_path, "-c", f"import sys, kit.testing; print(sorted({heavy} & sys.modules.keys()))")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
