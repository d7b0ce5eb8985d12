"""Pytest fixtures: a fresh queue database for each test.

Pytest loads them by themselves in every project that has the kit installed, so a test only names one::

    async def test_a_job_is_enqueued(queue_database):
        connection = await asyncpg.connect()  # PGHOST and the others name the fresh database
        ...

The server is chosen like `kit.postgres` chooses it: ``KIT_DSN``, ``KIT_POSTGRES``, else what is there.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kit.sources import Postgres


@pytest.fixture(scope="session")
def queue_server() -> Iterator[Postgres]:
    """A database on the server of this session's tests, which stays up until the last test has ended."""
    from kit.sources import open_database

    database = open_database(database=_name("server"))
    yield database
    database.drop()
    database.stop()


@pytest.fixture
def queue_database(queue_server: Postgres) -> Iterator[Postgres]:
    """A fresh database with PGQueuer's schema for this test, dropped afterwards.

    ``PG*`` name it during the test, so ``asyncpg.connect()`` needs no arguments. Its attributes are those of
    `kit.Postgres`: ``dsn``, ``name``, ``source``, ``version``.
    """
    with queue_server.database(_name("test")) as database:
        yield database
        database.drop()


def _name(what: str) -> str:
    return f"pytest_{what}_{os.getpid()}_{secrets.token_hex(4)}"
