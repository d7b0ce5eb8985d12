"""A board in a real JupyterLab, a producer outside of it, and what a page can be asked about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
from playwright.sync_api import Page

from kit.threads import run_sync
from tests.jupyterlab import Notebook, barriers
from tests.waiting import wait_until

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

    def cards(self, status: str = "box") -> list[str]:
        """What the jobs of one status are called on the live board: those that are drawn."""
        return names(self.page, f".kit-live .kb-{status}[aria-label^=Job]")

    def words(self) -> str:
        """The live board's own summary."""
        return self.page.locator(".kit-live .kb-words").first.inner_text()

    def barriers(self) -> list[Any]:
        """What axe finds on the boards that keeps somebody out."""
        return barriers(self.page, ".kit-live")

    def until(self, what: str, probe: Any) -> None:
        wait_until(what, probe, 30)


def names(page: Page, selector: str) -> list[str]:
    """What the boxes that match are called, for who does not see them."""
    called = "boxes => boxes.map(box => box.getAttribute('aria-label') ?? box.textContent)"
    found: list[str] = page.locator(selector).evaluate_all(called)
    return found


# Each visible text and its contrast to what is painted behind it, by WCAG's formula.
FAINT_TEXT = """
() => {
  const parse = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    const scale = colour.startsWith('color(') ? 255 : 1;
    return { rgb: [r, g, b].map((part) => part * scale), a };
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
    if (node.closest('.kb-voice, [aria-hidden=true] i')) continue;
    const behind = ground(node);
    const text = over(parse(getComputedStyle(node).color), behind);
    const [a, b] = [light(text), light(behind)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) faint.push([contrast.toFixed(2), node.className, texts.currentNode.textContent]);
  }
  return faint;
}
"""

# Texts of the board that stick out of their box or of the board, or lie over another one's.
CUT_TEXT = """
() => {
  const cut = [], board = document.querySelector('.kit-board'), whole = board.getBoundingClientRect();
  const seen = [];
  for (const node of board.querySelectorAll('.kb-stage *, .kb-head *, .kb-moment, .kb-legend')) {
    if (node.closest('.kb-voice') || !node.getClientRects().length) continue;
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())) continue;
    const text = node.getBoundingClientRect();
    if (text.left < whole.left - 1 || text.right > whole.right + 1) cut.push(['outside', node.textContent]);
    const high = node.matches('.kb-lane .kb-m, .kb-legend') && node.scrollHeight > node.clientHeight + 1;
    if (high) cut.push(['cut', node.textContent]);
    for (const [other, box] of seen) {
      const w = Math.min(text.right, box.right) - Math.max(text.left, box.left);
      const h = Math.min(text.bottom, box.bottom) - Math.max(text.top, box.top);
      if (w > 2 && h > 3) cut.push(['covers', node.textContent, other]);
    }
    seen.push([node.textContent, text]);
  }
  return cut;
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
