"""What a board shows at any size, through bursts, reloads and restarts, and in a notebook opened again."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.pictures.seen import CUT_TEXT, SETTLED, SHIFTS, STATES, Seen

pytestmark = pytest.mark.browser

SIZES = {"1440": (1440, 900), "1280": (1280, 1400), "1024": (1024, 900), "800": (800, 900), "320": (320, 900)}
SIZES |= {"1440-at-200": (720, 450)}  # pixels of a page are twice as large, so half as many fit
AS_IT_WAS = r"As it was at \d\d:\d\d:\d\d; run the cell again for a live board\."


def test_no_text_is_cut_and_every_column_is_reached_at_any_size(seen: Seen) -> None:
    for priority in (-1, 0, 1, 5, 8, 12):
        seen.enqueue(b"a payload that is longer than a card", priority=priority)
    seen.execute("UPDATE pgqueuer SET attempts = 12, execute_after = now() + interval '99 min' WHERE id < 4")
    seen.until("those put off", lambda: seen.page.locator(".kb-card.kb-deferred").count() == 3)
    nothing_is_cut(seen, "few")

    seen.execute(
        "INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint) SELECT n, "
        "CASE WHEN n % 3 = 0 THEN 'exception' ELSE 'successful' END::pgqueuer_status, 2, 'send_email' "
        "FROM generate_series(100001, 104541) n"
    )
    seen.enqueue(*[b"x"] * 40, entrypoint="an_entrypoint_with_a_rather_long_name_that_still_is_to_be_read")
    numbers = seen.page.locator(".kb-number")
    seen.until("the numbers", lambda: numbers.all_inner_texts()[2:4] == ["3,027", "1,514"])
    nothing_is_cut(seen, "many")

    seen.enqueue(*[b"x"] * 12_345, priority=3)
    seen.until("a number", lambda: seen.page.locator(".kb-count").first.inner_text() == "12,351")
    nothing_is_cut(seen, "counted")


def nothing_is_cut(seen: Seen, what: str) -> None:
    for name, (width, height) in SIZES.items():
        seen.page.set_viewport_size({"width": width, "height": height})
        seen.notebook.scroll_to(1)
        seen.until(f"the board at {name}", lambda: seen.page.evaluate(SETTLED))
        assert seen.page.evaluate(CUT_TEXT) == [], f"at {name}, {what}"
        seen.notebook.screenshot(f"board-{what}-{name}")


def test_a_lesson_of_bursts_moves_nothing_and_a_job_that_is_kept_is_not_taken_for_another(seen: Seen) -> None:
    seen.notebook.run_cell(2)
    seen.notebook.scroll_to(1)
    seen.enqueue(b"first")
    seen.enqueue(b"first", entrypoint="charge_card")
    seen.until("both lanes", lambda: len(seen.cards("held")) == 1 and len(seen.cards("successful")) == 1)
    seen.page.evaluate(SHIFTS)
    done = 1
    for burst in range(4):
        seen.enqueue(*[b"hello"] * 12, priority=burst)
        seen.enqueue(b"again", entrypoint="charge_card")
        done += 12
        number = seen.page.locator(".kb-column.kb-successful .kb-number")
        seen.until("the burst at its end", lambda: number.inner_text() == str(done))  # noqa: B023
        assert seen.page.locator(".kb-rate").inner_text() != "0 jobs/s"
    moved = seen.page.evaluate("window.moved")
    assert moved["shift"] < 0.05, moved
    assert len(moved["heights"]) == 1, moved

    seen.page.locator(".kb-card.kb-held").first.click()
    kept = seen.page.locator(".kb-card.kb-pinned")
    assert kept.get_attribute("aria-pressed") == "true"
    detail = seen.page.locator(".kb-detail")
    seen.until("its whole life", lambda: detail.inner_text().count("held") >= 2)
    job = (kept.get_attribute("aria-label") or "").split(",")[0]
    seen.notebook.theme("JupyterLab Dark")
    assert seen.barriers() == []
    seen.notebook.screenshot("board-kept-dark")
    seen.notebook.theme("JupyterLab Light")
    assert seen.barriers() == []
    seen.execute("TRUNCATE pgqueuer, pgqueuer_log RESTART IDENTITY")
    seen.execute(
        'SELECT pg_notify(\'ch_pgqueuer\', \'{"type": "table_changed_event", "operation": "truncate"}\')'
    )
    seen.until("the empty board", lambda: seen.cards() == [])
    seen.notebook.run_cell(5)
    seen.enqueue(*[b"new"] * 400, entrypoint="nobody")
    seen.until("another job of that number", lambda: seen.page.locator(".kb-small-cards").count() > 0)
    assert job.split()[1].isdigit()
    assert int(job.split()[1]) <= 400
    assert seen.page.locator(".kb-pinned").count() == 0
    assert "nobody" not in detail.first.inner_text()
    assert seen.barriers() == []
    seen.execute("ALTER TABLE pgqueuer_log RENAME TO elsewhere")
    seen.page.locator(".kb-small-cards").first.click(position={"x": 5, "y": 5})
    seen.until("what went wrong", lambda: 'relation "pgqueuer_log"' in detail.first.inner_text())


def test_slow_motion_shows_each_state_for_its_time_and_the_consumer_keeps_its_own(seen: Seen) -> None:
    seen.notebook.run_cell(2)
    seen.notebook.run_cell(6)
    board = seen.page.locator(".kit-board").last
    seen.page.evaluate(STATES)
    seen.enqueue(b"x", entrypoint="charge_card")
    seen.until("it is held", lambda: board.locator(".kb-card.kb-held").count() == 1)
    states: list[Any] = seen.page.evaluate("window.states")
    assert [name for name, _ in states] == ["queued", "picked", "held"]
    first, second, third = (at for _, at in states)
    assert min(second - first, third - second) > 450, "milliseconds"
    ran = seen.scalar("SELECT extract(epoch FROM max(created) - min(created)) FROM pgqueuer_log")
    assert float(ran) * 1000 < third - first, "the consumer was slowed"


def test_a_board_comes_back_right_or_says_what_it_is(seen: Seen) -> None:
    seen.enqueue(b"before")
    seen.until("the job", lambda: len(seen.cards("queued")) == 1)
    seen.notebook.reload()
    seen.until("the board is back", lambda: len(seen.cards("queued")) == 1)
    shown(seen, boards=1)
    seen.notebook.run_cell(7)
    trouble = seen.page.locator(".kb-trouble")
    seen.until("a closed one says so", lambda: re.search(AS_IT_WAS, trouble.inner_text()))
    seen.notebook.reload()
    seen.until("also after a reload", lambda: re.search(AS_IT_WAS, trouble.inner_text()))
    seen.notebook.shutdown()
    seen.notebook.reload()
    shown(seen, stills=1)
    seen.notebook.screenshot("board-reopened")

    seen.notebook.run_cell(0)
    seen.notebook.run_cell(1)
    seen.enqueue(b"one", b"two")
    seen.until("the jobs", lambda: len(seen.cards("queued")) == 2)
    seen.notebook.save_with_widgets("2 queued")
    seen.notebook.shutdown()
    seen.notebook.reload()
    shown(seen, boards=1)
    assert len(seen.cards("queued")) == 2
    assert re.search(AS_IT_WAS, seen.page.locator(".kb-trouble").inner_text())
    seen.notebook.screenshot("board-restored")


def shown(seen: Seen, boards: int = 0, stills: int = 0) -> None:
    """Wait until so many boards and still pictures are to be seen, and nothing about a missing widget."""
    seen.until("board or picture", lambda: seen.page.locator(".kit-board:visible").count() == boards)
    pictures = seen.page.locator("figure.kit-still:visible")
    seen.until("one of both", lambda: pictures.count() == stills)
    outputs = "\n".join(seen.page.locator(".jp-OutputArea-child:visible").all_inner_texts())
    assert "Error" not in outputs
    if stills:
        assert re.search(AS_IT_WAS, pictures.inner_text())
