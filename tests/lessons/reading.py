"""How long a lesson is, and how long it takes: measured as a reader goes through it.

The weights are fitted to one beginner's walk through the course, who needed 18 to 34 minutes where words and
cells alone had said 15 to 19: reading code, predicting and looking take more time than the text.
"""

from __future__ import annotations

import math
import re
from typing import Any

from tests.lessons.notebook import Lesson

WORDS_A_MINUTE = 200
SECONDS_A_CELL = 10  # to run it, and to see what it shows
SECONDS_A_LINE = 3  # of code
SECONDS_A_PREDICTION = 20
SECONDS_A_LOOK = 10
FOLDED = re.compile(r"<details>.*?</details>", re.DOTALL)


def words(text: str) -> int:
    """Return how many words a reader reads: no code block, no link's address, no sign of a table."""
    text = re.sub(r"```.*?```", " ", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)|<[^>]+>", " ", text)
    return len(re.findall(r"\w[\w’'.-]*", text))


def code_lines(cell: Any) -> int:
    """Return how many lines of Python a code cell has: no empty one, and not the name of a file to write."""
    lines = [line for line in cell.source.splitlines() if line.strip()]
    return len(lines) - bool(lines and lines[0].startswith("%%"))


def in_sight(lesson: Lesson) -> int:
    """Return how many words stand in the lesson's text, without what is folded."""
    return sum(words(FOLDED.sub(" ", source)) for source in lesson.prose)


def folded(lesson: Lesson) -> int:
    """Return how many words are folded: they are for whoever opens them, and count for no minutes."""
    return sum(words(part) for source in lesson.prose for part in FOLDED.findall(source))


def minutes(lesson: Lesson) -> int:
    """Return how many whole minutes the lesson takes, the exercises' own minutes included."""
    text = "\n".join(lesson.prose)
    exercises: int = sum(cell.metadata.get("minutes", 0) for cell in lesson.code)
    seconds = (
        60 * in_sight(lesson) / WORDS_A_MINUTE
        + SECONDS_A_CELL * len(lesson.code)
        + SECONDS_A_LINE * sum(map(code_lines, lesson.read_code))
        + SECONDS_A_PREDICTION * text.count("**Predict.**")
        + SECONDS_A_LOOK * text.count("**Look")
    )
    return math.ceil(seconds / 60 + exercises)
