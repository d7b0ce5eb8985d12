"""What those who write exercises have: cells from the objects, proofs, mutants, and a course of their own."""

from __future__ import annotations

import ast
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from kit.errors import KitError
from kit.exercises import __main__ as command
from kit.exercises import course
from kit.exercises.authoring.mutants import mutants
from kit.exercises.authoring.stubs import written
from kit.session import session
from tests.lessons.tidy import tidied

COURSE = '''
"""Exercises of another course."""
from kit.exercises.exercise import Exercise, NotYet, Wrong

async def one_row(answer):
    await answer.sql("CREATE TABLE pets (name text)")
    await answer.sql("INSERT INTO pets VALUES ('cat'), ('dog')")
    answer.same(await answer.ask("pets"), [("cat",), ("dog",)], "others", in_order=False)

EXERCISES = (
    Exercise(
        id="pets", kind="query", title="All pets", minutes=1, processes=0, names=("pets",), check=one_row,
        task="Which pets are there?", after="sum",
        stub="pets = ''", solution="pets = 'SELECT name FROM pets'", also=("pets = 'TABLE pets'",),
        hints=("Look.", "Look closer.", "SELECT name FROM pets"), why="That is all of them.",
        wrong=(
            Wrong("none", "pets = 'SELECT 1 WHERE false'", "others"),
            Wrong("one", "pets = 'SELECT name FROM pets LIMIT 1'", "others"),
            Wrong("no table", "pets = 'SELECT name FROM pet'", "refused"),
        ),
        messages={"others": "There are two."},
    ),
)
'''


@pytest.fixture
def another_course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course of somebody else: a package with one lesson, and a notebook for it."""
    package = tmp_path / "zoo_course"
    package.mkdir()
    (package / "__init__.py").write_text('"""A course."""\n')
    (package / "animals.py").write_text(COURSE)
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    cells = [
        nbformat.v4.new_markdown_cell("# Animals", id="title"),
        nbformat.v4.new_markdown_cell("## 1 · Pets\n\nSome.", id="pets-section"),
        nbformat.v4.new_code_cell("1 + 1", id="sum"),
        nbformat.v4.new_markdown_cell("## The end", id="end"),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    (notebooks / "03_animals.ipynb").write_text(tidied(nbformat.writes(notebook)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(session, "courses", [])
    for name in [name for name in sys.modules if name.startswith("zoo")]:  # of an earlier test
        del sys.modules[name]
    return notebooks / "03_animals.ipynb"


def cells_of(notebook: Path) -> list[Any]:
    return list(json.loads(notebook.read_text("utf-8"))["cells"])


def test_another_course_brings_its_own_exercises(
    another_course: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KIT_POSTGRES", "embedded")
    assert command.main(["try", "pets", "--course", "zoo_course"]) == 0, capsys.readouterr().out
    assert course.find("pets").title == "All pets"
    assert course.find("thank"), "this course's are still there"
    assert course.all_lessons()[-1].name == "animals"


def test_a_wrong_answer_that_gets_another_message_fails_the_try(
    another_course: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KIT_POSTGRES", "embedded")
    module = another_course.parents[1] / "zoo_course" / "animals.py"
    module.write_text(COURSE.replace("LIMIT 1", "LIMIT 2"))
    assert command.main(["try", "animals", "--course", "zoo_course", "--no-mutants"]) == 1
    assert "FAIL wrong: one: passed" in capsys.readouterr().out


def test_a_course_whose_id_is_taken_or_that_is_not_there_is_refused(another_course: Path) -> None:
    module = another_course.parents[1] / "zoo_course" / "animals.py"
    module.write_text(COURSE.replace('id="pets"', 'id="thank"'))
    with pytest.raises(KitError, match="has an exercise 'thank', and there is one already"):
        course.add("zoo_course")
    with pytest.raises(KitError, match="no course 'no_such_course'"):
        course.add("no_such_course")


def test_stubs_come_behind_their_cell_and_twice_changes_nothing(another_course: Path) -> None:
    assert command.main(["stubs", "--course", "zoo_course", "--check"]) == 1
    assert command.main(["stubs", "--course", "zoo_course"]) == 0
    assert [cell["id"] for cell in cells_of(another_course)] == [
        "title", "pets-section", "sum", "about-pets", "exercise-pets", "check-pets", "end",
    ]  # fmt: skip
    text = another_course.read_text("utf-8")
    assert text == tidied(text), "in the one form in which notebooks are stored"
    assert command.main(["stubs", "--course", "zoo_course", "--check"]) == 0
    assert command.main(["stubs", "--course", "zoo_course"]) == 0
    assert another_course.read_text("utf-8") == text


def test_a_stub_that_was_changed_is_written_anew(another_course: Path) -> None:
    command.main(["stubs", "--course", "zoo_course"])
    text = another_course.read_text("utf-8")
    another_course.write_text(text.replace('pets = \\"\\"', 'pets = \\"SELECT 1\\"'))
    assert command.main(["stubs", "--course", "zoo_course", "--check"]) == 1
    command.main(["stubs", "--course", "zoo_course"])
    assert another_course.read_text("utf-8") == text


def test_an_exercise_without_a_place_stands_in_practice_and_one_may_have_a_cell_of_the_lesson(
    another_course: Path,
) -> None:
    (lesson,) = course.lessons("zoo_course")
    text = another_course.read_text("utf-8")

    def ids(**what: str) -> list[str]:
        exercise = dataclasses.replace(lesson.exercises[0], **{"after": ""} | what)  # type: ignore[arg-type]
        made = json.loads(
            written(text, dataclasses.replace(lesson, exercises=(exercise,)), another_course.parent)
        )
        return [cell["id"] for cell in made["cells"]]

    practice = ["practice", "about-pets", "exercise-pets", "check-pets"]
    assert ids() == ["title", "pets-section", "sum", "end", *practice]
    assert ids(after="no-such-cell") == ids()
    assert ids(cell="sum") == ["title", "pets-section", "sum", "check-pets", "end"]
    with pytest.raises(KitError, match="has no cell 'no-such-cell'"):
        ids(cell="no-such-cell")


def test_mutants_drop_a_statement_a_transaction_and_a_word_of_sql() -> None:
    source = (
        "async def f(db):\n    async with db.transaction():\n        await db.execute("
        "'UPDATE t SET a = 1 WHERE b AND c', 2)\n        return True\n"
    )
    found = dict(mutants(source))
    for name in (
        "dropped `return True`",
        "without `db.transaction()`",
        "SQL: another word for `AND`",
        "True is False",
        "2 is 3",
    ):
        assert name in found
    for mutant in found.values():
        ast.parse(mutant)
        assert mutant != ast.unparse(ast.parse(source))
    assert len(set(found.values())) == len(found)
