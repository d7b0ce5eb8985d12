"""What the lesson 16 credits, and what happens without it."""

from tests.lessons.ingredients import Beats, Edit, Ingredient

BEATS: Beats = {
    "1 · Look first": [
        Ingredient(
            "change it: the report is due as well",
            (Edit("two-jobs", ", execute_after=timedelta(days=1)", ""),),
            then={"two-jobs": ("mail.*True", "report.*True")},
        ),
        Ingredient(
            "the transaction that stands open",
            (Edit("sessions", 'await other.execute("BEGIN")\n', ""),),
            then={"sessions": ("Empty DataFrame",)},
        ),
    ],
}
