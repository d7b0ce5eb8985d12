"""A lesson as ``kit lab`` opens it, in a real browser: its board is docked beside the text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.cli.running import Lab, started_lab
from tests.jupyterlab import Notebook, browser_page, wait_until

pytestmark = pytest.mark.browser

LESSON = "00_start_here.ipynb"
WAITING = "once you have run the cell with kit.board()"
SAYS = "getComputedStyle(document.querySelector('.kit-docked-board .jp-OutputArea'), '::before').content"
LEARNERS_WORKSPACE = {"data": {"mine": True}, "metadata": {"id": "default"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The learner's own files for Jupyter: a layout, no saving of the lessons of this project."""
    folder = tmp_path_factory.mktemp("lab")
    files = {
        "config/jupyter_lab_config.json": {"LabApp": {"expose_app_in_browser": True}},
        "settings/@jupyterlab/docmanager-extension/plugin.jupyterlab-settings": {"autosave": False},
        "workspaces/default-37a8.jupyterlab-workspace": LEARNERS_WORKSPACE,
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def lab(folder: Path) -> Iterator[Lab]:
    with started_lab(folder, "--originals") as lab:
        yield lab


def opened(lab: Lab, page: Page, lesson: str = LESSON) -> Notebook:
    """Open a lesson in a layout that nobody has changed yet."""
    base = lab.base.replace("localhost", "127.0.0.1")
    page.goto(f"{base}/lab/tree/{lesson}?token={lab.token}&reset")
    notebook = Notebook(page, lesson)
    notebook.wait_ready()
    return notebook


def reloaded(notebook: Notebook) -> None:
    notebook.page.reload()
    notebook.wait_ready()


def shown(page: Page) -> list[Any]:
    """The tabs of JupyterLab's main area."""
    tabs: list[Any] = page.evaluate("[...jupyterapp.shell.widgets('main')].map(each => each.title.label)")
    return tabs


def layout_is_saved(notebook: Notebook, lab: Lab, tabs: int) -> None:
    def saved() -> bool:
        notebook.page.evaluate("0")  # the page's requests pass through here: none does while nobody asks
        data = lab.ask("/lab/api/workspaces/default")["data"]
        return json.dumps(data.get("layout-restorer:data", "")).count("cloned-outputs:") == tabs

    wait_until(f"the layout is saved with {tabs} views of outputs", saved)


def stand_side_by_side(page: Page) -> bool:
    text = page.locator(".jp-NotebookPanel").bounding_box()
    beside = page.locator(".kit-docked-board").bounding_box()
    if text is None or beside is None:
        return False
    return text["x"] + text["width"] <= beside["x"] and min(text["width"], beside["width"]) > 500


def test_a_lesson_opens_with_its_board_beside_the_text_and_keeps_the_layout_that_a_learner_makes(lab, folder):
    assert lab.page == f"/lab/tree/{LESSON}"
    with browser_page(width=1440, height=900) as page:
        notebook = opened(lab, page)
        wait_until("the board is docked", lambda: shown(page) == [LESSON, "Board"])
        wait_until("text and board stand side by side", lambda: stand_side_by_side(page))
        assert WAITING in page.evaluate(SAYS)
        assert page.evaluate("jupyterapp.shell.currentWidget.title.label") == LESSON
        notebook.screenshot("docked-before-light")

        notebook.run_all()
        assert notebook.errors() == []
        wait_until(
            "the docked board shows the pages",
            lambda: "30 successful" in page.locator(".kit-docked-board").inner_text(),
        )
        wait_until("text and board stand side by side", lambda: stand_side_by_side(page))
        notebook.screenshot("docked-after-light")
        notebook.theme("JupyterLab Dark")
        notebook.screenshot("docked-after-dark")

        layout_is_saved(notebook, lab, 1)
        reloaded(notebook)
        wait_until("the board is where it was", lambda: shown(page) == [LESSON, "Board"])
        wait_until("text and board stand side by side", lambda: stand_side_by_side(page))
        assert WAITING in page.evaluate(SAYS), "the outputs were not saved"

        page.locator(".lm-TabBar-tab", has_text="Board").locator(".lm-TabBar-tabCloseIcon").click()
        layout_is_saved(notebook, lab, 0)
        reloaded(notebook)
        assert shown(page) == [LESSON]

    workspaces = {file.name: json.loads(file.read_text()) for file in (folder / "workspaces").iterdir()}
    assert workspaces == {"default-37a8.jupyterlab-workspace": LEARNERS_WORKSPACE}


@pytest.mark.parametrize("width", [800, 1024])
def test_in_a_narrow_window_the_text_has_all_the_room(lab, width):
    with browser_page(width=width, height=800) as page:
        notebook = opened(lab, page)
        notebook.run_cell(2)  # by now a board would be there
        assert shown(page) == [LESSON]
        notebook.screenshot(f"not-docked-{width}")


def test_a_lesson_without_a_board_opens_plainly(lab):
    with browser_page(width=1440, height=900) as page:
        opened(lab, page, "01_entrypoints.ipynb").run_cell(2)
        assert shown(page) == ["01_entrypoints.ipynb"]
