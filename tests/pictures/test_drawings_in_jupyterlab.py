"""The timeline and the picture of staged runs in a page: as light or dark as it, within it, and in words."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from nbconvert import HTMLExporter
from playwright.sync_api import Locator, Page

from tests.jupyterlab import JupyterLab, Notebook, barriers, write_notebook
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

SETUP = """
import asyncpg, kit
from kit.stages import Pipeline
kit.postgres("embedded", database="drawings")
connection = await asyncpg.connect()
await connection.execute('''
    INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority, created)
    SELECT job, status::pgqueuer_status, 'entrypoint ' || job % 20, job % 15 - 2,
        now() + (job / 10.0 + second) * interval '1 second'
    FROM generate_series(1, 1000) AS job,
        (VALUES ('queued', 0), ('picked', 1), ('successful', 3)) AS moved (status, second)
''')
"""
SHOP = """
shop = Pipeline("shop")
for number in range(20):
    @shop.stage(f"stage_{number}")
    async def move(step): ...
for _ in range(30):
    await shop.start(connection)
shop.picture()
"""
A_LEARNERS_OWN = """
import pandas as pd
axes = pd.Series({1: 20, 10: 50, 100: 70}).plot(marker="o", ylim=0)
axes.set(xlabel="batch_size", ylabel="jobs a second");
"""
CELLS = [SETUP, "kit.timeline(last=None, color='priority');", SHOP, A_LEARNERS_OWN, "kit.log()"]
# The images, by what they are called for who does not see them.
SAID = {
    "the timeline": "Timeline of 1,000 jobs in 103 s: 1000 done. By entrypoint: entrypoint 1 50,",
    "the picture of runs": "shop: 30 runs, ◷ 30 pending",
    "a plot of one's own": "jobs a second by batch_size",
}


def shown(page: Page, words: str) -> Locator:
    return page.locator(f'img[alt^="{words}"], div:has(> p:text-is("{words}"))')


def ground(picture: Locator) -> float:
    """Return how light a picture's ground is, from 0 to 1: most of a picture is its ground."""
    return float(np.median(imread(io.BytesIO(picture.screenshot()))[..., :3]))


def pictures(page: Page, light: bool, when: str) -> None:
    for name, words in SAID.items():
        picture = shown(page, words)
        wait_until(f"{name} is as light as its page {when}", lambda: (ground(picture) > 0.8) is light)  # noqa: B023


def fits(page: Page, width: int) -> None:
    for name, words in SAID.items():
        box = shown(page, words).bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= width, name
        assert box["width"] > 0.65 * width or width > 1000 or "own" in name, f"{name} is too small to be read"


def test_pictures_follow_the_page_fit_it_and_say_what_they_show(lab: JupyterLab, page: Page) -> None:
    root = Path(lab.root)
    write_notebook(root / "drawings.ipynb", *CELLS)
    notebook = lab.open(page, "drawings.ipynb")
    notebook.run_all()
    assert notebook.errors() == []
    assert shown(page, SAID["the picture of runs"]).get_attribute("role") == "img"
    for theme in ("Dark", "Light"):
        notebook.theme(f"JupyterLab {theme}")
        for width in (1440, 800):
            page.set_viewport_size({"width": width, "height": 2600})
            notebook.scroll_to(1)
            pictures(page, theme == "Light", f"of {width} px, {theme}")
            fits(page, width)
            notebook.screenshot(f"drawings-{theme.lower()}-{width}")
        assert barriers(page, ".jp-OutputArea") == [], theme
    notebook.save()
    assert (root / "drawings.ipynb").stat().st_size < 1_000_000
    notebook.shutdown()
    where_nobody_trusts_it(lab, notebook)
    for name in ("light", "dark"):
        nothing: Any = {"require_js_url": "", "jquery_url": "", "mathjax_url": "", "mermaid_js_url": ""}
        exporter: Any = HTMLExporter(theme=name, **nothing)
        page.set_content(exporter.from_filename(root / "drawings.ipynb")[0])
        pictures(page, name == "light", f"of nbconvert, {name}")


def where_nobody_trusts_it(lab: JupyterLab, notebook: Notebook) -> None:
    """Open a copy that came from elsewhere: without styles its pictures are light, on their own ground."""
    notebook.theme("JupyterLab Light")
    saved = json.loads((lab.root / notebook.path).read_text())
    saved["metadata"]["from"] = "elsewhere"
    saved["cells"][0]["source"] += "# changed"
    for cell in saved["cells"]:
        cell["metadata"].pop("trusted", None)
    (lab.root / "strange.ipynb").write_text(json.dumps(saved))
    strange = lab.open(notebook.page, "strange.ipynb")
    strange.scroll_to(1)
    for words in SAID.values():
        picture = shown(notebook.page, words)
        picture.wait_for()
        assert ground(picture) > 0.8
    strange.screenshot("drawings-strange")
    strange.shutdown()
