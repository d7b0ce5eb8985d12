"""A check of a right answer, alone and with eight learners who check at once, against a bare process.

Run ``python -m tests.benchmarks.bench_checks``. The bare process imports what a handler needs and does
nothing: most checks run the learner's code in such a one. Drills and exercises that run for longer on purpose
are left out. The aim is a check in at most 2 s, and in at most 5 s where eight learners check at once.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kit
from kit.exercises import course
from kit.exercises.authoring.proving import judged
from tests.benchmarks.figures import figure

LEARNERS = 8
EXERCISES = {one.id: one for one in course.all_exercises() if one.breaks is None and not one.long}
BARE = [sys.executable, "-c", "import asyncpg, cloudpickle, pgqueuer"]


class Learner:
    """A process with a kernel's part of a check, and a database and a working folder of its own."""

    def __init__(self, number: int, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.bench_checks", f"learner_{number}", str(folder)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1)
        self.answer()  # it is ready

    def begin(self, name: str) -> None:
        """Let it check the solution of an exercise."""
        assert self.process.stdin is not None
        print(name, file=self.process.stdin, flush=True)

    def answer(self) -> float:
        """Wait for it, and return how many seconds the check took."""
        assert self.process.stdout is not None
        return float(self.process.stdout.readline())

    def end(self) -> None:
        """Let it end by itself."""
        self.process.communicate()


def learn(database: str, folder: str) -> None:
    """Check what is named, line by line, and print how many seconds each took."""
    told, sys.stdout = sys.stdout, sys.stderr
    os.chdir(folder)
    with kit.postgres("embedded", database=database):
        print(0.0, file=told, flush=True)
        for line in sys.stdin:
            outcome = judged(EXERCISES[line.strip()], EXERCISES[line.strip()].solution)
            assert outcome.state == "passed", f"{line.strip()}: {outcome}"
            print(outcome.seconds, file=told, flush=True)


def alone(learner: Learner) -> list[tuple[float, float]]:
    """Return, for each exercise, the seconds of its check and of a bare process, in turns."""
    rounds = []
    for name in EXERCISES:
        learner.begin(name)
        ours = learner.answer()
        begin = time.perf_counter()
        subprocess.run(BARE, check=True)
        rounds.append((ours, time.perf_counter() - begin))
    return rounds


def together(learners: list[Learner]) -> list[float]:
    """Return the seconds of checks that all learners begin in the same moment."""
    taken = []
    for name in list(EXERCISES)[::4]:
        for learner in learners:
            learner.begin(name)
        taken += [learner.answer() for learner in learners]
    return taken


def main() -> None:
    """Compare and print."""
    with tempfile.TemporaryDirectory(prefix="kit-bench-checks-") as folder:
        places = [Path(folder, str(number)) for number in range(LEARNERS)]
        for place in places:
            place.mkdir()
        learners = [Learner(number, place) for number, place in enumerate(places)]
        for learner in learners:  # the first check makes its database
            learner.begin(next(iter(EXERCISES)))
            learner.answer()
        rounds = alone(learners[0])
        taken = together(learners)
        for learner in learners:
            learner.end()
    ours, bare = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(mine / theirs for mine, theirs in rounds)
    figure("a check", ours, "at most 2", "s", f"a bare process {bare:.2f} s, ratio {ratio:.2f}")
    figure(
        "a check, eight learners at once",
        statistics.median(taken),
        "at most 5",
        "s",
        f"nine in ten within {statistics.quantiles(taken, n=10)[-1]:.1f} s",
    )


if __name__ == "__main__":
    main() if len(sys.argv) == 1 else learn(*sys.argv[1:])
