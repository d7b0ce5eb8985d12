"""The board as a learner sees it: a real JupyterLab in a real Chromium, a real queue."""

from __future__ import annotations

import re

import pytest

from kit.database.queue_tables import DRAWN
from tests.jupyterlab import JupyterLab
from tests.pictures.seen import FAINT_TEXT, Seen
from tests.waiting import wait_until

pytestmark = pytest.mark.browser


def test_a_job_appears_and_moves_with_no_further_cell_also_while_a_cell_sleeps(seen: Seen) -> None:
    [waiting] = seen.enqueue(b"hello", priority=5)
    said = f"Job {waiting}, send_email, hello, priority 5, waiting, next"
    seen.until("the queued job", lambda: seen.cards("queued") == [said])
    seen.notebook.run_cell(2)
    seen.until("the job at its end", lambda: len(seen.cards("successful")) == 1)
    seen.notebook.start_cell(3)
    seen.until("the cell sleeps", lambda: seen.notebook.kernel_status() == "busy")
    seen.enqueue(*[b"more"] * 4)
    seen.enqueue(b"card", entrypoint="charge_card")
    seen.until("the jobs at their end", lambda: "5 done" in seen.words() and "1 held" in seen.words())
    assert seen.notebook.kernel_status() == "busy", "the cell was to sleep all the while"
    lane = seen.page.locator(".kit-live .kb-lane")
    assert lane.inner_text().split("\n")[0] == "consumer"
    seen.notebook.screenshot("board-light")


def test_payloads_and_errors_are_shown_as_written_and_never_as_markup(seen: Seen) -> None:
    script = "<script>window.hacked = true</script><img src=x onerror='window.hacked = true'>"
    seen.enqueue(script.encode(), entrypoint="charge_card")
    seen.enqueue(b"x", entrypoint="<script>window.hacked = true</script>")
    seen.notebook.run_cell(2)
    seen.until("the held job", lambda: len(seen.cards("failed")) == 1)
    held = seen.page.locator(".kit-live .kb-card.kb-failed")
    assert script in held.inner_text()
    held.click()
    detail = seen.page.locator(".kit-live .kb-detail")
    seen.until("why it is there", lambda: "`await q.requeue_jobs([1])` lets it go on" in detail.inner_text())
    assert "ValueError: no <b>money</b> & nothing else" in detail.inner_text()
    assert "Traceback" in detail.inner_text()
    life = re.findall(r"\d\d:\d\d:\d\d  (\w+)", detail.inner_text())
    assert life == ["waiting", "running", "held"]
    assert "<script>window.hacked = true</script>" in seen.cards("queued")[0]
    assert seen.page.evaluate("window.hacked") is None
    assert seen.page.locator(".kit-board script, .kit-board img").count() == 0
    seen.notebook.screenshot("board-detail")
    seen.page.keyboard.press("Escape")


def test_workers_and_cards_are_reached_by_keyboard_and_the_summary_is_announced(seen: Seen) -> None:
    ids = seen.enqueue(b"one", b"two", b"three")
    seen.until("the jobs", lambda: len(seen.cards("queued")) == 3)
    reached = """
        document.getElementById(document.activeElement.getAttribute('aria-activedescendant'))
            ?.getAttribute('aria-label')"""
    seen.page.locator(".kit-live .kb-stage").focus()
    for key, job in (("ArrowRight", 0), ("ArrowDown", 1), ("End", 2), ("ArrowLeft", 1), ("Home", 0)):
        seen.page.keyboard.press(key)
        assert seen.page.evaluate(reached).startswith(f"Job {ids[job]},"), key
    seen.page.keyboard.press("Enter")
    detail = seen.page.locator(".kit-live .kb-detail")
    seen.until("it is kept", lambda: "No consumer is running" in detail.inner_text())
    seen.page.keyboard.press("Escape")
    assert not detail.is_visible()
    voice = seen.page.locator(".kit-live .kb-voice[role=status]")
    wait_until("the summary is said", lambda: "3 waiting" in (voice.text_content() or ""), 20)
    seen.notebook.run_cell(2)
    seen.until("they are done", lambda: len(seen.cards("successful")) == 3)
    seen.page.locator(".kit-live .kb-stage").focus()
    seen.page.keyboard.press("Home")
    assert seen.page.evaluate(reached) == "consumer: idle"
    slider = seen.page.locator(".kit-live .kb-slider")

    def moment() -> str:
        return slider.get_attribute("aria-valuetext") or ""

    slider.focus()
    seen.page.keyboard.press("Home")
    seen.until("the beginning", lambda: moment().startswith("0.0 s of"))
    seen.until("they wait again", lambda: len(seen.cards("queued")) == 3 or "0 done" in seen.words())
    seen.page.keyboard.press("End")
    seen.until("now", lambda: moment().startswith("now"))


def test_nothing_keeps_anybody_out_and_every_text_has_contrast_in_both_themes(seen: Seen) -> None:
    for priority in (-1, 0, 12):
        seen.enqueue(b"x", priority=priority)
    seen.enqueue(b"x", entrypoint="charge_card")
    seen.notebook.run_cell(2)
    seen.until("their ends", lambda: len(seen.cards("successful")) == 3 and len(seen.cards("failed")) == 1)
    seen.enqueue(b"later", entrypoint="nobody")
    seen.execute("UPDATE pgqueuer SET execute_after = now() + interval '1 hour' WHERE entrypoint = 'nobody'")
    seen.until("one that is put off", lambda: seen.page.locator(".kit-live .kb-timer").count() == 1)
    seen.page.locator(".kit-live .kb-card.kb-failed").click()
    for theme in ("Dark", "Light"):
        seen.notebook.theme(f"JupyterLab {theme}")
        assert seen.page.evaluate(FAINT_TEXT) == [], f"less than 4.5:1 in {theme}"
        assert seen.barriers() == [], theme
        seen.notebook.screenshot(f"board-{theme.lower()}")


def test_of_many_jobs_it_is_said_how_many_are_drawn(seen: Seen) -> None:
    seen.enqueue(*[b"x"] * 1000, priority=2)
    bar = seen.page.locator(".kit-live .kb-bar .kb-t")
    seen.until("a bar with its number", lambda: bar.all_inner_texts()[:1] and "of 1,000" in bar.inner_text())
    drawn = int(bar.inner_text().split()[0])
    assert len(seen.cards("queued")) == drawn <= DRAWN
    assert seen.cards("queued")[0].endswith("waiting, next")
    assert "1,000 waiting" in seen.words()
    seen.notebook.screenshot("board-1000")
    seen.enqueue(*[b"x"] * 9000, priority=1)
    seen.until("the new number", lambda: "of 10,000" in bar.inner_text())


def test_after_a_reload_the_board_in_the_text_is_live_again(seen: Seen) -> None:
    seen.enqueue(b"one")
    seen.notebook.run_cell(2)
    seen.until("it is done", lambda: len(seen.cards("successful")) == 1)
    seen.notebook.reload()
    board = seen.page.locator(".jp-NotebookPanel .kit-board:visible")
    seen.until(
        "one board, live", lambda: board.count() == 1 and "kit-live" in str(board.get_attribute("class"))
    )
    seen.enqueue(b"two")
    seen.until("the next job", lambda: "2 done" in seen.words())


def test_a_notebook_reopened_without_its_kernel_plays_the_last_run_again(seen: Seen, lab: JupyterLab) -> None:
    seen.enqueue(b"one", b"two")
    seen.notebook.run_cell(2)
    seen.until("they are done", lambda: len(seen.cards("successful")) == 2)
    said = "0 waiting, 0 running, 2 done."
    seen.until("that is kept", lambda: said in str(seen.notebook.outputs(1)))
    seen.notebook.save()
    seen.notebook.shutdown()
    lab.open(seen.page, seen.notebook.path)
    board = seen.page.locator(".jp-NotebookPanel .kit-board:visible")
    seen.until("one board", lambda: board.count() == 1)
    assert "kit-live" not in (board.get_attribute("class") or "")
    panel = seen.page.locator(".jp-NotebookPanel")
    seen.until("nothing that is still to come", lambda: "Loading widget" not in panel.inner_text())
    words = board.locator(".kb-words")
    assert words.inner_text() == "0 waiting · 0 running · 2 done"
    board.locator(".kb-slider").focus()
    seen.page.keyboard.press("Home")
    seen.until("the beginning", lambda: "0 done" in words.inner_text())
    board.get_by_role("button", name="Play again").click()
    seen.until("the end", lambda: "2 done" in words.inner_text())
