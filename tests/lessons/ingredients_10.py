"""Lesson 10: what each section credits."""

from __future__ import annotations

from tests.lessons.ingredients import Beats, Edit, Ingredient

BEATS: Beats = {
    "1 · Two writes": [
        Ingredient(
            "the accident",
            (Edit("run-order-first", "place_order(cut)", "place_order(no_accident)"),),
            then={"run-order-first": ("shipped: Dune", r"^0 +1 +1")},
        ),
        Ingredient(
            "the order of the two",
            (
                Edit("job-first", "    await accident(db)\n", ""),
                Edit(
                    "job-first",
                    "async def order(db, accident):\n",
                    "async def order(db, accident):\n    await accident(db)\n",
                ),
            ),
            then={"run-job-first": (r"^0 +0 +0",)},
        ),
    ],
    "2 · One transaction": [
        Ingredient(
            "the transaction",
            (Edit("order-together", "async with db.transaction():", "if True:"),),
            then={"run-together": (r"^0 +1 +0",)},
        ),
        Ingredient(
            "the rollback",
            (Edit("order-taken", "async with conn.transaction():", "if True:"),),
            then={"count-taken": ("shipped: Dune", r"^0 +1 +2")},
        ),
    ],
    "3 · On the wrong connection": [
        Ingredient(
            "the other connection",
            (Edit("order-elsewhere", "await q.enqueue(", "await Queries(AsyncpgDriver(shop)).enqueue("),),
            then={"run-elsewhere": ("shipped: Dune",)},
        ),
    ],
    "4 · Clicked twice": [
        Ingredient(
            "the key",
            (Edit("two-clicks", ', dedupe_key="ship 1"', ""),),
            then={"two-clicks": (r"second \[2\]",)},
        ),
        Ingredient(
            "skip",
            (Edit("other-ways", 'on_conflict="skip"', 'on_conflict="update_priority"'),),
            then={"other-ways": (r"\[1\]\n\[1\]",)},
        ),
        Ingredient(
            "update_priority",
            (Edit("other-ways", 'on_conflict="update_priority"', 'on_conflict="skip"'),),
            then={"other-ways": (r"\[None\]\n\[None\]", r"1 +0 +ship 1")},
        ),
    ],
    "5 · Left open": [
        Ingredient(
            "the open transaction",
            (Edit("run-left-open", "async with bank.transaction():", "if True:"),),
            then={"run-left-open": (r"^0 +0 +0",)},
        ),
        Ingredient(
            "the vacuum",
            (Edit("bank-ends", 'await conn.execute("VACUUM pgqueuer")', "pass"),),
            then={"bank-ends": (r"bytes: [1-9]",)},
        ),
    ],
    "Your turn": [
        Ingredient(
            "a solution",
            (
                Edit(
                    "pay",
                    '    await q.enqueue("receipt", str(order_id).encode())\n    await conn',
                    "    async with conn.transaction():\n"
                    '        await q.enqueue("receipt", str(order_id).encode())\n        await conn',
                ),
            ),
            then={"receipts": (r"^0 +1 +1",)},
        ),
    ],
}
