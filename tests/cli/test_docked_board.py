"""A lesson as ``kit lab`` opens it, in a real browser: its board is docked beside the text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.cli.running import Lab, started_lab
from tests.jupyterlab import Notebook, browser_page
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

LESSON = "00_start_here.ipynb"
BOARD = "#kit-docked-board"
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


def is_saved(page: Page, lab: Lab, collapsed: bool) -> bool:
    page.evaluate("0")  # the page's requests pass through here: none does while nobody asks
    layout = lab.ask("/lab/api/workspaces/default")["data"].get("layout-restorer:data", {})
    return layout.get("right", {}).get("collapsed") is collapsed


def test_a_lesson_opens_with_its_board_beside_the_text_and_keeps_the_layout_that_a_learner_makes(lab, folder):
    assert lab.page == f"/lab/tree/{LESSON}"
    with browser_page(width=1440, height=900) as page:
        base = lab.base.replace("localhost", "127.0.0.1")
        page.goto(f"{base}/lab/tree/{LESSON}?token={lab.token}&reset")
        notebook = Notebook(page, LESSON)
        notebook.wait_ready()
        board = page.locator(BOARD)
        wait_until("the board is docked", board.is_visible)
        wait_until(
            "it says what it waits for",
            lambda: board.inner_text().startswith(f"{LESSON}: run kit.postgres()"),
        )
        notebook.run_cell(2)
        wait_until("a sample until something runs", lambda: "A sample" in board.inner_text())
        assert width(page, BOARD) > 480 < width(page, ".jp-NotebookPanel")
        notebook.screenshot("docked-by-kit-lab")

        wait_until("its place is saved", lambda: is_saved(page, lab, collapsed=False))
        page.evaluate("jupyterapp.shell.collapseRight()")
        wait_until("the layout is saved", lambda: is_saved(page, lab, collapsed=True))
        page.reload()
        notebook.wait_ready()
        assert not board.is_visible(), "what a learner has closed stays closed"

    workspaces = {file.name: json.loads(file.read_text()) for file in (folder / "workspaces").iterdir()}
    assert workspaces == {"default-37a8.jupyterlab-workspace": LEARNERS_WORKSPACE}


def width(page: Page, selector: str) -> float:
    box = page.locator(selector).first.bounding_box()
    return box["width"] if box else 0
