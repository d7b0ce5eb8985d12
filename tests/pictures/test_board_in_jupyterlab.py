"""The board as a learner sees it: a real JupyterLab in a real Chromium, a real queue."""

from __future__ import annotations

import re

import pytest

from tests.jupyterlab import wait_until
from tests.pictures.seen import FAINT_TEXT, Seen

pytestmark = pytest.mark.browser


def test_a_job_appears_and_moves_with_no_further_cell_also_while_a_cell_sleeps(seen: Seen) -> None:
    [waiting] = seen.enqueue(b"hello", priority=5)
    seen.until(
        "the queued job", lambda: seen.cards("queued") == [f"Job {waiting}, send_email, priority 5, queued"]
    )
    seen.notebook.run_cell(2)
    seen.until("the job at its end", lambda: len(seen.cards("successful")) == 1)
    seen.notebook.start_cell(3)
    seen.until("the cell sleeps", lambda: seen.notebook.kernel_status() == "busy")
    seen.enqueue(*[b"more"] * 8)
    seen.enqueue(b"card", entrypoint="charge_card")
    seen.until("the new jobs at their end", lambda: len(seen.cards("successful")) == 9)
    seen.until("the held job", lambda: len(seen.cards("held")) == 1)
    assert seen.notebook.kernel_status() == "busy", "the cell was to sleep all the while"
    seen.notebook.screenshot("board-light")


def test_payloads_and_errors_are_shown_as_written_and_never_as_markup(seen: Seen) -> None:
    script = "<script>window.hacked = true</script><img src=x onerror='window.hacked = true'>"
    seen.enqueue(script.encode(), entrypoint="charge_card")
    seen.enqueue(script.encode(), entrypoint="<script>window.hacked = true</script>")
    seen.notebook.run_cell(2)
    seen.until("the held job", lambda: len(seen.cards("held")) == 1)
    facts = seen.page.locator(".kb-facts")
    seen.until("the exceptions by type", lambda: facts.inner_text().endswith("1 × ValueError"))
    assert re.match(r"oldest waits \d+ s", facts.inner_text()), "a job that nobody knows waits"
    seen.page.locator(".kb-card.kb-held").hover()
    detail = seen.page.locator(".kb-detail")
    assert script in detail.inner_text()
    assert "ValueError: no <b>money</b> & nothing else" in detail.inner_text()
    assert "Traceback" in detail.inner_text()
    assert "<script>window.hacked = true</script>" in seen.page.locator(".kb-entrypoint").all_inner_texts()
    assert seen.page.evaluate("window.hacked") is None
    assert seen.page.locator(".kit-board script, .kit-board img").count() == 0
    seen.notebook.screenshot("board-detail")


def test_the_board_is_right_after_a_page_reload_and_a_second_board_shows_the_same(seen: Seen) -> None:
    seen.enqueue(b"before")
    seen.until("the job", lambda: len(seen.cards("queued")) == 1)
    seen.notebook.reload()
    seen.until("the board is back", lambda: len(seen.cards("queued")) == 1)
    seen.enqueue(b"after")
    seen.until("the board is live", lambda: len(seen.cards("queued")) == 2)
    seen.notebook.run_cell(4)
    seen.until("two boards", lambda: seen.page.locator(".kit-board").count() == 2)
    seen.until("each job on both", lambda: len(seen.cards("queued")) == 4)
    seen.execute("DELETE FROM pgqueuer")
    seen.until("both are empty", lambda: seen.cards() == [])
    seen.notebook.screenshot("board-two")


def test_a_restarted_kernel_is_told_and_the_cells_bring_a_live_board_back(seen: Seen) -> None:
    seen.notebook.restart_kernel()
    trouble = seen.page.locator(".kb-trouble")
    seen.until("that it is no longer live", lambda: "run the cell again" in trouble.first.inner_text())
    seen.notebook.run_cell(0)
    seen.notebook.run_cell(1)
    seen.until("one board", lambda: seen.page.locator(".kit-board").count() == 1)
    seen.enqueue(b"x")
    seen.until("the job", lambda: len(seen.cards("queued")) == 1)
    assert not trouble.is_visible()


def test_cards_are_reached_by_keyboard_and_the_summary_is_announced(seen: Seen) -> None:
    ids = seen.enqueue(b"one", b"two", b"three")
    seen.until("the jobs", lambda: len(seen.cards("queued")) == 3)
    active = "document.activeElement.getAttribute('aria-label')"
    seen.page.locator(".kb-scroll").click(position={"x": 600, "y": 60})
    seen.page.locator(".kb-card[tabindex='0']").focus()
    assert seen.page.evaluate(active).startswith(f"Job {ids[0]},")
    seen.page.keyboard.press("ArrowRight")
    assert seen.page.evaluate(active).startswith(f"Job {ids[1]},")
    seen.page.keyboard.press("End")
    assert seen.page.evaluate(active).startswith(f"Job {ids[2]},")
    assert "three" in seen.page.locator(".kb-detail").inner_text()
    seen.page.keyboard.press("Enter")
    seen.page.keyboard.press("Home")
    seen.until("it is kept", lambda: seen.page.locator(".kb-card.kb-pinned").count() == 1)
    voice = seen.page.locator(".kit-board [aria-live=polite]")
    wait_until("the summary is said", lambda: "3 queued" in (voice.text_content() or ""), 20)
    *_, last = seen.enqueue(*[b"many"] * 300)
    seen.until("a crowd", lambda: seen.page.locator(".kb-small-cards").count() == 1)
    reached = (
        "document.getElementById(document.activeElement.getAttribute('aria-activedescendant')).textContent"
    )
    seen.page.keyboard.press("End")
    assert seen.page.evaluate(reached).startswith(f"Job {last},")
    seen.page.keyboard.press("ArrowLeft")
    assert seen.page.evaluate(reached).startswith(f"Job {last - 1},")
    assert "many" in seen.page.locator(".kb-detail").inner_text()


def test_every_text_on_the_board_has_contrast_in_the_light_and_in_the_dark_theme(seen: Seen) -> None:
    for priority in (-1, 0, 1, 5, 8, 12):
        seen.enqueue(b"x", priority=priority)
    seen.enqueue(b"x", entrypoint="charge_card")
    seen.notebook.run_cell(2)
    seen.until(
        "the jobs at their end", lambda: len(seen.cards("successful")) == 6 and len(seen.cards("held")) == 1
    )
    seen.enqueue(b"later", entrypoint="nobody")
    seen.page.locator(".kb-card.kb-held").click()
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        seen.notebook.theme(theme)
        faint = seen.page.evaluate(FAINT_TEXT)
        assert faint == [], f"less than 4.5:1 in {theme}"
    seen.notebook.screenshot("board-dark")


def test_a_thousand_jobs_are_drawn_and_ten_thousand_are_counted(seen: Seen) -> None:
    for priority in (0, 2, 5, 9):
        seen.enqueue(*[b"x"] * 250, priority=priority)
    crowd = seen.page.locator(".kb-small-cards")
    seen.until(
        "a thousand cards", lambda: crowd.evaluate_all("all => all.map(c => c.dataset.jobs)") == ["1000"]
    )
    crowd.hover(position={"x": 5, "y": 5})
    assert "send_email" in seen.page.locator(".kb-what").inner_text()
    assert crowd.evaluate("canvas => canvas.getContext('2d').getImageData(2, 2, 1, 1).data[3]") == 255
    seen.notebook.screenshot("board-1000")
    seen.enqueue(*[b"x"] * 9000, priority=1)
    seen.until("a number instead", lambda: seen.page.locator(".kb-count").first.inner_text() == "10,000")
    assert crowd.count() == 0
    assert "More than can be drawn" in seen.page.locator(".kb-summary").inner_text()
    seen.notebook.screenshot("board-10000")
