"""The exercise on cron expressions shows where an answer differs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kit.exercises.exercise import NotYet
from kit.exercises.lessons.time import MEANT, three_expressions


def test_an_hour_too_many_is_among_the_runs_that_are_shown() -> None:
    answer: Any = MEANT | {"every_ten": "*/10 8-18 * * *"}
    with pytest.raises(NotYet) as not_yet:
        asyncio.run(three_expressions(answer))
    assert not_yet.value.actual != not_yet.value.expected


@pytest.mark.parametrize(("first", "runs"), [("0 0 30 2 *", 0), ("0 0 1 1 * 0 2027", 1)])
def test_a_day_that_never_comes_or_never_again_has_no_more_runs_than_that(first: str, runs: int) -> None:
    answer: Any = MEANT | {"first": first}
    with pytest.raises(NotYet) as not_yet:
        asyncio.run(three_expressions(answer))
    assert (not_yet.value.message, len(not_yet.value.actual)) == ("other-runs", runs)
    assert len(not_yet.value.expected) > runs
