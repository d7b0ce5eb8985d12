"""What is live in a notebook while its kernel is there, and the still picture beside it that is kept.

A widget comes back after a reload of the page; without its kernel it is blank, or an error. So the output
after it, which a saved or published notebook keeps, shows the same as it was, and hides beside what is live.
"""

from __future__ import annotations

from datetime import datetime

from kit import notebook

WIDGET = "application/vnd.jupyter.widget-view+json"
WORDS = "Live here; below, as it was last."
# The widget's own element has the class `kit-live`, what stands for it `kit-still`. One of the two is shown,
# and no line says that a widget was not found.
STYLE = (
    ":has(.kit-live):not(:has(.kit-still))+:has(.kit-still):not(:has(.kit-live)){display:none}"
    ".jp-OutputArea-child:has(+.jp-OutputArea-child .kit-still)"
    " :is(.jupyter-widgets,.jupyter-widgets-disconnected):not(:has(*)){display:none}"
)


def show(model_id: str) -> None:
    """Show a widget below the running cell; what stands for it is to come right after."""
    view = {"version_major": 2, "version_minor": 0, "model_id": model_id}
    notebook.publish({WIDGET: view, "text/plain": WORDS})


def clock(at: float) -> str:
    """Return a time in seconds since 1970 as a clock here shows it."""
    return datetime.fromtimestamp(at).strftime("%H:%M:%S")


def as_it_was(at: float, what: str) -> str:
    """Say what a still picture is, of the time ``at``, in seconds since 1970."""
    return f"As it was at {clock(at)}; run the cell again for a live {what}."
