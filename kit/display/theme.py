"""Light and dark pages: how to recognise a dark one, and the neutral colours of both."""

from __future__ import annotations

from kit.display import palette

# JupyterLab and nbconvert mark a dark page with an attribute of its body, VS Code with a class.
DARK = "[data-jp-theme-light=false], .vscode-dark, .vscode-high-contrast"


def neutral(theme: int, prefix: str = "--") -> str:
    """Declare the palette's neutral colours as CSS variables, for a light theme (0) or a dark one (1)."""
    return "".join(f"{prefix}{name}:{colours[theme]};" for name, colours in palette.NEUTRAL.items())


def both() -> str:
    """Declare both, for a style sheet that chooses with ``light-dark()``."""
    return neutral(0, "--l-") + neutral(1, "--d-")
