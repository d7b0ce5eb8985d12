"""``kit.timeline()``: what each job did, and when, as a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit import extras
from kit.errors import KitError
from kit.pictures.timeline.drawing import INK, By, Color, draw, height
from kit.pictures.timeline.histories import History, by_worker, histories_of_jobs
from kit.pictures.timeline.summary import in_numbers, sentence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TAKEN = 100_000  # jobs, at most: what is read and told within 10 seconds
WIDE = 7.5  # inches, of 96 pixels: little more than a page of JupyterLab's has in a window of 800
NOTHING = "No job yet."
DRAWN = 2000  # more rows than this are thinner than a pixel


def timeline(by: By = "entrypoint", *, color: Color = "outcome", last: int | None = 60) -> Axes:
    """Plot the history of each job from the log: a thin line while it waits, a bar for every attempt.

    A row is a job, in the order in which they began to run. Its end has a sign for its outcome. An attempt
    that was not the last has its own colour: it was retried, or its worker went and another took the job.
    Beside the plot the same is said in numbers: the seconds that jobs of each priority waited and ran. A
    notebook shows the figure in the theme of the page, with a sentence for those who do not see it.

    Args:
        by: what rows are grouped by: ``"entrypoint"``; or ``"worker"``, as far as it is known who ran a job,
            with a row an attempt.
        color: bars are coloured by ``"outcome"`` or by ``"priority"``.
        last: the number of jobs; those with the newest transitions are taken. None: all. Of many
            only the last 2,000 are drawn, and what is left out is said.

    Returns:
        The axes, whose ``figure`` can be saved, and whose limits and labels can be changed.

    Raises:
        KitError: no database, or an argument is none of the above.
    """
    if by not in ("entrypoint", "worker"):
        raise KitError(f"by={by!r}: it is 'entrypoint' or 'worker'.")
    if color not in ("outcome", "priority"):
        raise KitError(f"color={color!r}: it is 'outcome' or 'priority'.")
    if last is not None and (type(last) is not int or last < 1):
        raise KitError(f"last={last!r}: it is a number of jobs, 1 or more; None for all.")
    extras.need("matplotlib", "kit.timeline()")
    histories = _read(last)
    drawn = by_worker(histories[-DRAWN:]) if by == "worker" else histories[-DRAWN:]
    ax = _new_axes(drawn)
    if histories:
        print(in_numbers(histories))
        if len(histories) > DRAWN:
            print(f"Drawn are the {DRAWN:,} that began last; the numbers are of {len(histories):,}.")
        draw(ax, drawn, color)
        ax.figure.words = sentence(drawn, by)  # type: ignore[union-attr]
    else:
        print(NOTHING)
        ax.text(0.5, 0.5, NOTHING, ha="center", va="center", transform=ax.transAxes, color=INK)
        ax.set_axis_off()
        ax.figure.words = NOTHING  # type: ignore[union-attr]
    return ax


def _read(last: int | None) -> list[History]:
    histories = histories_of_jobs(TAKEN + 1 if last is None else min(last, TAKEN + 1))
    if len(histories) > TAKEN:
        print(f"There are more than {TAKEN:,}, which are too many to read: a part is left out.")
    return histories[-TAKEN:]


def _new_axes(histories: list[History]) -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(WIDE, height(histories)), layout="constrained")[1]
