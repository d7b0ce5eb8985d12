"""Lesson 04: what each section credits."""

from __future__ import annotations

from tests.lessons.ingredients import Beats, Edit, Ingredient


def row(item: str, status: str, charges: int, parcels: int) -> str:
    """Return a pattern for an order's row in the table that `kit.sql` shows."""
    return rf"{item}\s+{status}\s+{charges}\s+{parcels}$"


RETRY = 'accident(job, RetryRequested(reason="the network is down"))'
NO_RETRY = 'accident(job, ConnectionError("the network is down"))'
GUARD = " AND status = 'new'"

THANK = """await db.execute(
            "UPDATE orders SET status = 'thanked', thanks = thanks + 1 WHERE id = $1 AND status = 'shipped'",
            int(job.payload),
        )"""

BEATS: Beats = {
    "1 · Two lines, and an exception between them": [
        Ingredient(
            "the exception",
            (Edit("accident", "        raise error", "        pass"),),
            then={"run-plainly": (row("kettle", "shipped", 1, 1),)},
        ),
        Ingredient(
            "change it: an accident before both lines",
            (
                Edit("charge-plainly", '        accident(job, ConnectionError("the network is down"))\n', ""),
                Edit("charge-plainly", "as db:\n", f"as db:\n        {NO_RETRY}\n"),
            ),
            then={"run-plainly": (row("kettle", "new", 0, 0),)},
        ),
    ],
    "2 · Try again": [
        Ingredient(
            "the retry",
            (Edit("charge-with-retry", RETRY, NO_RETRY),),
            then={"run-with-retry": (row("kettle", "charged", 1, 0),)},
        ),
        Ingredient(
            "change it: a second accident",
            (Edit("accident", "job.attempts == 0", "job.attempts < 2"),),
            then={"run-with-retry": ("attempt 3: the order is charged", row("kettle", "shipped", 3, 1))},
        ),
    ],
    "3 · Look before you leap": [
        Ingredient(
            "the guard",
            (Edit("charge-with-guard", GUARD, ""),),
            then={"run-with-guard": ("attempt 2: the order is charged", row("kettle", "shipped", 2, 1))},
        ),
        Ingredient(
            "change it: a job that comes twice",
            (
                Edit(
                    "run-with-guard",
                    'q.enqueue("charge", b"2")',
                    'q.enqueue(["charge"] * 2, [b"1"] * 2, [0, 0])',
                ),
            ),
            then={"run-with-guard": ("nothing to do", row("teapot", "shipped", 1, 1))},
        ),
        Ingredient(
            "the exception, without which nothing is lost",
            (Edit("accident", "        raise error", "        pass"),),
            then={"run-with-guard": (row("kettle", "shipped", 1, 1),)},
        ),
    ],
    "4 · One transaction": [
        Ingredient(
            "the transaction",
            (Edit("charge-in-a-transaction", ", db.transaction()", ""),),
            then={
                "run-in-a-transaction": (
                    "attempt 2: the order is charged",
                    "nothing to do",
                    row("kettle", "charged", 1, 0),
                )
            },
        ),
        Ingredient(
            "change it: no retry",
            (Edit("charge-in-a-transaction", RETRY, NO_RETRY),),
            then={"run-in-a-transaction": (row("kettle", "new", 0, 0),)},
        ),
    ],
    "5 · Killed after the commit": [
        Ingredient(
            "the kill",
            (Edit("tools", "    process.kill()", "    await kit.wait()"),),
            then={"deliver-twice": (row("teapot", "shipped", 1, 1),)},
        ),
        Ingredient(
            "change it: no guard for charge",
            (Edit("file-charge", GUARD, ""),),
            then={"deliver-twice": (r"teapot\s+shipped\s+2\s+3$",)},
        ),
        Ingredient(
            "the guard of ship",
            (Edit("guarded-ship", " AND status = 'charged'", ""),),
            then={"deliver-twice-guarded": (row("teapot", "shipped", 1, 2),)},
        ),
    ],
    "Your turn": [
        Ingredient(
            "a solution",
            (Edit("thank", 'print("nothing is written yet")', THANK),),
            then={"deliver-thanks-twice": (r"teapot\s+thanked\s+0\s+0\s+1$", r"kettle\s+new\s+0\s+0\s+0$")},
        ),
    ],
}
