"""Lesson 08: what each section credits."""

from __future__ import annotations

from tests.lessons.ingredients import Beats, Edit, Ingredient

BEATS: Beats = {
    "1 · Not before": [
        Ingredient(
            "execute_after",
            (Edit("later", ", execute_after=timedelta(seconds=2)", ""),),
            then={"later": ("Empty DataFrame",), "until-done": ("False",)},
        ),
    ],
    "2 · Every second": "it shows what is not there: without the schedule, its cell would wait for ever",
    "3 · Every Monday at half past six": [
        Ingredient(
            "the fifth field",
            (Edit("register-report", "30 6 * * 1", "30 6 * * 2"),),
            then={"run-report": ("Tuesday 06:30",)},
        ),
        Ingredient(
            "the first two fields",
            (Edit("register-report", "30 6 * * 1", "45 5 * * 1"),),
            then={"run-report": ("Monday 05:45",)},
        ),
    ],
    "4 · Nobody was there": "without the missed runs, its cell would wait for Monday",
    "5 · Half past six is too early": [
        Ingredient(
            "the changed expression",
            (Edit("after-the-change", "0 7 * * 1", "30 6 * * 1"),),
            then={"after-the-change": (r"30 6 \* \* 1\Z",)},
        ),
        Ingredient(
            "clean_old",
            (Edit("register-clean", ", clean_old=True", ""),),
            then={"run-clean": (r"30 6 \* \* 1 \| 0 7 \* \* 1 \| 15 7",)},
        ),
    ],
    "Your turn": [
        Ingredient(
            "a solution",
            (
                Edit(
                    "my-beat",
                    '# await context.resources["q"].enqueue(...)',
                    'await context.resources["q"].enqueue("beat", None)',
                ),
            ),
            then={"my-look": (r"1 +beat +queued",)},
        ),
    ],
}
