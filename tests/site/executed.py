"""The notebooks with their outputs, each executed once for each content of it and of the kit."""

from __future__ import annotations

import copy
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.jupyterlab import ARTIFACTS
from tests.lessons.course import until_gone
from tests.lessons.learner import learner_of
from tests.lessons.notebook import FOLDER, text_of

KEPT = ARTIFACTS / "executed"
KIT = Path(__file__).parents[2] / "kit"
# The board follows the queue from the first cell on, as the one that JupyterLab docks beside the text.
_FOLLOW = """
import kit.notebook as _notebook, kit.pictures.board.widget as _widget, kit.session as _session
_notebook.after_each_cell(lambda _: _session.session.database and _widget.board_of(_session.session.target()))
"""
_LAST = """print(kit.sql("SELECT coalesce(max(created)::text, '') AS at FROM pgqueuer_log")["at"][0])"""


def executed(names: Sequence[str]) -> dict[str, Any]:
    """Return these notebooks with their outputs, from what is kept where neither they nor the kit changed.

    Two run at a time, on a server of their own. The cells of exercises are a reader's, and do not run.

    Raises:
        AssertionError: a cell raises, or does not end.
    """
    kept = {name: KEPT / f"{name}-{_key(name)}.ipynb" for name in names}
    missing = [name for name in names if not kept[name].exists()]
    KEPT.mkdir(parents=True, exist_ok=True)
    with _own_server() if missing else nullcontext(), ThreadPoolExecutor(2) as kernels:
        list(kernels.map(_execute, missing, [kept[name] for name in missing]))
    return {name: nbformat.read(kept[name], as_version=4) for name in names}


def _key(name: str) -> str:
    """Return what changes when the notebook or the kit does."""
    digest = hashlib.sha256()
    for path in [FOLDER / f"{name}.ipynb", Path(__file__), *sorted(KIT.rglob("*"))]:
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:20]


@contextmanager
def _own_server() -> Iterator[None]:
    """Let kernels that start meanwhile share an embedded server, and return when it has ended."""
    with tempfile.TemporaryDirectory(prefix="kit-site-") as home, pytest.MonkeyPatch.context() as patch:
        Path(home).chmod(0o755)  # root's embedded server runs as another account, which must get in
        patch.setenv("KIT_HOME", home)
        patch.setenv("KIT_POSTGRES", "embedded")
        yield
        until_gone(home)


def _execute(name: str, kept: Path) -> None:
    """Run a notebook, and keep it with the outputs of each section as they are when it ends.

    What is live in it is brought up to date for as long as the kernel runs, and would show a later section.
    """
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    ended: dict[str, list[Any]] = {}
    last = ""
    with learner_of(name) as learner:
        learner.run([nbformat.v4.new_code_cell(_FOLLOW)])
        for section in _sections(learner.lesson.cells):
            executed = [[cell] for cell in learner.run(section)]
            if any(cell.cell_type == "code" for cell in section):
                last, before = text_of(*learner.run([nbformat.v4.new_code_cell(_LAST)])), last
                # What ran before it is another section's; what shows its board plays that again itself.
                if last not in ("", before) and "kit.board()" not in str(section):
                    board = nbformat.v4.new_code_cell("kit.board()", metadata={"tags": ["remove-input"]})
                    executed[-1] += learner.run([board])
            ended |= copy.deepcopy({cells[0].id: cells for cells in executed})
    notebook.cells = [part for cell in notebook.cells for part in ended.get(cell.id, [cell])]
    for old in KEPT.glob(f"{name}-*.ipynb"):
        old.unlink()
    nbformat.write(notebook, kept)


def _sections(cells: list[Any]) -> list[list[Any]]:
    """Return the cells above the first heading, and below each."""
    sections: list[list[Any]] = [[]]
    for cell in cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            sections.append([])
        sections[-1].append(cell)
    return sections
