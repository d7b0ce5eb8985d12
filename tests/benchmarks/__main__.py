"""Run every benchmark and print its figures: ``python -m tests.benchmarks [--release] [name …]``.

Each one runs the kit and the bare alternative alternately and prints the median ratio, beside what it
was at the last release. ``--release`` makes today's figures those. Nothing here is asserted by a test: a
busy machine makes every timing wrong.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.figures import COLLECT, RELEASED

HERE = Path(__file__).parent


def main() -> int:
    """Run the named benchmarks, or all; return the number of those that failed."""
    release = "--release" in sys.argv
    wanted = [name for name in sys.argv[1:] if name != "--release"]
    names = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    if unknown := set(wanted) - set(names):
        print(f"There is no benchmark {sorted(unknown)}. There are: {names}")
        return 1
    failed = 0
    with tempfile.TemporaryDirectory(prefix="kit-bench-") as folder:
        collected = Path(folder) / "figures"
        collected.touch()
        for name in wanted or names:
            print(f"\n== {name}", flush=True)
            command = [sys.executable, "-m", f"tests.benchmarks.bench_{name}"]
            failed += subprocess.run(command, env=os.environ | {COLLECT: str(collected)}).returncode != 0
        if release:
            _keep(collected)
    return failed


def _keep(collected: Path) -> None:
    """Make what was measured the figures of the release; those of benchmarks that did not run stay."""
    figures = json.loads(RELEASED.read_text("utf-8")) if RELEASED.exists() else {}
    for line in collected.read_text("utf-8").splitlines():
        figures |= json.loads(line)
    RELEASED.write_text(json.dumps(dict(sorted(figures.items())), indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
