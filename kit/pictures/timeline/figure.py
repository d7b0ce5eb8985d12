"""The figure of a timeline: in a notebook an SVG in the theme of its page, with its words beside it.

Imported only when one is drawn, because matplotlib takes its time.
"""

from __future__ import annotations

from io import StringIO
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from kit import palette, theme

NEVER_THE_SAME = {"Date": None, "Creator": None}  # what two equal pictures would differ in


class TimelineFigure(Figure):
    """A figure drawn in the palette's colours for a light theme.

    Attributes:
        words: what it shows, in a sentence.
    """

    words = ""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": theme.image(self.svg(), self.words, "kit-timeline"), "text/plain": self.words}

    def svg(self) -> str:
        """Draw it in colours that follow the theme of the page."""
        with StringIO() as file:
            with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "kit"}):
                self.savefig(file, format="svg", dpi=144, metadata=NEVER_THE_SAME)
            drawn = file.getvalue()
        drawn = drawn[drawn.index("<svg") :]
        ground, _ = palette.NEUTRAL["ground"]
        drawn = drawn.replace(ground, "var(--ground)", 1)  # the first is the ground; on a bar it stays white
        for name in ("text", "quiet", "rule"):
            drawn = drawn.replace(palette.NEUTRAL[name][0], f"var(--{name})")
        return drawn.replace("<defs>", f"<style>{theme.svg_style()}</style><defs>", 1)
