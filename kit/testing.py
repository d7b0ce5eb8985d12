"""Pytest fixtures: a fresh queue database for each test.

A project takes them in its topmost ``conftest.py``, and a test names one::

    pytest_plugins = ["kit.testing"]

    async def test_a_job_is_enqueued(queue_database):
        connection = await asyncpg.connect()  # PGHOST and the others name the fresh database
        ...

The server is chosen like `kit.postgres` chooses it: ``KIT_DSN``, ``KIT_POSTGRES``, else what is there.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kit.database.target import Target
    from kit.sources import Postgres

APART = 60  # seconds by which two looks at when a process started may differ, as the clock is set meanwhile


@pytest.fixture(scope="session")
def queue_server() -> Iterator[Postgres]:
    """A database on the server of this session's tests, which stays up until the last test has ended.

    What an earlier session of this machine left there because it was killed is removed first.
    """
    from kit.sources import open_database
    from kit.threads import run_sync

    database = open_database(database=_name())
    run_sync(_drop_what_the_dead_left(database.target))
    yield database
    database.drop()
    database.stop()


@pytest.fixture
def queue_database(queue_server: Postgres) -> Iterator[Postgres]:
    """A fresh database with PGQueuer's schema for this test, dropped afterwards.

    ``PG*`` name it during the test, so ``asyncpg.connect()`` needs no arguments. Its attributes are those of
    `kit.Postgres`: ``dsn``, ``name``, ``source``, ``version``.
    """
    with queue_server.database(_name()) as database:
        yield database
        database.drop()


def _host() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _name() -> str:
    """Return a name that says whose database it is: this machine's, this process's, and when that started."""
    import psutil

    return f"pytest_{_host()}_{os.getpid()}_{psutil.Process().create_time():.0f}_{secrets.token_hex(4)}"


def _owner_is_dead(name: str) -> bool:
    """Return whether a process of this machine made the database ``name`` and has ended."""
    import psutil

    made = re.fullmatch(rf"\w*?pytest_{_host()}_(\d+)_(\d+)_[0-9a-f]{{8}}", name)
    if made is None:
        return False
    try:
        process = psutil.Process(int(made[1]))
        another = abs(process.create_time() - int(made[2])) > APART  # the system gave the number again
        return another or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


_UNUSED = """
SELECT datname FROM pg_database WHERE datname LIKE '%pytest@_%' ESCAPE '@' AND pg_has_role(datdba, 'USAGE')
AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE pg_stat_activity.datname = pg_database.datname)
"""


async def _drop_what_the_dead_left(target: Target) -> None:
    """Drop the databases whose process has ended; what cannot be dropped now is left for the next session."""
    from kit.database import creation
    from kit.errors import KitError

    with contextlib.suppress(KitError):
        async with target.connect() as admin:
            for row in await admin.fetch(_UNUSED):
                if _owner_is_dead(row["datname"]):
                    await creation.drop(admin, row["datname"])
