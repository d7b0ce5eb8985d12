"""The board in Jupyter Notebook 7, which has no place beside the text."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.sources import Postgres
from tests.jupyterlab import Notebook7, browser_page, write_notebook
from tests.pictures.seen import CONSUMER, SETUP
from tests.pictures.test_docked import ENQUEUE, IN_THE_TEXT
from tests.waiting import wait_until

pytest.importorskip("notebook", reason="Notebook 7 is not installed here: by night it is")
pytestmark = pytest.mark.browser


def test_in_notebook_7_one_live_board_stands_in_the_text(tmp_path: Path, queue_server: Postgres) -> None:
    assert queue_server.source  # it stays up meanwhile, so that no kernel has to start one
    cells = [SETUP.format(name="in_notebook"), "kit.board()", CONSUMER, ENQUEUE.format(jobs=2)]
    write_notebook(tmp_path / "one.ipynb", *cells)
    with Notebook7(tmp_path, docked=True) as served, browser_page() as page:
        one = served.open(page, "one.ipynb")
        for cell in (0, 1, 2, 3):
            one.run_cell(cell, timeout=120)
        boards = page.locator(IN_THE_TEXT)
        wait_until("one board in the text", lambda: boards.count() == 1)
        wait_until("the jobs", lambda: "2 done" in boards.locator(".kb-words").inner_text())
        assert one.errors() == []
        one.screenshot("board-in-notebook-7")
        one.shutdown()
