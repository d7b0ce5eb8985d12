"""``timeline()``: what each job did, and when, as a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from pgqueuer.domain.settings import db_settings

from kit import stages, tables
from kit.errors import KitError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENDS = {"successful": "o", "exception": "X", "failed": "s", "canceled": "D", "deleted": "D"}  # status: marker
COLOURS = {
    "successful": "#2a8553",
    "exception": "#c62828",
    "failed": "#b26a00",
    "canceled": "#757575",
    "deleted": "#757575",
    "running": "#1976d2",
    "queued": "#9aa0a6",
}
NAMES = {"failed": "held", "running": "still running", "queued": "still waiting"}
NUMBERED = 40  # jobs; with more, their numbers would overlap
UNKNOWN = "worker not recorded"


def timeline(
    last: int | None = 200,
    *,
    window: float | None = None,
    by: Literal["entrypoint", "worker", "run"] = "entrypoint",
    colour: Literal["outcome", "priority"] = "outcome",
    ax: Axes | None = None,
) -> Axes:
    """Plot each job's life from the log: a line while it waits, a bar while it runs, a mark where it ends.

    A job that is tried again has a hatched bar for each try before the last. Beside the plot the median and
    the 95th percentile of waiting and of running are printed, in seconds, for each priority.

    Args:
        last: how many jobs at most, the newest; None for all.
        window: only what happened in this many seconds up to now; None for all.
        by: what the rows are grouped by. ``"worker"`` is known of jobs that are picked, held or raised:
            PGQueuer does not record it of others. ``"run"`` shows the runs of `kit.stages`, a row each.
        colour: ``"outcome"``, or ``"priority"`` (of jobs).
        ax: the axes to draw on; new ones if left out.

    Returns:
        The axes.

    Raises:
        KitError: an argument is none of these, or there is no Postgres.
    """
    _check("by", by, ("entrypoint", "worker", "run"))
    _check("colour", colour, ("outcome", "priority"))
    if last is not None and last < 1:
        raise KitError(f"last={last!r}: it is how many jobs to show, 1 or more, or None for all.")
    if window is not None and window <= 0:
        raise KitError(f"window={window!r}: it is a number of seconds above 0, or None for all.")
    spans = _run_spans() if by == "run" else _job_spans(by)
    now = spans["until"].max() if len(spans) else pd.Timestamp.now("UTC")
    if window is not None:
        spans = spans[spans["until"] >= now - pd.Timedelta(seconds=window)]
    if last is not None:
        spans = spans[spans["row"].isin(sorted(spans["row"].unique())[-last:])]
    if ax is None:
        import matplotlib.pyplot as plt

        height = min(10.0, 1.2 + 0.22 * spans["row"].nunique())
        ax = plt.subplots(figsize=(9, height), layout="constrained")[1]
    _draw(ax, spans, colour if by != "run" else "outcome")
    print(_words(spans, "run" if by == "run" else "job"))
    return ax


def _check(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise KitError(f"{name}={value!r}: it is one of {', '.join(map(repr, allowed))}.")


def _job_spans(by: str) -> pd.DataFrame:
    """Return a row for each time a job waited or ran.

    Columns: ``row group priority doing since until outcome``; ``doing`` is ``"waiting"`` or ``"running"``,
    and ``outcome`` what the job came to at the end of this span, missing while it goes on.
    """
    query = f"""
        SELECT job_id AS row, entrypoint AS "group", priority, status::text AS status, created AS since,
            lead(created) OVER story AS until, lead(status::text) OVER story AS outcome,
            coalesce(traceback #>> '{{additional_context,queue_manager_id}}', '') AS worker
        FROM {db_settings().qualified.queue_table_log}
        WINDOW story AS (PARTITION BY job_id ORDER BY id)
        ORDER BY job_id, id"""
    spans = tables.sql(query)
    if by == "worker":
        spans["group"] = _workers(spans)
    # What goes on still goes on now; on this machine's clock, which is the database's or near it.
    latest = max([pd.Timestamp.now("UTC"), *spans["since"]])
    spans = spans[spans["status"].isin(["queued", "picked"])].copy()
    spans["doing"] = spans["status"].map({"queued": "waiting", "picked": "running"})
    spans["until"] = spans["until"].fillna(latest)
    return spans[["row", "group", "priority", "doing", "since", "until", "outcome"]]


def _workers(spans: pd.DataFrame) -> pd.Series[str]:
    jobs = tables.jobs()
    held = jobs.dropna(subset=["queue_manager_id"]).set_index("id")["queue_manager_id"]
    raised = spans[spans["worker"] != ""].drop_duplicates("row", keep="last").set_index("row")["worker"]
    known = {**raised.to_dict(), **held.to_dict()}
    return spans["row"].map(lambda job: f"worker {str(known[job])[:8]}" if job in known else UNKNOWN)


def _run_spans() -> pd.DataFrame:
    """Return the same for runs of staged jobs: a row for each transition of a run, without its branches."""
    history = stages.history()
    history = history[history["branch"].isna()].copy()
    story = history.groupby("run")
    history["until"] = story["created"].shift(-1)
    history["outcome"] = story["status"].shift(-1).map({"done": "successful"} | {name: name for name in ENDS})
    history = history[history["status"].isin(["pending", "running", "waiting"])]
    latest = max([pd.Timestamp.now("UTC"), *history["created"]])
    return pd.DataFrame(
        {
            "row": history["run"],
            "group": "runs",
            "priority": 0,
            # A run that waits for its branches has work in progress.
            "doing": history["status"].astype(str).replace({"pending": "waiting", "waiting": "running"}),
            "since": history["created"],
            "until": history["until"].fillna(latest),
            "outcome": history["outcome"],
        }
    )


def _draw(ax: Axes, spans: pd.DataFrame, colour: str) -> None:
    from matplotlib import colormaps
    from matplotlib.lines import Line2D

    rows = spans.drop_duplicates("row").sort_values(["group", "row"])
    places = {row: place for place, row in enumerate(rows["row"])}
    start = spans["since"].min() if len(spans) else pd.Timestamp.now("UTC")
    final = spans.drop_duplicates("row", keep="last").set_index("row")
    outcomes = {row: _outcome(final.loc[row]) for row in places}
    priorities = sorted(spans["priority"].unique())
    shades = {
        p: colormaps["viridis"](0.85 * n / max(1, len(priorities) - 1)) for n, p in enumerate(priorities)
    }
    for span in spans.itertuples():
        left, right = (_seconds(moment, start) for moment in (span.since, span.until))
        of: Any = shades[span.priority] if colour == "priority" else COLOURS[outcomes[span.row]]
        y = places[span.row]
        if span.doing == "waiting":
            ax.plot([left, right], [y, y], color=COLOURS["queued"], linewidth=1, solid_capstyle="butt")
        else:
            # Hatched: this try did not end the job.
            hatch = "////" if span.outcome == "queued" else None
            ax.barh(y, right - left, 0.6, left, color=of, edgecolor="white", linewidth=0, hatch=hatch)
    for row, outcome in outcomes.items():
        if outcome in ENDS:
            end = _seconds(final.loc[row, "until"], start)
            ax.plot(
                end,
                places[row],
                ENDS[outcome],
                color=COLOURS[outcome],
                markersize=8,
                markeredgecolor="white",
                zorder=3,
            )
    shown = [name for name in COLOURS if name in outcomes.values()]
    handles = [
        Line2D([], [], color=COLOURS[name], marker=ENDS.get(name, ""), linestyle="" if name in ENDS else "-")
        for name in shown
    ]
    labels = [NAMES.get(name, name) for name in shown]
    if colour == "priority":
        handles += [Line2D([], [], color=shades[p], linewidth=5) for p in priorities]
        labels += [f"priority {p}" for p in priorities]
    if handles:
        ax.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    _label(ax, rows)


def _label(ax: Axes, rows: pd.DataFrame) -> None:
    ax.set_xlabel("seconds since the first of them was enqueued")
    ax.set_title(
        f"{len(rows)} rows, oldest at the top" if len(rows) else "nothing has happened yet", loc="left"
    )
    ax.set_ylim(len(rows) - 0.4, -0.6)
    if len(rows) <= NUMBERED:
        ax.set_yticks(
            range(len(rows)),
            [f"{group} #{row}" for group, row in zip(rows["group"], rows["row"], strict=True)],
        )
    else:
        first = rows.reset_index(drop=True).drop_duplicates("group")
        ax.set_yticks(list(first.index), list(first["group"]))
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _outcome(span: Any) -> str:
    if isinstance(span["outcome"], str) and span["outcome"] in ENDS:
        return str(span["outcome"])
    return "running" if span["doing"] == "running" else "queued"


def _seconds(moment: Any, start: pd.Timestamp) -> float:
    return float((moment - start).total_seconds())


def _words(spans: pd.DataFrame, what: str) -> str:
    """Return the plot's numbers as text: the median and the 95th percentile for each priority."""
    number = spans["row"].nunique()
    lines = [f"{number} {what}{'' if number == 1 else 's'}"]
    lengths = (spans["until"] - spans["since"]).dt.total_seconds()
    for priority in sorted(spans["priority"].unique(), reverse=True):
        mine = spans["priority"] == priority
        parts = []
        for doing, verb in (("waiting", "waited"), ("running", "ran")):
            each = lengths[mine & (spans["doing"] == doing)].groupby(spans["row"]).sum()
            if len(each):
                parts.append(f"{verb} {each.median():.3f} s (95 %: {each.quantile(0.95):.3f} s)")
        count = spans.loc[mine, "row"].nunique()
        lines.append(f"priority {priority}: {count}, median {', '.join(parts)}")
    return "\n".join(lines)
