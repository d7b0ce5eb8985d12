"""What lesson 13 says of programs beside its cells: signals, a unit, a container file, poolers."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from kit.sources import Postgres
from kit.threads import run_sync
from tests.consumer.queue import cut_connections, enqueue, fetch, logged
from tests.lessons.notebook import read
from tests.waiting import until

TO_START = 60  # seconds, also on a busy machine
DATABASE = ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE")


@pytest.fixture
def bookshop(tmp_path: Path) -> Path:
    """The folder of the lesson's program, as its cells write it."""
    (tmp_path / "programs").mkdir()
    begins = r'Path\("programs/shop\.py"\)\.write_text\("""(.*?)"""\)'
    with (tmp_path / "programs" / "shop.py").open("w") as file:
        for cell in read("13_to_production").setup:
            if begun := re.search(begins, cell.source, re.DOTALL):
                file.write(begun[1] + "\n\n")
            elif re.match(r"%%writefile -a programs/shop.py\n", cell.source):
                file.write(cell.source.partition("\n")[2] + "\n\n")
    return tmp_path


def written_as(language: str) -> str:
    """Return the one block of this language in the lesson's text."""
    text = "\n".join(read("13_to_production").prose)
    (block,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(block)


async def who_works() -> list[asyncpg.Record]:
    """Return the consumer that has picked a job, if one has."""
    return await fetch("SELECT queue_manager_id FROM pgqueuer WHERE status = 'picked'")


async def is_done() -> bool:
    """Return whether no job is left."""
    return not await fetch("SELECT FROM pgqueuer")


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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
async def test_sigterm_lets_pgq_run_finish_its_job(bookshop: Path, queue_database: Postgres) -> None:
    with program(bookshop) as process:
        [job] = await enqueue("receipt", b"12")
        await until("the job runs", who_works, TO_START)
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "sent: You have paid 12." in printed
    assert await logged(job) == ["queued", "picked", "successful"]


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_cut_connection_ends_pgq_run_with_exit_code_1_unless_it_may_restart(
    restarts: bool, bookshop: Path, queue_database: Postgres
) -> None:
    await enqueue("receipt", b"12")
    options = ["--restart-on-failure", "--restart-delay", "0.2"] if restarts else []
    with program(bookshop, *options) as process:
        await until("the program has done a job", is_done, TO_START)
        await cut_connections()
        if restarts:
            await enqueue("receipt", b"30")
            await until("it works again", is_done, TO_START)
        else:
            process.communicate(timeout=60)
            assert process.returncode == 1


async def test_a_program_whose_own_notification_does_not_come_back_ends_if_it_was_told_to(
    bookshop: Path, queue_database: Postgres
) -> None:
    shop = bookshop / "programs" / "shop.py"
    deaf = '"send": lambda text: pgq.qm.queries.driver.execute("UNLISTEN *")'
    shop.write_text(shop.read_text().replace('"send": send', deaf))
    with program(bookshop, "--shutdown-on-listener-failure", "--dequeue-timeout", "1") as process:
        await enqueue("receipt", b"12")
        process.communicate(timeout=TO_START)
    assert process.returncode == 1


def test_pgq_verify_stops_a_deployment_by_its_exit_code(queue_database: Postgres) -> None:
    run_sync(fetch("DROP TRIGGER tg_pgqueuer_changed ON pgqueuer"))
    verify = [sys.executable, "-m", "pgqueuer", "verify", "--expect", "present"]
    assert subprocess.run(verify, stdout=subprocess.DEVNULL, check=False).returncode == 1


@pytest.mark.pgbouncer
async def test_a_consumer_behind_a_pooler_that_pools_transactions_hears_no_notification(
    bookshop: Path, queue_database: Postgres, tmp_path: Path
) -> None:
    shop = bookshop / "programs" / "shop.py"
    shop.write_text(shop.read_text().replace("connect()", "connect(statement_cache_size=0)"))
    for mode in ("session", "transaction"):
        with pooler(tmp_path, mode) as port:
            address = {"PGHOST": "127.0.0.1", "PGPORT": str(port)}
            await enqueue("receipt", b"1")
            with program(bookshop, "--dequeue-timeout", "600", **address):
                first = await until("the program is at work", who_works, TO_START)
                await until("the first job is done", is_done)
                await enqueue("receipt", b"2")
                if mode == "session":
                    assert await until("the second job is picked", who_works) == first
                    await until("the second job is done", is_done)
                else:
                    with program(bookshop):  # it looks when it starts
                        assert await until("the second job is picked", who_works, TO_START) != first
                        await until("the second job is done", is_done)
            with program(bookshop, **address):  # on a connection with the first one's statements
                await enqueue("receipt", b"3")
                await until("the program that follows works", is_done, TO_START)


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


def test_the_unit_has_an_account_of_its_own_and_asks_for_the_network_that_it_waits_for() -> None:
    unit = configparser.ConfigParser(strict=False)
    unit.read_string(written_as("ini"))
    assert unit["Service"].get("User", "root") != "root"
    assert "network-online.target" in unit["Unit"]["After"].split()
    assert "network-online.target" in unit["Unit"]["Wants"].split()


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
    container = engine.containers.run(
        image.id, detach=True, network_mode="host", environment={name: os.environ[name] for name in DATABASE}
    )
    try:
        await enqueue("receipt", b"12")
        await until("the job runs", who_works, TO_START)
        container.stop(timeout=60)
        assert await is_done()
        assert container.wait()["StatusCode"] == 0
    finally:
        container.remove(force=True)
        engine.images.remove(image.id)
        engine.close()
