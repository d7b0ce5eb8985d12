"""Pictures of the queue: ``board``, live, ``timeline``, a plot, and the panel of what runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kit import notebook
from kit.session import RunningConsumer, session


def follow() -> None:
    """Let consumers that a cell starts have their panel there, and the board stand beside the text."""
    from kit.pictures.board.docked import Docked

    session.show = _panel
    if notebook.in_notebook():
        notebook.after_each_cell(Docked().after_a_cell)
        # Of its base, since matplotlib's backend forgets what is registered for Figure itself when it starts.
        notebook.show_as_html("matplotlib.figure", "FigureBase", _figure)


def _figure(figure: Any) -> str | None:
    from kit.pictures.figures import page

    return page(figure)


def _panel(consumers: Sequence[RunningConsumer]) -> None:
    from kit.pictures.panel import Panel

    Panel(consumers).show()
