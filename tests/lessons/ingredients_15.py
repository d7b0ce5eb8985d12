"""What the lesson 15 credits, and what happens without it."""

from tests.lessons.ingredients import Beats, Edit, Ingredient

BEATS: Beats = {
    "1 · The shop": [
        Ingredient(
            "change it: another order",
            (Edit("an-order", "(7, 2)", "(8, 5)"),),
            then={"an-order": (r"8 +5 +new",)},
        ),
    ],
    "2 · What is done to it": [
        Ingredient(
            "change it: the bank is called",
            (
                Edit(
                    "idle",
                    "async def receive(job): ...",
                    "async def receive(job): await charge(int(job.payload))",
                ),
            ),
            then={"hurt-idle": ("not valid",), "idle-report": ("lost: 0 of",)},
        ),
    ],
}
