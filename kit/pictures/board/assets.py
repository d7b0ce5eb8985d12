"""The board's JavaScript and CSS as a browser gets them: each in one piece, and first of all the palette."""

from __future__ import annotations

import json
from pathlib import Path

from kit import palette
from kit.pictures.board.state import COLUMNS

SCRIPTS = ("queue.js", "small_cards.js", "motion.js", "field.js", "detail.js", "board.js")  # in this order
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
        "ramp": [{"least": step.least, "name": step.name, "fill": step.fill} for step in palette.RAMP],
        "retried": palette.RETRIED,
    }
    return f"const LOOKS = {json.dumps(looks)};\n" + _read(SCRIPTS)


def styles() -> str:
    """Return the style sheet, in which ``--c-<column>`` is a column's colour and ``.kb-p<n>`` a priority's.

    A dark theme of JupyterLab's is told by the attribute that it sets on the page's body.
    """
    looks = [palette.JOBS[first] for first, *_ in COLUMNS]
    light = "".join(f"--c-{look.word}: {look.light};" for look in looks)
    dark = "".join(f"--c-{look.word}: {look.dark};" for look in looks)
    rules = [f".kit-board {{{light}}}", f"[data-jp-theme-light=false] .kit-board {{{dark}}}"]
    rules += [f".kit-board .kb-{look.word} {{--status: var(--c-{look.word});}}" for look in looks]
    rules += [f".kit-board .kb-p{at} {{--fill: {step.fill};}}" for at, step in enumerate(palette.RAMP)]
    return "\n".join([*rules, _read(STYLES)])


def _read(names: tuple[str, ...]) -> str:
    return "".join((_HERE / name).read_text("utf-8") for name in names)
