"""What came of a run: valid, not valid, or could not tell; what was wrong with which order, after what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from kit.display import palette

if TYPE_CHECKING:
    import pandas as pd

# What is done to the service, by level: its name, and the lesson that treats it.
LEVELS: tuple[tuple[str, dict[str, str]], ...] = (
    ("works", {"nothing": "04 · Staged jobs"}),
    (
        "survives bad payloads and refusals",
        {"a bad payload": "02 · Payloads", "a bank that refuses": "05 · Failures"},
    ),
    (
        "survives crashes",
        {
            "a worker killed at the bank": "06 · Crashes",
            "a worker frozen at the bank": "06 · Crashes",
            "a bank slower than the heartbeat": "06 · Crashes",
            "a session cut at the enqueue": "04 · Staged jobs",
            "a crash of Postgres": "06 · Crashes",
            "two parcels packed at once": "07 · Pipelines",
        },
    ),
    ("all of it under load", {"a burst": "09 · Concurrency"}),
)
LESSONS = {
    **{fault: lesson for _, faults in LEVELS for fault, lesson in faults.items()},
    "no report": "08 · Time",  # after whichever fault: the schedule is missing
}
COLUMNS = ("order", "what", "after", "history", "lesson")


class Asked(Protocol):
    """What is asked with SQL."""

    async def sql(self, query: str, *args: Any) -> list[tuple[Any, ...]]: ...  # noqa: D102


@dataclass(frozen=True)
class Wrong:
    """One thing that went wrong.

    Attributes:
        kind: lost, doubled, stuck, delivered again, over the limit, no report, never called.
        order: which order; None where it is of none.
        what: in a few words.
        fault: what was done before it.
        history: what the log says of the order's jobs.
    """

    kind: str
    order: int | None
    what: str
    fault: str
    history: str = ""

    def row(self) -> tuple[Any, ...]:
        """Return it as a row of the report, with the columns `COLUMNS`."""
        lesson = LESSONS.get(self.kind, LESSONS[self.fault])
        return self.order, self.what, self.fault, self.history, lesson


@dataclass
class Verdict:
    """What came of a run.

    Attributes:
        seed: repeats it.
        level: how many levels the service has passed, of four.
        wrong: what went wrong on the level where it ended.
        missing: faults that did not come about, so that nothing is known of them.
        spans: when each fault began and ended, in seconds since the run began.
        latencies: for each order that was done, when it was enqueued and how long it took, in seconds, and
            whether it was an urgent one.
    """

    seed: int
    level: int = 0
    wrong: list[Wrong] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    spans: list[tuple[str, float, float]] = field(default_factory=list)
    latencies: list[tuple[float, float, bool]] = field(default_factory=list)

    @property
    def state(self) -> Literal["valid", "not valid", "could not tell"]:
        """The verdict. What went wrong counts; else a fault that did not come about leaves it open."""
        if any(one.kind != "never called" for one in self.wrong):
            return "not valid"
        return "could not tell" if self.missing or self.wrong else "valid"

    @property
    def report(self) -> pd.DataFrame:
        """What went wrong, a row each: ``order``, ``what``, ``after``, ``history``, ``lesson``."""
        import pandas as pd

        return pd.DataFrame([one.row() for one in self.wrong], columns=list(COLUMNS))

    @property
    def faults(self) -> pd.DataFrame:
        """What was done: ``fault``, and when it ``began`` and ``ended``, in seconds since the run began."""
        import pandas as pd

        return pd.DataFrame(self.spans, columns=["fault", "began", "ended"])

    def __repr__(self) -> str:
        lines = [f"{self.state} (seed {self.seed}); {self.level} of {len(LEVELS)} levels passed"]
        lines += [f"  did not come about: {name}" for name in self.missing]
        named = [(f"order {one.order}: " if one.order else "", one) for one in self.wrong[:10]]
        lines += [f"  {order}{one.what}, after {one.fault}" for order, one in named]
        return "\n".join(lines)

    def plot(self) -> Any:
        """Draw how long each order took, by when it was enqueued; faults are hatched. Returns the axes."""
        import matplotlib.pyplot as plt

        _, axes = plt.subplots(figsize=(9, 3.5))
        for name, began, ended in self.spans:
            axes.axvspan(began, ended, facecolor="none", edgecolor="gray", hatch="//", alpha=0.4)
            axes.annotate(
                name, (began, 1), xycoords=("data", "axes fraction"), rotation=30, fontsize=7, va="bottom"
            )
        for urgent, mark in ((False, "o"), (True, "^")):
            points = [(at, took) for at, took, is_urgent in self.latencies if is_urgent is urgent]
            label = "urgent" if urgent else "usual"
            colour = palette.step(10 * urgent).fill
            axes.plot(*zip(*points, strict=True) if points else ((), ()), mark, label=label, color=colour)
        axes.set(yscale="log", xlabel="seconds since the run began", ylabel="seconds to the mail")
        axes.legend(loc="lower right")
        return axes


# What the tables say

_ORDERS = """
SELECT o.id, o.items,
    (SELECT count(*) FROM parcels p WHERE p.order_id = o.id) AS parcels,
    (SELECT count(DISTINCT item) FROM parcels p WHERE p.order_id = o.id) AS packed,
    (SELECT count(*) FROM mails m WHERE m.order_id = o.id) AS mails,
    EXISTS (SELECT FROM pgqueuer q JOIN told t USING (id) WHERE t.order_id = o.id) AS waits
FROM orders o WHERE o.id = ANY($1) ORDER BY o.id"""

_HISTORY = """
SELECT string_agg(said, '; ' ORDER BY id) FROM (
    SELECT t.id, t.entrypoint || ' #' || t.id || ': ' || string_agg(l.status::text
        || coalesce(' (' || (l.traceback->>'exception_type') || ')', ''), ' ' ORDER BY l.id) AS said
    FROM told t JOIN pgqueuer_log l ON l.job_id = t.id WHERE t.order_id = $1 GROUP BY t.id, t.entrypoint
) AS jobs"""


async def history(run: Asked, order: int) -> str:
    """Return what the log says of an order's jobs: ``receive #1: queued picked successful; …``."""
    return str((await run.sql(_HISTORY, order))[0][0] or "no job")


async def wrong_orders(run: Asked, orders: dict[int, str], charged: dict[int, set[str]]) -> list[Wrong]:
    """Return what is wrong with these orders, each with the fault it met; to be asked when nothing moves."""
    found = []
    for order, items, parcels, packed, mails, waits in await run.sql(_ORDERS, list(orders)):
        charges = len(charged.get(order, ()))
        twice = {"charged": charges, "packed": parcels - packed + 1, "mailed": mails}
        missing = {
            "not charged": not charges,
            f"{packed} of {items} packed": packed < items,
            "no mail": not mails,
        }
        kinds = {
            "doubled": [f"{what} {count} times" for what, count in twice.items() if count > 1],
            "stuck" if waits else "lost": [what for what, missed in missing.items() if missed],
        }
        for kind, said in kinds.items():
            if said:
                what = f"{kind}: {', '.join(said)}"
                found.append(Wrong(kind, order, what, orders[order], await history(run, order)))
    return found
