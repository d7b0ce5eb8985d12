"""What becomes pages, and what is refused of them; needs no Sphinx."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from kit.exercises import course
from kit.exercises.authoring import stubs
from kit.exercises.course import Lesson
from tests.lessons.notebook import COMPANIONS, FOLDER, LESSONS
from tests.site import checks, pages


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """The sources of the whole site, of notebooks that nobody has run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "REPOSITORY", "https://github.com/owner/name")
        unrun = {name: nbformat.read(FOLDER / f"{name}.ipynb", as_version=4) for name in pages.NOTEBOOKS}
        return dict(pages.pages(unrun))


def test_every_notebook_is_a_page(sources: dict[str, str]) -> None:
    kept = [path for path in FOLDER.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    assert {path.name for path in kept} <= set(sources)


@pytest.mark.parametrize("lesson", course.lessons(), ids=lambda lesson: lesson.name)
def test_an_exercise_has_its_stub_its_hints_in_folds_and_no_solution(
    lesson: Lesson, sources: dict[str, str]
) -> None:
    name = stubs.notebook_of(lesson, FOLDER).name
    cells = nbformat.reads(sources[name], as_version=4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    for one in lesson.exercises:
        ids = [cell.id for cell in cells]
        assert (one.cell or f"exercise-{one.id}") in ids
        folds = cells[ids.index(f"check-{one.id}") + 1].source
        assert re.findall(
            r"<details><summary>Hint \d</summary>\n\n(.+?)\n\n</details>", folds, re.DOTALL
        ) == [*one.hints]
        assert not [cell for cell in code if one.solution.strip() in cell]


def test_a_page_says_how_it_is_run_how_long_it_takes_and_where_it_is_changed(sources: dict[str, str]) -> None:
    for name, text in sources.items():
        place = (
            r"notebooks/(teaching/)?" + name if name.endswith(".ipynb") else r"(README\.md|kit/__init__\.py)"
        )
        edit = rf"https://github\.com/owner/name/edit/main/{place}\)"
        assert name == "index.md" or re.search(edit, text), name
        if name.removesuffix(".ipynb") in [*LESSONS, *COMPANIONS]:
            assert re.search(r"\*\*Takes\*\* about \d+ minutes", text), name
            assert re.search(r"Run it: `python3 -m kit lab \w+`", text), name


GOOD = '<h1 id="top">A page</h1><img src="a.png" alt="a board"><a href="#top">up</a><a href="b.html#x">b</a>'


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        (GOOD, None),
        ('<img src="a.png">', "no alternative text: a.png"),
        ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example/x.js"),
        ('<link rel="stylesheet" href="//cdn.example/x.css">', "loads //cdn.example/x.css"),
        ('<a href="gone.html">x</a>', "leads nowhere: gone.html"),
        ('<a href="b.html#gone">x</a>', "leads nowhere: b.html#gone"),
        ('<a href="#gone">x</a>', "leads nowhere: #gone"),
    ],
)
def test_a_page_that_is_not_complete_is_refused(page: str, problem: str | None, tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "b.html").write_text('<p id="x">b</p>')
    (tmp_path / "a.html").write_text(page)
    if problem is None:
        checks.examine(tmp_path)
    else:
        with pytest.raises(AssertionError, match=re.escape(problem)):
            checks.examine(tmp_path)
