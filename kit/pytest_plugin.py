"""Pytest fixtures: a fresh queue for each test.

Pytest finds them wherever the kit is installed. So this file is installed under a name of its own (see
pyproject.toml), and imports nothing of the kit before a test asks for a fixture: a project that has its own
``kit`` is not touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kit.sources import Postgres
    from kit.testing import QueueDatabases


@pytest.fixture(scope="session")
def queue_server() -> Iterator[Postgres]:
    """The server of this session's tests, which stays up until the last test has ended.

    It is chosen as `kit.postgres` chooses one: ``KIT_DSN``, ``KIT_POSTGRES``, else what is there.
    """
    from kit.testing import server

    with server() as database:
        yield database


@pytest.fixture(scope="session")
def queue_databases(queue_server: Postgres) -> Iterator[QueueDatabases]:
    """The databases from which a `queue_database` of your own, with another scope or a seed, takes one."""
    from kit.testing import QueueDatabases

    with QueueDatabases(queue_server) as databases:
        yield databases


@pytest.fixture
def queue_database(queue_databases: QueueDatabases) -> Iterator[Postgres]:
    """A database with PGQueuer's schema and no rows, which is this test's alone.

    ``PG*`` name it during the test, so ``asyncpg.connect()`` needs no arguments. Its attributes are those of
    `kit.Postgres`: ``dsn``, ``name``, ``source``, ``version``. Consumers that the test starts end with it.
    """
    with queue_databases.fresh() as database:
        yield database
