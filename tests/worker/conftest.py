"""A folder with a learner's files, a fresh database, and no worker that outlives its test."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kit.session import session

Write = Callable[[str, str], None]


@pytest.fixture(autouse=True)
def a_database_and_no_workers(request: pytest.FixtureRequest) -> Iterator[None]:
    if inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("queue_database")
    yield
    for consumer in session.consumers.values():
        consumer.stop(timeout=0)
    session.consumers.clear()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return what writes a file beside the notebook, as ``%%writefile`` does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2]), *sys.path])

    def write(name: str, source: str) -> None:
        (tmp_path / name).write_text(textwrap.dedent(source), "utf-8")

    return write
