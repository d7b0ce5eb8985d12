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
    wanted = set(sys.argv[1:])
    names = sorted(path.stem for path in HERE.glob("bench_*.py"))
    if unknown := wanted - {name.removeprefix("bench_") for name in names}:
        print(f"There is no benchmark {sorted(unknown)}. There are: {[n.removeprefix('bench_') for n in names]}")
        return 1
    failed = 0
    for name in names:
        if wanted and name.removeprefix("bench_") not in wanted:
            continue
        print(f"\n== {name.removeprefix('bench_')}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
