"""The cells of exercises in their notebooks: written from the objects, so that each has one home."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kit.errors import KitError
from kit.exercises.course import Lesson
from kit.exercises.exercise import Exercise


def notebook_of(lesson: Lesson, folder: Path) -> Path:
    """Return the notebook of a lesson: the one in ``folder`` that has its name, behind a number or without.

    Raises:
        KitError: there is none, or more than one.
    """
    found = [path for path in folder.glob("*.ipynb") if path.stem.lstrip("0123456789_") == lesson.name]
    if len(found) != 1:
        raise KitError(f"{str(folder)!r} has {len(found)} notebooks of the lesson {lesson.name!r}, not one.")
    return found[0]


def written(text: str, lesson: Lesson) -> str:
    """Return a stored notebook with the cells of its exercises, each after the cell or section that it names.

    It keeps the form in which JupyterLab writes. Done twice it changes nothing.

    Raises:
        KitError: there is no such cell or section.
    """
    notebook = json.loads(text)
    wanted = {one.id for one in lesson.exercises}
    cells = [cell for cell in notebook["cells"] if not wanted & set(_exercises_of(cell))]
    for exercise in lesson.exercises:
        place = _place(cells, exercise, lesson)
        cells[place:place] = _cells(exercise)
    notebook["cells"] = cells
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _exercises_of(cell: Any) -> list[str]:
    tags = [tag.partition(":") for tag in cell["metadata"].get("tags", ())]
    return [name for kind, _, name in tags if kind in ("about", "exercise", "check") and name]


def _place(cells: list[Any], exercise: Exercise, lesson: Lesson) -> int:
    """Return where the exercise's cells go: behind its anchor, and behind the exercises that are there."""
    same = {one.id for one in lesson.exercises if one.after == exercise.after}
    place = None
    inside = False
    for number, cell in enumerate(cells, 1):
        first = "".join(cell["source"]).partition("\n")[0]
        if cell["cell_type"] == "markdown" and first.startswith("## "):
            inside = exercise.after in (first[3:], first.partition(" · ")[2])
        if inside or cell["id"] == exercise.after or (place and same & set(_exercises_of(cell))):
            place = number
    if place is None:
        raise KitError(
            f"{lesson.name!r} has no cell and no section {exercise.after!r}, where {exercise.id!r} stands."
        )
    return place


def _cells(exercise: Exercise) -> list[Any]:
    worked_in = {"minutes": exercise.minutes, "tags": ["exercise", f"exercise:{exercise.id}"]}
    return [
        _cell("markdown", f"about-{exercise.id}", exercise.task, {"tags": [f"about:{exercise.id}"]}),
        _cell("code", f"exercise-{exercise.id}", exercise.stub, worked_in),
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
