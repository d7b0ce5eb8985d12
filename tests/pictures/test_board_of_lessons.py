"""What a learner sees on the board without reading a word, from what is drawn of real runs of the lessons.

Each run is executed once, and looked at as the page that is kept of it plays it again, moment by moment.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from kit.display import palette
from kit.pictures.board.history import History
from kit.sources import Postgres
from tests.jupyterlab import browser_page
from tests.pictures.played import RUNS, Played, page_kept_of
from tests.pictures.seen import CUT_TEXT

pytestmark = pytest.mark.browser

SIZES = {
    "1920": 860,
    "1440": 640,
    "1280": 540,
    "1024": 940,
    "390": 330,
    "1440-at-200": 680,
}  # of the board itself


@pytest.fixture(scope="module")
def kept(queue_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return the page that is kept of a run of a lesson, which is executed once."""
    assert queue_server.source  # it stays up meanwhile, so that no kernel has to start one
    return functools.cache(lambda run: page_kept_of(run, tmp_path_factory.mktemp(run)))


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser_page(width=640, height=900) as page:
        page.emulate_media(reduced_motion="reduce")
        yield page


@pytest.fixture
def played(page: Page, kept: Callable[[str], str]) -> Callable[[str], Played]:
    page.set_viewport_size({"width": 640, "height": 900})
    return lambda run: Played(page, kept(run), run)


def colour(status: str) -> str:
    red, green, blue = (int(palette.JOBS[status].colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgb({red}, {green}, {blue})"


def inside(inner: dict[str, Any], outer: dict[str, Any]) -> bool:
    """Whether one box is seen in another."""
    return bool(
        not inner["covered"]
        and outer["x"] <= inner["x"]
        and inner["right"] <= outer["right"]
        and outer["y"] <= inner["y"]
        and inner["bottom"] <= outer["bottom"]
    )


def test_order_who_is_next_and_that_a_higher_priority_overtakes(played: Callable[[str], Played]) -> None:
    run = played("order")
    run.at(run.when(3, "picked") - 0.01)
    waiting = run.boxes(".kb-card")
    assert [box["text"].split()[:2] for box in waiting] == [
        ["10", "#3"],
        ["5", "#4"],
        ["0", "#1"],
        ["-10", "#2"],
    ]
    assert "password reset" in waiting[0]["text"]
    mark = "getComputedStyle(document.querySelector('.kb-next'), '::before').content"
    assert run.page.evaluate(mark) == '"next"'
    assert run.box(".kb-next")["text"] == waiting[0]["text"]
    run.screenshot("waiting")
    for job, after in ((3, "5"), (4, "0"), (1, "-10")):
        run.at(run.when(job, "picked") + 0.001)
        assert inside(run.box(".kb-card.kb-picked"), run.box(".kb-lane"))
        assert run.box(".kb-next")["text"].split()[0] == after, "of those that wait"
    run.at(run.history[-1][0])
    assert sorted(run.when(job, "successful") for job in (3, 4, 1, 2)) == [
        run.when(job, "successful") for job in (3, 4, 1, 2)
    ]


def test_workers_are_lanes_and_a_limit_is_slots_that_fill(played: Callable[[str], Played]) -> None:
    run = played("workers")
    picks = [
        at for at, table, _, row in run.history if table == "jobs" and row and row.get("status") == "picked"
    ]
    most = 0
    for t in picks[:: max(1, len(picks) // 12)]:
        run.at(t + 0.001)
        lanes = run.boxes(".kb-lane")
        names = [" ".join(lane["text"].split(" ")[:2]) for lane in lanes]
        cards = run.boxes(".kb-card.kb-picked")
        assert all(sum(inside(card, lane) for lane in lanes) == 1 for card in cards)
        if not run.boxes(".kb-limit"):
            continue  # the board has not looked since they have started: those with a job have a lane
        assert names == ["worker 1", "worker 2", "worker 3", "worker 4"]
        taken, of = re.findall(r"nap: (\d+) of (\d+) slots", run.box(".kb-limit")["text"])[0]
        assert (int(taken), int(of)) == (len(cards), 10)
        assert len(run.boxes(".kb-slots i.kb-taken")) == len(cards)
        most = max(most, len(cards))
    run.screenshot("running")
    assert 4 <= most <= 10
    assert re.match(r"the oldest waits [\d.]+ s", run.boxes(".kb-title .kb-m")[0]["text"])
    run.at(run.history[-1][0])
    assert "200 done" in run.box(".kb-words")["text"]
    heights = [
        float(y)
        for y in re.findall(r",([\d.]+)", run.page.locator(".kb-spark path").get_attribute("d") or "")
    ]
    assert min(heights) < 10, "the line of jobs a second rose"


def test_a_crash_is_seen_from_the_kill_to_the_second_delivery(played: Callable[[str], Played]) -> None:
    run = played("crash")
    killed = run.killed()
    again = run.when(1, "picked", time=2)
    run.at(killed + 0.01)
    lane, card = run.box(".kb-lane.kb-dead"), run.box(".kb-card.kb-lost")
    assert inside(card, lane)
    assert "worker killed · jobs back in" in lane["text"]
    assert "its worker is gone" in card["label"]
    assert card["edge"] == colour("failed"), "amber"
    first = ring(run)
    run.screenshot("killed")
    run.at(killed + 0.4)
    assert ring(run) < first, "the ring runs out"
    begun = run.when(1, "picked")
    beats = [
        row["beat"]
        for at, table, _, row in run.history
        if table == "lanes" and row and row.get("beat") and at < again
    ]
    beat = max(beats, default=begun)  # on a busy machine none is seen before the second delivery
    timeout = max(row.get("timeout", 0) for _, table, _, row in run.history if table == "lanes" and row)
    if max(begun, beat) + timeout < again - 0.01:
        run.at(again - 0.005)
        queued = run.box(".kb-card.kb-lost")
        assert queued["bottom"] < run.boxes(".kb-lane")[0]["y"], "it stands in the queue again"
        run.screenshot("back")
    run.at(again + 0.01)
    card = run.box(".kb-card.kb-picked")
    assert "×2" in card["text"]
    assert "delivered 2 times" in card["label"]
    assert [inside(card, lane) for lane in run.boxes(".kb-lane:not(.kb-dead)")] == [True], (
        "another lane took it"
    )
    run.screenshot("taken-over")
    run.at(run.history[-1][0])
    assert "×2" in run.box(".kb-card.kb-successful")["text"]
    run.screenshot("done")
    assert run.page.locator(".kb-dots .kb-lost").count() >= 1, "and marked beside the slider"


def ring(run: Played) -> float:
    left: float = run.page.locator(".kb-lane.kb-dead").evaluate(
        "lane => Number(lane.style.getPropertyValue('--left'))"
    )
    drawn = run.page.locator(".kb-lane.kb-dead circle.kb-left").evaluate(
        "ring => getComputedStyle(ring).strokeDashoffset"
    )
    offset = float(re.findall(r"[\d.]+", drawn)[0])
    assert offset == pytest.approx((1 - left) * 56.55, abs=0.1)
    return left


def test_a_retry_is_a_bar_that_shrinks_until_it_is_due(played: Callable[[str], Played]) -> None:
    run = played("retries")
    back = run.when(1, "queued", time=2)
    lengths = []
    for after in (0.01, 0.1, 0.2):
        run.at(back + after)
        timer = run.box(".kb-timer")
        assert re.search(r"again in 0\.[0-3] s · try 2", timer["text"])
        bar = run.box(".kb-timer .kb-left")
        lengths.append(bar["right"] - bar["x"])
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > 2 * lengths[-1]
    run.screenshot("retry")
    run.at(run.history[-1][0])
    picks = [
        row for _, table, _, row in run.history if table == "jobs" and row and row.get("status") == "picked"
    ]
    assert f"×{len(picks)}" in run.box(".kb-card.kb-exception")["text"]


def test_an_outcome_is_a_colour_with_its_word_and_what_is_empty_takes_no_room(
    played: Callable[[str], Played],
) -> None:
    run = played("held")
    run.at(run.history[-1][0])
    rows = run.boxes(".kb-end")
    assert [row["text"].split()[1:] for row in rows] == [["done", "2"], ["held", "1"]]
    for status, jobs in (("successful", 2), ("failed", 1)):
        cards = run.boxes(f".kb-card.kb-{status}")
        assert [card["edge"] for card in cards] == [colour(status)] * jobs
    assert "1,250" in run.box(".kb-card.kb-failed")["text"]
    assert "ValueError" in run.box(".kb-card.kb-failed")["label"]
    failed = played("retries")
    failed.at(failed.history[-1][0])
    assert failed.box(".kb-card.kb-exception")["edge"] == colour("exception")


def test_thirty_pages_three_at_a_time(played: Callable[[str], Played]) -> None:
    run = played("start")
    for job in (7, 16, 25):
        run.at(run.when(job, "picked") + 0.3)
        assert len(run.boxes(".kb-card.kb-picked")) == 3
        assert len(run.boxes(".kb-slots i.kb-taken")) == 3
        assert len(run.boxes(".kb-slots i")) == 3
    run.at(run.history[-1][0])
    assert run.box(".kb-words")["text"] == "0 waiting · 0 running · 30 done"


@pytest.mark.parametrize("which", RUNS)
def test_no_text_is_cut_or_covered_at_any_size_in_either_theme(
    which: str, played: Callable[[str], Played]
) -> None:
    seen = played(which)
    begin, end = seen.history[0][0], seen.history[-1][0]
    moments = [begin + part * (end - begin) for part in (0.3, 0.6, 1)]
    moments += [seen.killed() + 0.1] if which == "crash" else []
    for theme in ("true", "false"):
        seen.page.evaluate("light => document.body.dataset.jpThemeLight = light", theme)
        for name, width in SIZES.items():
            seen.page.set_viewport_size({"width": width, "height": 900})
            for moment in moments:
                seen.at(moment)
                assert seen.page.evaluate(CUT_TEXT) == [], f"at {name}, {moment:.1f} s"
            seen.screenshot(f"{'light' if theme == 'true' else 'dark'}-{name}")


def test_a_schedule_is_a_row_with_its_next_run_and_a_deferred_job_a_bar(page: Page) -> None:
    history = History("time")
    history.put(
        1000,
        "schedules",
        1,
        entrypoint="nightly",
        expression="0 2 * * *",
        state="queued",
        last=1000,
        next=1100,
    )
    history.put(
        1000, "jobs", 7, status="queued", entrypoint="mail", priority=0, payload="reminder", due=1040.0
    )
    run = Played(page, shown(history), "time")
    lengths = []
    for t in (10, 30):
        run.at(t)
        schedule, job = run.boxes(".kb-timer")
        assert (schedule["text"], job["text"]) == (
            f"⟳ nightly 0 2 * * * · in {100 - t} s",
            f"0 #7 reminder due in {40 - t} s",
        )
        lengths.append([box["right"] - box["x"] for box in run.boxes(".kb-timer .kb-left")])
    assert lengths[1][0] / lengths[0][0] == pytest.approx(70 / 90, abs=0.02)
    assert lengths[1][1] / lengths[0][1] == pytest.approx(10 / 30, abs=0.02)
    assert "none is due" in run.page.locator(".kb-stage").inner_text()


@pytest.mark.parametrize("jobs", [300, 1240])
def test_up_to_300_jobs_each_has_its_id_and_of_more_it_is_said_how_many_are_drawn(
    page: Page, jobs: int
) -> None:
    """In a board of the size that it has beside the text, at 1280 × 720."""
    history = History("many")
    history.put(0.1, "lanes", "a", name="worker", state="running", timeout=10)
    history.put(0.1, "limits", "page", n=0)
    for job in range(1, 301):
        history.put(0.2, "jobs", job, status="queued", entrypoint="page", priority=5 * (job % 50 == 0))
    history.put(0.2, "more", "queued", n=jobs - 300)
    page.set_viewport_size({"width": 540, "height": 640})
    run = Played(page, shown(history), "many")
    run.page.evaluate(
        "() => { const { board } = document.querySelector('.kit-board'); board.docked = true; }"
    )
    run.page.locator(".kb-middle").evaluate("middle => { middle.style.height = '530px'; }")
    run.at(1)
    cards = run.boxes(".kb-card")
    assert run.box(".kb-words")["text"].startswith(f"{jobs:,} waiting")
    assert cards[0]["text"] == "#50"
    assert [box["text"] for box in run.boxes(".kb-chip")] == ["5", "0"]
    assert all(card["right"] - card["x"] >= 28 for card in cards)
    if jobs == 300:
        assert len({card["text"] for card in cards}) == 300
        assert run.boxes(".kb-bar") == []
    else:
        drawn, of = re.findall(r"([\d,]+) drawn of ([\d,]+)", run.box(".kb-bar")["text"])[0]
        assert (int(drawn), of) == (len(cards), "1,240")
    assert run.page.evaluate(CUT_TEXT) == []
    run.screenshot(f"{jobs}")


def test_where_lanes_are_slim_each_says_how_its_worker_is_and_which_priority_its_jobs_have(
    page: Page,
) -> None:
    history = History("slim")
    for worker in range(6):
        fields = {"name": f"worker {worker + 1}", "state": "running", "timeout": 2.5, "beat": 1000}
        history.put(1000, "lanes", f"k{worker}", **fields)
    for job in range(12):
        history.put(1000, "jobs", job, status="queued", entrypoint="send", priority=job % 6, payload="letter")
        history.put(1001, "jobs", job, status="picked", worker=f"k{job % 6}", turn=1)
    for worker, state in ((2, "killed"), (4, "paused"), (5, "reconnecting")):
        history.put(1001.5, "lanes", f"k{worker}", state=state)
    history.now = 1002
    page.set_viewport_size({"width": 330, "height": 900})
    run = Played(page, shown(history), "slim")
    run.at(2)
    said = ["1.0 s ago", "1.0 s ago", "back in 1.5 s", "1.0 s ago", "paused", "reconnecting"]
    assert [lane["text"].split(" ", 2)[2] for lane in run.boxes(".kb-lane")] == said
    assert [chip["text"] for chip in run.boxes(".kb-chip")] == ["0", "1", "2", "3", "4", "5"]
    assert run.page.evaluate(CUT_TEXT) == []


def shown(history: History) -> str:
    """Return a page that plays a history, as a board keeps it."""
    from kit.pictures.board.widget import page_of

    return page_of(history, "", "")


def test_what_is_drawn_of_a_moment_depends_on_nothing_else(played: Callable[[str], Played]) -> None:
    run = played("crash")
    end = run.history[-1][0]
    moments = [end * part / 7 for part in range(8)]
    drawn: dict[float, str] = {}
    for t in [*moments, *reversed(moments), *moments[::3]]:
        run.at(t)
        boxes = json.dumps(
            [[box["text"], box["x"], box["y"], box["edge"]] for box in run.boxes("[role=option]")]
        )
        assert drawn.setdefault(t, boxes) == boxes, t


def test_a_card_flies_unless_the_reader_wants_less_motion(played: Callable[[str], Played]) -> None:
    run = played("order")
    picked = run.when(3, "picked")
    for motion in ("no-preference", "reduce"):
        run.page.emulate_media(reduced_motion=motion)
        run.at(picked - 0.01)
        flying = "document.getAnimations().filter((each) => each.effect.target.matches('.kb-card')).length"
        cards = run.ask(f"(board.go(argument), board.step(), {flying})", picked + 0.001)
        assert (cards > 0) == (motion == "no-preference")
