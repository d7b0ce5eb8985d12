"""The site: what a reader has of a lesson without a kernel, without a network, and in the dark."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from playwright.sync_api import Page

from kit.exercises import course
from tests.jupyterlab import barriers, browser_page
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_spec("sphinx") is None, reason="no Sphinx: pip install 'pgqueuer-kit[site]'"),
]
PAGES = ["00_start_here", "glossary"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.site.__main__ import build

    return build(PAGES, tmp_path_factory.mktemp("site") / "site")


@pytest.fixture
def page() -> Iterator[Page]:
    with browser_page(width=1280, height=900) as page:
        page.unroute_all()  # pages from the disk
        page.context.set_offline(True)
        yield page


def test_a_board_shows_the_end_of_its_section_and_plays_it_again_from_the_disk(
    site: Path, page: Page
) -> None:
    page.goto(f"file://{site}/00_start_here.html")
    words, scrubber = page.locator(".kb-words"), page.locator(".kit-still input[type=range]")
    wait_until("that it is drawn", lambda: "30 done" in words.inner_text())
    scrubber.focus()
    scrubber.press("Home")
    wait_until("its beginning", lambda: "0 done" in words.inner_text())


def test_an_exercise_has_its_hints_in_folds_and_no_solution(site: Path, page: Page) -> None:
    page.goto(f"file://{site}/00_start_here.html")
    (lesson,) = [one for one in course.lessons() if one.name == "start_here"]
    assert page.locator("details", has_text="Hint").count() >= 3 * len(lesson.exercises)
    text = page.locator("body").inner_text()
    for one in lesson.exercises:
        assert one.stub.strip().splitlines()[-1].strip() in text
        assert one.solution.strip() not in text


def test_a_link_to_a_word_leads_to_it_in_the_glossary(site: Path, page: Page) -> None:
    page.goto(f"file://{site}/00_start_here.html")
    page.locator("a[href^='glossary.html#']").first.click()
    target = page.evaluate("document.getElementById(location.hash.slice(1))?.innerText")
    assert target, page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_read_on_a_telephone_in_both_themes_and_keeps_nobody_out(
    scheme: str, site: Path, page: Page
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": 390, "height": 800})
    for name in PAGES:
        page.goto(f"file://{site}/{name}.html")
        page.wait_for_load_state()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert barriers(page, "article") == []
        Path("artifacts").mkdir(exist_ok=True)
        page.screenshot(path=os.path.join("artifacts", f"site-{name}-{scheme}.png"), full_page=True)
