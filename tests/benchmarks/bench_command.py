"""`kit --help` against a Python that only imports typer: seconds until it has ended, in turns.

Run ``python -m tests.benchmarks.bench_command``. It prints the median of both and the median of the ratios.
The aim is a `kit --help` in under 0.3 s, so that the command feels instant.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from tests.benchmarks.figures import figure

ROUNDS = 15
OURS = [sys.executable, "-m", "kit.cli.app", "--help"]
BARE = [sys.executable, "-c", "import typer"]


def seconds(command: list[str]) -> float:
    """Return how long ``command`` takes from start to end."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    """Compare and print."""
    seconds(OURS), seconds(BARE)
    rounds = [(seconds(OURS), seconds(BARE)) for _ in range(ROUNDS)]
    ours, bare = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(mine / theirs for mine, theirs in rounds)
    figure("kit --help", ours, "under 0.3", "s", f"import typer {bare:.3f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
