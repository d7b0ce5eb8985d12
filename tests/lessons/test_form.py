"""How a lesson is written: its opening, its sections, its length, its words and its links."""

from __future__ import annotations

import ast
import json
import re
import uuid
from pathlib import Path

import nbformat
import pytest

from tests.lessons.notebook import FOLDER, LESSONS, Lesson, plain_python, read
from tests.lessons.reading import code_lines, folded, in_sight, minutes
from tests.lessons.terms import TERMS, Term
from tests.lessons.tidy import notebooks, tidied

TO_BE_MADE_NARROW = ["00", "02", "03", "04", "07", "14"]
DOCUMENTATION = "https://janbjorge.github.io/pgqueuer/"

every_lesson = pytest.mark.parametrize("lesson", [pytest.param(read(name), id=name) for name in LESSONS])


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in notebooks()])
def test_a_notebook_is_stored_in_the_one_form(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text == tidied(text), "run: python -m tests.lessons.tidy"


def test_what_a_run_leaves_and_the_ids_of_jupyterlab_do_not_stay() -> None:
    notebook = nbformat.v4.new_notebook(metadata={"language_info": {"name": "python", "version": "3.13.1"}})
    made_there = str(uuid.uuid4())
    notebook.cells = [
        nbformat.v4.new_code_cell(
            "import kit\nkit.jobs()",
            id=made_there,
            execution_count=3,
            outputs=[nbformat.v4.new_output("stream", text="left behind")],
            metadata={"execution": {"iopub.status.busy": "now"}, "tags": ["exercise"]},
        ),
        nbformat.v4.new_markdown_cell("Import kit, kit jobs?", id="import-kit-kit-jobs"),
    ]
    text = tidied(nbformat.writes(notebook))
    assert "left behind" not in text
    assert "3.13.1" not in text
    assert made_there not in text
    cells = json.loads(text)["cells"]
    assert [cell["id"] for cell in cells] == ["import-kit-kit-jobs-2", "import-kit-kit-jobs"]
    assert cells[0]["metadata"] == {"tags": ["exercise"]}
    assert cells[0]["source"] == ["import kit\n", "kit.jobs()"]


def test_a_notebook_of_one_edited_word_differs_by_one_line() -> None:
    text = notebooks()[0].read_text("utf-8")
    edited = tidied(text.replace("Start here", "Begin here", 1))
    assert sum(a != b for a, b in zip(text.splitlines(), edited.splitlines(), strict=True)) == 1


@every_lesson
def test_it_says_what_it_gives_how_long_it_takes_and_what_it_builds_on(lesson: Lesson) -> None:
    for part in ("**You will be able to**", "**Takes** about", "**Builds on**"):
        assert part in lesson.prose[0]


@every_lesson
def test_it_ends_with_a_recap_a_question_production_notes_the_documentation_and_what_is_next(
    lesson: Lesson,
) -> None:
    closing = lesson.prose[-1]
    for part in ("## What you know now", "**What would happen if…**", "In production", "**Next:**"):
        assert part in closing
    assert f"]({DOCUMENTATION}" in closing, "link to PGQueuer's documentation"


@every_lesson
def test_the_setup_cell_is_the_same_but_for_the_database_of_the_lesson(lesson: Lesson) -> None:
    assert lesson.code[0].source == f'import kit\n\nkit.postgres(database="{lesson.name[3:]}")'


@every_lesson
def test_a_heading_begins_its_cell_so_that_a_section_can_be_run_from_it(lesson: Lesson) -> None:
    for source in lesson.prose:
        assert not re.search(r".\n## ", source, re.DOTALL), f"a heading stands inside of: {source[:80]!r}"


@every_lesson
def test_each_section_has_something_to_look_at(lesson: Lesson) -> None:
    for section in lesson.sections:
        if section.title != "Your turn":
            assert list(section.looks()), f"{section.title!r} has no **Look**"


@every_lesson
def test_a_prediction_stands_right_before_its_cell_and_a_look_right_after_it(lesson: Lesson) -> None:
    for place, cell in enumerate(lesson.cells):
        if cell.cell_type != "markdown" or "**Predict.**" not in cell.source:
            continue
        *_, last = cell.source.strip().split("\n\n")
        assert last.startswith("**Predict.**"), f"a prediction is the last paragraph above its cell: {last!r}"
        after = [later.cell_type for later in lesson.cells[place + 1 :]]
        assert after[0] == "code", f"no cell answers {last!r}"
        answered = lesson.cells[place + 1 + after.index("markdown")]
        assert answered.source.startswith("**Look"), f"no **Look** after the cell that answers {last!r}"


@every_lesson
def test_cells_are_short(lesson: Lesson) -> None:
    """One at most is folded: it holds what only helps, and the text above it says what."""
    lengths = {cell.id: code_lines(cell) for cell in lesson.read_code}
    assert sorted(lengths.values())[len(lengths) // 2] <= 6
    assert {name: length for name, length in lengths.items() if length > 8} == {}
    folded = [cell for cell in lesson.code if cell not in lesson.read_code]
    assert [cell.id for cell in folded if cell not in lesson.setup] == []
    assert sum(map(code_lines, folded)) <= 75
    assert len(folded) <= 1


@every_lesson
def test_no_line_of_code_is_wider_than_the_page_beside_a_board(lesson: Lesson) -> None:
    wide = {cell.id: line for cell in lesson.code for line in cell.source.splitlines() if len(line) > 72}
    assert wide == {} or lesson.name[:2] in TO_BE_MADE_NARROW


@every_lesson
def test_no_cell_sleeps_in_the_hope_that_something_has_happened(lesson: Lesson) -> None:
    for cell in lesson.code:
        tree = ast.parse(plain_python(cell.source))
        for statement in tree.body:
            if not isinstance(statement, ast.AsyncFunctionDef | ast.FunctionDef | ast.While):
                assert "sleep(" not in ast.unparse(statement), f"wait for the condition in {cell.source!r}"


@every_lesson
def test_it_is_under_a_thousand_words_and_at_most_25_minutes_which_its_top_names(lesson: Lesson) -> None:
    """Folded text is not counted, so there is a limit to it."""
    assert in_sight(lesson) < 1000
    assert folded(lesson) <= 250
    assert minutes(lesson) <= 25 or lesson.name[:2] in TO_BE_MADE_NARROW
    assert f"**Takes** about {minutes(lesson)} minutes" in lesson.prose[0]


@every_lesson
def test_each_exercise_says_how_many_minutes_it_takes(lesson: Lesson) -> None:
    stored = nbformat.read(FOLDER / f"{lesson.name}.ipynb", as_version=4)
    exercises = [cell for cell in stored.cells if "exercise" in cell.metadata.get("tags", ())]
    assert exercises, "a lesson has an exercise"
    for cell in exercises:
        assert cell.metadata.get("minutes", 0) >= 2, f"the metadata of {cell.id!r} names no minutes"


@every_lesson
def test_links_between_lessons_lead_somewhere(lesson: Lesson) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", "\n".join(lesson.prose)):
        assert (FOLDER / link).exists(), f"{lesson.name} links to {link!r}"


@every_lesson
def test_no_lesson_is_promised_that_is_not_there(lesson: Lesson) -> None:
    there = {name[:2] for name in LESSONS}
    for named in re.findall(r"[Ll]essons? (\d\d)(?: and (\d\d))?", "\n".join(lesson.prose)):
        assert {number for number in named if number} <= there, "say 'later', until it is there"


@every_lesson
def test_a_picture_says_in_words_what_it_shows(lesson: Lesson) -> None:
    for source in lesson.prose:
        assert "![](" not in source
        for tag in re.findall(r"<img[^>]*>", source):
            assert re.search(r'alt="[^"]+"', tag), f"{tag} has no alt text"


@pytest.mark.parametrize("term", [pytest.param(term, id=term.word) for term in TERMS])
def test_a_word_is_explained_before_it_is_used_or_leads_to_the_glossary(term: Term) -> None:
    term.place(read(term.lesson))
    for name in LESSONS:
        assert (early := term.used_too_early(read(name))) is None, f"lesson {name}: {early}"
