"""The cells of exercises in their notebooks: written from the objects, so that each has one home."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from kit.errors import KitError
from kit.exercises.course import Lesson
from kit.exercises.exercise import Exercise

CLOSING = "## What you know now"
PRACTICE = """## Practice

Below each task is a cell that checks your answer, in a database and a process of its own. Stuck? Put the
name from the check into `kit.hint("…")`."""


def notebook_of(lesson: Lesson, folder: Path) -> Path:
    """Return the notebook of a lesson: the one in ``folder`` that has its name, behind a number or without.

    Raises:
        KitError: there is none, or more than one.
    """
    found = [path for path in folder.glob("*.ipynb") if path.stem.lstrip("0123456789_") == lesson.name]
    if len(found) != 1:
        raise KitError(f"{str(folder)!r} has {len(found)} notebooks of the lesson {lesson.name!r}, not one.")
    return found[0]


def written(text: str, lesson: Lesson, folder: Path) -> str:
    """Return a stored notebook with the cells of its exercises, in the form in which JupyterLab writes.

    Code is formatted as ruff does in this ``folder``, where there is a ruff. Done twice it changes nothing.

    Raises:
        KitError: the cell that is an exercise's own is not there.
    """
    notebook = json.loads(text)
    cells = [cell for cell in notebook["cells"] if not is_written(cell)]
    practice = [_cell("markdown", "practice", PRACTICE, {})]
    for exercise in lesson.exercises:
        *about, stub, check = _cells(exercise, folder)
        ids = [cell["id"] for cell in cells]
        if exercise.cell:
            place = _place_of(exercise.cell, ids, lesson)
            stub["id"] = exercise.cell
            cells[place] = stub
            cells.insert(_end_of_section(cells, place), check)
        elif exercise.after in ids:
            place = ids.index(exercise.after) + 1
            cells[place:place] = [*about, stub, check]
        else:
            practice += [*about, stub, check]
    if len(practice) > 1:
        place = next((number for number, cell in enumerate(cells) if _first(cell) == CLOSING), len(cells))
        cells[place:place] = practice
    notebook["cells"] = cells
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def is_written(cell: Any) -> bool:
    """Return whether this cell is one that `written` makes, and no cell of the lesson's own."""
    tags = [tag.partition(":") for tag in cell["metadata"].get("tags", ())]
    return cell["id"] in ("practice", *(f"{kind}-{name}" for kind, _, name in tags if name))


def _place_of(name: str, ids: list[str], lesson: Lesson) -> int:
    if name not in ids:
        raise KitError(f"The notebook of {lesson.name!r} has no cell {name!r}, which is an exercise's own.")
    return ids.index(name)


def _end_of_section(cells: list[Any], place: int) -> int:
    for number in range(place + 1, len(cells)):
        if _first(cells[number]).startswith("## "):
            return number
    return len(cells)


def _first(cell: Any) -> str:
    """Return the first line of a text; nothing of code."""
    return "".join(cell["source"]).partition("\n")[0] if cell["cell_type"] == "markdown" else ""


def _formatted(source: str, folder: Path) -> str:
    if source.startswith("%%"):
        return source
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", "cell.py", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, cwd=folder, check=False)
    return done.stdout if done.returncode == 0 else source


def _cells(exercise: Exercise, folder: Path) -> list[Any]:
    worked_in = {"minutes": exercise.minutes, "tags": ["exercise", f"exercise:{exercise.id}"]}
    title = f"### {exercise.title}\n\n{exercise.task}"
    about = [_cell("markdown", f"about-{exercise.id}", title, {"tags": [f"about:{exercise.id}"]})]
    if exercise.breaks is not None:
        opening = f'kit.drill("{exercise.id}")'
        about += [_cell("code", f"open-{exercise.id}", opening, {"tags": [f"open:{exercise.id}"]})]
    return [
        *about,
        _cell("code", f"exercise-{exercise.id}", _formatted(exercise.stub, folder), worked_in),
        _cell(
            "code", f"check-{exercise.id}", f'kit.check("{exercise.id}")', {"tags": [f"check:{exercise.id}"]}
        ),
    ]


def _cell(kind: str, name: str, source: str, metadata: dict[str, Any]) -> dict[str, Any]:
    cell = {
        "cell_type": kind,
        "id": name,
        "metadata": metadata,
        "source": source.strip().splitlines(keepends=True),
    }
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})
