"""Lesson 07: what each section credits."""

from __future__ import annotations

from tests.lessons.ingredients import Beats, Edit, Ingredient

PACK_IT = "await step.connection.execute(add, step.run, step.item)"
ON_ANOTHER_CONNECTION = """
    other = await asyncpg.connect()
    await other.execute(add, step.run, step.item)
    await other.close()
""".strip("\n")

AGAIN = 'await q.enqueue("shop.charge", job)'
NAMED_BY_THE_ROW = """
async with conn.transaction():
    [new] = await q.enqueue("shop.charge", job)
    await conn.execute("UPDATE kit_runs SET stage = 'charge', status = 'pending', job = $1", new)
""".strip()

THANK = """
@shop.stage()
async def thank(step: Step):
    return {"thanked": True}
""".lstrip()

BEATS: Beats = {
    "1 · One order": [
        Ingredient(
            "each=",
            (Edit("pack-and-ship", 'each="items"', ""),),
            then={
                "run-one-order": (r"charge\s+running\n.*pack\s+pending\n.*pack\s+running\n.*ship\s+pending",),
                "one-row": (r"ship\s+done\s+<NA>$",),
            },
        ),
        Ingredient(
            "what the handlers return",
            (
                Edit("charge", '{"paid": 10 * len(step.data["items"])}', "None"),
                Edit("pack-and-ship", '{"shipped": True}', "{}"),
            ),
            then={"data": (r"\A(?![\s\S]*(paid|shipped))[\s\S]*items",)},
        ),
        Ingredient(
            "change it: three cups",
            (Edit("run-one-order", '["cup", "cup"]', '["cup"] * 3'),),
            then={"one-row": (r"ship\s+done\s+3/3$",), "data": ("'paid': 30",)},
        ),
    ],
    "2 · A busy afternoon": [
        Ingredient(
            "the exception",
            (Edit("small-boxes", 'raise ValueError("no box is big enough")', "pass"),),
            then={"run-thirty-orders": ("31 done",), "repair": (r"\A(?![\s\S]*failed)", r"ship\s+done")},
        ),
        Ingredient(
            "the step's transaction",
            (Edit("small-boxes", f"    {PACK_IT}", ON_ANOTHER_CONNECTION),),
            then={"elephants-parcels": ("porcelain elephant",), "all-parcels": ("^63$",)},
        ),
        Ingredient(
            "that the run goes on from where it is held",
            (
                Edit(
                    "repair",
                    "kit.stages.retry(run)",
                    'elephant = await shop.start(conn, {"items": ["cup", "vase"]})',
                ),
            ),
            then={"repair": (r"\A(?![\s\S]*failed)", r"ship\s+done"), "all-parcels": ("^63$",)},
        ),
        Ingredient(
            "the bigger box",
            (
                Edit(
                    "bigger-box",
                    "    await",
                    '    if step.item != "cup":\n        raise ValueError("no box")\n    await',
                ),
            ),
            then={
                "repair": ("failed", r"1\s+pack\s+running\n.*pack\s+failed\n.*pack\s+failed\Z"),
                "all-parcels": ("^61$",),
            },
        ),
        Ingredient(
            "change it: two porcelain elephants",
            (
                Edit(
                    "run-thirty-orders",
                    '["cup", "porcelain elephant"]',
                    '["cup"] + ["porcelain elephant"] * 2',
                ),
            ),
            then={"last-runs": (r"pack\s+failed\s+1/3",), "all-parcels": ("^63$",)},
        ),
    ],
    "3 · Delivered twice": [
        Ingredient(
            "that the row names another job",
            (Edit("deliver-twice", AGAIN, NAMED_BY_THE_ROW),),
            then={"deliver-twice": ("^2$",)},
        ),
        Ingredient(
            "change it: another order",
            (Edit("deliver-twice", AGAIN, 'await shop.start(conn, {"items": ["cup"]})'),),
            then={"deliver-twice": ("^2$",)},
        ),
    ],
    "Your turn": [
        Ingredient(
            "a solution",
            (Edit("thank", "# Declare", f"{THANK}# Declare"),),
            then={"run-thanks": ("'thanked': True",)},
        ),
    ],
}
