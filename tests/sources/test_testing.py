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
import nbformat
import pytest
from pgqueuer import AsyncpgDriver
from pgqueuer.queries import Queries

import kit
from kit.database import schema, temporary
from kit.sources import Postgres
from kit.testing import QueueDatabases
from tests.consumer.queue import enqueue, main_with, nothing
from tests.kernels import notebook_client
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

def test_variables_are_back_and_no_name_leads_to_a_database(queue_server):
    assert "PGDATABASE" not in os.environ
    async def left():
        connection = await asyncpg.connect(queue_server.dsn)
        found = await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = ANY($1)", names)
        await connection.close()
        return found
    assert len(names) == 3 and asyncio.run(left()) == 0
"""

MADE_BY_TESTS = "SELECT array_agg(datname::text) FROM pg_database WHERE datname LIKE '%pytest%'"


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


def test_another_project_finds_the_fixtures_by_itself(server: Postgres, tmp_path: Path) -> None:
    (tmp_path / "test_project.py").write_text(A_PROJECT)
    before = ask(server.dsn, MADE_BY_TESTS)
    done = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_project.py")
    assert "1 failed, 3 passed" in done.stdout, done.stdout + done.stderr
    assert ask(server.dsn, MADE_BY_TESTS) == before


A_SCOPE_AND_A_SEED = """
import os
import asyncpg
import kit
import pytest
from pgqueuer import AsyncpgDriver, Queries

async def shop():
    connection = await asyncpg.connect()
    await connection.execute("CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (7)")
    await Queries(AsyncpgDriver(connection)).enqueue("receipt", b"7")

@pytest.fixture(scope="module")
def shared(queue_databases):
    with queue_databases.fresh(shop) as database:
        yield database

SEED = "INSERT INTO pgqueuer (priority, status, entrypoint) VALUES (1, 'queued', 'a')"

@pytest.fixture
def seeded(queue_databases):
    with queue_databases.fresh(SEED) as database:
        yield database
"""
SHARED = """
import os
import kit

def test_one(shared):
    assert kit.sql("SELECT id FROM orders")["id"].item() == 7
    kit.sql("INSERT INTO orders VALUES (8)")
    assert list(kit.jobs()["entrypoint"]) == ["receipt"]

def test_one_with_a_queue_of_its_own_meanwhile(shared, queue_database):
    assert kit.jobs().empty
    assert os.environ["PGDATABASE"] == queue_database.name != shared.name

def test_two(shared):
    assert list(kit.sql("SELECT id FROM orders ORDER BY id")["id"]) == [7, 8]
"""
SEEDED = """
import kit
import pytest

def test_a_module_later(shared):
    assert kit.sql("SELECT id FROM orders")["id"].item() == 7

@pytest.mark.parametrize("number", [1, 2])
def test_each_test_begins_with_the_seed(seeded, number):
    assert list(kit.jobs()["entrypoint"]) == ["a"]
    kit.sql("DELETE FROM pgqueuer")
    kit.sql("CREATE TABLE mine ()")
"""


def test_a_fixture_of_ones_own_has_another_scope_and_a_seed_and_tests_are_plain_functions(
    server: Postgres, tmp_path: Path
) -> None:
    (tmp_path / "conftest.py").write_text(A_SCOPE_AND_A_SEED)
    (tmp_path / "test_1.py").write_text(SHARED)
    (tmp_path / "test_2.py").write_text(SEEDED)
    before = ask(server.dsn, MADE_BY_TESTS)
    done = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio")
    assert "6 passed" in done.stdout, done.stdout + done.stderr
    assert ask(server.dsn, MADE_BY_TESTS) == before


PARALLEL = """
import os
import kit
import pytest

@pytest.mark.parametrize("number", range(20))
def test_it(queue_database, number):
    kit.sql("INSERT INTO pgqueuer (priority, status, entrypoint) VALUES (1, 'queued', $1)", str(number))
    assert list(kit.jobs()["id"]) == [1]
    assert list(kit.jobs()["entrypoint"]) == [str(number)]
    with open("seen", "a") as file:
        file.write(f"{os.environ['PYTEST_XDIST_WORKER']} {queue_database.name}\\n")
"""


def test_tests_that_run_side_by_side_have_a_database_each(server: Postgres, tmp_path: Path) -> None:
    (tmp_path / "test_parallel.py").write_text(PARALLEL)
    before = ask(server.dsn, MADE_BY_TESTS)
    done = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2")
    assert "20 passed" in done.stdout, done.stdout + done.stderr
    seen = [line.split() for line in (tmp_path / "seen").read_text().splitlines()]
    assert {worker for worker, _ in seen} == {"gw0", "gw1"}
    assert len({name for _, name in seen}) == 20
    assert ask(server.dsn, MADE_BY_TESTS) == before


LEFT_BEHIND = {
    "jobs, log and schedules": """
        INSERT INTO pgqueuer (priority, status, entrypoint) VALUES (0, 'queued', 'a');
        INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint) VALUES (1, 'queued', 0, 'a');
        INSERT INTO pgqueuer_schedules (expression, entrypoint) VALUES ('* * * * *', 'tick')""",
    "many jobs": """
        INSERT INTO pgqueuer (priority, status, entrypoint)
        SELECT 0, 'queued', 'a' FROM generate_series(1, 50000)""",
    "a lock": "BEGIN; LOCK TABLE pgqueuer IN ACCESS EXCLUSIVE MODE",
    "an open transaction": "BEGIN; DELETE FROM pgqueuer_log; SELECT pg_advisory_lock(1)",
    "an aborted transaction": "BEGIN; SELECT lo_create(0); DO $$BEGIN RAISE 'no'; END$$",
    "a listener": "LISTEN ch_pgqueuer",
    "a table": "CREATE TABLE orders (id serial PRIMARY KEY); CREATE VIEW big AS SELECT * FROM orders",
    "a function": "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a type": "CREATE TYPE mood AS ENUM ()",
    "a schema": "CREATE SCHEMA shop CREATE TABLE shelves (id int)",
    "a large object": "SELECT lo_create(0)",
    "a temporary table": "CREATE TEMP TABLE pgqueuer AS SELECT 1",
    "a setting": """
        DO $$BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET search_path = a'; END$$""",
    "another column": "ALTER TABLE pgqueuer ADD COLUMN colour text",
    "another status": "ALTER TYPE pgqueuer_status ADD VALUE 'lost'",
    "a trigger that is off": "ALTER TABLE pgqueuer DISABLE TRIGGER ALL",
    "another function for the trigger": """
        CREATE OR REPLACE FUNCTION fn_pgqueuer_changed() RETURNS trigger
        LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'""",
    "a right": "GRANT SELECT ON pgqueuer TO pg_monitor",
    "no log": "DROP TABLE pgqueuer_log, pgqueuer_statistics",
    "no schema": "DROP SCHEMA public CASCADE",
    "new files": "TRUNCATE pgqueuer, pgqueuer_log RESTART IDENTITY",
}
STATE = """
SELECT (SELECT array_agg(relname ORDER BY relname) FROM pg_class WHERE oid >= 16384 AND relkind <> 't'),
    (SELECT array_agg(proname ORDER BY proname) FROM pg_proc WHERE oid >= 16384),
    (SELECT array_agg(typname ORDER BY typname) FROM pg_type WHERE oid >= 16384),
    (SELECT array_agg(nspname ORDER BY nspname) FROM pg_namespace WHERE nspname !~ 'temp'),
    (SELECT array_agg(relacl::text) FROM pg_class WHERE relname = 'pgqueuer'),
    (SELECT count(*) FROM pg_largeobject_metadata), current_setting('search_path'),
    (SELECT count(*) FROM pgqueuer), (SELECT count(*) FROM pgqueuer_log),
    (SELECT count(*) FROM pgqueuer_schedules), (SELECT count(*) FROM pgqueuer_statistics),
    (SELECT count(*) FROM pg_locks WHERE database = 0 OR locktype = 'advisory'),
    (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND backend_type = 'client backend')
"""


@pytest.mark.parametrize("left", LEFT_BEHIND)
async def test_the_next_test_finds_nothing_of_what_one_has_left_behind(
    queue_databases: QueueDatabases, left: str
) -> None:
    with queue_databases.fresh() as first:
        connection = await asyncpg.connect()
        before = await connection.fetchrow(STATE)
        if "RAISE" in LEFT_BEHIND[left]:
            with pytest.raises(asyncpg.RaiseError):
                await connection.execute(LEFT_BEHIND[left])
        else:
            await connection.execute(LEFT_BEHIND[left])
    with queue_databases.fresh() as second:
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await connection.execute("SELECT 'this session was cut off'")
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await asyncpg.connect(first.dsn)
        async with second.target.connect() as inside:
            assert await inside.fetchrow(STATE) == before
            mark = await inside.fetchval("SELECT obj_description('pgqueuer'::regclass, 'pg_class')")
            assert mark == await schema.intact_mark(inside)
        assert await enqueue("fetch", b"x", b"y") == [1, 2]


OID = "SELECT oid FROM pg_database WHERE datname = current_database()"


async def test_a_database_of_which_only_rows_were_changed_is_used_again(
    queue_databases: QueueDatabases,
) -> None:
    oids = []
    for _ in range(3):
        with queue_databases.fresh() as database:
            oids.append(ask(database.dsn, OID))
            kit.run(main_with(fetch=nothing))
            assert await enqueue("fetch", b"x", b"y") == [1, 2]
            await kit.wait()
            await asyncpg.connect()
    assert len(set(oids)) == 1, "or each test would cost what making a database does"


def test_a_seed_that_does_not_work_is_said_with_what_postgres_says(queue_databases: QueueDatabases) -> None:
    with pytest.raises(kit.KitError, match=r'The seed .* does not work: column "nonsense" does not exist'):
        queue_databases.fresh("SELECT nonsense").__enter__()


def test_a_test_that_drops_its_database_hurts_no_other(queue_databases: QueueDatabases) -> None:
    with queue_databases.fresh() as first:
        ask(queue_databases._server.dsn, f"DROP DATABASE {first.name}")
    with queue_databases.fresh() as second:
        assert ask(second.dsn, "SELECT count(*) FROM pgqueuer") == 0


async def test_a_consumer_a_board_and_a_dashboard_end_with_the_test_that_started_them(
    queue_databases: QueueDatabases,
) -> None:
    with queue_databases.fresh() as outer:
        kept = kit.run(main_with(keep=nothing), name="kept")
        with queue_databases.fresh():
            consumer = kit.run(main_with(fetch=nothing))
            board, dashboard = kit.board(), kit.web()
            await enqueue("fetch")
            await kit.wait()
            assert consumer.done == 1
        assert (consumer.state, board.running, dashboard.running) == ("stopped", False, False)
        assert (kept.state, os.environ["PGDATABASE"]) == ("running", outer.name), "the outer one goes on"
    assert kept.state == "stopped"
    with queue_databases.fresh():
        [job] = await enqueue("fetch")
        assert kit.jobs()["status"].item() == "queued"
        assert kit.why(job).endswith("No consumer is running. Start one with kit.run(main).")


WORKER = """
from contextlib import asynccontextmanager
import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer

@asynccontextmanager
async def main():
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))
    @pgq.entrypoint("fetch")
    async def fetch(job): pass
    yield pgq
"""


def test_a_worker_ends_with_the_test_that_started_it(
    queue_databases: QueueDatabases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "worker_of_a_test.py").write_text(WORKER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    with queue_databases.fresh():
        worker = kit.spawn("worker_of_a_test:main")
        assert worker.alive
    assert not worker.alive


def test_the_example_in_the_readme_passes_as_it_is_written_and_warns_of_nothing(tmp_path: Path) -> None:
    section = re.split(r"^## ", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith("In your own tests")]
    for code in re.findall(r"^```(?:python|toml)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        name = re.match(r"# (\S+)\n", code)
        assert name is not None, code
        (tmp_path / name[1]).write_text(code)
    done = run(tmp_path, "-W", "error", "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider")
    assert "3 passed" in done.stdout, done.stdout + done.stderr


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


def test_pytest_starts_without_importing_the_kit(tmp_path: Path) -> None:
    (tmp_path / "test_imports.py").write_text(
        "import sys\n\ndef test_it(pytestconfig):\n"
        "    assert pytestconfig.pluginmanager.has_plugin('pgqueuer-kit')\n"
        "    assert {'kit', 'asyncpg', 'pgqueuer'}.isdisjoint(sys.modules)\n"
    )
    done = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "1 passed" in done.stdout, done.stdout + done.stderr


THEIR_CONFTEST = """
import sys, pytest
sys.path.insert(0, "src")

@pytest.fixture
def queue_database():
    return "theirs"

@pytest.fixture(scope="session")
def queue_databases():
    return "theirs too"
"""
THEIR_TESTS = """
import sys
import pytest
import kit
from kit import helper

def test_their_kit_is_theirs(queue_database, queue_databases):
    assert (kit.tools, helper.answer()) == (3, 42)
    assert (queue_database, queue_databases) == ("theirs", "theirs too")
    assert "kit.testing" not in sys.modules

@pytest.mark.anyio
async def test_their_plugin_for_async_works():
    import asyncio
    await asyncio.sleep(0)
"""


@pytest.mark.parametrize(
    "options",
    [
        "-p no:asyncio",
        "-p no:asyncio -p no:pgqueuer-kit",
        "-p no:asyncio -p kit.helper",
        "-p no:asyncio -n 2",
        "-o asyncio_default_fixture_loop_scope=function --import-mode=importlib -o pythonpath=src",
    ],
)
def test_a_project_with_a_kit_and_fixtures_of_its_own_is_left_alone(tmp_path: Path, options: str) -> None:
    (tmp_path / "src" / "kit").mkdir(parents=True)
    (tmp_path / "src" / "kit" / "__init__.py").write_text("tools = 3")
    (tmp_path / "src" / "kit" / "helper.py").write_text("def answer():\n    assert True\n    return 42")
    (tmp_path / "conftest.py").write_text(THEIR_CONFTEST)
    (tmp_path / "test_theirs.py").write_text(THEIR_TESTS)
    command = ["-W", "error", "-m", "pytest", "-q", "-W", "error", "--strict-config", "--strict-markers"]
    done = run(tmp_path, *command, *options.split(), PYTHONPATH="src" if "helper" in options else "")
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert "warning" not in done.stdout


def test_pytest_in_a_cell_says_what_it_says_whatever_the_users_shell_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-q -k nothing")
    monkeypatch.setenv("PYTEST_PLUGINS", "no_such_plugin")
    monkeypatch.setenv("PYTHONWARNINGS", "always")
    monkeypatch.setenv("COLUMNS", "20")
    (tmp_path / "test_it.py").write_text("def test_it(): assert not 'wide', 60 * 'w'")
    forgotten = "import kit, os\nassert 'PYTHONWARNINGS' not in os.environ"
    cell = nbformat.v4.new_code_cell(f"{forgotten}\n!python -m pytest -q -p no:cacheprovider test_it.py")
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook_client(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = re.sub(r"\x1b\[\d*m", "", "".join(output.text for output in cell.outputs))
    assert "1 failed in" in said
    assert f"AssertionError: {60 * 'w'}" in said
