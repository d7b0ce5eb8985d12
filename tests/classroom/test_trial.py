"""`kit class doctor`, on a teacher's machine and on a learner's."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest

from kit.classroom import identity, sending, trial
from tests.classroom.conftest import Teacher
from tests.cli.command import run


def found(line: str = "") -> dict[str, tuple[str, str, str]]:
    return dict(trial.examine(line))


def test_the_teacher_sees_that_the_class_is_reached_where_learners_will_reach_it(teacher: Teacher) -> None:
    checks = found()
    assert {name: state for name, (state, *_) in checks.items()} == {
        "Class": "good",
        "Address": "good",
        "Network": "note",
        "Results": "good",
        "Clock": "good",
        "Memory": "good",
    }
    where = teacher.line.split("/")[2]
    assert checks["Address"][1] == f"{where} answers, and knows the code of the join line"
    assert checks["Network"][1].startswith("Only this machine reaches it.")
    assert "in PostgreSQL" in checks["Results"][1]


def test_a_class_that_does_not_run_is_started_for_that_and_stopped_again(teacher: Teacher) -> None:
    teacher.kill()
    one = identity.known()[0]
    try:
        assert found()["Address"][0] == "good"
        assert not one.running()
        replace(one, listen="192.0.2.99").save()
        ((state, says, _),) = found().values()
        assert state == "broken"
        assert "192.0.2.99" in says
        assert "Addresses of this machine: " in says
    finally:
        one.save()
        teacher.start()
    children = [each for each in psutil.Process().children() if each.pid != teacher.process.pid]
    alive = [each for each in children if each.status() != psutil.STATUS_ZOMBIE]
    assert not [each for each in alive if "class" in each.cmdline()]


def test_where_there_is_no_class_the_doctor_says_how_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIT_HOME", str(tmp_path))
    ((state, _, mend),) = found().values()
    assert state == "broken"
    assert "kit class start --name" in mend


def test_a_learner_sees_whether_the_teacher_is_reached_and_does_not_join(teacher: Teacher) -> None:
    before = json.loads(teacher.see())["learners"]
    answer = run("class", "doctor", teacher.line)
    assert f"Class       {teacher.line.split('/')[2]} answers, and knows the code" in answer.stdout
    assert "as on the teacher's machine" in answer.stdout
    assert "PGQueuer" in answer.stdout  # what `kit doctor` says of this machine
    assert json.loads(teacher.see())["learners"] == before
    ((state, says, _),) = found(teacher.line[:-3] + "zzz").values()
    assert (state, says.split(": ")[1]) == (
        "broken",
        "This is not the code of this class. Ask for its join line.",
    )


def test_a_teacher_who_is_not_reached_is_told_apart_from_one_who_does_not_listen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "ANSWER", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        ((state, says, mend),) = found(f"http://{where}/abcdefghjkmn").values()
        assert (state, says) == ("broken", f"{where} does not answer (timed out)")
        assert "kit class hand-in" in mend
    ((state, says, mend),) = found(f"http://{where}/abcdefghjkmn").values()
    assert (state, says) == ("broken", f"{where} refuses connections")
    assert "kit class start --listen 127.0.0.1" in mend


def test_clocks_that_differ_are_noted_with_the_one_that_is_ahead() -> None:
    now = datetime.now().astimezone()
    assert trial._compared(now - timedelta(minutes=10), "its Postgres")[1][:2] == (
        "note",
        f"{now:%A %H:%M}, 10 min ahead of that of its Postgres",
    )
    assert trial._compared(now + timedelta(hours=1), "its Postgres")[1][1].endswith(
        "60 min behind that of its Postgres"
    )
    assert trial._compared(now, "its Postgres")[1][0] == "good"
