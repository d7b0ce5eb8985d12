"""A page of slips for the teacher's printer: each has the join line, to be cut out and handed round."""

from __future__ import annotations

import html
from pathlib import Path

LOOKS = {
    6: (1, "17pt"),
    8: (1, "15pt"),
    12: (2, "9.5pt"),
    16: (2, "9.5pt"),
}  # on a page: columns, line's size
USUAL, MOST = 8, 20


def page(name: str, line: str, a_page: str = "", pages: str = "") -> str:
    """Return the page for a class of this name.

    Args:
        name: what the class is called.
        line: its join line.
        a_page: how many slips are on a page, as it was asked for; `USUAL`, if it is none of `LOOKS`.
        pages: how many pages; one, unless it is a number up to `MOST`.
    """
    on_each = int(a_page) if a_page.isdecimal() and int(a_page) in LOOKS else USUAL
    columns, size = LOOKS[on_each]
    many = min(int(pages), MOST) if pages.isdecimal() and len(pages) < 4 else 1
    slip = (
        f"<article><b>{html.escape(name)}</b><p>Once, in a cell of a notebook (or, without the "
        "<code>!</code>, in a terminal), with your own name:</p>"
        f'<code>!kit class join {html.escape(line)} <span>--name "Ada"</span></code></article>'
    )
    sections = f"<section>{slip * on_each}</section>" * max(many, 1)
    others = [f'<a href="slips?a-page={one}&amp;pages={max(many, 1)}">{one}</a>' for one in LOOKS]
    filled = {
        "columns": str(columns),
        "rows": str(on_each // columns),
        "size": size,
        "choices": f"{' · '.join(others)}.",
        "pages": sections,
    }
    text = Path(__file__).with_name("slips.html").read_text("utf-8")
    for key, value in filled.items():
        text = text.replace(f"/* {key} */", value)
    return text
