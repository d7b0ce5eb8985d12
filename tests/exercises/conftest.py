"""What the tests of exercises share: a server, and a working folder for answers that are files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.exercises import record, scratch
from kit.session import session
from kit.sources import Postgres


@pytest.fixture(scope="session")
def lesson_server(queue_server: Postgres) -> Iterator[Postgres]:
    """The server of the tests, on which a scratch database is made once and dropped at the end."""
    yield queue_server
    scratch.drop()
    if session.parent is not None:
        session.parent.end()
        session.parent = None


@pytest.fixture
def lesson(lesson_server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    """A process that has a lesson's database, and a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    with lesson_server.database("a_lesson") as database, session.ending_what_begins():
        yield database
    session.drill = None


@pytest.fixture
def no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A learner who has done nothing yet; the file of their progress."""
    file = tmp_path / "home" / "progress.jsonl"
    monkeypatch.setattr(record, "path", lambda: file)
    session.unwritten.clear()
    return file
