"""The board's JavaScript and CSS as a browser gets them: each in one piece, and first of all the palette."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from kit import palette, theme
from kit.pictures.board.state import COLUMNS

SCRIPTS = (  # in this order
    "queue.js",
    "sizes.js",
    "small_cards.js",
    "motion.js",
    "field.js",
    "keys.js",
    "detail.js",
    "board.js",
)
STYLES = ("board.css", "cards.css")
_HERE = Path(__file__).parent


def script() -> str:
    """Return the JavaScript module, in which the constant ``LOOKS`` says how everything looks."""
    looks = {
        "columns": [
            {"name": palette.JOBS[first].word, "icon": palette.JOBS[first].sign, "statuses": [first, *others]}
            for first, *others in COLUMNS
        ],
        "words": {status: look.word for status, look in palette.JOBS.items()},
        "ramp": [dataclasses.asdict(step) for step in palette.RAMP],
        "retried": palette.RETRIED,
    }
    return f"const LOOKS = {json.dumps(looks)};\n" + _read(SCRIPTS)


def styles() -> str:
    """Return the style sheet: ``--c-<column>`` is a column's colour, ``.kb-p<n>`` a priority's."""
    looks = [palette.JOBS[first] for first, *_ in COLUMNS]
    themes = [
        "".join(f"--c-{look.word}: {getattr(look, name)};" for look in looks) + theme.neutral(at, "--n-")
        for at, name in enumerate(("light", "dark"))
    ]
    rules = [f".kit-board {{{themes[0]}}}", f":is({theme.DARK}) .kit-board {{{themes[1]}}}"]
    rules += [f".kit-board .kb-{look.word} {{--status: var(--c-{look.word});}}" for look in looks]
    rules += [
        f".kit-board .kb-p{at} {{--fill: {step.fill}; --on-fill: {step.text};}}"
        for at, step in enumerate(palette.RAMP)
    ]
    return "\n".join([*rules, _read(STYLES)])


def _read(names: tuple[str, ...]) -> str:
    return "".join((_HERE / name).read_text("utf-8") for name in names)
