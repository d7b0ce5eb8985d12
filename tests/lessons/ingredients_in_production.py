"""In production: what each section credits."""

from __future__ import annotations

from tests.lessons.ingredients import Beats, Edit, Ingredient

BEATS: Beats = {
    "1 · A new version, while jobs are in flight": [
        Ingredient(
            "the order of the two steps",
            (Edit("wrong-order", '"producer", "workers"', '"workers", "producer"'),),
            then={"wrong-order": ("60 sent, 0 twice, 0 held",), "dead-letters": ("Empty DataFrame",)},
        ),
        Ingredient(
            "change it: a new version that understands only what is new",
            (Edit("new-version", 'order["cents"] if isinstance(order, dict) else order', 'order["cents"]'),),
            then={"right-order": (r"[1-9]\d* held",)},
        ),
    ],
    "2 · The bank answers too late": [
        Ingredient(
            "the key",
            (Edit("bank", "if key not in known:", "if True:"),),
            then={"run-late": ("^4$",)},
        ),
        Ingredient(
            "change it: the order for a key",
            (Edit("pay", 'f"{job.id}"', "job.payload.decode()"),),
            then={"run-late": ("^1$",)},
        ),
    ],
    "3 · What stays behind": [
        Ingredient(
            "the age",
            (Edit("run-forget", "interval '2 months'", "interval '2 days'"),),
            then={"run-forget": ("forgotten: DELETE 0",)},
        ),
        Ingredient(
            "change it: nothing is counted",
            (Edit("run-forget", "await q.log_statistics(None)  # counts them\n", ""),),
            then={"run-forget": ("forgotten: DELETE 0",)},
        ),
    ],
}
