"""Pytest fixtures: a fresh queue database for each test.

A project takes them in its topmost ``conftest.py``, and a test names one::

    pytest_plugins = ["kit.testing"]

    async def test_a_job_is_enqueued(queue_database):
        connection = await asyncpg.connect()  # PGHOST and the others name the fresh database
        ...

The server is chosen like `kit.postgres` chooses it: ``KIT_DSN``, ``KIT_POSTGRES``, else what is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kit.sources import Postgres

PREFIX = "pytest"


@pytest.fixture(scope="session")
def queue_server() -> Iterator[Postgres]:
    """A database on the server of this session's tests, which stays up until the last test has ended.

    What an earlier session of this machine left there because it was killed is removed first.
    """
    from kit.database import temporary
    from kit.sources import open_database
    from kit.threads import run_sync

    database = open_database(database=temporary.name(PREFIX))
    run_sync(temporary.drop_what_the_dead_left(database.target, PREFIX))
    yield database
    database.drop()
    database.stop()


@pytest.fixture
def queue_database(queue_server: Postgres) -> Iterator[Postgres]:
    """A fresh database with PGQueuer's schema for this test, dropped afterwards.

    ``PG*`` name it during the test, so ``asyncpg.connect()`` needs no arguments. Its attributes are those of
    `kit.Postgres`: ``dsn``, ``name``, ``source``, ``version``.
    """
    from kit.database import temporary

    with queue_server.database(temporary.name(PREFIX)) as database:
        yield database
        database.drop()
