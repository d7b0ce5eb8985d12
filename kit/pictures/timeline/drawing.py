"""A timeline's rows, bars, signs and legend on the axes of a plot."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from kit.display import palette
from kit.display.text import shortened
from kit.pictures.timeline.histories import OUTCOMES, History, Span
from kit.pictures.timeline.summary import NAME, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

By = Literal["entrypoint", "worker"]
Color = Literal["outcome", "priority"]

THICK = 200  # with more rows than this, bars are too thin for an edge, and a large sign
LABELLED = 40  # with more rows than this, rows are too narrow for a label each
PRIORITIES = 8  # with more of them than this, the legend names those that look the same together
GROUPS = 30  # with more groups than this, the smallest are drawn as one
INK, QUIET, RULE = (palette.NEUTRAL[name][0] for name in ("text", "quiet", "rule"))
ON_A_BAR = palette.NEUTRAL["ground"][0]  # in either theme
EDGE = "#fffffe"  # of a bar: as the ground, which it is told from in a figure's SVG
ROW, GROUP, FRAME = 0.2, 0.26, 1.1  # inches: a labelled row, the name of a group, and what is around all


def height(histories: list[History]) -> float:
    """Return how many inches a figure needs, so that no label of it covers another."""
    groups = min(len({row.group for row in histories}), GROUPS + 1)
    rows = ROW * len(histories) if len(histories) <= LABELLED else 8.0
    return max(FRAME + rows + GROUP * groups, 2.2)


def draw(ax: Axes, histories: list[History], color: Color) -> None:
    """Draw ``histories``, a row each, with a legend."""
    zero = min(row.spans[0].begin for row in histories)
    rows = sorted(
        _gathered(histories), key=lambda row: (row.group, row.picked() or row.spans[-1].end, row.id)
    )
    groups = list(dict.fromkeys(row.group for row in rows))
    # A row each, from the top down, and between two groups as much as the name of one is high.
    inches = max(ax.figure.bbox.height / ax.figure.dpi - FRAME, 1.0)
    gap = GROUP * len(rows) / max(inches - GROUP * len(groups), 0.2 * inches)
    heights = {id(row): index + gap * groups.index(row.group) for index, row in enumerate(rows)}
    _draw_spans(ax, rows, heights, zero, color)
    _draw_ends(ax, rows, heights, zero)
    _label(ax, rows, heights, zero)
    _name_groups(ax, rows, groups, heights, max(0.5, 0.2 * gap))
    ax.set_ylim(max(heights.values()) + 0.8, -0.8 - gap)
    _add_legend(ax, rows, color)


def _gathered(histories: list[History]) -> list[History]:
    """Return the histories with the smallest of too many groups made one: names need room."""
    sizes = Counter(row.group for row in histories)
    if len(sizes) <= GROUPS + 1:
        return histories
    kept = {group for group, _ in sizes.most_common(GROUPS)}
    rest = f"{len(sizes) - GROUPS} others"
    return [row if row.group in kept else replace(row, group=rest) for row in histories]


def _draw_spans(ax: Axes, rows: list[History], heights: dict[int, float], zero: float, color: Color) -> None:
    """Draw all thin lines at once, then all bars: an artist each would take minutes."""
    from matplotlib.collections import PolyCollection

    for doing, half in (("waiting", 0.08), ("running", 0.33)):
        corners, colors = [], []
        for row in rows:
            y = heights[id(row)]
            for span in row.spans:
                if span.doing == doing:
                    x0, x1 = span.begin - zero, span.end - zero
                    corners.append([(x0, y - half), (x1, y - half), (x1, y + half), (x0, y + half)])
                    colors.append(_bar_color(row, span, color))
        # A priority as light, or dark, as the ground is told from it by its edge, and a try from the next.
        edged = doing == "running" and len(rows) <= THICK
        edges = (QUIET if color == "priority" else EDGE) if edged else "none"
        bars = PolyCollection(corners, facecolors=colors, edgecolors=edges, linewidths=0.6)
        bars.set_rasterized(len(rows) > THICK)  # as a drawing each would be a line of the notebook
        ax.add_collection(bars)


def _bar_color(row: History, span: Span, color: Color) -> str:
    if span.doing == "waiting":
        return palette.WAITS
    return palette.step(row.priority).fill if color == "priority" else OUTCOMES[span.outcome].colour


def _draw_ends(ax: Axes, rows: list[History], heights: dict[int, float], zero: float) -> None:
    for outcome, look in OUTCOMES.items():
        ended = [row for row in rows if row.outcome == outcome]
        ends = [(row.ended or max(span.end for span in row.spans)) - zero for row in ended]
        ax.scatter(
            ends,
            [heights[id(row)] for row in ended],
            marker=look.marker,
            s=30 if len(rows) <= THICK else 9,
            color=look.colour,
            edgecolor=ON_A_BAR,
            linewidth=0.6,
            zorder=3,
            rasterized=len(rows) > THICK,
        )


def _name_groups(
    ax: Axes, rows: list[History], groups: list[str], heights: dict[int, float], above: float
) -> None:
    for group in groups:
        top = min(heights[id(row)] for row in rows if row.group == group)
        ax.text(
            *(0, top - above, shortened(group, NAME)),
            transform=ax.get_yaxis_transform(),
            fontweight="bold",
            va="bottom",
            fontsize=9,
            color=INK,
        )


def _label(ax: Axes, rows: list[History], heights: dict[int, float], zero: float) -> None:
    ax.margins(x=0.02)
    if len(rows) <= LABELLED:
        names = [f"#{row.id}  p{row.priority}" for row in rows]
        ax.set_yticks([heights[id(row)] for row in rows], names, fontsize=8)
    else:
        ax.set_yticks([])
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.tick_params(axis="x", color=QUIET, labelcolor=INK)
    ax.grid(axis="x", color=RULE, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["left", "right", "top"]].set_visible(False)
    ax.spines["bottom"].set_color(QUIET)
    ax.set_xlabel(f"seconds since {datetime.fromtimestamp(zero):%H:%M:%S}", color=INK)
    ax.set_title(counted(rows), loc="left", fontsize=10, color=INK)


def _add_legend(ax: Axes, rows: list[History], color: Color) -> None:
    from matplotlib.artist import Artist
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    keys: list[Artist] = [Line2D([], [], color=palette.WAITS, linewidth=2, label="waits")]
    if color == "priority":
        priorities = sorted({row.priority for row in rows}, reverse=True)
        labels = {str(priority): palette.step(priority) for priority in priorities}
        if len(labels) > PRIORITIES:
            labels = {step.name: step for step in labels.values()}
        keys += [
            Patch(facecolor=step.fill, edgecolor=QUIET, linewidth=0.6, label=f"runs, priority {name}")
            for name, step in labels.items()
        ]
    else:
        for outcome in dict.fromkeys(span.outcome for row in rows for span in row.spans if span.outcome):
            label = "runs" if outcome == "running" else f"runs, {outcome}"
            keys.append(Patch(color=OUTCOMES[outcome].colour, label=label))
    for outcome in dict.fromkeys(row.outcome for row in rows):
        look = OUTCOMES[outcome]
        label = f"still {outcome}" if outcome in ("running", "waiting") else outcome
        keys.append(Line2D([], [], color=look.colour, marker=look.marker, linestyle="", label=label))
    ax.legend(
        handles=keys, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False, labelcolor=INK
    )
