"""Lesson 09: what each section credits."""

from __future__ import annotations

from tests.lessons.ingredients import Beats, Edit, Ingredient

BEATS: Beats = {
    "1 · A thousand at once": [
        Ingredient(
            "that there is no limit",
            (Edit("run-unlimited", "limit, count = 0,", "limit, count = 500,"),),
            then={"run-unlimited": (r"\(500, True\)",)},
        ),
    ],
    "2 · Two limits": [
        Ingredient(
            "the entrypoint's limit",
            (Edit("run-limited", "limit, count = 50,", "limit, count = 80,"),),
            then={"run-limited": ("^80$",)},
        ),
        Ingredient(
            "the consumer's limit",
            (Edit("run-max-tasks", "max_concurrent_tasks=20", "max_concurrent_tasks=200"),),
            then={"run-max-tasks": ("^50$",)},
        ),
    ],
    "3 · Batches": [
        Ingredient(
            "the size of a batch",
            (Edit("measure-batches", "batch_size=size", "batch_size=1"),),
            then={"plot-batches": (r"\(False, True\)",)},
        ),
    ],
    "4 · Four workers, one queue": [
        Ingredient(
            "the limit, which holds across workers",
            (Edit("file-nap", "LIMIT = 10", "LIMIT = 40"),),
            then={"most-at-once": (r"^running\s+(1[1-9]|[2-9]\d)$",)},
        ),
    ],
    "5 · How many workers help?": [
        Ingredient(
            "further workers",
            (Edit("rate", "count=workers", "count=1"),),
            then={"measure-blocking": (r"\(False, False\)",)},
        ),
        Ingredient(
            "the limit, where workers stop helping",
            (Edit("file-waiting", "LIMIT = 5", "LIMIT = 0"),),
            then={"measure-waiting": ("False",)},
        ),
    ],
    "Your turn": [
        Ingredient(
            "a solution",
            (Edit("your-nap", "pass  #", "print(sum(range(500_000)))  #"),),
            then={"your-rates": (r"124999750000",)},
        ),
    ],
}
