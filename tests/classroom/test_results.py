"""What a class's events add up to, at a moment that the test chooses."""

from __future__ import annotations

import json
from dataclasses import asdict

from kit.classroom import plans, results
from kit.classroom.store import JOINED

TASKS = [
    results.Task("sum", "A sum", "first", {"twice": "It counts *twice*{place}."}, {"twice": ["a list"]}),
    results.Task("limit", "A limit", "second", {}, {}),
]


def added(*events: tuple[str, float, str, str]) -> results.Results:
    """The fold of: learner, moment, exercise, and an outcome or a kind of event."""
    made = results.Results(TASKS)
    for number, (who, when, exercise, what) in enumerate(events):
        made.add(2 * number, who, JOINED, json.dumps({"name": who, "key": "00"}))
        check = {"event": "check", "outcome": what, "message": "twice" if what == "not yet" else None}
        event = check if what in ("passed", "not yet", "broke", "not attempted") else {"event": what}
        made.add(2 * number + 1, who, str(number), json.dumps(event | {"id": exercise, "when": when}))
    return made


def states(made: results.Results, now: float) -> dict[str, str]:
    return {who["name"]: who["work"]["sum"]["state"] for who in made.board(now)["learners"] if who["work"]}


def test_stuck_is_who_has_answered_wrong_twice_and_begun_ten_minutes_ago_and_not_passed():
    made = added(
        ("once", 0, "sum", "not yet"),
        ("twice", 0, "sum", "not yet"),
        ("twice", 30, "sum", "not yet"),
        ("passed", 0, "sum", "not yet"),
        ("passed", 1, "sum", "not yet"),
        ("passed", 2, "sum", "passed"),
        ("passed", 3, "sum", "not yet"),
        ("broke", 0, "sum", "broke"),
        ("broke", 1, "sum", "broke"),
        ("looked", 0, "sum", "not attempted"),
    )
    quiet = {"once": "tried", "passed": "passed", "broke": "tried"}
    assert states(made, 599) == quiet | {"twice": "tried"}
    assert states(made, 600) == quiet | {"twice": "stuck"}


def test_a_reset_forgets_the_exercise():
    assert states(added(("a", 0, "sum", "passed"), ("a", 1, "sum", "reset")), 2) == {}


def test_common_is_where_two_stand_now_with_the_sentence_and_the_misconception():
    events = [("a", 0, "sum", "not yet"), ("b", 100, "sum", "not yet"), ("c", 100, "sum", "not yet")]
    made = added(*events, ("c", 101, "sum", "passed"))
    (common,) = made.board(200)["common"]
    assert common == {"title": "A sum", "count": 2, "says": "It counts twice….", "mistakes": ["a list"]}
    assert made.board(950)["common"] == []


def test_help_goes_to_who_is_stuck_and_then_to_who_is_wrong_most_often_and_to_nobody_who_has_left():
    wrong = [("often", 1500, "sum", "not yet")] * 5 + [("stuck", 1000, "limit", "not yet")] * 2
    made = added(
        *wrong, ("gone", 0, "sum", "not yet"), ("gone", 0, "sum", "not yet"), ("stuck", 1600, "sum", "hint")
    )
    helped = [made.board(1900)["learners"][one["learner"]]["name"] for one in made.board(1900)["help"]]
    assert helped == ["stuck", "often"]


def test_in_the_room_is_who_has_done_something_since_the_plan_began_or_has_just_joined():
    plan = plans.Plan("short", 1000, [plans.Part("One", "one.ipynb", 0, 10, [("sum", 5), ("limit", 10)])])
    made = added(("today", 1200, "sum", "passed"), ("last week", 10, "limit", "passed"))
    made.add(9, "new", JOINED, json.dumps({"name": "new", "key": "00"}))
    assert made.plan(asdict(plan), 1330) == (
        "short: One, minute 6 of 10. Half the room has passed “A sum”, as planned. "
        "With the plan or ahead of it: 1 of 2."
    )
    assert made.plan({}, 1330) == ""


def test_a_table_for_a_spreadsheet_has_no_formula_and_tells_namesakes_apart():
    made = added(("=1+1", 0, "sum", "passed"))
    made.add(9, "1234567", JOINED, json.dumps({"name": "=1+1", "key": "00"}))
    names = [line.split(",")[0] for line in made.as_csv(1).splitlines()[1:]]
    assert names == ["'=1+1 (=1+1)"] * 2 + ["'=1+1 (1234)"] * 2
