"""Run every benchmark and print its ratios: ``python -m tests.benchmarks [name …]``.

Each one runs the kit and the bare alternative alternately and prints the median ratio. Nothing here is
asserted by a test: a busy machine makes every timing wrong.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Run the named benchmarks, or all; return the number of those that failed."""
    wanted = sys.argv[1:]
    names = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    if unknown := set(wanted) - set(names):
        print(f"There is no benchmark {sorted(unknown)}. There are: {names}")
        return 1
    failed = 0
    for name in wanted or names:
        print(f"\n== {name}", flush=True)
        command = [sys.executable, "-m", f"tests.benchmarks.bench_{name}"]
        failed += subprocess.run(command, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
