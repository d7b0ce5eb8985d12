"""The board in Firefox: a crash as it is played again, and live beside the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kit.sources import Postgres
from tests.firefox import Firefox
from tests.jupyterlab import ARTIFACTS, JupyterLab, write_notebook
from tests.pictures.played import page_kept_of
from tests.pictures.seen import CONSUMER, CUT_TEXT, SETUP
from tests.waiting import wait_until

pytestmark = pytest.mark.firefox

PLAYED = "document.querySelector('.kit-board')?.board"
# Show a moment, and return what is drawn of it.
AT = """
(() => {
  const board = document.querySelector('.kit-board').board;
  board.go(argument);
  board.step();
  const text = (box) => box.innerText.split('\\n').join(' ');
  const texts = (selector) => [...document.querySelectorAll(selector)].map(text);
  return { dead: texts('.kb-dead'), lost: texts('.kb-card.kb-lost'), runs: texts('.kb-card.kb-picked') };
})()
"""
CHANGES = f"{PLAYED}.history.changes.filter((change) => change[3] && ['jobs', 'lanes'].includes(change[1]))"
WORDS = "document.querySelector('.kb-words').innerText"


def test_a_crash_is_played_again_in_firefox(tmp_path: Path, queue_server: Postgres) -> None:
    assert queue_server.source  # it stays up meanwhile, so that no kernel has to start one
    page = tmp_path / "crash.html"
    page.write_text(f"<!DOCTYPE html><body style='margin:0'>{page_kept_of('crash', tmp_path)}</body>")
    with Firefox(width=640) as firefox:
        firefox.open(page.as_uri())
        wait_until("the board", lambda: firefox.evaluate(f"Boolean({PLAYED})"))
        changes: list[Any] = firefox.evaluate(CHANGES)
        killed = next(at for at, _, _, row in changes if row.get("state") == "killed")
        _, again = (at for at, _, _, row in changes if row.get("status") == "picked")
        seen = firefox.evaluate(AT, killed + 0.01)
        assert "killed · jobs back in" in seen["dead"][0]
        assert len(seen["lost"]) == 1
        firefox.screenshot(ARTIFACTS / "firefox-killed.png")
        assert "×2" in firefox.evaluate(AT, again + 0.01)["runs"][0]
        for light in ("true", "false"):
            firefox.evaluate("document.body.dataset.jpThemeLight = argument", light)
            for t in (killed + 0.01, changes[-1][0]):
                firefox.evaluate(AT, t)
                assert firefox.evaluate(f"({CUT_TEXT})()") == []
        firefox.evaluate("document.querySelector('.kb-slider').focus()")
        firefox.press("\ue011")  # Home
        moment = "document.querySelector('.kb-slider').getAttribute('aria-valuetext')"
        wait_until("the beginning", lambda: firefox.evaluate(moment).startswith("0.0 s"))
        firefox.evaluate("document.querySelector('.kb-button').click()")  # plays
        wait_until(
            "the end", lambda: "1 done" in firefox.evaluate("document.querySelector('.kb-words').innerText")
        )


def test_the_board_beside_the_text_is_live_in_firefox_also_after_a_reload(
    tmp_path: Path, queue_server: Postgres
) -> None:
    assert queue_server.source
    cells = [
        SETUP.format(name="firefox"),
        CONSUMER,
        "from pgqueuer import Queries\nqueries = Queries(AsyncpgDriver(await asyncpg.connect()))\n"
        "await queries.enqueue(['send_email'] * 2, [b'x'] * 2, [0] * 2)\nawait kit.wait()",
    ]
    write_notebook(tmp_path / "fox.ipynb", *cells)
    words = "document.querySelector('#kit-docked-board .kb-words')?.innerText ?? ''"
    runs = "jupyterapp.commands.execute('notebook:run-all-cells')"
    with JupyterLab(tmp_path, docked=True) as lab, Firefox() as firefox:
        firefox.open(f"{lab.url}/lab/tree/fox.ipynb?token={lab.token}&reset")
        panel = "[...(window.jupyterapp?.shell.widgets('main') ?? [])][0]"
        kernel = f"{panel}?.context?.sessionContext.session?.kernel?.status"
        wait_until("the kernel is idle", lambda: firefox.evaluate(f"{kernel} ?? ''") == "idle", 120)
        firefox.evaluate(f"void {runs}")
        for _ in range(2):
            wait_until("its jobs are done", lambda: "2 done" in firefox.evaluate(words), 120)
            firefox.screenshot(ARTIFACTS / "firefox-docked.png")
            firefox.open(f"{lab.url}/lab/tree/fox.ipynb")
