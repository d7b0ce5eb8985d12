"""The built site: what a reader has of a lesson without a kernel, without a network, and in the dark."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.jupyterlab import ARTIFACTS, barriers, browser_page
from tests.night import SEEDS
from tests.site import __main__ as builder
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_spec("sphinx") is None, reason="no Sphinx: pip install -e '.[site]'"),
]
LONG = ["06_crashes", "07_pipelines", "09_concurrency"] if SEEDS else []  # they take minutes to execute
NOTEBOOKS = ["00_start_here", *LONG, "glossary"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return builder.build(NOTEBOOKS, tmp_path_factory.mktemp("site"))


@pytest.fixture
def page() -> Iterator[Page]:
    with browser_page(width=1280, height=900) as page:
        page.unroute_all()  # pages from the disk
        page.context.set_offline(True)
        yield page


@pytest.mark.parametrize(
    ("name", "end"), [("00_start_here", "30 done"), *(("06_crashes", "300 done") for _ in LONG[:1])]
)
def test_a_board_shows_the_end_of_its_section_and_plays_it_again_from_the_disk(
    name: str, end: str, site: Path, page: Page
) -> None:
    page.goto(f"file://{site}/{name}.html")
    board = page.locator("figure.kit-still", has_text=end)
    board.scroll_into_view_if_needed()
    words, scrubber = board.locator(".kb-words"), board.locator("input[type=range]")
    wait_until("that it is drawn", lambda: words.count() == 1 and end in words.inner_text())
    scrubber.focus()
    scrubber.press("Home")
    wait_until("its beginning", lambda: " 0 done" in words.inner_text() or "done" not in words.inner_text())


def test_a_link_to_a_word_leads_to_it_in_the_glossary(site: Path, page: Page) -> None:
    page.goto(f"file://{site}/00_start_here.html")
    page.locator("a[href='glossary.html#producer']").first.click()
    page.wait_for_url("**/glossary.html#producer")
    assert page.locator(":target").inner_text().startswith("producer")


def test_what_is_searched_is_found_without_a_network(site: Path, page: Page) -> None:
    page.goto(f"file://{site}/search.html?q=heartbeat")
    page.locator("#search-results a", has_text="Glossary").first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 800, 390])
def test_a_page_is_read_at_three_widths_in_both_themes_and_keeps_nobody_out(
    width: int, scheme: str, site: Path, page: Page
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 900})
    for name in [*NOTEBOOKS, "guide", "reference"]:
        page.goto(f"file://{site}/{name}.html")
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert barriers(page, "body") == [], name
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / f"site-{name}-{width}-{scheme}.png")


def test_a_warning_fails_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "pages", lambda _: [("index.md", "# A page\n\n[one](that-is-not-there.md)")])
    with pytest.raises(subprocess.CalledProcessError):
        builder.build([], tmp_path / "site")
