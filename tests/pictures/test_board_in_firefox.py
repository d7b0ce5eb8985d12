"""The board in Firefox: a crash as it is played again, and live beside the text."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.sources import Postgres
from tests.jupyterlab import JupyterLab, browser_page, wait_until, write_notebook
from tests.pictures.played import Played, page_kept_of
from tests.pictures.seen import CONSUMER, CUT_TEXT, SETUP

pytestmark = pytest.mark.firefox


def test_a_crash_is_played_again_in_firefox(tmp_path: Path, queue_server: Postgres) -> None:
    assert queue_server.source  # it stays up meanwhile, so that no kernel has to start one
    kept = page_kept_of("crash", tmp_path)
    with browser_page(width=640, height=900, in_firefox=True) as page:
        run = Played(page, kept, "firefox")
        killed = run.killed()
        run.at(killed + 0.01)
        lane, card = run.box(".kb-lane.kb-dead"), run.box(".kb-card.kb-lost")
        assert lane["x"] < card["x"] < card["right"] < lane["right"]
        assert "killed · back in" in lane["text"]
        run.screenshot("killed")
        run.at(run.when(1, "picked", time=2) + 0.01)
        assert "×2" in run.box(".kb-card.kb-picked")["text"]
        for theme in ("true", "false"):
            page.evaluate("light => document.body.dataset.jpThemeLight = light", theme)
            for t in (killed + 0.01, run.history[-1][0]):
                run.at(t)
                assert page.evaluate(CUT_TEXT) == []
        moment = page.locator(".kb-slider")
        moment.focus()
        page.keyboard.press("Home")
        wait_until(
            "the beginning", lambda: (moment.get_attribute("aria-valuetext") or "").startswith("0.0 s")
        )
        page.get_by_role("button", name="Play again").click()
        wait_until("the end", lambda: "1 done" in run.box(".kb-words")["text"], 30)


def test_the_board_beside_the_text_is_live_in_firefox_also_after_a_reload(
    tmp_path: Path, queue_server: Postgres
) -> None:
    assert queue_server.source
    write_notebook(
        tmp_path / "fox.ipynb",
        SETUP.format(name="firefox"),
        CONSUMER,
        "from pgqueuer import Queries\nqueries = Queries(AsyncpgDriver(await asyncpg.connect()))\n"
        "await queries.enqueue(['send_email'] * 2, [b'x'] * 2, [0] * 2)\nawait kit.wait()",
    )
    with (
        JupyterLab(tmp_path, docked=True) as lab,
        browser_page(width=1280, height=720, in_firefox=True) as page,
    ):
        notebook = lab.open(page, "fox.ipynb")
        words = page.locator("#kit-docked-board .kb-words")

        def says(what: str) -> None:
            wait_until(f"the board says {what!r}", lambda: words.count() and what in words.inner_text(), 60)

        notebook.run_cell(0)
        says("A sample")
        notebook.run_cell(1)
        notebook.run_cell(2)
        says("2 done")
        notebook.screenshot("firefox-docked")
        page.reload()
        notebook.wait_ready(120)
        says("2 done")
        notebook.shutdown()
