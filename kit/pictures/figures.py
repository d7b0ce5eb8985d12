"""A figure of matplotlib's in a notebook: an SVG as light or dark as its page, with its words beside it."""

from __future__ import annotations

from io import StringIO
from typing import Any

import matplotlib
from matplotlib.colors import to_hex

from kit.display import palette, theme

LONGEST = 2_000_000  # characters; what is longer stays the image that it is
NEVER_THE_SAME = {"Date": None, "Creator": None}  # what two equal pictures would differ in
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
    style = f"<style>{theme.svg_style()}svg{{fill:var(--text)}}</style><defs>"
    words = getattr(figure, "words", "") or ". ".join(filter(None, map(_said, figure.axes))) or "A plot."
    return theme.image(drawn.replace("<defs>", style, 1), words, "kit-plot") if len(drawn) < LONGEST else None


def _said(ax: Any) -> str:
    """Return what the axes say of themselves."""
    labels = " by ".join(filter(None, [ax.get_ylabel(), ax.get_xlabel()]))
    return ": ".join(filter(None, [ax.get_title() or ax.get_title("left"), labels]))
