"""Runs moving through the stages of a pipeline: a still picture, and the same in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from kit.display.palette import NEUTRAL, RUNS
from kit.display.text import number_of

if TYPE_CHECKING:
    import pandas as pd

MOST = 30  # runs drawn at a stage; the rest is a number
LISTED = 5  # held runs named in the words
# In the elements themselves: a notebook that nobody trusts drops style sheets. Text has the page's colour.
ROW = "display:flex;flex-wrap:wrap;justify-content:center;gap:4px;margin:4px 0"
STAGE = (
    "flex:1 1 90px;padding:6px;border-radius:6px;text-align:center;overflow-wrap:anywhere;"
    "background:rgba(128,128,128,0.12)"
)
RUN = f"padding:0 5px;border-radius:4px;color:{NEUTRAL['ground'][0]};background:"


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
        return {"text/html": self.html(), "text/plain": self.words()}

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

    def html(self) -> str:
        """Draw the stages beside each other, those that do not fit below, and in each its runs."""
        columns = self._columns()
        parts = []
        for column, beside in zip(columns, [*columns[1:], ""], strict=True):
            followers = [stage or "done" for stage in self.stages.get(column, ())]
            parts.append(self._stage(column, [stage for stage in followers if stage != beside]))
            parts += ["<span>→</span>"] if beside in followers else []
        return (
            f'<div role="img" aria-label="{escape(self.words())}" style="max-width:720px;font-size:12px">'
            f'<p>{escape(self._summary())}</p><div style="{ROW}">{"".join(parts)}</div></div>'
        )

    def _stage(self, column: str, elsewhere: list[str]) -> str:
        """Draw a stage: its name, how many runs it has, the next stages unless beside it, and its runs."""
        order = list(RUNS)
        runs = [run for run in self.runs if run.column == column]
        runs.sort(key=lambda run: (order.index(run.status), run.id))
        counts = [f"{RUNS[status].sign}\N{NO-BREAK SPACE}{count}" for status, count in self._counts(column)]
        lines = [" ".join(counts) or "–", *(f"→ {stage}" for stage in elsewhere)]
        below = "".join(f"<div>{escape(line)}</div>" for line in lines)
        drawn = "".join(map(_drawn, runs[:MOST]))
        more = f"<div>+ {len(runs) - MOST} more</div>" if len(runs) > MOST else ""
        return (
            f'<div style="{STAGE}"><b>{escape(column)}</b>{below}<div style="{ROW}">{drawn}</div>{more}</div>'
        )

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


def _drawn(run: Run) -> str:
    look = RUNS[run.status]
    hint = f"run {run.id}: {look.word}" + (f", {run.branches} branches done" if run.branches else "")
    hint += f", {run.error}" if run.error else ""
    branches = f" · {run.branches}" if run.branches and run.status != "done" else ""
    return f'<span title="{escape(hint)}" style="{RUN}{look.colour}">{look.sign} {run.id}{branches}</span>'


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
