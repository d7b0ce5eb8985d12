"""Lesson 03: what each section credits."""

from __future__ import annotations

from tests.lessons.ingredients import Beats, Edit, Ingredient

NO_LIMIT = Edit("consumer", ", concurrency_limit=1)(task)", ")(task)")

BEATS: Beats = {
    "1 · Who goes first?": [
        Ingredient(
            "the priorities",
            (Edit("four-jobs", "[0, -10, 10, 5]", "[0, 0, 0, 0]"),),
            then={"run-four": ("^.*report", "^.*newsletter", "^.*password reset", "^.*receipt")},
        ),
        Ingredient(
            "the limit of one job at a time",
            (NO_LIMIT,),
            then={"run-four": ("^.*newsletter", "^.*report", "^.*receipt", "^.*password reset")},
        ),
        Ingredient(
            "the limit, for which batch_size is no substitute",
            (NO_LIMIT, Edit("run-four", "kit.run(main)", "kit.run(main, batch_size=1)")),
            then={"run-four": ("^.*newsletter", "^.*password reset")},
        ),
        Ingredient(
            "change it: an important newsletter",
            (Edit("four-jobs", "-10", "20"),),
            then={"run-four": ("^.*newsletter", "^.*password reset", "^.*receipt", "^.*report")},
        ),
    ],
    "2 · A tie": [
        Ingredient(
            "the order of arrival",
            (Edit("tied-jobs", 'b"zebra", b"monkey", b"ant"', 'b"monkey", b"ant", b"zebra"'),),
            then={"run-tied": ("queen bee", "monkey", "ant", "zebra")},
        ),
        Ingredient(
            "the one higher priority",
            (Edit("tied-jobs", "[0, 0, 0, 1]", "[0, 0, 0, 0]"),),
            then={"run-tied": ("zebra", "monkey", "ant", "queen bee")},
        ),
        Ingredient(
            "change it: a tie of two with the higher priority",
            (Edit("tied-jobs", "[0, 0, 0, 1]", "[0, 1, 0, 1]"),),
            then={"run-tied": ("monkey", "queen bee", "zebra", "ant")},
        ),
    ],
    "3 · Somebody is in a hurry": [
        Ingredient(
            "that the slow job was picked before the urgent one came",
            (
                Edit(
                    "run-hurried",
                    '["task"], [b"slow"], [0]',
                    '["task"] * 2, [b"slow", b"urgent"], [0, 100]',
                ),
            ),
            then={"run-hurried": ("urgent starts", "urgent is done", "slow starts")},
        ),
        Ingredient(
            "the limit of one job at a time",
            (NO_LIMIT,),
            then={"run-hurried": ("slow starts", "urgent starts", "slow is done")},
        ),
        Ingredient(
            "change it: a calm job behind the slow one",
            (
                Edit(
                    "run-hurried",
                    '["task"], [b"slow"], [0]',
                    '["task"] * 2, [b"slow", b"calm"], [0, 0]',
                ),
            ),
            then={"run-hurried": ("slow is done", "urgent is done", "calm is done")},
        ),
    ],
    "4 · A busy shop": [
        Ingredient(
            "that each urgent job is more important",
            (Edit("busy-task", "priority=10", "priority=0"),),
            then={"run-busy": ("urgent 1", "report", "urgent 2")},
        ),
        Ingredient(
            "change it: a report that is as important",
            (Edit("run-busy", "[0, 10]", "[10, 10]"),),
            then={"run-busy": (r"report \(priority 10\)", "urgent 1", "urgent 8")},
        ),
        Ingredient(
            "that each urgent job brings another one",
            (Edit("busy-task", "< 8", "< 2"),),
            then={"run-busy": (r"urgent 2 .*\n.*report",)},
        ),
        Ingredient(
            "the limit of one job at a time",
            (NO_LIMIT,),
            then={"run-busy": ("urgent 1", "report", "urgent 2")},
        ),
    ],
    "5 · A cure: let waiting count": [
        Ingredient(
            "the UPDATE",
            (Edit("ageing-task", "        await mine.driver.execute(age)  # the one new line\n", ""),),
            then={"run-ageing": ("urgent 8", r"report \(priority 0\)")},
        ),
        Ingredient(
            "change it: waiting counts 2",
            (Edit("ageing", "priority + 3", "priority + 2"),),
            then={"run-ageing": ("urgent 5", r"report \(priority 10\)", "urgent 6")},
        ),
    ],
    "Your turn": [
        Ingredient(
            "a solution",
            (Edit("my-prediction", "my_priorities = []", "my_priorities = [3, 0, 3, -1, 7]"),),
            then={"my-order": (r"job 5 \(priority 7\)\n.*job 1 .*\n.*job 3 .*\n.*job 2 .*\n.*job 4 ",)},
        ),
    ],
}
