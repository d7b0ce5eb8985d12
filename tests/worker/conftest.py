"""A folder with a learner's files, a fresh database, and no worker that outlives its test."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[[str, str], None]


@pytest.fixture(autouse=True)
def each_test(database_and_no_consumers: None) -> None:
    """Hold for every test of workers."""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return what writes a file beside the notebook, as ``%%writefile`` does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2]), *sys.path])

    def write(name: str, source: str) -> None:
        (tmp_path / name).write_text(textwrap.dedent(source), "utf-8")

    return write
