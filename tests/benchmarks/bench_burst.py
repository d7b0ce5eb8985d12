"""A class opens the same lesson at once: each learner has a kernel, a Postgres and a folder of their own.

Run ``python -m tests.benchmarks.bench_burst [learners] [lesson …]`` on Linux: 30, and ``00_start_here``, if
nothing is said. It prints when the first, the middle and the last learner were through, and of each learner
the processor time and the memory: of the kernel, of Postgres, and of all that both started. What runs the
cells is not in them. The aims are 2.5 s and 150 MiB.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import nbformat
import psutil
from nbclient.exceptions import CellExecutionError

from tests.benchmarks.figures import figure
from tests.kernels import notebook_client

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
LEARNERS, LESSON = 30, "00_start_here"
PATIENCE = 900  # seconds a cell: thirty at once on two cores
ADOPT = 36  # prctl's PR_SET_CHILD_SUBREAPER: a server, too, ends as a child of this process, which counts it


class Learner:
    """A kernel that runs a lesson, and lives until all are through."""

    def __init__(self, folder: Path, lesson: str) -> None:
        self.folder = folder
        self.notebook = nbformat.read(NOTEBOOKS / f"{lesson}.ipynb", as_version=4)
        self.seconds = 0.0
        self.problem = ""

    async def learn(self, through: asyncio.Barrier, end: asyncio.Event) -> None:
        """Run the lesson from top to bottom."""
        home = self.folder / "home"
        home.mkdir()
        for each in (self.folder, home):
            each.chmod(0o755)  # root's embedded server runs as another account, which must get in
        environment = os.environ | {"KIT_HOME": str(home), "KIT_POSTGRES": "embedded"}
        client = notebook_client(self.notebook, startup_timeout=PATIENCE)
        client.timeout = PATIENCE
        began = time.perf_counter()
        async with client.async_setup_kernel(env=environment, cwd=str(self.folder)):
            try:
                for number, cell in enumerate(self.notebook.cells):
                    await client.async_execute_cell(cell, number)
            except CellExecutionError as error:
                self.problem = str(error).strip().splitlines()[-1]
            self.seconds = time.perf_counter() - began
            await through.wait()
            await end.wait()


def below() -> list[psutil.Process]:
    """Return all processes that learners started."""
    found: list[psutil.Process] = psutil.Process().children(recursive=True)
    return found


def memory() -> float:
    """Return the memory of all those processes in MiB; of what several share each has a part."""
    size = 0
    for process in below():
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has ended
            continue
        size += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return size / 1024


async def burst(learners: list[Learner]) -> float:
    """Let all learn at once, and return their memory in MiB when all are through."""
    through, end = asyncio.Barrier(len(learners) + 1), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for learner in learners:
            tasks.create_task(learner.learn(through, end))
        await through.wait()
        size = memory()
        end.set()
    return size


def processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(count: int, lesson: str, folder: Path) -> None:
    """Let so many learn a lesson in that folder, and print the figures."""
    folder.chmod(0o755)
    learners = [Learner(folder / str(number), lesson) for number in range(count)]
    for learner in learners:
        learner.folder.mkdir()
    before = processor_time()
    size = asyncio.run(burst(learners))
    while below():  # servers end a moment after their last kernel
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)
    each = (processor_time() - before) / count
    times = sorted(learner.seconds for learner in learners)
    problems = sorted({learner.problem for learner in learners} - {""})
    passed = sum(not learner.problem for learner in learners)
    print(f"{lesson}: {passed} of {count} passed. {' | '.join(problems)}")
    said = f"first {times[0]:.1f}, median {statistics.median(times):.1f}"
    figure(f"{count} learners, {lesson}: the last is through", times[-1], "at most 40", "s", said)
    figure(f"{count} learners, {lesson}: processor time of each", each, "at most 2.5", "s")
    figure(f"{count} learners, {lesson}: memory of each", size / count, "at most 150", "MiB")


def main() -> None:
    """Measure and print."""
    words = sys.argv[1:]
    count = int(words.pop(0)) if words and words[0].isdecimal() else LEARNERS
    ctypes.CDLL(None).prctl(ADOPT, 1, 0, 0, 0)
    for lesson in words or [LESSON]:
        with tempfile.TemporaryDirectory(prefix="kit-burst-", ignore_cleanup_errors=True) as folder:
            run(count, lesson, Path(folder))


if __name__ == "__main__":
    main()
