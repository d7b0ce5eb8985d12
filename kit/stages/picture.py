"""Runs moving through the stages of a pipeline: a still picture, and the same in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from kit.display import theme
from kit.display.palette import NEUTRAL, RUNS
from kit.display.text import number_of, shortened

if TYPE_CHECKING:
    import pandas as pd

WIDTH, PAD, TOP = (
    720,
    12,
    36,
)  # of the whole: fits a page beside JupyterLab's prompts in a window of 800 pixels
ACROSS = 6  # stages beside each other, at most; more go on below
GAP = 18  # between two stages, with the arrow
BOLD, SMALL = 8.4, 6.8  # as wide as a character is, at most
LINE = 15  # of text in a stage
NAME = 30  # characters of the pipeline's
CHIP = (34, 20, 4)  # a run: least width, height, gap
ROWS, FEW = 8, 3  # of runs under a stage, and where stages go on below; the rest is a number
LISTED = 5  # held runs named in the words
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:var(--text)}.b{font-weight:600}.m{text-anchor:middle}"
    ".q{fill:var(--quiet);font-size:11px}.g{fill:var(--ground);stroke:var(--rule)}.t{fill:var(--tint)}"
    ".a{fill:none;stroke:var(--quiet)}.h{fill:var(--quiet)}"
    f".c{{fill:{NEUTRAL['ground'][0]};font-size:11px;text-anchor:middle}}"  # on a status, in either theme
)


@dataclass(frozen=True)
class Run:
    """One run, as far as the picture shows it."""

    id: int
    column: str
    status: str
    branches: str
    error: str


@dataclass(frozen=True)
class Flow:
    """A picture of a pipeline's runs at one moment. A notebook shows it; ``print`` writes it in words."""

    name: str
    stages: dict[str, tuple[str | None, ...]]
    runs: tuple[Run, ...]

    def __repr__(self) -> str:
        return self.words()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        picture, words = self.svg(), self.words()
        page = theme.image(picture, words, "kit-stages")
        return {"text/html": page, "image/svg+xml": picture, "text/plain": words}

    def words(self) -> str:
        """Return how many runs are where, and which are held and why."""
        lines = [self._summary()]
        for column in self._columns():
            counts = self._counts(column)
            if counts and column != "done":
                words = ", ".join(f"{count} {RUNS[status].word}" for status, count in counts)
                lines.append(f"  {column}: {words}")
        held = [run for run in self.runs if run.status == "failed"]
        lines += [f"  run {run.id} is held at {run.column}: {run.error}" for run in held[:LISTED]]
        if len(held) > LISTED:
            lines.append(f"  and {len(held) - LISTED} more are held")
        return "\n".join(lines)

    def svg(self) -> str:
        """Draw each run as a chip under its stage, in the palette's colours, without outside resources."""
        columns = self._columns()
        across = -(-len(columns) // -(-len(columns) // ACROSS))  # as many in each row of stages
        parts: list[str] = []
        height = TOP
        for first in range(0, len(columns), across):
            drawn, height = self._band(columns[first : first + across], (WIDTH - 2 * PAD) / across, height)
            parts += drawn
        words = escape(self._summary().replace(self.name, shortened(self.name, NAME), 1))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
            f' height="{height}" style="max-width:100%;height:auto" role="img"'
            f' aria-label="{escape(self.words())}"><title>{words}</title>'
            f"<style>{theme.svg_style()}{STYLE}</style>"
            f'<rect class="g" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>'
            f'<text x="{PAD}" y="24">{words}</text>{"".join(parts)}</svg>'
        )

    def _band(self, columns: list[str], wide: float, top: int) -> tuple[list[str], int]:
        """Draw stages beside each other, with their runs; return the parts and where they end."""
        edges = self._edges(columns)
        head = top + max([0, *(10 * (reach - 1) for _, reach in edges)]) + 14
        below = [self._below(column, columns, wide - GAP) for column in columns]
        box = 23 + LINE * max(len(lines) for lines in below)
        parts = _arrows(edges, wide, head, box)
        deepest = 0
        for place, (column, lines) in enumerate(zip(columns, below, strict=True)):
            left = PAD + place * wide
            middle = f'x="{left + wide / 2:.1f}"'
            name = shortened(column, int((wide - GAP) / BOLD))
            parts += [
                f'<rect class="t" x="{left + GAP / 2:.1f}" y="{head}" width="{wide - GAP:.1f}" height="{box}"'
                ' rx="6"/>',
                f'<text class="b m" {middle} y="{head + 16}">{escape(name)}'
                f"<title>{escape(column)}</title></text>",
            ]
            parts += [
                f'<text class="q m" {middle} y="{head + 16 + LINE * number}">{escape(line)}</text>'
                for number, line in enumerate(lines, start=1)
            ]
            chips, rows = self._chips(column, left + GAP / 2, wide - GAP, head + box + 8)
            parts += chips
            deepest = max(deepest, rows)
        return parts, int(head + box + 8 + deepest * (CHIP[1] + CHIP[2]) + PAD)

    def _below(self, column: str, beside: list[str], wide: float) -> list[str]:
        """Return the lines below a stage's name: the number of runs, and the next stages in other rows."""
        lines = [""]
        for status, count in self._counts(column):
            words = f"{RUNS[status].sign} {count}"
            if lines[-1] and (len(lines[-1]) + 1 + len(words)) * SMALL > wide:
                lines.append(words)
            else:
                lines[-1] = f"{lines[-1]}\u2002{words}".strip()
        lines[0] = lines[0] or "–"
        followers = [stage or "done" for stage in self.stages.get(column, ())]
        lines += [shortened(f"→ {stage}", int(wide / SMALL)) for stage in followers if stage not in beside]
        return lines

    def _columns(self) -> list[str]:
        strays = [run.column for run in self.runs if run.column not in self.stages and run.column != "done"]
        return [*self.stages, *dict.fromkeys(strays), "done"]

    def _counts(self, column: str) -> list[tuple[str, int]]:
        counts = Counter(run.status for run in self.runs if run.column == column)
        return [(status, counts[status]) for status in RUNS if counts[status]]

    def _summary(self) -> str:
        counts = Counter(run.status for run in self.runs)
        words = ", ".join(
            f"{look.sign} {counts[status]} {look.word}" for status, look in RUNS.items() if counts[status]
        )
        total = f"{self.name}: {number_of(len(self.runs), 'run')}"
        return f"{total}, {words}" if words else total

    def _edges(self, columns: list[str]) -> list[tuple[int, int]]:
        """Return each step from one of these stages to another: its index, and how many places it goes on."""
        return [
            (columns.index(stage), columns.index(follower or "done") - columns.index(stage))
            for stage, following in self.stages.items()
            for follower in following
            if stage in columns and (follower or "done") in columns
        ]

    def _chips(self, column: str, left: float, wide: float, top: int) -> tuple[list[str], int]:
        """Draw the runs of a column; return the parts and how many rows they take."""
        order = list(RUNS)
        runs = sorted(
            (run for run in self.runs if run.column == column),
            key=lambda run: (order.index(run.status), run.id),
        )
        least, height, gap = CHIP
        width = max([least, *(min(len(_label(run)) * SMALL + 6, wide) for run in runs)])
        across = max(1, int((wide + gap) // (width + gap)))
        shown = runs[: across * (ROWS if len(self._columns()) <= ACROSS else FEW)]
        indent = (wide - min(across, max(len(shown), 1)) * (width + gap) + gap) / 2
        parts = []
        for number, run in enumerate(shown):
            x = left + indent + number % across * (width + gap)
            y = top + number // across * (height + gap)
            look = RUNS[run.status]
            hint = f"run {run.id}: {look.word}" + (f", {run.branches} branches done" if run.branches else "")
            hint += f", {run.error}" if run.error else ""
            parts.append(
                f"<g><title>{escape(hint)}</title>"
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" rx="4"'
                f' fill="{look.colour}"/>'
                f'<text class="c" x="{x + width / 2:.1f}" y="{y + 14}">{escape(_label(run))}</text></g>'
            )
        rows = -(-len(shown) // across)
        if len(runs) > len(shown):
            y = top + rows * (height + gap) + 12
            parts.append(
                f'<text class="q m" x="{left + wide / 2:.1f}" y="{y}">+ {len(runs) - len(shown)} more</text>'
            )
            rows += 1
        return parts, rows


def _label(run: Run) -> str:
    branches = f" · {run.branches}" if run.branches and run.status != "done" else ""
    return f"{RUNS[run.status].sign} {run.id}{branches}"


def _arrows(edges: list[tuple[int, int]], wide: float, head: int, box: int) -> list[str]:
    """Draw arrows between stages; those that skip stages are arcs above them."""
    parts = []
    for place, reach in edges:
        x0, x1 = PAD + (place + 0.5) * wide, PAD + (place + reach + 0.5) * wide
        if reach == 1:
            x0, x1, y = x0 + (wide - GAP) / 2 + 1, x1 - (wide - GAP) / 2 - 6, head + box // 2
            line = f"M{x0:.1f} {y}H{x1:.1f}"
            tip = f"M{x1 + 5:.1f} {y}l-7 -4v8z"
        else:
            top = head - 8 - 10 * (reach - 1)
            line = f"M{x0 + 8:.1f} {head}C{x0 + 20:.1f} {top} {x1 - 20:.1f} {top} {x1 - 8:.1f} {head - 6}"
            tip = f"M{x1 - 8:.1f} {head}l-4 -7h8z"
        parts.append(f'<path class="a" d="{line}"/><path class="h" d="{tip}"/>')
    return parts


def draw(name: str, stages: dict[str, tuple[str | None, ...]], runs: pd.DataFrame) -> Flow:
    """Return the picture of ``runs``, as `kit.stages.runs` returns them, in a pipeline's ``stages``."""
    rows = runs.astype(object).where(runs.notna(), None).to_dict("records")
    return Flow(
        name,
        stages,
        tuple(
            Run(
                id=int(row["id"]),
                column="done" if row["status"] == "done" else row["stage"],
                status=row["status"],
                branches=row["branches"] or "",
                error=row["error"] or "" if row["status"] in ("failed", "waiting") else "",
            )
            for row in rows
        ),
    )
