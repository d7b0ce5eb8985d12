"""The first lesson as a newcomer meets it: a real JupyterLab in a real Chromium."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest

from tests.jupyterlab import JupyterLab, browser_page
from tests.lessons.notebook import FOLDER
from tests.waiting import wait_until

pytestmark = pytest.mark.browser


def test_a_newcomer_runs_all_cells_of_lesson_00_and_sees_the_consumer_and_a_table(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "00_start_here.ipynb", tmp_path)
    sources = [cell.source for cell in nbformat.read(FOLDER / "00_start_here.ipynb", as_version=4).cells]
    with JupyterLab(tmp_path, env={"KIT_POSTGRES": "embedded"}) as lab, browser_page() as page:
        notebook = lab.open(page, "00_start_here.ipynb")
        notebook.run_all()
        assert notebook.errors() == []

        consumer = next(index for index, source in enumerate(sources) if source.startswith("kit.run(main)"))
        notebook.scroll_to(consumer)
        wait_until(
            "the consumer's output is shown", lambda: "Processed: hello world" in notebook.text(consumer)
        )
        notebook.screenshot("lesson-00-consumer")

        log = sources.index("kit.log()")
        notebook.scroll_to(log)
        wait_until("a table is shown", page.locator(".jp-OutputArea table").first.is_visible)
        assert all(status in notebook.text(log) for status in ("queued", "picked", "successful"))
        notebook.screenshot("lesson-00-table")
        notebook.shutdown()
