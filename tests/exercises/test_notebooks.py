"""The exercises in their notebooks: as the objects say, no answer as shipped, a pass with the solution."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from kit.exercises import __main__ as command
from kit.exercises import course
from kit.exercises.authoring import stubs
from kit.exercises.course import Lesson
from tests.lessons.conftest import postgres_from
from tests.lessons.learner import Learner, learner_of
from tests.lessons.notebook import FOLDER, plain_python, text_of
from tests.night import by_day

LESSONS = course.lessons()
every_lesson = pytest.mark.parametrize("lesson", [pytest.param(one, id=one.name) for one in LESSONS])


def cells_of(lesson: Lesson) -> list[Any]:
    return list(nbformat.read(stubs.notebook_of(lesson, FOLDER), as_version=4).cells)


def test_there_are_fifty_exercises_and_more_three_or_four_in_a_lesson_and_ten_drills() -> None:
    assert len(course.all_exercises()) >= 50
    counts = {lesson.name: len(lesson.exercises) for lesson in LESSONS}
    assert counts.pop("capstone") == 1
    assert counts.pop("on_call") >= 10
    assert set(counts.values()) <= {3, 4}
    kinds = {one.kind for one in course.all_exercises()}
    assert kinds == {"predict", "mend", "complete", "query", "design", "read"}


def test_the_cells_are_those_that_the_objects_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["stubs", "--check", "--notebooks", str(FOLDER)]) == 0, (
        f"run: python -m kit.exercises stubs\n{capsys.readouterr().out}"
    )


@every_lesson
def test_the_names_of_an_exercise_are_set_in_its_own_cell_and_no_other(lesson: Lesson) -> None:
    """Or a late check would judge what another section has left under that name."""
    cells = cells_of(lesson)
    for exercise in lesson.exercises:
        own = exercise.cell or f"exercise-{exercise.id}"
        for name in exercise.names if exercise.kind != "predict" else ():
            setting = [cell.id for cell in cells if cell.cell_type == "code" and name in _set_by(cell.source)]
            assert setting == [own], f"{name!r} is set in {setting}"
        if exercise.file:
            writing = [cell.id for cell in cells if exercise.file in cell.source.partition("\n")[0]]
            assert writing == [own], f"{exercise.file!r} is written in {writing}"


def _set_by(source: str) -> set[str]:
    if source.startswith("%%"):
        return set()
    names = set()
    for node in ast.parse(plain_python(source)).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {
                part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)
            }
    return names


@pytest.fixture(scope="module", params=[one.name for one in LESSONS])
def learner(request: pytest.FixtureRequest, home: Path) -> Iterator[tuple[Lesson, Learner]]:
    """A learner with a kernel for a lesson, who has run its setup cells."""
    (lesson,) = [one for one in LESSONS if one.name == request.param]
    with postgres_from("embedded"), learner_of(stubs.notebook_of(lesson, FOLDER).stem) as one:
        one.run(one.lesson.setup)
        yield lesson, one


def test_as_shipped_nothing_is_attempted_and_with_the_solutions_everything_passes(
    learner: tuple[Lesson, Learner],
) -> None:
    lesson, one = learner
    cells = {cell.id: cell for cell in cells_of(lesson)}
    for exercise in filter(by_day, lesson.exercises):
        stub, check = cells[exercise.cell or f"exercise-{exercise.id}"], cells[f"check-{exercise.id}"]
        shown = text_of(one.run([stub, check])[-1])
        assert shown.startswith("○ Not attempted"), f"{exercise.id}: {shown}"
        if exercise.breaks is not None:
            shown = text_of(one.run([cells[f"open-{exercise.id}"], stub, check])[-1])
            assert shown.startswith("↻ Not yet"), f"{exercise.id}: {shown}"
        solved = nbformat.v4.new_code_cell(exercise.solution, id=stub.id)
        shown = text_of(one.run([solved, check])[-1])
        assert shown.startswith("✓ Passed"), f"{exercise.id}: {shown}"
        assert exercise.why in shown
