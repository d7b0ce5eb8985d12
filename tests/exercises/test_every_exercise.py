"""Every exercise: its stub is no answer, every right answer passes, every wrong one gets its own message."""

from __future__ import annotations

import random
import re

import pytest

from kit.exercises import course
from kit.exercises.authoring import proving
from kit.exercises.exercise import Exercise
from kit.exercises.judging import COMMON
from kit.sources import Postgres
from tests.night import SEEDS, by_day

EXERCISES = course.all_exercises()
ANSWERS = [
    (one, *answer)
    for one in EXERCISES
    if by_day(one)
    for number, answer in enumerate(proving.answers_of(one))
    if SEEDS or number % 3 == 2 or answer[0] in ("the stub", "the solution")  # of the others, a third by day
]
random.Random(len(ANSWERS)).shuffle(ANSWERS)  # each is judged after another lesson's leftovers

every_exercise = pytest.mark.parametrize("exercise", [pytest.param(one, id=one.id) for one in EXERCISES])


@pytest.mark.parametrize(
    ("exercise", "source", "wanted"),
    [
        pytest.param(one, source, wanted, id=f"{one.id} {what}".replace(" ", "-"))
        for one, what, source, wanted in ANSWERS
    ],
)
def test_an_answer_gets_what_it_deserves(
    exercise: Exercise, source: str, wanted: str, lesson: Postgres
) -> None:
    outcome = proving.judged(exercise, source)
    said = f"not yet: {outcome.message}" if outcome.state == "not yet" else outcome.state
    assert said == wanted, outcome


def test_ids_are_one_plain_word_each_and_no_two_are_the_same() -> None:
    ids = [one.id for one in EXERCISES]
    assert sorted(set(ids)) == sorted(ids)
    for name in ids:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)


@every_exercise
def test_it_has_three_hints_three_wrong_answers_and_a_why(exercise: Exercise) -> None:
    assert len(exercise.hints) == 3
    assert all(exercise.hints)
    assert len(exercise.wrong) >= 3
    assert exercise.why
    assert exercise.minutes >= 1
    assert exercise.solution != exercise.stub


@every_exercise
def test_each_of_its_sentences_is_got_by_a_wrong_answer(exercise: Exercise) -> None:
    got = {wrong.gets for wrong in exercise.wrong} | ({"rings"} if exercise.breaks else set())  # as opened
    assert set(exercise.messages) <= got, "a sentence that no wrong answer gets is not proved"
    assert got <= set(exercise.messages) | set(COMMON)
    assert not set(exercise.messages) & set(COMMON)


@every_exercise
def test_its_cell_is_short(exercise: Exercise) -> None:
    assert sum(bool(line.strip()) for line in exercise.stub.splitlines()) <= 8
    assert max(map(len, exercise.stub.splitlines())) <= 110
