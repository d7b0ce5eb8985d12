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
