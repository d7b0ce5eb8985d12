"""Light and dark pages: how to recognise a dark one, and an SVG that follows its page."""

from __future__ import annotations

import base64
from html import escape

from kit.display import palette

# JupyterLab and nbconvert mark a dark page with an attribute of its body, VS Code with a class.
DARK = "[data-jp-theme-light=false], .vscode-dark, .vscode-high-contrast"


def neutral(theme: int, prefix: str = "--") -> str:
    """Declare the palette's neutral colours as CSS variables, for a light theme (0) or a dark one (1)."""
    return "".join(f"{prefix}{name}:{colours[theme]};" for name, colours in palette.NEUTRAL.items())


def both() -> str:
    """Declare both, for a style sheet that chooses with ``light-dark()``."""
    return neutral(0, "--l-") + neutral(1, "--d-")


def svg_style() -> str:
    """Return the rules that give an SVG, shown with `image`, the neutral colours of its page."""
    return f"svg{{{neutral(0)}}}@media(prefers-color-scheme:dark){{svg{{{neutral(1)}}}}}"


def image(svg: str, words: str, name: str) -> str:
    """Return HTML that shows an SVG as light or dark as the page, and never wider than that.

    A notebook that is not trusted shows it without the style, so light: the SVG needs a ground of its own.

    Args:
        svg: the picture, without scripts and outside resources.
        words: the same in words, for those who do not see it and where it is not shown.
        name: the class of the image.
    """
    data = base64.b64encode(svg.encode()).decode()
    return (
        f"<style>.{name}{{max-width:100%}}:is({DARK}) .{name}{{color-scheme:dark}}</style>"
        f'<img class="{name}" src="data:image/svg+xml;base64,{data}" alt="{escape(words)}">'
    )
