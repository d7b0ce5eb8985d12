"""A figure of matplotlib's in a notebook: an SVG as light or dark as its page, with its words beside it."""

from __future__ import annotations

import base64
from html import escape
from io import StringIO
from typing import Any

import matplotlib
from matplotlib.colors import to_hex

from kit.display import palette, theme

LONGEST = 2_000_000  # characters; what is longer stays the image that it is
NEVER_THE_SAME = {"Date": None, "Creator": None}  # what two equal pictures would differ in
# A notebook that is not trusted shows the image without its style, so light, on the ground that it has.
STYLE = f".kit-plot{{max-width:100%}}:is({theme.DARK}) .kit-plot{{color-scheme:dark}}"
STYLE_OF_SVG = (
    f"svg{{{theme.neutral(0)}fill:var(--text)}}@media(prefers-color-scheme:dark){{svg{{{theme.neutral(1)}}}}}"
)
WHITE, BLACK, EDGE = "#ffffff", "#000000", "#fffffe"


def page(figure: Any) -> str | None:
    """Return a figure as HTML, or None where it is too large for that.

    Its ground is the page's. What is black or of the palette's neutral colours, as its text is, follows the
    theme, too.
    """
    grounds = [(ax, ax.get_facecolor()) for ax in figure.axes if to_hex(ax.get_facecolor()) == WHITE]
    try:
        for ax, _ in grounds:
            ax.set_facecolor("none")
        with StringIO() as file:
            with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "kit"}):
                figure.savefig(file, format="svg", dpi=144, metadata=NEVER_THE_SAME)
            drawn = file.getvalue()
    finally:
        for ax, ground in grounds:
            ax.set_facecolor(ground)
    drawn = drawn[drawn.index("<svg") :]
    drawn = drawn.replace(WHITE, "var(--ground)", 1)  # the first is the ground; on a bar it stays white
    drawn = drawn.replace(EDGE, "var(--ground)").replace(BLACK, "var(--text)")
    for name in ("text", "quiet", "rule"):
        drawn = drawn.replace(palette.NEUTRAL[name][0], f"var(--{name})")
    if len(drawn) >= LONGEST:
        return None
    drawn = drawn.replace("<defs>", f"<style>{STYLE_OF_SVG}</style><defs>", 1)
    words = getattr(figure, "words", "") or ". ".join(filter(None, map(_said, figure.axes))) or "A plot."
    data = base64.b64encode(drawn.encode()).decode()
    image = f'<img class="kit-plot" src="data:image/svg+xml;base64,{data}" alt="{escape(words)}">'
    return f"<style>{STYLE}</style>{image}"


def _said(ax: Any) -> str:
    """Return what the axes say of themselves."""
    labels = " by ".join(filter(None, [ax.get_ylabel(), ax.get_xlabel()]))
    return ": ".join(filter(None, [ax.get_title() or ax.get_title("left"), labels]))
