"""``kit.timeline()``: what each job did, and when, as a plot."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from kit import extras
from kit.errors import KitError
from kit.pictures.timeline.drawing import INK, By, Color, draw, height
from kit.pictures.timeline.histories import History, histories_of_jobs, histories_of_runs, name_consumers
from kit.pictures.timeline.summary import jobs_in_numbers, runs_in_words, sentence
from kit.threads import Duration, as_timedelta

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TAKEN = 100_000  # jobs or runs, at most: what is read and told within 10 seconds
WIDE = 7.5  # inches, of 96 pixels: little more than a page of JupyterLab's has in a window of 800
DRAWN = 2000  # more rows than this are thinner than a pixel


def timeline(
    by: By = "entrypoint",
    *,
    color: Color = "outcome",
    last: int | None = 60,
    window: Duration | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot the history of each job from the log: a thin line while it waits, a bar while it runs.

    A row is a job, in the order in which they began to run. Its end has a sign for its outcome, and where it
    was put back into the queue is a tick.
    Beside the plot the same is said in numbers: the seconds that jobs of each priority waited and ran. A
    notebook shows a figure of its own in the theme of the page, with a sentence for those who do not see it.

    Args:
        by: what rows are grouped by: ``"entrypoint"``; ``"worker"``, as far as it is known who ran a job; or
            ``"run"`` for staged jobs, where a row is a run and bars are its stages.
        color: bars are coloured by ``"outcome"`` or by ``"priority"``; those of runs always by stage.
        last: the number of jobs, or runs; those with the newest transitions are taken. None: all. Of many
            only the last 2,000 are drawn, and what is left out is said.
        window: only what had a transition in these last seconds, or this timedelta.
        ax: the axes to draw on; a new figure's if None.

    Returns:
        The axes: its ``figure`` can be saved, its limits and labels changed.

    Raises:
        KitError: no database, or an argument is none of the above.
    """
    if by not in ("entrypoint", "worker", "run"):
        raise KitError(f"by={by!r}: it is 'entrypoint', 'worker' or 'run'.")
    if color not in ("outcome", "priority"):
        raise KitError(f"color={color!r}: it is 'outcome' or 'priority'.")
    if last is not None and (type(last) is not int or last < 1):
        raise KitError(f"last={last!r}: it is a number of jobs, 1 or more; None for all.")
    extras.need("matplotlib", "kit.timeline()")
    span = None if window is None else as_timedelta("window", window)
    histories = _read(by, last, span)
    if by == "worker":
        name_consumers(histories)
    drawn = histories[-DRAWN:]
    ax = ax or _new_axes(drawn)
    if histories:
        print(runs_in_words(histories) if by == "run" else jobs_in_numbers(histories))
        if len(drawn) < len(histories):
            print(f"Drawn are the {DRAWN:,} that began last; the numbers are of {len(histories):,}.")
        draw(ax, drawn, by, color)
        _say(ax, sentence(drawn, by))
    else:
        what = "No staged run" if by == "run" else "No job"
        words = f"{what} in the last {span.total_seconds():g} s." if span else f"{what} yet."
        print(words)
        ax.text(0.5, 0.5, words, ha="center", va="center", transform=ax.transAxes, color=INK)
        ax.set_axis_off()
        _say(ax, words)
    return ax


def _read(by: By, last: int | None, window: timedelta | None) -> list[History]:
    read = histories_of_runs if by == "run" else histories_of_jobs
    histories = read(TAKEN + 1 if last is None else min(last, TAKEN + 1), window)
    if len(histories) > TAKEN:
        print(f"There are more than {TAKEN:,}, which are too many to read: a part is left out.")
    return histories[-TAKEN:]


def _say(ax: Axes, words: str) -> None:
    """Give a timeline's own figure its words; a figure of the caller's stays as it is."""
    if hasattr(ax.figure, "words"):
        ax.figure.words = words


def _new_axes(histories: list[History]) -> Axes:
    import matplotlib.pyplot as plt

    from kit.pictures.timeline.figure import TimelineFigure

    size = (WIDE, height(histories))
    _, ax = plt.subplots(FigureClass=TimelineFigure, figsize=size, layout="constrained")
    ax.set_facecolor("none")  # the figure's ground follows the theme
    return ax
