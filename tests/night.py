"""What takes too long for every run: ``KIT_NIGHT="1 2 3"`` tries it, the capstone with these seeds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kit.exercises.exercise import Exercise

ROOT = Path(__file__).parents[1]

SEEDS = [int(seed) for seed in os.environ.get("KIT_NIGHT", "").split()]
DRILLS_BY_DAY = ("renamed", "requeue")
# Lessons that take minutes. By day each of their sections runs by itself, and the whole notebook runs with
# the solutions of its exercises.
LONG = () if SEEDS else ("06_crashes", "09_concurrency", "13_to_production")


def by_day(exercise: Exercise) -> bool:
    """Return whether all answers of this exercise are tried in every run."""
    if exercise.breaks is not None:
        return bool(SEEDS) or exercise.id in DRILLS_BY_DAY
    return not exercise.long


by_night = pytest.mark.skipif(
    not SEEDS, reason="it installs an environment of its own, so KIT_NIGHT tries it"
)


def environment(folder: Path, *packages: str) -> Path:
    """Make a virtual environment with the kit and these packages in it; skip where that is not possible."""
    made = folder / "environment"
    python = str(made / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
    wanted = ["-e", f"{ROOT}[lab]", *packages]
    for command in (
        ["venv", "--python", sys.executable, str(made)],
        ["pip", "install", "--python", python, *wanted],
    ):
        done = subprocess.run([sys.executable, "-m", "uv", *command], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"{' '.join(packages)} cannot be installed: {done.stderr.strip()[-500:]}")
    return made
