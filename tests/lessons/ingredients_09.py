"""Lesson 09: what each section credits."""

from __future__ import annotations

from tests.lessons.ingredients import Beats, Edit, Ingredient

BEATS: Beats = {
    "1 · A thousand at once": [
        Ingredient(
            "change it: a limit of 500",
            (Edit("run-unlimited", "limit = 0", "limit = 500"),),
            then={"run-unlimited": (r"\(500, \d+, True\)",)},
        ),
    ],
    "2 · Two limits": [
        Ingredient(
            "the entrypoint's limit",
            (Edit("run-limited", "limit = 50", "limit = 80"),),
            then={"run-limited": ("^80$",)},
        ),
        Ingredient(
            "change it: 80 for the consumer",
            (Edit("run-max-tasks", "max_concurrent_tasks=20", "max_concurrent_tasks=80"),),
            then={"run-max-tasks": ("^50$",)},
        ),
    ],
    "3 · Batches": [
        Ingredient(
            "the size of a batch",
            (Edit("tools", "batch_size=size", "batch_size=1"),),
            then={"plot-batches": (r"\(False, True\)",)},
        ),
        Ingredient(
            "the limit",
            (Edit("measure-limited", "limit = 5", "limit = 0"),),
            then={"measure-limited": ("^False$",)},
        ),
        Ingredient(
            "change it: a limit of 20, which fills a batch of 10",
            (Edit("measure-limited", "limit = 5", "limit = 20"),),
            then={"measure-limited": ("^False$",)},
        ),
    ],
    "4 · Four workers, one queue": [
        Ingredient(
            "change it: a limit of 20, which holds across workers, too",
            (Edit("file-nap", "LIMIT = 10", "LIMIT = 20"),),
            then={"most-at-once": ("^at most (1[1-9]|20)$",)},
        ),
    ],
    "5 · How many workers help?": [
        Ingredient(
            "further workers",
            (Edit("tools", "count=workers", "count=1"),),
            then={"measure-blocking": (r"\(True, False\)",)},
        ),
        Ingredient(
            "change it: no limit, where workers stop helping",
            (Edit("file-waiting", "LIMIT = 5", "LIMIT = 0"),),
            then={"measure-waiting": ("False",)},
        ),
    ],
    "Your turn": [
        Ingredient(
            "a solution",
            (Edit("your-nap", "pass  #", "print(sum(range(5_000_000)))  #"),),
            then={"your-rates": (r"12499997500000",)},
        ),
    ],
}
