"""Pytest fixtures: a fresh queue database for each test.

The plugin is loaded by its entry point, so a test only names the fixture::

    async def test_a_job_is_enqueued(queue_database):
        connection = await asyncpg.connect()  # PGHOST and the others name the fresh database
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kit.sources import Postgres


@pytest.fixture(scope="session")
def queue_server() -> Iterator[Postgres]:
    """A server for the whole session, started or adopted as `kit.postgres` does."""
    from kit.sources import open_database

    server = open_database(None, "pytest")
    yield server
    server.stop()


@pytest.fixture
def queue_database(queue_server: Postgres) -> Iterator[Postgres]:
    """A fresh database with PGQueuer's schema; ``PG*`` name it during the test, and it is dropped after."""
    from kit.sources import databases, open_database
    from kit.sync import run_sync

    database = open_database(queue_server.source, f"pytest_{secrets.token_hex(6)}")
    database._point()
    yield database
    database.stop()
    run_sync(databases.drop(database._address, database.name))
