"""The panel, and tables beside it, in JupyterLab: at any size, in both themes, after a reload."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Page

from kit.pictures.publish import DropWidgets
from kit.sources import Postgres
from tests.jupyterlab import JupyterLab, Notebook, barriers, browser_page, write_notebook
from tests.pictures.test_panel import SETUP
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

LONG = "a line that is much longer than the panel is wide " * 4
CELLS = [
    "import kit\np = kit.postgres('embedded', database='panels')",
    SETUP,
    "consumer = kit.run(main)",
    f"jobs = [b'\\x1b[31m1', b'bad', {LONG!r}.encode()]\n"
    "await queries.enqueue(['fetch'] * 3, jobs, [0] * 3)\nawait kit.wait()",
    "await queries.enqueue(['fetch'] * 2, [b'4', b'5'], [0] * 2)\nawait kit.wait()",
    f"await queries.enqueue('later', {LONG!r}.encode() * 3)\nkit.jobs()",
    "kit.log()",
    "consumer.stop()",
]
SIZES = (1440, 800, 320)

# From now on `window.said` has what a screen reader is told, `window.repaints` how often the panel changed.
LISTEN = """
() => {
  const panel = document.querySelector('.kit-panel.kit-live'), status = panel.querySelector('[role=status]');
  window.said = [];
  window.repaints = 0;
  const watch = { subtree: true, childList: true, characterData: true, attributes: true };
  new MutationObserver(() => window.said.push(status.innerText)).observe(status, watch);
  new MutationObserver(() => (window.repaints += 1)).observe(panel, watch);
}
"""

# Texts that are cut off, or that no scrolling of their own box brings into view.
CUT = """
(selector) => {
  const cut = [];
  for (const root of document.querySelectorAll(selector)) {
    const area = root.closest('.jp-OutputArea-output') ?? document.body, box = area.getBoundingClientRect();
    for (const node of root.querySelectorAll('*')) {
      if (!node.getClientRects().length || !node.childNodes.length || node.matches('style')) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      const text = range.getBoundingClientRect();
      const reached = ['auto', 'scroll'].includes(getComputedStyle(area).overflowX);
      if (text.left < box.left - 1 || (!reached && text.right > box.right + 1)) cut.push(node.textContent);
    }
  }
  return cut;
}
"""


def shown(notebook: Notebook, live: bool) -> str:
    """Wait for the one panel that is to be seen, without an error beside it, and return what it says."""
    panels = notebook.page.locator(".kit-panel:visible")
    kind = "kit-live" if live else "kit-still"
    wait_until(
        f"one panel, {kind}",
        lambda: panels.count() == 1 and kind in (panels.first.get_attribute("class") or ""),
        30,
    )
    outputs = "\n".join(notebook.page.locator(".jp-OutputArea-child:visible").all_inner_texts())
    assert "Error displaying widget" not in outputs
    assert "not found" not in outputs
    return panels.first.inner_text()


def test_the_panel_holds_still_says_what_it_is_and_is_reached_by_everyone(
    tmp_path: Path, queue_server: Postgres
) -> None:
    assert queue_server.source  # it stays up meanwhile, so that no kernel has to start one
    write_notebook(tmp_path / "panel.ipynb", *CELLS)
    with JupyterLab(tmp_path) as lab, browser_page(width=1440) as page:
        notebook = lab.open(page, "panel.ipynb")
        for cell in range(4):
            notebook.run_cell(cell)
        assert notebook.errors() == []
        said = shown(notebook, live=True)
        assert re.search(r"● consumer: running since \d\d:\d\d:\d\d", said)
        assert "2 done, 1 failed" in said
        assert "fetched" not in said  # it stands where it is awaited
        assert notebook.text(3).count("fetched 1") == 1

        # While jobs run the fold stays open, and a listener hears of no number.
        fold = page.locator(".kit-live .kp-fold > summary")
        fold.click()
        page.evaluate(LISTEN)
        notebook.run_cell(4)
        wait_until("the new numbers", lambda: "4 done" in shown(notebook, live=True))
        lines = page.locator(".kit-live .kp-lines")
        assert lines.is_visible()
        assert "[fetch #1] fetched 1" in lines.inner_text()
        assert LONG.strip() in lines.inner_text()
        assert page.evaluate("window.said") == []
        notebook.run_cell(5)
        notebook.run_cell(6)
        seen_at_any_size(notebook)
        fold.click()
        repaints = page.evaluate("window.repaints")
        notebook.run_cell(6)
        assert page.evaluate("window.repaints") == repaints

        notebook.reload()
        assert "4 done" in shown(notebook, live=True)
        page.evaluate(LISTEN)
        notebook.run_cell(7)
        wait_until("it has stopped", lambda: "■ consumer: stopped at" in shown(notebook, live=True))
        wait_until("a listener hears it", lambda: "stopped at" in str(page.evaluate("window.said")[-1:]))

        notebook.save_with_widgets("KitWidget")
        notebook.restart_kernel()
        assert "4 done, 1 failed" in shown(notebook, live=False)
        notebook.shutdown()
        reopened = lab.open(page, "panel.ipynb")
        said = shown(reopened, live=False)
        assert "4 done, 1 failed" in said
        assert "again" not in said, "there is no kernel that could"
        reopened.screenshot("panel-reopened")
        in_a_published_page(page, tmp_path)


def seen_at_any_size(notebook: Notebook) -> None:
    page = notebook.page
    for theme in ("Dark", "Light"):
        notebook.theme(f"JupyterLab {theme}")
        for width in SIZES:
            page.set_viewport_size({"width": width, "height": 1400})
            notebook.scroll_to(2)
            for selector in (".kit-panel.kit-live", ".dataframe.kit"):
                assert page.evaluate(CUT, selector) == [], f"at {width}, {theme}"
            notebook.screenshot(f"panel-{theme.lower()}-{width}")
        page.set_viewport_size({"width": 1440, "height": 1400})
        assert barriers(page, ".jp-OutputArea") == [], theme
    # What matters of the queue fits beside each other; the rest is there, in a fold.
    table = page.locator(".dataframe.kit").first.bounding_box()
    assert table is not None
    assert table["width"] < 1100, table


def in_a_published_page(page: Page, folder: Path) -> None:
    """Look at the same notebook as nbconvert makes a page of it."""
    nothing: Any = {"require_js_url": "", "jquery_url": "", "mathjax_url": "", "mermaid_js_url": ""}
    for theme in ("light", "dark"):
        exporter: Any = HTMLExporter(theme=theme, preprocessors=[DropWidgets], **nothing)
        text, _ = exporter.from_filename(folder / "panel.ipynb")
        page.set_content(text)
        panel = page.locator(".kit-panel:visible")
        assert panel.count() == 1
        assert "4 done, 1 failed" in panel.inner_text()
        panel.screenshot(path=folder / f"{theme}.png")
        red = int(re.findall(r"\d+", panel.evaluate("panel => getComputedStyle(panel).color"))[0])
        assert red < 80 if theme == "light" else red > 180, "the text is as light or dark as the page is not"
