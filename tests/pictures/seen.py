"""A board in a real JupyterLab, a producer outside of it, and what a page can be asked about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

from kit.threads import run_sync
from tests.jupyterlab import Notebook, barriers, wait_until

T = TypeVar("T")

SETUP = """
import kit, asyncio, time
database = kit.postgres("embedded", database={name!r})
print("dsn", database.dsn)
"""
MAIN = """
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
        raise ValueError("no <b>money</b> & nothing else")

    yield pgq
    await connection.close()
"""
CONSUMER = f"{MAIN}\nconsumer = kit.run(main)"


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

    def scalar(self, sql: str) -> float:
        return float(self._connected(lambda connection: connection.fetchval(sql)))

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

    def barriers(self) -> list[Any]:
        """What axe finds on the boards that keeps somebody out."""
        return barriers(self.page, ".kit-board")

    def until(self, what: str, probe: Any) -> None:
        wait_until(what, probe, 30)


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

# Texts of the board that are cut, or that no scrolling brings into view.
CUT_TEXT = """
() => {
  const cut = [], board = document.querySelector('.kit-board'), box = board.getBoundingClientRect();
  for (const node of board.querySelectorAll('*')) {
    if (node.closest('.kb-voice, canvas, .kb-text') || !node.getClientRects().length) continue;
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const text = range.getBoundingClientRect();
    for (let at = node; at !== board.parentElement; at = at.parentElement) {
      const { overflowX } = getComputedStyle(at), edge = at.getBoundingClientRect();
      if (overflowX === 'visible' && at !== board) continue;
      if (text.left >= edge.left - 1 && text.right <= edge.right + 1) continue;
      cut.push([at.className, node.textContent]);
    }
  }
  const scroll = board.querySelector('.kb-scroll');
  if (scroll.scrollWidth > scroll.clientWidth) cut.push(['columns', scroll.scrollWidth, scroll.clientWidth]);
  return cut;
}
"""

# From now on `window.moved` says how much of the page has shifted, and how high the board has been.
SHIFTS = """
() => {
  const moved = (window.moved = { shift: 0, heights: [] }), board = document.querySelector('.kit-board');
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) moved.shift += entry.value;
  }).observe({ type: 'layout-shift' });
  new ResizeObserver(([entry]) => {
    const height = Math.round(entry.contentRect.height);
    if (!moved.heights.includes(height)) moved.heights.push(height);
  }).observe(board);
}
"""

# From now on `window.states` says in which states a card was seen on the last board, and from when, in ms.
STATES = """
() => {
  const states = (window.states = []), board = [...document.querySelectorAll('.kit-board')].at(-1);
  new MutationObserver(() => {
    const card = board.querySelector('.kb-card');
    const state = card?.className.match(/kb-(queued|picked|held|successful)/)[1];
    if (state && states.at(-1)?.[0] !== state) states.push([state, performance.now()]);
  }).observe(board, { subtree: true, childList: true, attributes: true });
}
"""

# Whether the board has been drawn at the size that it has now.
SETTLED = """
() => new Promise((settled) => {
  const board = document.querySelector('.kit-board'), before = JSON.stringify(board.getBoundingClientRect());
  const same = () => settled(JSON.stringify(board.getBoundingClientRect()) === before);
  setTimeout(() => requestAnimationFrame(same), 150);
})
"""
