"""A plan: its minutes are those of its lessons, and the board says how far the room is against it."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import pairwise

import pytest

from kit.classroom import plans
from kit.errors import KitError
from kit.exercises import course
from tests.lessons.notebook import FOLDER, LESSONS, read
from tests.lessons.reading import minutes

NINE = datetime(2026, 11, 30, 9).timestamp()
every_plan = pytest.mark.parametrize("name", plans.PLANS)


@every_plan
def test_a_plans_minutes_are_those_of_its_parts_and_a_lessons_those_of_its_text_exercises_and_talk(
    name: str,
) -> None:
    plan = plans.find(name, FOLDER)
    assert plan.minutes == plan.parts[-1].begins + plan.parts[-1].minutes
    taught = [one for one in plans.PLANS[name] if isinstance(one, plans.Taught)]
    for part, each in zip((part for part in plan.parts if part.lesson), taught, strict=True):
        extra = sum(course.find(one).minutes for one in each.exercises)
        assert part.minutes == plans.TALK + minutes(read(part.lesson.removesuffix(".ipynb"))) + extra


@every_plan
def test_a_plans_lessons_and_exercises_are_there_in_the_courses_order_and_are_due_in_their_lesson(
    name: str,
) -> None:
    plan = plans.find(name, FOLDER)
    lessons = [part.lesson.removesuffix(".ipynb") for part in plan.parts if part.lesson]
    assert set(lessons) <= set(LESSONS)
    of = {one.id: lesson.name for lesson in course.lessons() for one in lesson.exercises}
    for part in plan.parts:
        assert all(f"_{of[one]}.ipynb" in part.lesson for one, _ in part.due)
        assert all(part.begins < when <= part.begins + part.minutes for _, when in part.due)
    assert any(part.due for part in plan.parts)


def test_a_half_day_a_day_and_an_evening_are_as_long_as_their_names_say() -> None:
    long = {name: plans.find(name, FOLDER).minutes for name in plans.PLANS}
    assert 180 <= long["half-day"] <= 240
    assert 360 <= long["day"] <= 480
    assert {90 <= long[f"evening-{number}"] <= 130 for number in (1, 2, 3, 4)} == {True}
    breaks = [part.begins for part in plans.find("day", FOLDER).parts if not part.lesson]
    assert max(after - before for before, after in pairwise(breaks)) <= 125


TITLES = {"a": "First", "b": "Second", "c": "Third"}
PARTS = [
    plans.Part("Arrive", "", 0, 10),
    plans.Part("00 · Here", "00_here.ipynb", 10, 20, [("a", 20), ("b", 30)]),
    plans.Part("01 · There", "01_there.ipynb", 30, 20, [("c", 50)]),
]
PLAN = plans.Plan("short", NINE, PARTS)


def told(minute: float, *passed: str) -> str:
    return plans.how_far(PLAN, TITLES, [set(one) for one in passed], NINE + 60 * minute)


def test_it_says_which_part_it_is_and_since_when() -> None:
    assert told(-5) == "short: begins in 5 min."
    assert told(0, "") == "short: Arrive, minute 1 of 10. No exercise is due yet."
    assert told(31.5).startswith("short: 01 · There, minute 2 of 20. ")
    assert told(50) == "short: its 50 minutes are over."
    assert told(110) == ""


def test_half_of_the_room_says_where_the_room_is() -> None:
    behind = "Half the room has passed “First”, and is 2 min behind: “Second” was due then."
    assert f"{behind} With the plan or ahead of it: 1 of 3." in told(32, "ab", "a", "")
    assert "Half the room is 12 min behind: “First” was due then." in told(32, "ab", "", "")
    assert "Half the room has passed “Second”, as planned." in told(32, "ab", "ab", "")
    assert "passed “Second”, 5 min before its time." in told(25, "ab", "b", "a")
    assert "Nobody is here yet." in told(25)
    assert "With the plan or ahead of it: 2 of 2." in told(49, "c", "b")


def test_a_plan_that_is_asked_for_again_goes_on_in_its_time_and_begins_anew_after_it() -> None:
    first = plans.find("half-day", FOLDER, NINE)
    again = plans.find("half-day", FOLDER, NINE + 3600)
    assert again.kept(first.kept({}))["begun"] == NINE
    later = plans.find("half-day", FOLDER, NINE + 24 * 3600)
    assert later.kept(first.kept({}))["begun"] == NINE + 24 * 3600
    other = plans.find("day", FOLDER, NINE + 3600)
    assert plans.times(other.kept(first.kept({}))).startswith("day, 10:00 to ")


def test_it_begins_at_the_time_of_today_that_is_asked_for_and_a_wrong_word_is_named() -> None:
    nine = plans.find("half-day@9:00", FOLDER, NINE + 5000)
    assert nine.begun == NINE
    later = plans.find("half-day@9:30", FOLDER, NINE + 5000)
    assert later.kept(nine.kept({}))["begun"] == NINE + 1800
    with pytest.raises(KitError, match=re.escape("'25:00' is no time of the day")):
        plans.find("half-day@25:00", FOLDER)
    with pytest.raises(KitError, match=r"There is no plan 'week'\. There are: half-day, day, evening-1"):
        plans.find("week", FOLDER)
