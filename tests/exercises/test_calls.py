"""What a learner calls: check, hint, solution, predict, progress; as text, where there is no notebook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import kit
from kit import exercises
from kit.errors import KitError
from kit.exercises import course, record
from kit.exercises.authoring import proving
from kit.session import session
from kit.sources import Postgres


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of a notebook, which a test fills."""
    names: dict[str, Any] = {}
    monkeypatch.setattr(exercises, "_namespace", lambda: names)
    return names


def answer_with(names: dict[str, Any], source: str, name: str = "longest") -> None:
    with proving.answering(course.find(name), source) as (made, _):
        names.update(made)


def test_check_says_nothing_but_the_card_and_returns_nothing(
    no_record: Path, answered: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    answer_with(answered, course.find("longest").stub)
    assert kit.check("longest") is None  # type: ignore[func-returns-value]
    assert capsys.readouterr().out.startswith("○ Not attempted · Which jobs took longest?")


def test_a_pass_tells_why_and_what_is_next(
    no_record: Path, answered: dict[str, Any], lesson: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    exercise = course.find("longest")
    answer_with(answered, exercise.solution)
    kit.check("longest")
    out = capsys.readouterr().out
    assert out.startswith("✓ Passed")
    assert exercise.why in out
    assert "Next in this lesson" in out
    assert record.read().of("longest").status == "done"


def test_not_yet_shows_what_was_expected_beside_what_is_there(
    no_record: Path, answered: dict[str, Any], lesson: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    exercise = course.find("longest")
    answer_with(answered, exercise.wrong[0].answer)
    kit.check("longest")
    out = capsys.readouterr().out
    assert out.startswith("↻ Not yet")
    assert exercise.messages["only-the-good"] in out
    assert "yours:" in out
    assert "expected:" in out
    assert "kit.hint('longest')" in out
    assert record.read().of("longest").status == "tried"


@pytest.mark.parametrize("strict", [True, False])
def test_a_check_that_is_marked_raises_its_message_without_the_answer_and_only_where_it_is_not_passed(
    strict: bool,
    no_record: Path,
    answered: dict[str, Any],
    lesson: Postgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not strict:
        monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    exercise = course.find("longest")
    answer_with(answered, exercise.stub)
    with pytest.raises(KitError, match=r"^Not attempted: Which jobs took longest\?"):
        kit.check("longest", strict=strict)
    answer_with(answered, exercise.wrong[0].answer)
    with pytest.raises(KitError) as raised:
        kit.check("longest", strict=strict)
    assert str(raised.value) == f"Not yet: {exercise.title} {exercise.messages['only-the-good']}"
    assert exercise.solution not in str(raised.value)
    answer_with(answered, exercise.solution)
    assert kit.check("longest", strict=strict) is None  # type: ignore[func-returns-value]
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    answer_with(answered, exercise.stub)
    kit.check("longest")


def test_a_mark_counts_a_prediction_of_this_kernel_alone_until_it_is_forgotten(
    no_record: Path, lesson: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "guesses", {})
    right = {"rows_in_queue": 0, "log": ["queued", "picked", "successful"]}
    record.write("statuses", "predict", guess=right)  # by another learner, whose notebook ran here before
    with pytest.raises(KitError, match="Not attempted"):
        kit.check("statuses", strict=True)
    kit.check("statuses")
    assert "Passed" in capsys.readouterr().out
    kit.predict("statuses", **right)
    kit.check("statuses", strict=True)
    kit.progress(reset="statuses")
    with pytest.raises(KitError, match="Not attempted"):
        kit.check("statuses", strict=True)


@pytest.mark.parametrize("call", ["check", "hint", "solution", "predict"])
def test_a_misspelt_id_has_its_did_you_mean(call: str) -> None:
    with pytest.raises(KitError, match=r"no exercise 'starvaton'\. Did you mean 'starvation'\?"):
        getattr(kit, call)("starvaton")


def test_hints_come_one_by_one_and_then_all(no_record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hints = course.find("thank").hints
    for number, hint in enumerate(hints, 1):
        kit.hint("thank")
        out = capsys.readouterr().out
        assert hint in out
        assert f"Hint {number} of 3" in out
        assert not any(other in out for other in hints if other != hint)
    kit.hint("thank")
    out = capsys.readouterr().out
    assert all(hint in out for hint in hints)
    assert "kit.solution('thank')" in out


def test_a_solution_is_shown_when_it_is_asked_for_twice_or_after_a_pass(
    no_record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exercise = course.find("thank")
    kit.solution("thank")
    assert exercise.solution not in capsys.readouterr().out
    kit.solution("thank")
    assert exercise.solution in capsys.readouterr().out
    record.write("who", "check", outcome="passed")
    kit.solution("who")
    assert course.find("who").solution in capsys.readouterr().out


def test_a_prediction_is_noted_and_set_beside_what_was_measured(
    no_record: Path, lesson: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    kit.predict("statuses", rows_in_queue=..., log=...)
    assert "in place of each" in capsys.readouterr().out
    assert record.read().of("statuses").guess is None
    kit.check("statuses")
    assert capsys.readouterr().out.startswith("○ Not attempted")
    kit.predict("statuses", rows_in_queue=1, log=["queued", "picked", "successful"])
    assert "Noted" in capsys.readouterr().out
    kit.check("statuses")
    out = capsys.readouterr().out
    assert "you said:\n  'rows_in_queue' | 1" in out or "you said:\n  rows_in_queue | 1" in out
    assert "it was:\n  rows_in_queue | 0" in out


def test_a_prediction_of_something_else_is_refused(no_record: Path) -> None:
    with pytest.raises(KitError, match=r"'rows_in_the_queue' is not among them; 'rows_in_queue' is"):
        kit.predict("statuses", rows_in_the_queue=0, log=[])
    with pytest.raises(KitError, match="asks for no prediction"):
        kit.predict("thank", thanks=1)


def test_progress_counts_what_is_done_tried_and_left_and_forgets_one_exercise(
    no_record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record.write("thank", "check", outcome="passed")
    record.write("atomic", "check", outcome="not yet", message="twice")
    record.write("lost", "hint", number=1)
    record.write("stuck", "check", outcome="not attempted")
    kit.progress(export=tmp_path / "mine.json")
    out = capsys.readouterr().out
    everything = len(course.all_exercises())
    assert f"1 done, 3 tried, {everything - 4} left" in out
    assert "staged jobs" in out
    told = {one["id"]: one for one in json.loads((tmp_path / "mine.json").read_text("utf-8"))["exercises"]}
    assert told["thank"]["status"] == "done"
    assert told["atomic"]["checks"] == 1
    assert len(told) == everything
    kit.progress(reset="thank")
    assert f"0 done, 3 tried, {everything - 3} left" in capsys.readouterr().out


def test_an_answer_that_was_right_once_stays_done(no_record: Path) -> None:
    record.write("thank", "check", outcome="passed")
    record.write("thank", "check", outcome="not yet")
    assert record.read().of("thank").status == "done"
