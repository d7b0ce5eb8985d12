"""Every solution broken mechanically: no mutant passes that is not listed as equivalent, with the reason.

They are some hundreds, so those of the exercises that ``KIT_MUTANTS`` names are judged: ids, or ``all``.
"""

from __future__ import annotations

import os

import pytest

from kit.exercises import course
from kit.exercises.authoring import proving
from kit.exercises.authoring.mutants import mutants
from kit.exercises.exercise import Exercise
from kit.sources import Postgres

CHOSEN = os.environ.get("KIT_MUTANTS", "stuck longest stale").split()
EXERCISES = course.all_exercises()


@pytest.mark.parametrize(
    "exercise",
    [pytest.param(one, id=one.id) for one in EXERCISES if one.id in CHOSEN or CHOSEN == ["all"]],
)
def test_no_mutant_of_a_solution_passes(exercise: Exercise, lesson: Postgres) -> None:
    alive = [proof.what for proof in proving.mutant_proofs(exercise) if not proof.holds]
    assert alive == []


@pytest.mark.parametrize("exercise", [pytest.param(one, id=one.id) for one in EXERCISES if one.equivalent])
def test_each_mutant_that_is_listed_as_equivalent_is_one_and_has_its_reason(exercise: Exercise) -> None:
    there = {name for name, _ in mutants(exercise.solution)}
    assert set(exercise.equivalent) <= there, set(exercise.equivalent) - there
    assert all(exercise.equivalent.values())
