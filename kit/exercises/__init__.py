"""Exercises: what a learner does is checked in a database and a process of the check's own.

`check`, `hint`, `solution`, `predict` and `progress` show and record; `kit.exercises.judging.judge` does
neither. Another course adds its own with `add`.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kit import notebook
from kit.classroom import sending
from kit.errors import KitError
from kit.exercises import card, course, drills, judging, record
from kit.exercises.course import add
from kit.exercises.exercise import Exercise
from kit.session import session

__all__ = ["add", "check", "drill", "hint", "predict", "progress", "solution"]


def check(name: str, *, strict: bool = False) -> None:
    """Check the answer to an exercise, and show one of four outcomes: not attempted, passed, not yet, broke.

    It runs the learner's code in a process and a database of its own, and takes a few seconds at most. The
    queue, the consumer and the variables of this notebook stay as they are. Let it have a cell of its own.

    Args:
        name: the exercise's id, such as ``"thank"``.
        strict: raise an error, too, unless it is passed, so that a cell can be marked. A prediction counts
            only if this kernel made it. Under nbgrader, which sets ``NBGRADER_EXECUTION``, all is strict.

    Raises:
        KitError: there is no such exercise, or no Postgres in this process yet; ``strict`` and not passed.
    """
    exercise = course.find(name)
    strict = strict or bool(os.environ.get("NBGRADER_EXECUTION"))
    # Those who are marked on one machine share a record, and one's guess is not another's.
    guess = session.guesses.get(exercise.id) if strict else record.read().of(exercise.id).guess
    result = judging.judge(exercise, _namespace(), guess)
    record.write(
        exercise.id, "check", outcome=result.state, message=result.message, seconds=round(result.seconds, 2)
    )
    after = ""
    if result.state == "not yet":
        after = f"Stuck? `kit.hint({exercise.id!r})` gives a nudge."
    elif result.state == "passed":
        after = f"The alarm that would have told: `{exercise.alarm}`. " if exercise.alarm else ""
        after += _what_is_next(exercise)
    card.show(*card.outcome(exercise, result, after=after))
    if strict and result.state != "passed":
        title = exercise.title + ("" if exercise.title.endswith("?") else ".")
        raise KitError(f"{card.LOOKS[result.state][1]}: {title} {result.text}")


def drill(name: str) -> None:
    """Open a drill: make its broken queue in the database of this notebook, which is emptied first.

    Consumers and workers of this notebook are stopped. The service that is on call is then the file
    ``programs/on_call.py``, running in a process of its own. `check` says whether it is mended.

    Args:
        name: the exercise's id, such as ``"renamed"``.

    Raises:
        KitError: there is no such drill, no Postgres in this process yet, or none of the kit's own.
    """
    exercise = course.find(name)
    if exercise.breaks is None:
        known = ", ".join(one.id for one in course.all_exercises() if one.breaks is not None)
        raise KitError(f"The exercise {exercise.id!r} is no drill. The drills are: {known}.")
    service = drills.begin(exercise)
    card.show(*card.said(f"The pager · {exercise.title}", exercise.task, code=service))


def hint(name: str) -> None:
    """Show the next of an exercise's three hints, each a little plainer than the one before.

    Raises:
        KitError: there is no such exercise.
    """
    exercise = course.find(name)
    number = record.read().of(exercise.id).hints
    if number < len(exercise.hints):
        record.write(exercise.id, "hint", number=number + 1)
    shown = exercise.hints[: number + 1]
    text = " ".join(shown) if number >= len(exercise.hints) else shown[-1]
    of = f"Hint {min(number + 1, len(exercise.hints))} of {len(exercise.hints)} · {exercise.title}"
    if number >= len(exercise.hints):
        of, text = f"All hints · {exercise.title}", f"{text} Then there is `kit.solution({exercise.id!r})`."
    card.show(*card.said(of, text))


def solution(name: str) -> None:
    """Show a model answer, also as a cell to run: after a pass, or when it is asked for twice.

    Raises:
        KitError: there is no such exercise.
    """
    exercise = course.find(name)
    state = record.read().of(exercise.id)
    record.write(exercise.id, "solution")
    if state.status != "done" and not state.asked:
        gentler = f"You have not solved this one yet, and `kit.hint({exercise.id!r})` is gentler."
        text = f"{gentler} Ask again to see it."
        card.show(*card.said(f"A solution · {exercise.title}", text))
        return
    notebook.next_cell(exercise.solution)
    card.show(*card.said(f"A solution · {exercise.title}", exercise.why, code=exercise.solution))


def predict(name: str, **guess: Any) -> None:
    """Note what you expect, before you run the cell that shows it; `check` sets it beside what was measured.

    Args:
        name: the exercise's id.
        guess: what you expect, by the names that the cell has.

    Raises:
        KitError: there is no such exercise, it asks for no prediction, or for others.
    """
    exercise = course.find(name)
    if exercise.kind != "predict":
        raise KitError(
            f"The exercise {exercise.id!r} asks for no prediction: write your answer, then kit.check it."
        )
    wanted = exercise.names
    if set(guess) != set(wanted):
        unknown = next((key for key in guess if key not in wanted), None)
        close = difflib.get_close_matches(str(unknown), wanted, n=1) if unknown else []
        meant = f" {unknown!r} is not among them{f'; {close[0]!r} is' if close else ''}." if unknown else ""
        raise KitError(f"This prediction has {', '.join(map(repr, wanted))}.{meant}")
    if any(value is ... for value in guess.values()):
        card.show(*card.said(f"○ Predict · {exercise.title}", "Put what you expect in place of each `...`."))
        return
    session.guesses[exercise.id] = guess
    record.write(exercise.id, "predict", guess=guess)
    noted = ", ".join(f"{key}={value!r}" for key, value in guess.items())
    card.show(*card.said(f"Noted · {exercise.title}", f"`{noted}`. Now run the cells, then the check."))


def progress(*, reset: str | None = None, export: str | Path | None = None) -> None:
    """Show what is done, tried and left, lesson by lesson. It is kept in a file of yours.

    It goes nowhere, unless you are in a class; then it says what was not sent yet.

    Args:
        reset: forget what you did in this exercise.
        export: write it to this file as well, as JSON.

    Raises:
        KitError: there is no such exercise, or the file cannot be written.
    """
    if reset is not None:
        record.write(course.find(reset).id, "reset")
        session.guesses.pop(reset, None)
    if export is not None:
        try:
            Path(export).write_text(record.exported(course.all_exercises()), "utf-8")
        except OSError as error:
            raise KitError(f"{str(export)!r} cannot be written: {error.strerror}.") from None
    kept = record.read()
    kept.problem = ". ".join(filter(None, [kept.problem, *sending.notices(record.path())]))
    card.show(*card.progress(course.all_lessons(), kept))


def _namespace() -> Mapping[str, Any]:
    """Return the names of this notebook; of a script, those of the module that runs."""
    found = notebook.namespace()
    return found if found is not None else vars(sys.modules["__main__"])


def _what_is_next(exercise: Exercise) -> str:
    states = record.read()
    for lesson in course.all_lessons():
        if exercise in lesson.exercises:
            left = [
                one for one in lesson.exercises if states.of(one.id).status != "done" and one is not exercise
            ]
            if left:
                return f"Next in this lesson: {left[0].title} (`kit.check({left[0].id!r})`)."
            return "That was the last exercise of this lesson."
    return ""
