"""A new lesson begins as one that passes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a copy of the project, whose own files come first."""
    return subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, in which files may be made."""
    folder = tmp_path / "project"
    for name in ("kit", "notebooks", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "programs"))
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


def test_a_lesson_made_by_the_command_has_the_form_of_one_and_its_sections_hold(project: Path) -> None:
    made = run("-m", "tests.lessons.new", "97", "Rate limits", folder=project)
    assert made.returncode == 0, made.stderr
    assert "notebooks/97_rate_limits.ipynb" in made.stdout
    assert "| 97 | [Rate limits](notebooks/97_rate_limits.ipynb) |" in (project / "README.md").read_text()
    files = ["tests/lessons/test_form.py", "tests/lessons/test_sections.py"]
    tried = run("-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", "97", folder=project)
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert "passed" in tried.stdout


def test_a_number_that_a_lesson_has_is_refused(project: Path) -> None:
    refused = run("-m", "tests.lessons.new", "03", "Rate limits", folder=project)
    assert refused.returncode == 2
    assert "two digits that no lesson has" in refused.stderr
    assert not list((project / "notebooks").glob("*rate*"))
