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
            "change it: no accident",
            (Edit("run-job-first", "place_order(cut)", "place_order(no_accident)"),),
            then={"run-job-first": (r"LookupError|shipped: Dune", r"^0 +1 +1")},
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
        Ingredient(
            "change it: another number",
            (Edit("order-taken", "(1, 'Emma')", "(2, 'Emma')"),),
            then={"count-taken": ("shipped: Dune", r"^0 +2 +2")},
        ),
    ],
    "3 · On the wrong connection": [
        Ingredient(
            "the other connection",
            (Edit("order-elsewhere", "await q.enqueue(", "await Queries(AsyncpgDriver(shop)).enqueue("),),
            then={"run-elsewhere": ("shipped: Dune",)},
        ),
        Ingredient(
            "change it: after the commit",
            (
                Edit("order-elsewhere", '        await q.enqueue("ship", b"1")\n', ""),
                Edit("order-elsewhere", "    await shop.close()", '    await q.enqueue("ship", b"1")'),
            ),
            then={"run-elsewhere": ("shipped: Dune", r"^0 +1 +1")},
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
            (Edit("other-ways", '**key, on_conflict="skip"', '**key, on_conflict="update_priority"'),),
            then={"other-ways": (r"\[1\]\n\[1\]",)},
        ),
        Ingredient(
            "update_priority",
            (Edit("other-ways", '"on_conflict": "update_priority"', '"on_conflict": "skip"'),),
            then={"other-ways": (r"\[None\]\n\[None\]", r"1 +0 +ship 1")},
        ),
        Ingredient(
            "change it: a lower priority",
            (Edit("other-ways", '"priority": 9', '"priority": -1'),),
            then={"other-ways": (r"\[1\]", r"1 +0 +ship 1")},
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
        Ingredient(
            "change it: a transaction that only reads",
            (Edit("run-left-open", "INSERT INTO orders VALUES (1, 'Dune')", "SELECT * FROM orders"),),
            then={"run-left-open": (r"SELECT \* FROM orders", r"^0 +0 +0$")},
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
