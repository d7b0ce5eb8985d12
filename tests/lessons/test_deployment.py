"""What lesson 12 says of programs beside its cells: signals, a unit, a container file, poolers."""

from __future__ import annotations

import asyncio
import configparser
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, Queries

from kit.sources import Postgres
from tests.lessons.notebook import read

WORKS_ON_IT = "SELECT status = 'picked' FROM pgqueuer"
NOBODY_WAITS = "SELECT count(*) = 0 FROM pgqueuer WHERE status = 'queued'"
IS_DONE = "SELECT count(*) = 0 FROM pgqueuer"
TO_START = 60  # seconds, also on a busy machine
DATABASE = ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE")


@pytest.fixture
def bookshop(tmp_path: Path) -> Path:
    """The folder of the lesson's program, as its cells write it."""
    (tmp_path / "programs").mkdir()
    with (tmp_path / "programs" / "shop.py").open("w") as file:
        for cell in read("12_to_production").setup:
            if re.match(r"%%writefile (-a )?programs/shop.py\n", cell.source):
                file.write(cell.source.partition("\n")[2] + "\n\n")
    return tmp_path


def written_as(language: str) -> str:
    """Return the one block of this language in the lesson's text."""
    text = "\n".join(read("12_to_production").prose)
    (block,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(block)


@contextmanager
def program(bookshop: Path, *options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run the shop as ``pgq run`` does in a terminal; kill it if it is still there at the end."""
    command = [sys.executable, "-m", "pgqueuer", "run", "programs.shop:main", *options]
    with subprocess.Popen(
        command,
        cwd=bookshop,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def until(what: str, is_so: Callable[[], Awaitable[object]], limit: float = TO_START) -> float:
    """Wait for it, and return how many seconds it took."""
    began = time.monotonic()
    while not await is_so():
        assert time.monotonic() - began < limit, f"not within {limit} s: {what}"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
async def test_sigterm_lets_pgq_run_finish_its_job_and_a_cut_connection_ends_it_with_exit_code_1(
    bookshop: Path, queue_database: Postgres
) -> None:
    connection = await asyncpg.connect(queue_database.dsn)
    queries = Queries(AsyncpgDriver(connection))
    with program(bookshop) as process:
        await queries.enqueue("receipt", b"12")
        await until("the job runs", lambda: connection.fetchval(WORKS_ON_IT))
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "sent: You have paid 12." in printed
    assert [row.status for row in await queries.queue_log()].count("successful") == 1

    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    await queries.enqueue("receipt", b"30")
    with program(bookshop, "--shutdown-on-listener-failure") as process:
        await until("the program has done a job", lambda: connection.fetchval(IS_DONE))
        await connection.fetch(f"SELECT pg_terminate_backend(pid, 5000) {others}")
        process.communicate(timeout=60)
    assert process.returncode == 1
    await connection.close()


def test_pgq_verify_stops_a_deployment_by_its_exit_code(queue_database: Postgres) -> None:
    async def damage() -> None:
        connection = await asyncpg.connect(queue_database.dsn)
        await connection.execute("DROP TRIGGER tg_pgqueuer_changed ON pgqueuer")
        await connection.close()

    asyncio.run(damage())
    verify = [sys.executable, "-m", "pgqueuer", "verify", "--expect", "present"]
    assert subprocess.run(verify, stdout=subprocess.DEVNULL, check=False).returncode == 1


@pytest.mark.pgbouncer
async def test_a_consumer_behind_a_pooler_that_pools_transactions_hears_no_notification(
    bookshop: Path, queue_database: Postgres, tmp_path: Path
) -> None:
    connection = await asyncpg.connect(queue_database.dsn)
    queries = Queries(AsyncpgDriver(connection))
    shop = bookshop / "programs" / "shop.py"
    shop.write_text(shop.read_text().replace("connect()", "connect(statement_cache_size=0)"))
    waited = {}
    for mode in ("session", "transaction"):
        with pooler(tmp_path, mode) as port:
            address = {"PGHOST": "127.0.0.1", "PGPORT": str(port)}
            with program(bookshop, "--dequeue-timeout", "4", **address):
                await queries.enqueue("receipt", b"1")
                await until("the program is at work", lambda: connection.fetchval(IS_DONE))
                await queries.enqueue("receipt", b"2")
                waited[mode] = await until("it is picked", lambda: connection.fetchval(NOBODY_WAITS))
                await until("the second job is done", lambda: connection.fetchval(IS_DONE))
            with program(bookshop, **address):  # on a connection with the first one's statements
                await queries.enqueue("receipt", b"3")
                await until("the program that follows works", lambda: connection.fetchval(IS_DONE))
    assert waited["session"] < 1.5 < 2 < waited["transaction"] < 8
    await connection.close()


@contextmanager
def pooler(folder: Path, mode: str) -> Iterator[int]:
    """Run PgBouncer before the database that ``PG*`` names; yield its port."""
    host, port, user, password, database = (os.environ[name] for name in DATABASE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        own = taken.getsockname()[1]
    settings = configparser.ConfigParser(interpolation=None)
    target = f"host={host} port={port} user={user} password={password} dbname={database}"
    settings["databases"] = {database: target}
    settings["pgbouncer"] = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(own),
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": mode,
        "ignore_startup_parameters": "extra_float_digits",
    }
    file = folder / f"{mode}.ini"
    with file.open("w") as open_file:
        settings.write(open_file)
    as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []  # it refuses to run as root
    folder.chmod(0o755)
    with subprocess.Popen(["pgbouncer", "-q", *as_nobody, str(file)], stderr=subprocess.DEVNULL) as process:
        try:
            yield own
        finally:
            process.terminate()


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    bin = tmp_path / ".venv" / "bin"
    bin.mkdir(parents=True)
    (bin / "pgq").symlink_to(sys.executable)
    (tmp_path / "postgres.env").touch()
    unit = tmp_path / "shop.service"
    unit.write_text(written_as("ini").replace("/srv/bookshop", str(tmp_path)))
    checked = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    about_it = [line for line in checked.stderr.splitlines() if "shop.service" in line]
    assert (about_it, checked.returncode) == ([], 0)


@pytest.mark.docker
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a container cannot reach this Postgres")
async def test_a_container_of_the_lessons_file_finishes_its_job_when_it_is_stopped(
    bookshop: Path, queue_database: Postgres
) -> None:
    import docker  # type: ignore[import-untyped]
    from docker.errors import APIError, ImageNotFound  # type: ignore[import-untyped]

    engine = docker.from_env()
    file = written_as("dockerfile")
    base = re.match(r"FROM (\S+)", file)[1]  # type: ignore[index]
    try:
        engine.images.get(base)
    except ImageNotFound:
        try:
            engine.images.pull(base)
        except (APIError, ImageNotFound) as error:
            pytest.skip(f"the image {base!r} is not here and cannot be pulled: {error}")
    (bookshop / "Dockerfile").write_text(file)
    image, _ = engine.images.build(path=str(bookshop), rm=True, forcerm=True, network_mode="host")
    connection = await asyncpg.connect(queue_database.dsn)
    container = engine.containers.run(
        image.id, detach=True, network_mode="host", environment={name: os.environ[name] for name in DATABASE}
    )
    try:
        await Queries(AsyncpgDriver(connection)).enqueue("receipt", b"12")
        await until("the job runs", lambda: connection.fetchval(WORKS_ON_IT))
        container.stop(timeout=60)
        assert await connection.fetchval(IS_DONE)
        assert container.wait()["StatusCode"] == 0
    finally:
        container.remove(force=True)
        engine.images.remove(image.id)
        engine.close()
        await connection.close()
