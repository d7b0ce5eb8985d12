"""The board as a learner sees it: a real JupyterLab in a real Chromium, a real queue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
from playwright.sync_api import Page

from kit.sources import Postgres
from kit.threads import run_sync
from tests.jupyterlab import JupyterLab, Notebook, browser_page, wait_until, write_notebook

pytestmark = pytest.mark.browser

T = TypeVar("T")

SETUP = """
import kit, asyncio, time
database = kit.postgres("embedded", database={name!r})
print("dsn", database.dsn)
"""
CONSUMER = """
from contextlib import asynccontextmanager
import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver

@asynccontextmanager
async def main():
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))

    @pgq.entrypoint("send_email")
    async def send_email(job):
        await asyncio.sleep(0.3)

    @pgq.entrypoint("charge_card", on_failure="hold")
    async def charge_card(job):
        raise ValueError("no <b>money</b> left")

    yield pgq
    await connection.close()

consumer = kit.run(main)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, queue_server: Postgres) -> Iterator[JupyterLab]:
    assert queue_server.source  # it stays up meanwhile, so that no kernel has to start one
    root = tmp_path_factory.mktemp("lab")
    with JupyterLab(root) as lab:
        yield lab


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser_page() as page:
        yield page


class Seen:
    """A notebook with a board, and a producer outside of it."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.page = notebook.page

    @property
    def dsn(self) -> str:
        return self.notebook.text(0).split("dsn ")[1].split()[0]

    def enqueue(self, *payloads: bytes, entrypoint: str = "send_email", priority: int = 0) -> list[int]:
        number = len(payloads)

        async def enqueue(connection: asyncpg.Connection) -> list[Any]:
            queries = Queries(AsyncpgDriver(connection))
            return list(await queries.enqueue([entrypoint] * number, list(payloads), [priority] * number))

        return self._connected(enqueue)

    def execute(self, sql: str) -> None:
        self._connected(lambda connection: connection.execute(sql))

    def _connected(self, act: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        dsn = self.dsn

        async def connected() -> T:
            connection = await asyncpg.connect(dsn)
            try:
                return await act(connection)
            finally:
                await connection.close()

        return run_sync(connected())

    def cards(self, status: str = "card") -> list[str]:
        """What the cards of one column are called."""
        names: list[str] = self.page.locator(f".kb-card.kb-{status}").evaluate_all(
            "cards => cards.map(card => card.getAttribute('aria-label'))"
        )
        return names

    def until(self, what: str, probe: Any) -> None:
        wait_until(what, probe, 15)


@pytest.fixture
def seen(lab: JupyterLab, page: Page, request: pytest.FixtureRequest) -> Iterator[Seen]:
    """A notebook whose first cells have run: setup, the board; then a consumer, a sleep, a second board."""
    name = request.node.name.removeprefix("test_")[:40]
    cells = [SETUP.format(name=name), "kit.board()", CONSUMER, "time.sleep(4)", "kit.board()"]
    write_notebook(Path(lab.root) / f"{name}.ipynb", *cells)
    notebook = lab.open(page, f"{name}.ipynb")
    notebook.run_cell(0)
    notebook.run_cell(1)
    assert notebook.errors() == []
    page.locator(".kit-board").first.wait_for()
    yield Seen(notebook)
    notebook.shutdown()


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
    seen.page.locator(".kb-card.kb-held").hover()
    detail = seen.page.locator(".kb-detail")
    assert script in detail.inner_text()
    assert "ValueError: no <b>money</b> left" in detail.inner_text()
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
    seen.enqueue(*[b"many"] * 30)
    seen.until("a crowd", lambda: seen.page.locator(".kb-small-cards").count() == 1)
    seen.page.keyboard.press("End")
    assert seen.page.evaluate(active).startswith("Job 33,")
    seen.page.keyboard.press("ArrowLeft")
    assert seen.page.evaluate(active).startswith("Job 32,")
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


# Each visible text and its contrast to what is painted behind it, by WCAG's formula.
FAINT_TEXT = """
() => {
  const parse = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    return { rgb: [r, g, b], a };
  };
  const over = (top, under) => top.rgb.map((v, i) => v * top.a + under[i] * (1 - top.a));
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    if (!node) return [255, 255, 255];
    const own = parse(getComputedStyle(node).backgroundColor);
    return own.a === 1 ? own.rgb : over(own, ground(node.parentElement));
  };
  const faint = [];
  const texts = document.createTreeWalker(document.querySelector('.kit-board'), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || node.getClientRects().length === 0) continue;
    if (node.closest('.kb-voice') || node.getAttribute('aria-hidden')) continue;
    const behind = ground(node);
    const text = over(parse(getComputedStyle(node).color), behind);
    const [a, b] = [light(text), light(behind)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) faint.push([contrast.toFixed(2), node.className, texts.currentNode.textContent]);
  }
  return faint;
}
"""
