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

# What paper would not show of a page, for there nothing scrolls.
CUT = """
[...document.querySelectorAll(".bd-article pre, .bd-article div, .bd-article img")]
  .filter((each) => each.scrollWidth > each.clientWidth + 1 && each.clientWidth > 0)
  .map((each) => `${each.className}: ${each.textContent.trim().slice(0, 60)}`)
"""


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


def test_a_printed_page_is_light_and_nothing_but_its_text_and_pictures(site: Path, page: Page) -> None:
    page.emulate_media(color_scheme="dark", media="print")
    page.set_viewport_size({"width": 717, "height": 1000})  # A4 between its margins
    for name in NOTEBOOKS:
        page.goto(f"file://{site}/{name}.html")
        assert (
            not page.locator(".bd-sidebar-primary, .bd-sidebar-secondary, .bd-header")
            .filter(visible=True)
            .count()
        )
        assert page.evaluate(CUT) == [], name
        page.evaluate(
            "addEventListener('beforeprint', () => (window.printed = document.body.dataset.jpThemeLight))"
        )
        page.pdf()
        assert page.evaluate("window.printed") == "true"
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"


@pytest.mark.skipif(not LONG, reason="its lesson takes minutes, so KIT_NIGHT tries it")
def test_a_table_that_a_command_has_printed_keeps_its_lines(site: Path, page: Page) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(f"file://{site}/06_crashes.html")
    table = page.locator("pre", has_text="Seconds since heartbeat")
    assert table.evaluate("(element) => getComputedStyle(element).whiteSpace") == "pre"
    assert table.evaluate("(element) => element.scrollWidth <= element.clientWidth")


def test_a_warning_fails_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "pages", lambda _: [("index.md", "# A page\n\n[one](that-is-not-there.md)")])
    with pytest.raises(subprocess.CalledProcessError):
        builder.build([], tmp_path / "site")
