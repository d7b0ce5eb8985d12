"""The one form in which notebooks are stored: ``python -m tests.lessons.tidy`` brings all of them into it.

It is what JupyterLab itself writes, less what a run leaves behind: a notebook that is opened, run, saved and
tidied differs by what was edited, and by nothing else.
"""

from __future__ import annotations

import re
import sys
import uuid
from pathlib import Path
from typing import Any

import nbformat

from tests.lessons.notebook import FOLDER

KEPT = ("tags", "look_at", "minutes", "jupyter")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def tidied(text: str) -> str:
    """Return a stored notebook in the one form: no trace of a run, and readable cell ids."""
    notebook: Any = nbformat.reads(text, as_version=4)
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    taken = {cell.id for cell in notebook.cells}
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in KEPT}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if given_by_jupyterlab(cell.id):
            cell.id = words(cell.source, taken)
            taken.add(cell.id)
    return str(nbformat.writes(notebook)) + "\n"


def given_by_jupyterlab(cell_id: str) -> bool:
    """Return whether this id is the UUID that a cell gets when it is made in JupyterLab."""
    try:
        return str(uuid.UUID(cell_id)) == cell_id
    except ValueError:
        return False


def words(source: str, taken: set[str]) -> str:
    """Return an id from the first words of a cell which no other cell has."""
    name = "-".join(re.findall(r"[a-z0-9]+", source.lower())[:5])[:40] or "cell"
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free


def notebooks() -> list[Path]:
    """Return every notebook of the course."""
    return sorted(path for path in FOLDER.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)


def main() -> int:
    """Bring every notebook into the one form and say which were changed."""
    changed = 0
    for path in notebooks():
        text = path.read_text("utf-8")
        if (form := tidied(text)) != text:
            path.write_text(form, "utf-8", newline="\n")
            changed += 1
            print(f"tidied {path.relative_to(FOLDER.parent)}")
    print(f"{changed} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
