"""What a teacher has in the room: the plan on the board, slips, a table in a notebook, and slides."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from kit import classroom
from kit.classroom import identity, slides, slips
from kit.errors import KitError
from tests.classroom.conftest import Teacher, wrong
from tests.classroom.test_class import BecomeLearner, ran
from tests.jupyterlab import browser_page
from tests.lessons.notebook import FOLDER, LESSONS
from tests.lessons.test_guide import BOOKS
from tests.night import SEEDS
from tests.waiting import wait_until


def test_the_board_goes_by_the_plan_also_after_it_was_killed_and_started_again(teacher: Teacher) -> None:
    said = json.loads(teacher.see())["plan"]
    assert re.fullmatch(r"half-day: Arrive.*, minute \d of 15\. Nobody is here yet\.", said)
    begun = identity.known()[0].plan["begun"]
    teacher.kill()
    teacher.start()
    assert identity.known()[0].plan["begun"] == begun
    assert json.loads(teacher.see())["plan"].startswith("half-day: Arrive")


def test_slips_have_the_join_line_and_are_the_teachers_alone(teacher: Teacher) -> None:
    assert teacher.ask("slips")[0] == 401
    line = f"kit class join {teacher.line} "
    assert teacher.see("slips").count(line) == slips.USUAL
    assert teacher.see("slips?a-page=12&pages=3").count(line) == 36
    for odd in ("a-page=-1&pages=0", "a-page=7&pages=x", "a-page=%C2%B2&pages=%C2%B2", "pages=99999999"):
        assert teacher.see(f"slips?{odd}").count(line) == slips.USUAL
    assert teacher.see("slips?pages=500").count(line) == slips.USUAL * slips.MOST
    assert "<b>&lt;script&gt;</b>" in slips.page("<script>", teacher.line)


def test_the_guides_cell_shows_the_board_as_a_table(teacher: Teacher, learner: BecomeLearner) -> None:
    learner("NA")
    ran("join", teacher.line, "--name", "NA")
    wrong(2)
    wait_until("the wrong checks", lambda: teacher.wrong("NA") == 2)
    (cell,) = (cell for cell in BOOKS["guide"].cells if cell.cell_type == "code")
    namespace: dict[str, Any] = {}
    exec(cell.source, namespace)
    assert namespace["tried"][["learner", "exercise", "wrong checks"]].to_numpy().tolist() == [
        ["NA", "thank", 2]
    ]


def test_without_a_class_there_is_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIT_HOME", str(tmp_path))
    with pytest.raises(KitError, match="No class runs on this machine"):
        classroom.board()


def made(*cells: Any) -> list[slides.Slide]:
    return list(slides.slides(nbformat.v4.new_notebook(cells=list(cells))))


def test_a_slide_has_one_idea_and_a_prediction_stands_before_what_answers_it() -> None:
    text = nbformat.v4.new_markdown_cell
    code = nbformat.v4.new_code_cell
    folded = {"jupyter": {"source_hidden": True}}
    shown = made(
        text("# 03 · Order\n\n**You will be able to** say [it](glossary.ipynb#it)."),
        code("import kit", id="setup"),
        code("secret = 1", metadata=folded),
        text("## 1 · Who?\n\nA need.\n\nAnother.\n\n<details>folded\n\naway</details>\n\n**Predict.** Who?"),
        code("run()\n\n\nrun()"),
        text("**Look:** `a`.\n\n```sql\nSELECT 1\n\n;\n```"),
        text("**What would happen if…** it rained? It would."),
        code('kit.check("order")', metadata={"tags": ["check:order"]}),
    )
    assert [(one.kind, one.body) for one in shown] == [
        ("title", "03 · Order"),
        ("text", "**You will be able to** say it."),
        ("title", "1 · Who?"),
        ("text", "A need."),
        ("text", "Another."),
        ("predict", "**Predict.** Who?"),
        ("code", "run()\n\n\nrun()"),
        ("look", "**Look:** `a`."),
        ("text", "```sql\nSELECT 1\n\n;\n```"),
        ("predict", "**What would happen if…** it rained?"),
        ("look", "It would."),
    ]
    assert {one.heading for one in shown[3:]} == {"1 · Who?"}


def test_slides_are_written_beside_the_notebook_and_what_is_none_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = tmp_path / "mine.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# <b>Mine")]), notebook)
    assert slides.main([str(notebook)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'mine.slides.html'}\n"
    assert "<title>&lt;b&gt;Mine</title>" in (tmp_path / "mine.slides.html").read_text("utf-8")
    notebook.write_text("[]")
    assert slides.main([str(notebook)]) == 2
    assert slides.main([str(tmp_path / "nowhere.ipynb")]) == 2
    assert "is no notebook" in (said := capsys.readouterr().err)
    assert "No such file" in said


CUT = """parts => [...document.querySelectorAll(parts)].filter(one =>
    one.scrollHeight > one.clientHeight || one.scrollWidth > one.clientWidth).map(one => one.innerText)"""


SIZES = """() => [...document.querySelectorAll('section > div')].map(
    one => parseFloat(getComputedStyle(one).fontSize))"""


@pytest.mark.browser
def test_no_slide_of_a_lesson_and_no_slip_is_cut_off_and_slides_need_no_network() -> None:
    with browser_page(width=1280, height=720) as page:
        for name in LESSONS if SEEDS else LESSONS[::4]:
            page.set_content(slides.page(json.loads((FOLDER / f"{name}.ipynb").read_text("utf-8"))))
            assert page.evaluate(CUT, "section, section > div") == [], name
            assert min(page.evaluate(SIZES)) >= 20, name
        page.keyboard.press("ArrowRight")
        page.keyboard.press(" ")
        assert page.inner_text("nav").startswith("3 / ")
        line = "http://192.168.100.200:8890/abcdefghjkmn"
        page.emulate_media(media="print")
        for each in slips.LOOKS:
            page.set_content(slips.page("Databases for the second year, every Monday", line, str(each), "2"))
            assert page.evaluate(CUT, "article") == []
            for paper in ("A4", "Letter"):
                assert page.pdf(format=paper).count(b"/Type /Page\n") == 2
