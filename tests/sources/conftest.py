"""Homes of their own for the tests that start, kill and stop servers."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources.processes import processes, wait_until


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
    wait_until(lambda: not processes(parent), f"the end of the processes that use {parent}")
    shutil.rmtree(parent)


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """Fail the test that leaves another environment than it found."""
    before = dict(os.environ)
    yield
    after = dict(os.environ)
    for each in (before, after):
        each.pop("PYTEST_CURRENT_TEST", None)
    assert after == before
