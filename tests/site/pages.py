"""The notebooks as pages: executed once for each content of theirs and of the kit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import nbformat

from kit.pictures.publish import without_widgets
from tests.lessons.learner import execute
from tests.lessons.notebook import COMPANIONS, FOLDER, LESSONS

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "artifacts"
PAGES = [*LESSONS, *COMPANIONS, "glossary"]


def key_of(name: str) -> str:
    """Return what changes when the notebook or the kit does."""
    digest = hashlib.sha256((FOLDER / f"{name}.ipynb").read_bytes())
    for path in sorted((ROOT / "kit").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:20]


def executed(name: str) -> Any:
    """Return the notebook with its outputs, from the cache where nothing has changed."""
    kept = ARTIFACTS / "executed" / f"{name}-{key_of(name)}.ipynb"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        notebook.cells = execute(name).cells
        for old in kept.parent.glob(f"{name}-*.ipynb"):
            old.unlink()
        nbformat.write(notebook, kept)
    return nbformat.read(kept, as_version=4)


def write(name: str, source: Path) -> None:
    """Write the page of a notebook into Sphinx's source folder."""
    notebook = without_widgets(executed(name))
    if name in LESSONS:
        line = f"Run this: `python3 -m kit lab {name[:2]}`"
        notebook.cells.insert(1, nbformat.v4.new_markdown_cell(line, id="run-this"))
    nbformat.write(notebook, source / f"{name}.ipynb")
