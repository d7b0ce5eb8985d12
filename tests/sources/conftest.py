"""Homes of their own for the tests that start, kill and stop servers."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kit.database import dsn as dsns
from kit.session import session
from kit.sources import Postgres, external, open_database
from tests.sources.processes import ask, processes
from tests.waiting import wait_until


def let_go() -> None:
    """Leave this process without a database."""
    while session.database is not None:
        session.database.stop()


@pytest.fixture
def own_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home for this test alone, which every account can enter; nothing may run there when it ends."""
    parent = Path(tempfile.mkdtemp(prefix="kit-test-")).resolve()
    parent.chmod(0o755)
    home = parent / "home"
    home.mkdir(mode=0o777)
    monkeypatch.setenv("KIT_HOME", str(home))
    for name in ("KIT_DSN", "KIT_POSTGRES", "KIT_PG_BIN"):
        monkeypatch.delenv(name, raising=False)
    yield home
    let_go()
    wait_until(f"the end of the processes that use {parent}", lambda: not processes(parent))
    shutil.rmtree(parent)


@pytest.fixture(autouse=True)
def no_database_remains(same_environment: None) -> Iterator[None]:
    """Let the databases of this process go when a test ends, before its environment is looked at."""
    yield
    let_go()


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """Fail the test that leaves another environment than it found."""
    before = dict(os.environ)
    yield
    after = dict(os.environ)
    for each in (before, after):
        each.pop("PYTEST_CURRENT_TEST", None)
    assert after == before


@pytest.fixture(scope="session")
def server(home: Path) -> Iterator[Postgres]:
    """An embedded server that stays up for all of these tests; as ``postgres``, who may do anything there."""
    database = open_database("embedded", f"kept_{secrets.token_hex(4)}")
    yield database
    database.drop()
    database.stop()


@pytest.fixture
def sql(server: Postgres) -> Callable[..., Any]:
    """Run a query in one of the server's databases, as its administrator, and return its one value."""

    def run(query: str, *arguments: object, database: str = "postgres") -> Any:
        return ask(dsns.beside(server.dsn, database), query, *arguments)

    return run


@pytest.fixture
def name(sql: Callable[..., Any]) -> Iterator[str]:
    """A name for this test's database, which is dropped afterwards, whoever made it."""
    chosen = f"test_{secrets.token_hex(4)}"
    yield chosen
    for database in (chosen, external.PREFIX + chosen):
        sql(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
