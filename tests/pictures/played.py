"""One run of a lesson, as the page that is kept of its board plays it again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Page

from tests.jupyterlab import ARTIFACTS
from tests.kernels import notebook_client
from tests.waiting import wait_until

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
# A lesson, the cell up to which it is run, and what of the cells before that is left out.
RUNS = {
    "start": ("00_start_here", "thirty-pages", r"run-(?!slow)|exercise|check"),
    "order": ("03_priorities", "run-four", r"run-|exercise|check"),
    "retries": ("05_failures", "run-with-back-off", r"run-|exercise|check"),
    "held": ("05_failures", "run-with-a-mistake", r"run-|exercise|check"),
    "crash": ("06_crashes", "another", r"run-|exercise|check"),
    "pipeline": ("07_pipelines", "run-thirty-orders", r"run-|one-row|data|exercise|check"),
    "workers": ("09_concurrency", "run-four", r"run-|measure-|plot-|exercise|check"),
}


def page_kept_of(run: str, folder: Path) -> str:
    """Execute a run of a lesson in a folder, and return the page that its board leaves."""
    lesson, last, skipped = RUNS[run]
    notebook: Any = nbformat.read(NOTEBOOKS / f"{lesson}.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    end = [cell.id for cell in cells].index(last)
    first, *rest = (cell for cell in cells[:end] if not re.match(skipped, cell.id))
    notebook.cells = [first, nbformat.v4.new_code_cell("kit.board()"), *rest, cells[end]]
    notebook_client(notebook, resources={"metadata": {"path": str(folder)}}).execute()
    page: str = notebook.cells[1].outputs[1].data["text/html"]
    return page


class Played:
    """One run, as the page that is kept of it plays it again."""

    def __init__(self, page: Page, kept: str, name: str) -> None:
        self.page = page
        self.name = name
        page.set_content(f"<!DOCTYPE html><body style='margin:0'>{kept}</body>")
        wait_until("the board", lambda: page.evaluate("Boolean(document.querySelector('.kit-board')?.board)"))
        self.history: list[list[Any]] = self.ask("board.history.changes")

    def ask(self, expression: str, argument: Any = None) -> Any:
        board = "const { board } = document.querySelector('.kit-board');"
        return self.page.evaluate(f"async (argument) => {{ {board} return {expression}; }}", argument)

    def at(self, t: float) -> None:
        """Show the moment ``t``, in seconds since the history's begin."""
        drawn = "setTimeout(() => requestAnimationFrame(done), 60)"
        self.ask(f"new Promise((done) => {{ board.go(argument); {drawn}; }})", t)

    def when(self, job: int, status: str, time: int = 1) -> float:
        """When a job became so for the first, second, … time."""
        moments = [
            at
            for at, table, key, row in self.history
            if (table, key) == ("jobs", job) and row and row.get("status") == status
        ]
        return float(moments[time - 1])

    def killed(self) -> float:
        """When the first worker was killed."""
        changes = (row for row in self.history if row[1] == "lanes" and row[3])
        return float(next(at for at, _, _, row in changes if row.get("state") == "killed"))

    def boxes(self, selector: str) -> list[dict[str, Any]]:
        """What is drawn: text, name, place, what covers its middle, and the colour of the edge."""
        found: list[dict[str, Any]] = self.page.locator(f".kit-board {selector}").evaluate_all(
            """boxes => boxes.map(box => {
                const { x, y, width, height } = box.getBoundingClientRect(), style = getComputedStyle(box);
                const text = box.innerText.split('\\n').join(' ');
                const top = document.elementFromPoint(x + width / 2, y + height / 2);
                const covered = top && !box.contains(top) ? top.className : null;
                return { text, label: box.getAttribute('aria-label'), x, y, right: x + width,
                    bottom: y + height, covered, edge: style.borderTopColor, looks: box.className };
            }).sort((a, b) => a.y - b.y || a.x - b.x)"""
        )
        return found

    def box(self, selector: str) -> dict[str, Any]:
        [box] = self.boxes(selector)
        return box

    def screenshot(self, name: str) -> None:
        ARTIFACTS.mkdir(exist_ok=True)
        self.page.locator(".kit-board").screenshot(path=ARTIFACTS / f"lesson-{self.name}-{name}.png")
