"""Lesson 07: what each section credits."""

from __future__ import annotations

from tests.lessons.ingredients import Beats, Edit, Ingredient

PACK_IT = 'await step.connection.execute("INSERT INTO parcels VALUES ($1, $2)", step.run, step.item)'
ON_ANOTHER_CONNECTION = """
    other = await asyncpg.connect()
    await other.execute("INSERT INTO parcels VALUES ($1, $2)", step.run, step.item)
    await other.close()
""".strip("\n")

NAMED_BY_THE_ROW = """
payload = json.dumps({"run": order, "stage": "charge"}).encode()
async with conn.transaction():
    [job] = await q.enqueue("shop.charge", payload)
    await conn.execute("UPDATE kit_runs SET stage = 'charge', status = 'pending', job = $1", job)
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
            (Edit("pack", 'each="items"', ""),),
            then={
                "run-one-order": (r"charge\s+running\n.*pack\s+pending\n.*pack\s+running\n.*ship\s+pending",),
                "one-row": (r"ship\s+done\s+<NA>$",),
            },
        ),
        Ingredient(
            "what the handlers return",
            (
                Edit("charge", '{"paid": 10 * len(step.data["items"])}', "None"),
                Edit("ship", '{"shipped": True}', "{}"),
            ),
            then={"data": (r"\A(?![\s\S]*(paid|shipped))[\s\S]*items",)},
        ),
    ],
    "2 · Thirty orders, and one that cannot be packed": [
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
    ],
    "3 · Delivered twice": [
        Ingredient(
            "that the row names another job",
            (
                Edit(
                    "deliver-twice",
                    'await q.enqueue("shop.charge", json.dumps({"run": order, "stage": "charge"}).encode())',
                    NAMED_BY_THE_ROW,
                ),
            ),
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
