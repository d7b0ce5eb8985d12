"""The embedded server against initdb and pg_ctl by hand: seconds until it accepts logins, in turns.

Run ``python -m tests.benchmarks.bench_embedded``. *Cold* is a first start from nothing; the aim is at most
1.3 times what initdb and a start by hand take. *Warm* is a start with the files in place; the aim is 0.3 s.
Both in a fresh process, imports included. Beside them, what a lesson's first cell takes, and later calls.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kit.sources import binaries, files
from tests.benchmarks.figures import figure

ROUNDS = 9
SERVER = """
import time; begin = time.perf_counter()
from kit.sources import sharing
from kit.sources.embedded import Embedded
address, lease = sharing.join(Embedded.find())
print(time.perf_counter() - begin)
"""
CELL = """
import contextlib, io, json, time
times = {}
def timed(what, call, *arguments, **options):
    begin = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        call(*arguments, **options)
    times[what] = time.perf_counter() - begin
def first():
    import kit
    kit.postgres("embedded", database="one")
timed("the first cell of a notebook", first)
import kit
timed("the same cell again", kit.postgres, "embedded", database="one")
timed("a new lesson's database", kit.postgres, "embedded", database="two")
timed("kit.reset()", kit.reset)
print(json.dumps(times))
"""


def in_a_new_process(code: str, home: Path) -> Any:
    """Run ``code`` with an own home and return what it prints last; the server has ended afterwards."""
    environment = os.environ | {"KIT_HOME": str(home)}
    said = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=True)
    while any(home.glob("*/data/postmaster.pid")):
        time.sleep(0.05)
    return json.loads(said.stdout.splitlines()[-1])


def by_hand(folder: Path) -> tuple[float, float]:
    """Return the seconds of a first and a second start with initdb and pg_ctl, as their manuals show them."""
    programs = binaries.find().folder
    account: dict[str, Any] = {}
    if files.is_root():
        shutil.chown(folder, "nobody")
        account = {"user": "nobody"}

    def run(name: str, *arguments: str) -> None:
        subprocess.run(
            [binaries.program(programs, name), "-D", str(folder / "data"), *arguments],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            **account,
        )

    def start() -> None:
        run("pg_ctl", "start", "-w", "-l", str(folder / "log"), "-o", f"-h 127.0.0.1 -k {folder} -p 54999")

    begin = time.perf_counter()
    run("initdb", "-U", "postgres")
    start()
    cold = time.perf_counter() - begin
    run("pg_ctl", "stop", "-w", "-m", "fast")
    begin = time.perf_counter()
    start()
    warm = time.perf_counter() - begin
    run("pg_ctl", "stop", "-w", "-m", "fast")
    return cold, warm


def in_a_new_folder(measure: Callable[[Path], Any]) -> Any:
    """Return what ``measure`` does in an empty folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="kit-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        return measure(Path(folder))


def main() -> None:
    """Compare and print."""
    in_a_new_folder(
        lambda home: in_a_new_process(SERVER, home)
    )  # the programs are in memory for all that follows
    rounds = []
    for _ in range(ROUNDS):
        ours = in_a_new_folder(lambda home: [in_a_new_process(SERVER, home) for _ in range(2)])
        rounds.append((*ours, *in_a_new_folder(by_hand)))
    our_cold, our_warm, cold, warm = (statistics.median(column) for column in zip(*rounds, strict=True))
    cold_ratio = statistics.median(each[0] / each[2] for each in rounds)
    figure("cold start / by hand", cold_ratio, "at most 1.3", "", f"{our_cold:.2f} s, by hand {cold:.2f} s")
    figure("warm start", our_warm, "at most 0.3", "s", f"by hand {warm:.2f} s")
    cells = [in_a_new_folder(lambda home: in_a_new_process(CELL, home)) for _ in range(5)]
    for what in cells[0]:
        print(f"{what}: {statistics.median(cell[what] for cell in cells):.3f} s")


if __name__ == "__main__":
    main()
