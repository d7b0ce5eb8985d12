"""From a fresh clone to a served lesson, with cold caches: ``python3 -m kit lab`` against pip, in turns.

Run ``python -m tests.benchmarks.bench_start``. It needs the network, and prints the median of each in seconds
and in seconds of processor time, and the median of the ratios: once where uv is on the PATH, and once where
pip has to fetch it. The aim is 0.4 of pip's time.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from pathlib import Path

from tests.benchmarks.figures import figure

ROUNDS = 3
ROOT = Path(__file__).parents[2]
PYTHON3 = getattr(sys, "_base_executable", sys.executable)
OURS = [[PYTHON3, "-m", "kit", "lab", "--no-browser"]]
PIP = [
    [PYTHON3, "-m", "venv", ".venv"],
    [".venv/bin/python", "-m", "pip", "install", "-q", "-e", ".[lab]"],
    [".venv/bin/python", "-m", "kit.cli.app", "lab", "--no-browser"],
]
SYSTEM = "/usr/local/bin:/usr/bin:/bin"
PATHS = {"uv": os.pathsep.join([sysconfig.get_path("scripts"), SYSTEM]), "fetched": SYSTEM}


def served(commands: list[list[str]], path: str) -> tuple[float, float]:
    """Run commands in a clone, the last until its lesson is served; return seconds and processor seconds."""
    with tempfile.TemporaryDirectory(prefix="kit-start-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        home = Path(folder)
        files = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
        for name in files.stdout.splitlines():
            (home / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, home / "clone" / name)
        cut = ("PYTHON", "PIP_CACHE", "UV_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(cut)}
        environment |= {"HOME": folder, "XDG_CACHE_HOME": f"{folder}/cache", "KIT_HOME": f"{folder}/kit"}
        environment |= {"PATH": path, "KIT_POSTGRES": "embedded"}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        for command in commands[:-1]:
            subprocess.run(
                command, cwd=home / "clone", env=environment, check=True, stdout=subprocess.DEVNULL
            )
        with subprocess.Popen(
            commands[-1], cwd=home / "clone", env=environment, stdout=subprocess.PIPE, text=True
        ) as lab:
            assert lab.stdout is not None
            address = next(found for line in lab.stdout if (found := re.search(r"http://\S+", line)))
            with urllib.request.urlopen(address[0]) as page:
                assert page.status == 200
            seconds = time.perf_counter() - began
            lab.terminate()
            lab.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Compare and print."""
    rounds = [
        {"pip": served(PIP, SYSTEM)} | {name: served(OURS, path) for name, path in PATHS.items()}
        for _ in range(ROUNDS)
    ]
    for name, what in (("uv", "a lesson from a clone, with uv"), ("fetched", "the same, uv fetched")):
        for column, unit in enumerate(("seconds", "processor seconds")):
            ours, pip = (statistics.median(each[key][column] for each in rounds) for key in (name, "pip"))
            ratio = statistics.median(each[name][column] / each["pip"][column] for each in rounds)
            figure(f"{what}, in {unit}", ratio, "at most 0.4", beside=f"{ours:.1f} s, pip {pip:.1f} s")


if __name__ == "__main__":
    main()
