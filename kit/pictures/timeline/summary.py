"""What a timeline shows, in words and numbers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kit.display.text import number_of, shortened
from kit.pictures.timeline.histories import OUTCOMES, History

if TYPE_CHECKING:
    import pandas as pd

NAMED = 5  # groups named in a sentence
NAME = 60  # characters of the name of one


def summary(histories: list[History]) -> pd.DataFrame:
    """Return, for each priority, how long its jobs waited and ran.

    A wait is all the time in the queue before its attempts; a run is all attempts together.

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


def in_numbers(histories: list[History]) -> str:
    """Say in words and numbers what the plot shows."""
    table = summary(histories).to_string(float_format="{:.3f}".format, na_rep="–")
    return f"{counted(histories)}.\nSeconds they waited and ran:\n{table}"


def sentence(histories: list[History], by: str) -> str:
    """Say what the plot shows, for those who do not see it."""
    begin = min(row.spans[0].begin for row in histories)
    whole = max(row.spans[-1].end for row in histories) - begin
    groups = Counter(row.group for row in histories)
    named = ", ".join(f"{shortened(group, NAME)} {count}" for group, count in groups.most_common(NAMED))
    more = f" and {len(groups) - NAMED} more" if len(groups) > NAMED else ""
    said = f"Timeline of {number_of(len(histories), 'job')} in {whole:.3g} s: "
    said += f"{outcomes(histories)}. By {by}: {named}{more}."
    waited = [(seconds, row.id) for row in histories if (seconds := row.waited()) is not None]
    ran = [(seconds, row.id) for row in histories if (seconds := row.seconds("running")) is not None]
    for doing, times in (("waited", waited), ("ran", ran)):
        if times:
            seconds, job = max(times)
            said += f" #{job} {doing} longest, {seconds:.3g} s."
    return said


def counted(histories: list[History]) -> str:
    """Return how many there are, and their outcomes: ``1 job: 1 held``."""
    return f"{number_of(len(histories), 'job')}: {outcomes(histories)}"


def outcomes(histories: list[History]) -> str:
    """Return how many had which outcome, such as ``3 done, 1 held``."""
    counts = Counter(row.outcome for row in histories)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])
