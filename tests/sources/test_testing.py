"""The pytest fixtures, used as any project would use them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import asyncpg
from pgqueuer import AsyncpgDriver
from pgqueuer.queries import Queries

from kit.sources import Postgres
from tests.sources.processes import ask

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


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"KIT_POSTGRES": "embedded"} | environment,
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


def test_another_project_gets_the_fixtures_by_installing_the_kit(server: Postgres, tmp_path: Path) -> None:
    (tmp_path / "test_project.py").write_text(A_PROJECT)
    count = "SELECT count(*) FROM pg_database WHERE datname LIKE 'pytest%'"
    before = ask(server.dsn, count)
    done = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_project.py")
    assert "1 failed, 3 passed" in done.stdout, done.stdout + done.stderr
    assert ask(server.dsn, count) == before


def test_pytest_starts_without_importing_what_only_a_database_needs(tmp_path: Path) -> None:
    heavy = "{'asyncpg', 'pgqueuer', 'psutil', 'docker', 'testcontainers', 'pandas', 'IPython'}"
    done = run(tmp_path, "-c", f"import sys, kit.testing; print(sorted({heavy} & sys.modules.keys()))")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
