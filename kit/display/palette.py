"""The look of a status and a priority: sign, word and colours. All pictures take it from here.

A status's colour carries white text at 4.5:1, and stands out from either theme's ground at 3:1; a priority's
carries its own text at 4.5:1. No colour is the only sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_GREY, _SLATE, _BLUE, _VIOLET = "#757575", "#6f7b87", "#1976d2", "#8a4fc0"
_GREEN, _AMBER, _RED = "#2a8553", "#a86400", "#d23c3c"


@dataclass(frozen=True)
class Look:
    """How a status looks.

    Attributes:
        word: what it is called.
        sign: one character, for those who do not see its colour.
        colour: its colour, on a light and on a dark ground.
        marker: matplotlib's name of its sign in a plot.
    """

    word: str
    sign: str
    colour: str
    marker: str


# By what PGQueuer calls a job's status, in the order in which a picture names them.
JOBS = {
    "queued": Look("waiting", "◷", _SLATE, ">"),
    "picked": Look("running", "▶", _BLUE, ">"),
    "successful": Look("done", "✓", _GREEN, "o"),
    "exception": Look("failed", "✗", _RED, "X"),
    "failed": Look("held", "‖", _AMBER, "s"),
    "canceled": Look("cancelled", "⊘", _GREY, "D"),
    "deleted": Look("deleted", "⊖", _GREY, "d"),
}

# The status of a staged run; first what needs somebody.
RUNS = {
    "failed": Look("held", "‖", _AMBER, "s"),
    "running": Look("running", "▶", _BLUE, ">"),
    "waiting": Look("waiting", "⋯", _VIOLET, ">"),
    "pending": Look("pending", "◷", "#5d6873", ">"),
    "canceled": Look("cancelled", "⊘", _GREY, "D"),
    "done": Look("done", "✓", _GREEN, "o"),
}

# Colours without a meaning, for a light and a dark theme: text, less important text, the ground, what
# lies on it, what stands out from it, and lines.
NEUTRAL = {
    "text": ("#212121", "#e8e8e8"),
    "quiet": ("#5f6368", "#b4b8bd"),
    "ground": ("#ffffff", "#111111"),
    "raised": ("#ffffff", "#1c1c1c"),
    "tint": ("#f2f2f2", "#303030"),
    "rule": ("#d9d9d9", "#4d4d4d"),
}

RETRIED = ("↻", "retry", "retries")  # the sign of a job that was put back, and what one and many are called
AGAIN = Look(RETRIED[1], RETRIED[0], _AMBER, "v")  # an attempt that was not the last one


@dataclass(frozen=True)
class Step:
    """Priorities that look the same.

    Attributes:
        least: the lowest of them; None where there is none.
        name: what they are called.
        fill: their colour.
        text: the colour of what is written on it.
    """

    least: int | None
    name: str
    fill: str
    text: str


# From light to dark in even steps: what is more urgent is darker, also for those who do not tell red from
# green, or see no colour at all.
RAMP = (
    Step(None, "below 0", "#c1d4e3", "#111827"),
    Step(0, "0", "#83b6de", "#111827"),
    Step(1, "1–2", "#5398d6", "#111827"),
    Step(3, "3–5", "#2b6dc0", "#ffffff"),
    Step(6, "6–9", "#3a4699", "#ffffff"),
    Step(10, "10 and more", "#3a2259", "#ffffff"),
)

# In a plot most of a job's line is waiting: the colour of this thin line, and the look of a waiting job.
WAITS = "#c3c9cf"
WAITING = Look("waiting", "◷", "#9aa3ab", ">")


def step(priority: int) -> Step:
    """Return how a priority looks."""
    return next(step for step in reversed(RAMP) if step.least is None or priority >= step.least)


def retries(attempts: int) -> str:
    """Say how often a job was put back, such as ``2 retries``."""
    return f"{attempts} {RETRIED[1] if attempts == 1 else RETRIED[2]}"


def for_pages() -> dict[str, Any]:
    """Return the looks of statuses and the neutral colours, for a picture that a browser draws."""
    looks = {
        status: {"word": look.word, "sign": look.sign, "colour": look.colour} for status, look in JOBS.items()
    }
    return {"jobs": looks, "neutral": NEUTRAL, "again": RETRIED[0]}
