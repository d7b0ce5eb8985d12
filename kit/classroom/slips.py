"""A page of slips for the teacher's printer: each has the join line, to be cut out and handed round."""

from __future__ import annotations

import html
from pathlib import Path

COLUMNS = {4: 1, 8: 2, 12: 2, 18: 3}  # for so many slips on a page
USUAL, MOST = 8, 20


def page(name: str, line: str, a_page: str = "", pages: str = "") -> str:
    """Return the page for a class of this name.

    Args:
        name: what the class is called.
        line: its join line.
        a_page: how many slips are on a page, as it was asked for; `USUAL`, if it is none of `COLUMNS`.
        pages: how many pages; one, unless it is a number up to `MOST`.
    """
    on_each = int(a_page) if a_page.isdecimal() and int(a_page) in COLUMNS else USUAL
    many = min(int(pages), MOST) if pages.isdecimal() and len(pages) < 4 else 1
    slip = (
        f"<article><p>{html.escape(name)}</p><p><small>Once, in a terminal (in JupyterLab: File, New, "
        f"Terminal), with your own name behind it:</small></p><code>kit class join {html.escape(line)} "
        "--name&nbsp;Ada</code><p><small>What comes of your checks is then on the teacher's board, "
        "and <code>kit class leave</code> ends that.</small></p></article>"
    )
    sections = f"<section>{slip * on_each}</section>" * max(many, 1)
    others = [f'<a href="slips?a-page={one}&amp;pages={max(many, 1)}">{one}</a>' for one in COLUMNS]
    filled = {
        "columns": str(COLUMNS[on_each]),
        "size": "18pt" if on_each == 4 else "13pt" if on_each < 18 else "10pt",
        "choices": f"{' · '.join(others)}.",
        "pages": sections,
    }
    text = Path(__file__).with_name("slips.html").read_text("utf-8")
    for key, value in filled.items():
        text = text.replace(f"/* {key} */", value)
    return text
