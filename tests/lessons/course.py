"""The whole course, several times, each time in another order: ``python -m tests.lessons.course 3``.

With ``interrupted`` behind the number, each section is interrupted in a cell of its own and then run whole.
All lessons write into one folder and use one server, as they do where somebody learns. It takes some
minutes a round, so it is no test; it stops at the first sentence that is not true, and at anything left.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from kit.sources.container import LABEL
from tests.conftest import processes_about
from tests.lessons.learner import execute, learner_of
from tests.lessons.notebook import COMPANIONS, LESSONS, Section

TO_END = 60  # seconds for the server to stop after the last kernel


def main(rounds: int, seed: int, *, interrupted: bool = False) -> None:
    """Run the course so often; ``seed`` says in which orders, and where it is interrupted."""
    orders = random.Random(seed)
    before = left_in_the_temporary_folder()
    with tempfile.TemporaryDirectory(prefix="kit-course-") as place:
        os.environ["KIT_HOME"] = str(Path(place, "home"))
        Path(place).chmod(0o755)  # root's embedded server runs as another account, which must get in
        notebooks = Path(place, "notebooks")
        notebooks.mkdir()
        for number in range(1, rounds + 1):
            names = [*LESSONS, *COMPANIONS]
            orders.shuffle(names)
            for name in names:
                began = time.monotonic()
                chance = orders if interrupted else None
                for section in sections_of(name, str(notebooks), chance):
                    for look in section.looks():
                        look.check()
                print(f"round {number}: {name}, {time.monotonic() - began:.0f} s", flush=True)
        until_gone(place)
    assert (new := left_in_the_temporary_folder() - before) == set(), f"files were left: {new}"
    print(f"{rounds} rounds (seed {seed}): every sentence holds, and nothing is left.")


def sections_of(name: str, folder: str, chance: random.Random | None) -> Iterator[Section]:
    """Yield the sections of a lesson that was run; with ``chance``, each after it was interrupted."""
    if chance is None:
        yield from execute(name, folder).sections
        return
    with learner_of(name, folder) as learner:
        learner.run(learner.lesson.setup)
        for section in learner.lesson.sections:
            learner.interrupt(section, chance)
            try:
                executed = learner.run_section(section)
            except AssertionError as error:
                if "close that connection, then try again" not in str(error):
                    raise
                learner.close_connections()  # one that was interrupted in the midst of a statement
                learner.run(learner.lesson.setup)
                executed = learner.run_section(section)
            yield executed


def until_gone(place: str) -> None:
    """Wait until no process and no container of the kit's is left."""
    deadline = time.monotonic() + TO_END
    while left := [*processes_about(Path(place)), *containers_about(place)]:
        assert time.monotonic() < deadline, f"{TO_END} s after the last lesson there are: {left}"
        time.sleep(0.2)


def containers_about(place: str) -> list[str]:
    """Return the kit's containers whose server is kept in ``place``."""
    if shutil.which("docker") is None:
        return []
    command = ["docker", "ps", "--all", "--filter", f"label={LABEL}", "--format", "{{.Names}} {{.Labels}}"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [line for line in listed.splitlines() if place in line]


def left_in_the_temporary_folder() -> set[str]:
    """Return the names of what the kit and its kernels keep there."""
    return {
        path.name for path in Path(tempfile.gettempdir()).iterdir() if path.name.startswith(("kit-", "pgq"))
    }


if __name__ == "__main__":
    rounds, *rest = sys.argv[1:] or ["1"]
    main(int(rounds), seed=random.randrange(10_000), interrupted="interrupted" in rest)
