"""A section is true whenever it is run, and what it credits is what did it.

The tests of one lesson share a kernel, which ends before the next lesson's begins.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.lessons.ingredients import Ingredient, beats_of
from tests.lessons.learner import Learner
from tests.lessons.notebook import COMPANIONS, LESSONS, Section, read
from tests.night import LONG, SEEDS

EXERCISE = "Your turn"


def check(section: Section) -> None:
    """Hold the section's Looks against what it showed."""
    for look in section.looks():
        look.check()


def test_a_section_that_is_run_first_shows_what_its_text_says(learner: Learner) -> None:
    for section in learner.lesson.sections:
        check(learner.run_first(section))


def test_a_section_runs_again_after_any_other_whose_cells_were_each_run_twice(learner: Learner) -> None:
    """In random order: each section with every cell run twice in a row, then the next one as it is.

    By day every other section; by night all, but where worker processes are started, which takes its time.
    """
    if learner.lesson.name in LONG:
        pytest.skip("it takes minutes, and is run by night")
    seed = random.randrange(10_000)
    print(f"seed {seed}")  # pytest shows it when this fails
    sections = learner.lesson.sections
    random.Random(seed).shuffle(sections)
    learner.forget()
    learner.run(learner.lesson.setup, times=2)
    step = 2 if not SEEDS or any("kit.spawn" in cell.source for cell in learner.lesson.code) else 1
    for section, after in list(zip(sections, [*sections[1:], sections[0]], strict=True))[::step]:
        learner.run_section(section, times=2)
        check(learner.run_section(after))


def every_ingredient() -> list[Any]:
    """Return what the sections credit."""
    return [
        pytest.param(name, title, ingredient, id=f"{name[:2]}-{title.split(' ·')[0]}-{ingredient.name}")
        for name in [*LESSONS, *COMPANIONS]
        for title, ingredients in beats_of(name).items()
        if not isinstance(ingredients, str)
        for ingredient in ingredients
    ]


@pytest.mark.parametrize("name", [*LESSONS, "in_production"])
def test_each_section_names_what_it_credits_or_says_why_there_is_nothing(name: str) -> None:
    titles = [section.title for section in read(name).sections if section.title != EXERCISE]
    beats = beats_of(name)
    assert [title for title in beats if title != EXERCISE] == titles
    for title, credited in beats.items():
        assert credited, f"{name}, {title!r}: name an ingredient, or say why there is none"


@pytest.mark.parametrize("name", [name for name in LESSONS if beats_of(name)])
def test_in_each_section_the_learner_changes_something_and_what_it_shows_then_is_proved(name: str) -> None:
    lesson, beats = read(name), beats_of(name)
    for section in lesson.sections:
        if section.title == EXERCISE:
            continue
        asked = sum(cell.source.count("**Change it.**") for cell in section.cells)
        credited = beats[section.title]
        named = [
            one.name for one in credited if not isinstance(one, str) and one.name.startswith("change it")
        ]
        assert asked == len(named) > 0, f"{section.title!r} asks for {asked} changes, and proves {named}"


@pytest.mark.parametrize(("learner", "title", "ingredient"), every_ingredient(), indirect=["learner"])
def test_without_what_a_section_credits_the_outcome_changes_as_the_text_says(
    learner: Learner, title: str, ingredient: Ingredient
) -> None:
    section = learner.lesson.section(title)
    ingredient.prove(learner.run_first(section), learner.run_first(section, ingredient.without))
