"""Drills: a broken queue is made for real, kept to the lesson's database, and gone with the next one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import kit
from kit.errors import KitError
from kit.exercises import course, drills
from kit.exercises.authoring import proving
from kit.exercises.exercise import Exercise
from kit.exercises.judging import judge
from kit.session import session
from kit.sources import Postgres
from tests.night import by_day

DRILLS = [one for one in course.all_exercises() if one.breaks is not None and by_day(one)]
every_drill = pytest.mark.parametrize("exercise", [pytest.param(one, id=one.id) for one in DRILLS])

# What they look at is still there, or still true, some time after the queue was mended.
RINGS_ON = {"heartbeats": "the log of the last minute", "places": "what waits is still late"}


def rings(exercise: Exercise) -> bool:
    return bool(kit.sql(exercise.alarm).iloc[0, 0])


@every_drill
def test_as_opened_it_is_not_mended_and_its_alarm_rings_and_with_its_solution_it_does_not(
    exercise: Exercise, lesson: Postgres
) -> None:
    with proving.answering(exercise, exercise.stub) as (names, _):
        assert rings(exercise)
        assert judge(exercise, names).message == "rings"
    with proving.answering(exercise, exercise.solution) as (names, _):
        assert judge(exercise, names).state == "passed"
        assert exercise.id in RINGS_ON or not rings(exercise)


def test_opening_one_tells_what_the_pager_says_and_how_the_service_was_started(
    no_record: Path, lesson: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    kit.drill("renamed")
    out = capsys.readouterr().out
    assert "The pager · Orders are not confirmed" in out
    assert 'kit.spawn("programs.on_call:main")' in out
    assert "confirm_order" in Path("programs/on_call.py").read_text("utf-8")
    assert [one.state for one in session.consumers.values()] == ["running"]


def test_opening_one_ends_the_consumers_there_were_and_empties_the_database(
    no_record: Path, lesson: Postgres
) -> None:
    kit.drill("trigger")
    (before,) = session.consumers.values()
    kit.sql("CREATE TABLE mine (id int)")
    kit.drill("requeue")
    (now,) = session.consumers.values()
    assert not before.alive
    assert now.alive
    assert kit.sql("SELECT to_regclass('mine') IS NULL").iloc[0, 0]
    assert kit.sql("SELECT count(*) FROM pg_trigger WHERE tgname = 'tg_pgqueuer_changed'").iloc[0, 0] == 1


def test_the_same_one_is_opened_again_as_it_was(no_record: Path, lesson: Postgres) -> None:
    for _ in range(2):
        kit.drill("renamed")
        assert kit.jobs()["id"].tolist() == [1, 2, 3, 4]
        kit.sql("DELETE FROM pgqueuer")


@pytest.mark.parametrize("close", [kit.reset, lambda: kit.drill("trigger")], ids=["reset", "another"])
def test_one_that_is_not_open_is_no_attempt(close: object, no_record: Path, lesson: Postgres) -> None:
    exercise = course.find("renamed")
    assert judge(exercise, {}).text.startswith("This drill is not open.")
    kit.drill("renamed")
    assert judge(exercise, {}).message == "rings"
    close()  # type: ignore[operator]
    assert judge(exercise, {}).state == "not attempted"


def test_a_database_that_the_kit_did_not_make_is_refused(no_record: Path, lesson: Postgres) -> None:
    """It is taken, while it is empty, for a role that may make no other."""
    kit.sql("CREATE ROLE somebody LOGIN PASSWORD 'secret'")
    kit.sql("CREATE DATABASE somebodys OWNER somebody")
    there = re.sub("//.*@", "//somebody:secret@", lesson.target.beside("somebodys").dsn)
    try:
        with (
            session.ending_what_begins(),
            kit.postgres(dsn=there),
        ):
            with pytest.raises(KitError, match="did not make the database 'somebodys', and a drill breaks"):
                kit.drill("renamed")
            assert kit.sql("SELECT to_regclass('orders') IS NULL").iloc[0, 0]
    finally:
        kit.sql("DROP DATABASE somebodys WITH (FORCE)")
        kit.sql("DROP ROLE somebody")


def test_one_that_cannot_be_made_says_so_and_leaves_no_worker(no_record: Path, lesson: Postgres) -> None:
    def breaks(at: drills.Incident) -> None:
        course.find("renamed").breaks(at)  # type: ignore[misc]
        raise TimeoutError

    with pytest.raises(KitError, match="'renamed' could not be made in time"):
        drills.begin(replace(course.find("renamed"), breaks=breaks))
    assert [one.alive for one in session.consumers.values()] == [False]
    assert session.drill is None


def test_what_is_no_drill_is_refused_and_the_drills_are_named(lesson: Postgres) -> None:
    with pytest.raises(KitError, match=r"'thank' is no drill\. The drills are: .*renamed"):
        kit.drill("thank")


def test_a_check_of_one_uses_no_other_database(no_record: Path, lesson: Postgres) -> None:
    kit.drill("renamed")
    scratch = session.scratch
    kit.check("renamed")
    assert session.scratch is scratch
    assert drills.database() is lesson
