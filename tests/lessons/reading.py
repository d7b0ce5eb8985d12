"""How long a lesson is, and how long it takes: measured as a reader goes through it."""

from __future__ import annotations

import math
import re

from tests.lessons.notebook import Lesson

WORDS_A_MINUTE = 200
SECONDS_A_CELL = 15
FOLDED = re.compile(r"<details>.*?</details>", re.DOTALL)


def words(text: str) -> int:
    """Return how many words a reader reads: no code block, no link's address, no sign of a table."""
    text = re.sub(r"```.*?```", " ", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)|<[^>]+>", " ", text)
    return len(re.findall(r"\w[\w’'.-]*", text))


def in_sight(lesson: Lesson) -> int:
    """Return how many words stand in the lesson's text, without what is folded."""
    return sum(words(FOLDED.sub(" ", source)) for source in lesson.prose)


def folded(lesson: Lesson) -> int:
    """Return how many words are folded: they are for whoever opens them, and count for no minutes."""
    return sum(words(part) for source in lesson.prose for part in FOLDED.findall(source))


def minutes(lesson: Lesson) -> int:
    """Return how many whole minutes the lesson takes, the exercises' own minutes included."""
    exercises: int = sum(cell.metadata.get("minutes", 0) for cell in lesson.code)
    return math.ceil(in_sight(lesson) / WORDS_A_MINUTE + len(lesson.code) * SECONDS_A_CELL / 60 + exercises)
