"""Runs moving through the stages of a pipeline: a still picture, and the same in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from kit.palette import RUNS

if TYPE_CHECKING:
    import pandas as pd

WIDTH, PAD, TOP = 960, 14, 40
GAP = 18  # between two stages, with the arrow
CHIP = (66, 20, 4)  # a run: width, height, gap
ROWS = 8  # of runs under a stage; the rest is a number
LISTED = 5  # held runs named in the words
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#212121}.b{font-weight:600}.m{text-anchor:middle}"
    ".q{fill:#5f6368;font-size:11px}.c{fill:#fff;font-size:11px;text-anchor:middle}"
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
    """A picture of a pipeline's runs at one moment. A notebook shows it; ``print`` says it in words."""

    name: str
    stages: dict[str, tuple[str | None, ...]]
    runs: tuple[Run, ...]

    def __repr__(self) -> str:
        return self.words()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"image/svg+xml": self.svg(), "text/plain": self.words()}

    def words(self) -> str:
        """Say how many runs are where, and which are held and why."""
        lines = [self._summary()]
        for column in self._columns():
            counts = self._counts(column)
            if counts and column != "done":
                said = ", ".join(f"{count} {RUNS[status].word}" for status, count in counts)
                lines.append(f"  {column}: {said}")
        held = [run for run in self.runs if run.status == "failed"]
        lines += [f"  run {run.id} is held at {run.column}: {run.error}" for run in held[:LISTED]]
        if len(held) > LISTED:
            lines.append(f"  and {len(held) - LISTED} more are held")
        return "\n".join(lines)

    def svg(self) -> str:
        """Draw each run as a chip under its stage, on a light ground, with nothing from elsewhere."""
        columns = self._columns()
        wide = (WIDTH - 2 * PAD) / len(columns)
        lift = max([0, *(10 * (reach - 1) for _, reach in self._edges())])
        head = TOP + lift + 14
        parts = [*self._arrows(columns, wide, head)]
        deepest = 0
        for place, column in enumerate(columns):
            left = PAD + place * wide
            said = "  ".join(f"{RUNS[status].sign} {count}" for status, count in self._counts(column)) or "–"
            name = column if len(column) * 7 < wide else column[: max(int(wide / 7) - 1, 1)] + "…"
            parts += [
                f'<rect x="{left + GAP / 2:.1f}" y="{head}" width="{wide - GAP:.1f}" height="40" rx="6"'
                ' fill="#f1f3f4"/>',
                f'<text class="b m" x="{left + wide / 2:.1f}" y="{head + 17}">{escape(name)}'
                f"<title>{escape(column)}</title></text>",
                f'<text class="q m" x="{left + wide / 2:.1f}" y="{head + 33}">{said}</text>',
            ]
            chips, rows = self._chips(column, left + GAP / 2, wide - GAP, head + 48)
            parts += chips
            deepest = max(deepest, rows)
        height = int(head + 48 + deepest * (CHIP[1] + CHIP[2]) + PAD)
        words = escape(self._summary())
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
            f' height="{height}" style="max-width:100%;height:auto" role="img"'
            f' aria-label="{escape(self.words())}"><title>{words}</title>'
            f"<style>{STYLE}</style>"
            f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8" fill="#fff"'
            ' stroke="#d9d9d9"/>'
            f'<text x="{PAD}" y="24">{words}</text>{"".join(parts)}</svg>'
        )

    def _columns(self) -> list[str]:
        strays = [run.column for run in self.runs if run.column not in self.stages and run.column != "done"]
        return [*self.stages, *dict.fromkeys(strays), "done"]

    def _counts(self, column: str) -> list[tuple[str, int]]:
        counts = Counter(run.status for run in self.runs if run.column == column)
        return [(status, counts[status]) for status in RUNS if counts[status]]

    def _summary(self) -> str:
        counts = Counter(run.status for run in self.runs)
        said = ", ".join(
            f"{look.sign} {counts[status]} {look.word}" for status, look in RUNS.items() if counts[status]
        )
        total = f"{self.name}: {len(self.runs)} run{'' if len(self.runs) == 1 else 's'}"
        return f"{total}, {said}" if said else total

    def _edges(self) -> list[tuple[int, int]]:
        """Return each way a run can go, as the place where it begins and how many columns it reaches."""
        columns = self._columns()
        return [
            (columns.index(stage), columns.index(follower or "done") - columns.index(stage))
            for stage, following in self.stages.items()
            for follower in following
        ]

    def _arrows(self, columns: list[str], wide: float, head: int) -> list[str]:
        """Draw the ways between the stages, those that leave stages out as arcs above them."""
        parts = []
        for place, reach in self._edges():
            x0, x1, y = PAD + (place + 0.5) * wide, PAD + (place + reach + 0.5) * wide, head
            if reach == 1:
                x0, x1, y = x0 + (wide - GAP) / 2 + 1, x1 - (wide - GAP) / 2 - 6, head + 20
                line = f"M{x0:.1f} {y}H{x1:.1f}"
                tip = f"M{x1 + 5:.1f} {y}l-7 -4v8z"
            else:
                top = head - 8 - 10 * (reach - 1)
                line = f"M{x0 + 8:.1f} {y}C{x0 + 20:.1f} {top} {x1 - 20:.1f} {top} {x1 - 8:.1f} {y - 6}"
                tip = f"M{x1 - 8:.1f} {y}l-4 -7h8z"
            parts.append(f'<path d="{line}" fill="none" stroke="#9aa0a6"/><path d="{tip}" fill="#9aa0a6"/>')
        return parts

    def _chips(self, column: str, left: float, wide: float, top: int) -> tuple[list[str], int]:
        """Draw the runs of a column; return the parts and how many rows they take."""
        order = list(RUNS)
        runs = sorted(
            (run for run in self.runs if run.column == column),
            key=lambda run: (order.index(run.status), run.id),
        )
        width, height, gap = CHIP
        across = max(1, int((wide + gap) // (width + gap)))
        shown = runs[: across * ROWS]
        indent = (wide - min(across, max(len(shown), 1)) * (width + gap) + gap) / 2
        parts = []
        for number, run in enumerate(shown):
            x = left + indent + number % across * (width + gap)
            y = top + number // across * (height + gap)
            look = RUNS[run.status]
            said = f"{look.sign} {run.id}" + (
                f" · {run.branches}" if run.branches and run.status != "done" else ""
            )
            hint = f"run {run.id}: {look.word}" + (f", {run.branches} branches done" if run.branches else "")
            hint += f", {run.error}" if run.error else ""
            parts.append(
                f"<g><title>{escape(hint)}</title>"
                f'<rect x="{x:.1f}" y="{y}" width="{width}" height="{height}" rx="4" fill="{look.light}"/>'
                f'<text class="c" x="{x + width / 2:.1f}" y="{y + 14}">{escape(said)}</text></g>'
            )
        rows = -(-len(shown) // across)
        if len(runs) > len(shown):
            y = top + rows * (height + gap) + 12
            parts.append(
                f'<text class="q m" x="{left + wide / 2:.1f}" y="{y}">+ {len(runs) - len(shown)} more</text>'
            )
            rows += 1
        return parts, rows


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
