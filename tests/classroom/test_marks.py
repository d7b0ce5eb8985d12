"""Marks: an assignment of three exercises goes through nbgrader and otter, and their grades are right."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest

from kit.exercises import course
from tests.conftest import processes_about
from tests.night import by_night, environment
from tests.waiting import wait_until

pytestmark = by_night

POINTS = {"statuses": 1, "fetched": 2, "greet": 3}  # a prediction, a query and a consumer
SETUP = """\
import asyncpg, kit
from contextlib import asynccontextmanager
from pgqueuer import Job, PgQueuer
from pgqueuer.db import AsyncpgDriver
kit.postgres(database="marks")
"""
RIGHT = {one: course.find(one).solution for one in POINTS}
WRONG = {one: course.find(one).wrong[0].answer for one in POINTS}
# Ada is right, so that what she predicted must not count for Dan, who did nothing.
HANDED_IN: dict[str, Mapping[str, str]] = {
    "ada": RIGHT,
    "bob": WRONG,
    "cleo": RIGHT | {"fetched": WRONG["fetched"]},
    "dan": {},
}
MARKS = {"ada": 6.0, "bob": 0.0, "cleo": 4.0, "dan": 0.0}


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="kit-marks-"))
    made.chmod(0o755)
    yield made
    wait_until("the end of all it started", lambda: not processes_about(made), 30)
    shutil.rmtree(made)


def ran(folder: Path, made: Path, *command: str) -> None:
    ours = {"KIT_HOME": f"{folder}/kit", "KIT_POSTGRES": "embedded", "HOME": str(folder)}
    path = {"PATH": f"{made / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=os.environ | ours | path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def saved(path: Path, cells: list[Any]) -> None:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)


def cell(source: str, name: str = "", points: int | None = None) -> Any:
    """A cell; with a name one of nbgrader's: for an answer, or with points the check of one."""
    made = nbformat.v4.new_code_cell(source)
    if name:
        is_check = points is not None
        about: dict[str, Any] = {
            "grade": is_check,
            "locked": is_check,
            "solution": not is_check,
            "task": False,
        }
        about |= {"grade_id": name, "schema_version": 3, "cell_type": "code"}
        made.metadata["nbgrader"] = about | ({"points": points} if is_check else {})
    return made


def for_nbgrader(answers: Mapping[str, str]) -> list[Any]:
    cells = [cell(SETUP)]
    for one, points in POINTS.items():
        cells += [cell(answers.get(one, "..."), one), cell(f"kit.check({one!r})", f"{one}-check", points)]
    return cells


def test_nbgrader_gives_each_learner_the_points_of_their_right_answers(folder: Path) -> None:
    made = environment(folder, "nbgrader")
    solved = {one: f"### BEGIN SOLUTION\n{answer}\n### END SOLUTION" for one, answer in RIGHT.items()}
    saved(folder / "source" / "queues" / "queues.ipynb", for_nbgrader(solved))
    ran(folder, made, "nbgrader", "generate_assignment", "queues", "--create")
    released = (folder / "release" / "queues" / "queues.ipynb").read_text("utf-8")
    assert "count(DISTINCT job_id)" in RIGHT["fetched"]
    assert "count(DISTINCT job_id)" not in released
    for learner, answers in HANDED_IN.items():
        saved(folder / "submitted" / learner / "queues" / "queues.ipynb", for_nbgrader(answers))
    ran(folder, made, "nbgrader", "autograde", "queues")
    ran(folder, made, "nbgrader", "export")
    with open(folder / "grades.csv", newline="") as file:
        assert {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)} == MARKS


def test_otter_gives_each_learner_the_points_of_their_right_answers(folder: Path) -> None:
    made = environment(folder, "otter-grader")
    (folder / "tests").mkdir()
    for one, points in POINTS.items():
        case = {"code": f">>> kit.check({one!r}, strict=True)", "hidden": False, "locked": False}
        suite = {"cases": [case], "scored": True, "setup": "", "teardown": "", "type": "doctest"}
        test = {"name": one, "points": points, "suites": [suite]}
        (folder / "tests" / f"{one}.py").write_text(f"OK_FORMAT = True\ntest = {test!r}\n")
    ran(folder, made, "otter", "generate", "-t", "tests", "-o", "autograder.zip", "--no-environment")
    marks = {}
    for learner, answers in HANDED_IN.items():
        saved(folder / f"{learner}.ipynb", [cell(SETUP), *(cell(answers.get(one, "...")) for one in POINTS)])
        (folder / learner).mkdir()
        ran(folder, made, "otter", "run", "-a", "autograder.zip", "-o", learner, f"{learner}.ipynb")
        results = json.loads((folder / learner / "results.json").read_text("utf-8"))
        marks[learner] = sum(test["score"] for test in results["tests"] if test["name"] in POINTS)
    assert marks == MARKS
