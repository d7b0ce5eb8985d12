"""How a status and a priority look: sign, word and colours. Whatever shows one is given it from here.

The colours carry white text at 4.5:1, or stand out from their theme's ground at 3:1; none is the only sign.
"""

from __future__ import annotations

from dataclasses import dataclass

_GREY, _SLATE, _STONE = "#757575", "#6f7b87", "#6b7280"
_BLUE, _INDIGO, _IRIS, _VIOLET = "#1976d2", "#3d6fb0", "#5f5fc4", "#8a4fc0"
_GREEN, _AMBER, _RUST, _RED, _PINK = "#2a8553", "#a86400", "#b4530c", "#d23c3c", "#b5377f"


@dataclass(frozen=True)
class Look:
    """How a status looks.

    Attributes:
        word: what it is called.
        sign: one character, for those who do not see its colour.
        light, dark: its colour on a light and on a dark ground.
        marker: matplotlib's name of its sign in a plot.
    """

    word: str
    sign: str
    light: str
    dark: str
    marker: str


def _look(word: str, sign: str, colour: str, marker: str) -> Look:
    return Look(word, sign, colour, colour, marker)


# What PGQueuer calls a job's status.
JOBS = {
    "queued": _look("queued", "◷", _SLATE, ">"),
    "picked": _look("picked", "▶", _BLUE, ">"),
    "successful": _look("successful", "✓", _GREEN, "o"),
    "exception": _look("exception", "✗", _RED, "X"),
    "failed": _look("held", "‖", _AMBER, "s"),
    "canceled": _look("canceled", "⊘", _GREY, "D"),
    "deleted": _look("deleted", "⊘", _GREY, "d"),
}

# The status of a staged run; first what needs somebody.
RUNS = {
    "failed": _look("failed", "✗", _RED, "X"),
    "running": _look("running", "▶", _BLUE, ">"),
    "waiting": _look("waiting", "⋯", _VIOLET, ">"),
    "pending": _look("pending", "◷", "#5d6873", ">"),
    "canceled": _look("canceled", "⊘", _GREY, "D"),
    "done": _look("done", "✓", _GREEN, "o"),
}

RETRIED = ("↻", "retry", "retries")  # the sign of a job that was put back, and what one and many are called


@dataclass(frozen=True)
class Step:
    """Priorities that look the same.

    Attributes:
        least: the lowest of them; None where there is none.
        name: what they are called.
        fill: their colour, which carries white text.
    """

    least: int | None
    name: str
    fill: str


RAMP = (
    Step(None, "below 0", _STONE),
    Step(0, "0", _INDIGO),
    Step(1, "1–2", _IRIS),
    Step(3, "3–5", _VIOLET),
    Step(6, "6–9", _PINK),
    Step(10, "10 and more", _RUST),
)
STAGES = (_INDIGO, _RUST, _GREEN, _VIOLET, _PINK, _STONE, "#0f7b8a", _AMBER)  # the stages of a run, in order

# In a plot, where most of what there is to see is waiting: its thin line, and the end of what still does.
WAITS = "#c3c9cf"
WAITING = _look("waiting", "◷", "#9aa3ab", ">")


def fill(priority: int) -> str:
    """Return a priority's colour."""
    return next(step.fill for step in reversed(RAMP) if step.least is None or priority >= step.least)


def retries(attempts: int) -> str:
    """Say how often a job was put back, such as ``2 retries``."""
    return f"{attempts} {RETRIED[1] if attempts == 1 else RETRIED[2]}"
