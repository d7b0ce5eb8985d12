"""One figure of a benchmark, beside what it was at the last release, so that a loss is seen."""

from __future__ import annotations

import json
import os
from pathlib import Path

RELEASED = Path(__file__).with_name("released.json")
COLLECT = "BENCH_FIGURES"  # the file that `python -m tests.benchmarks --release` lets figures be written to


def figure(name: str, value: float, aim: str, unit: str = "", beside: str = "") -> None:
    """Print a figure: its ``value`` in ``unit`` (a ratio without one), what was aimed at, and what it was.

    ``beside`` is what else there is to say, such as the two medians that a ratio is made of.
    """
    released = json.loads(RELEASED.read_text("utf-8")) if RELEASED.exists() else {}
    was = f"{released[name]:.3g}" if name in released else "not measured"
    said = f"; {beside}" if beside else ""
    print(
        f"{name}: {value:.3g}{unit and ' ' + unit} (aim: {aim}; at the last release: {was}{said})", flush=True
    )
    if path := os.environ.get(COLLECT):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({name: round(value, 3)}) + "\n")
