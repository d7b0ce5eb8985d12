"""Lesson 08: what each section credits."""

from __future__ import annotations

from tests.lessons.ingredients import Beats, Edit, Ingredient

WITHOUT_CLEAN_OLD = """def register(pgq):
    pgq.schedule("report", expression)(report)


expression ="""

BEATS: Beats = {
    "1 · Not before": [
        Ingredient(
            "execute_after",
            (Edit("later", ", execute_after=pause", ""),),
            then={"later": ("do not forget: the milk", "Empty DataFrame")},
        ),
        Ingredient(
            "due_within",
            (Edit("tea", "due_within=10", ""),),
            then={"tea": (r"^2 jobs are not due yet: the next in [12] s\.$",)},
        ),
        Ingredient(
            "change it: two minutes",
            (Edit("tea", "seconds=2", "minutes=2"),),
            then={"tea": (r"^2 jobs are not due yet: the next in \d+ (s|min)\.$", "not earlier: False")},
        ),
    ],
    "2 · Tomorrow at nine": [
        Ingredient(
            "the time zone",
            (Edit("nine", "9, zone", '9, "UTC"'),),
            then={"nine": ("1[01]:00",)},
        ),
        Ingredient(
            "change it: nine in Tokyo",
            (Edit("nine", "9, zone", '9, "Asia/Tokyo"'),),
            then={"nine": ("0[12]:00",)},
        ),
    ],
    "3 · Every second": [
        Ingredient(
            "change it: a handler that raises",
            (Edit("tick", 'print("tick")', 'raise ValueError("no paper")'),),
            then={"run-tick": (r"\[tick\] exception: ValueError: no paper",)},
        ),
    ],
    "4 · Every Monday at half past six": [
        Ingredient(
            "the fifth field",
            (Edit("report", "30 6 * * 1", "30 6 * * 2"),),
            then={"run-report": ("Tuesday 06:30",)},
        ),
        Ingredient(
            "change it: Fridays at noon",
            (Edit("report", "30 6 * * 1", "0 12 * * 5"),),
            then={"run-report": ("Friday 12:00",)},
        ),
    ],
    "5 · Nobody was there": [
        Ingredient(
            "the missed runs",
            (
                Edit("three-weeks", "- interval '3 weeks'", "+ interval '3 weeks'"),
                Edit("back-again", "await kit.wait(until=has_run)\n", ""),
            ),
            then={"back-again": (r"\A0 +next: Monday 06:30",)},
        ),
        Ingredient(
            "change it: nine, and three years",
            (
                Edit("register-report-again", "30 6 * * 1", "0 9 * * 1"),
                Edit("three-weeks", "3 weeks", "3 years"),
            ),
            then={"back-again": (r"\A\[report\] a report is written\n0 +next: Monday 09:00",)},
        ),
    ],
    "6 · Half past six is too early": [
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
        Ingredient(
            "change it: an old version without clean_old",
            (Edit("run-old", "expression =", WITHOUT_CLEAN_OLD),),
            then={"run-old": (r"^15 7 \* \* 1 \| 30 6 \* \* 1$",)},
        ),
    ],
}
