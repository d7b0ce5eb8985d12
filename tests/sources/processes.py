"""Programs that use a server, and the processes they leave or do not leave behind."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import asyncpg
import psutil

from kit.threads import run_sync

ROOT = Path(__file__).resolve().parents[2]
USE = """
import json, sys
import kit
try:
    database = kit.postgres(*sys.argv[1:], database="lesson")
    said = {"dsn": database.dsn, "version": database.version}
except kit.KitError as error:
    said = {"error": str(error)}
print(json.dumps(said), flush=True)
sys.stdin.read()
"""

CONSUMER = """
import asyncio, datetime, sys
import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer
from kit.database.other_consumers import consumers_connected

async def main():
    queuer = PgQueuer(AsyncpgDriver(await asyncpg.connect(sys.argv[1])))

    @queuer.entrypoint("fetch")
    async def fetch(job):
        pass

    running = asyncio.create_task(queuer.run(dequeue_timeout=datetime.timedelta(seconds=0.2)))
    looking = await asyncpg.connect(sys.argv[1])
    while not (await consumers_connected(looking, []))[1]:
        await asyncio.sleep(0.05)
    await looking.close()
    print("{}", flush=True)
    await running

asyncio.run(main())
"""


def processes(home: Path, word: str = "") -> list[psutil.Process]:
    """Return the living processes whose command line names a file in ``home``, and ``word``."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            if str(home) in line and word in line and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def servers(home: Path) -> list[psutil.Process]:
    """Return the living PostgreSQL servers of ``home``."""
    found = []
    for process in processes(home, "listen_addresses"):
        with contextlib.suppress(psutil.Error):  # it may end while it is looked at
            if "postgres" in process.name():
                found.append(process)
    return found


def tree(home: Path) -> list[psutil.Process]:
    """Return the server of ``home`` and every process of it."""
    found = servers(home)
    for server in list(found):
        with suppress(psutil.Error):
            found += server.children(recursive=True)
    return found


@contextmanager
def hung(home: Path) -> Iterator[None]:
    """Let the server of ``home`` neither answer nor refuse, as one whose machine is paused."""
    paused = tree(home)
    assert paused, f"there is no server in {home} to pause"
    for process in paused:
        with suppress(psutil.Error):
            process.suspend()
    try:
        yield
    finally:
        for process in paused:
            with suppress(psutil.Error):
                process.resume()


def keepers(home: Path) -> list[psutil.Process]:
    """Return the living keepers of ``home``."""
    return processes(home, "kit.sources.keeper")


class Program:
    """A process that calls ``kit.postgres`` and lives until it is let go, or killed."""

    code = USE

    def __init__(
        self, home: Path, *arguments: str, code: str = USE, prefix: tuple[str, ...] = (), **env: str
    ) -> None:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("KIT_", "PG"))
        }
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
            env=environment | {"KIT_HOME": str(home)} | env,
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def says(self) -> dict[str, str]:
        """Return what it said about the server, once it has one."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                said: dict[str, str] = json.loads(line)
                return said
        assert self.process.stderr is not None
        raise AssertionError(f"the program ended without a word: {self.process.stderr.read()}")

    def kill(self) -> None:
        """Kill it with SIGKILL, as the operating system does when memory is short."""
        self.process.kill()
        self.process.wait()

    def leave(self) -> None:
        """Let it end as a kernel does that is shut down."""
        self.process.communicate(timeout=30)


def ask(dsn: str, query: str, *arguments: object) -> Any:
    """Return the one value that a query answers with, over a connection of its own."""

    async def fetch() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    return run_sync(fetch())
