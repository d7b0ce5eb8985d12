"""The teacher's guide: what it takes from elsewhere is up to date, and what it points to is there."""

from __future__ import annotations

import re

import nbformat
import pytest

from kit.exercises import __main__ as command
from kit.exercises import course
from kit.exercises.authoring import guide
from tests.lessons.notebook import FOLDER, LESSONS, read

BOOKS = {path.stem: nbformat.read(path, as_version=4) for path in (FOLDER / guide.FOLDER).glob("*.ipynb")}
PARTS = {cell.id: cell.source for cell in BOOKS["lessons"].cells}
every_lesson = pytest.mark.parametrize("lesson", LESSONS)


def sections_of(lesson: str) -> set[str]:
    return {section.title.split(" · ")[0] for section in read(lesson).sections} | {
        source[3:4] for source in read(lesson).prose if source.startswith("## ")
    }


def test_its_plans_and_wrong_answers_are_those_of_the_lessons_and_exercises(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["guide", "--check", "--notebooks", str(FOLDER)]) == 0, (
        f"run: python -m kit.exercises guide\n{capsys.readouterr().out}"
    )


def test_each_wrong_answer_is_in_it_and_no_place_of_a_message_is_left_open() -> None:
    for lesson in course.lessons():
        text = PARTS[f"mistakes-{lesson.name}"]
        for exercise in lesson.exercises:
            assert f"*{exercise.title}*" in text
            assert all(wrong.why in text for wrong in exercise.wrong)
        assert not re.search(r"\{\w+\}", text)


def test_a_guide_without_a_part_for_a_lesson_is_refused(tmp_path) -> None:
    (tmp_path / guide.FOLDER).mkdir()
    for path in FOLDER.glob("*.ipynb"):
        (tmp_path / path.name).symlink_to(path)
    assert command.main(["guide", "--check", "--notebooks", str(tmp_path)]) == 2


@every_lesson
def test_of_each_lesson_it_tells_what_to_say_what_can_go_what_goes_wrong_and_what_the_expert_asks(
    lesson: str,
) -> None:
    text = PARTS[f"teach-{lesson[3:]}"]
    title = read(lesson).prose[0].splitlines()[0].removeprefix("# ")
    assert text.startswith(f"## [{title}](../{lesson}.ipynb)\n")
    for part in ("**Say.**", "**Can go.**", "**Goes wrong.**", "**The expert asks**"):
        assert f"\n\n{part} " in text


@every_lesson
def test_the_sections_that_it_names_are_there(lesson: str) -> None:
    text = PARTS[f"teach-{lesson[3:]}"]
    own = re.sub(r"\]\(\.\./(\w+)\.ipynb\), section (\d)", "", text.partition("\n")[2])
    elsewhere = re.findall(r"\]\(\.\./(\w+)\.ipynb\), section (\d)", text)
    named = [(lesson, number) for number in re.findall(r"[Ss]ections? (\d)", own)] + elsewhere
    for where, number in named:
        assert number in sections_of(where), f"{where} has no section {number}"


def test_its_links_lead_somewhere() -> None:
    for book in BOOKS.values():
        for cell in book.cells:
            for link in re.findall(r"\]\(([^)#:]+)\)", cell.source):
                assert (FOLDER / guide.FOLDER / link).exists(), link
