"""What a timeline shows, in words and numbers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kit.pictures.timeline.histories import OUTCOMES, History

if TYPE_CHECKING:
    import pandas as pd


def summary(histories: list[History]) -> pd.DataFrame:
    """Return, for each priority, how long its jobs waited and ran.

    A wait is from the enqueue to the first pick; a run is all attempts together.

    Returns:
        A row a priority, highest first: ``jobs``, and in seconds ``wait median``, ``wait p95``,
        ``run median``, ``run p95`` (float64, missing where none has come that far).
    """
    import pandas as pd

    facts = pd.DataFrame(
        {
            "priority": [row.priority for row in histories],
            "wait": pd.array([row.waited() for row in histories], "Float64"),
            "run": pd.array([row.seconds("running") for row in histories], "Float64"),
        }
    )
    groups = facts.groupby("priority")
    columns: dict[str, pd.Series] = {"jobs": groups.size()}
    for what in ("wait", "run"):
        columns[f"{what} median"] = groups[what].median().astype("float64")
        columns[f"{what} p95"] = groups[what].quantile(0.95).astype("float64")
    return pd.DataFrame(columns).sort_index(ascending=False)


def jobs_in_numbers(histories: list[History]) -> str:
    """Say in words and numbers what the plot shows."""
    table = summary(histories).to_string(float_format="{:.3f}".format, na_rep="–")
    return f"{len(histories)} jobs: {outcomes(histories)}. Seconds they waited and ran:\n{table}"


def runs_in_words(histories: list[History]) -> str:
    """Say what became of staged runs."""
    return f"{len(histories)} runs: {outcomes(histories)}."


def outcomes(histories: list[History]) -> str:
    """Return how many had which outcome, such as ``3 successful, 1 held``."""
    counts = Counter(row.outcome for row in histories)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])
