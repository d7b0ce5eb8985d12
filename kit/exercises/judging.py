"""`judge`: what is to be said of an answer. It shows nothing and records nothing."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from kit.errors import KitError
from kit.errors.text import one_line
from kit.exercises import drills, scratch
from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, NotYet
from kit.exercises.running import Process, TooBusy
from kit.exercises.untouched import why_not_attempted
from kit.session import NO_POSTGRES, session
from kit.threads import run_sync

State = Literal["not attempted", "passed", "not yet", "broke"]

# What is said of an answer in any exercise, by the key that `NotYet` is raised with.
COMMON = {
    "endless": "It was still at work after {seconds} s, and was ended{place}. A loop without an end, or a "
    "call that blocks?",
    "ended-itself": "It ended the process that it ran in ({code}), as sys.exit() or os._exit() do. A handler "
    "comes to its end, or raises.",
    "no-start": "It could not run: {said}{place}.",
    "raised": "It raised an exception: {error}{place}.",
    "stays-here": "It uses {name!r}, which works only in the notebook: the check runs your code in a process "
    "of its own, as a worker would. Let the handler make, or be given, one of its own.",
    "too-large": "It takes more than {size} MB of the notebook's data along. Keep large things in a table "
    "or a file, and let the code fetch them.",
    "no-text": "{name!r} is of the type {type}; it has to be the text of a query, in quotes.",
    "refused": "Postgres refuses {name!r}: {said}.",
    "slow-query": "{name!r} took longer than two seconds over a handful of rows. Is a join without its "
    "condition in it, or a lock that it waits for?",
}


@dataclass(frozen=True)
class Outcome:
    """What came of a check.

    Attributes:
        state: one of four, which are never confused.
        text: what is said of it.
        message: the key of the message, for an answer that is not right yet.
        expected, actual, columns: rows to be shown side by side.
        trace: how the check itself broke.
        seconds: how long it took.
    """

    state: State
    text: str
    message: str | None = None
    expected: list[tuple[Any, ...]] = field(default_factory=list)
    actual: list[tuple[Any, ...]] = field(default_factory=list)
    columns: tuple[str, ...] = ()
    trace: str = ""
    seconds: float = 0.0


def judge(
    exercise: Exercise, namespace: Mapping[str, Any], guess: Mapping[str, Any] | None = None
) -> Outcome:
    """Judge what stands under the exercise's names in ``namespace``, or the guess of a prediction.

    Raises:
        KitError: there is no Postgres in this process yet.
    """
    began = time.monotonic()
    if (reason := why_not_attempted(exercise, namespace, guess)) is not None:
        return Outcome("not attempted", reason)
    if session.database is None:
        raise KitError(NO_POSTGRES)
    try:
        run_sync(_check(exercise, namespace, guess or {}))
        outcome = Outcome("passed", exercise.why)
    except NotYet as error:
        outcome = _not_yet(exercise, error)
    except TooBusy as error:
        missed = f"Could not tell: {error} did not come about. " if str(error) else ""
        outcome = _broke(f"{missed}This machine is too busy just now to run a check. Try again in a moment.")
    except Exception as error:
        outcome = _broke(f"The check itself broke, which is not your fault: {one_line(error)}", error)
    return replace(outcome, seconds=time.monotonic() - began)


async def _check(exercise: Exercise, namespace: Mapping[str, Any], guess: Mapping[str, Any]) -> None:
    ready: list[Process] = []
    answer: Answer | None = None
    try:
        if exercise.breaks is not None:
            database = drills.database()
            async with database.target.connect(patient=True) as inside:
                await exercise.check(Answer(exercise, namespace, guess, database, inside, ready))
            return
        for _ in range(exercise.processes):  # they start while the database is emptied
            ready.append(await Process.start())  # noqa: PERF401
        database = await asyncio.to_thread(scratch.mine)
        async with database.target.connect(patient=True) as inside:
            await scratch.empty(inside, database)
        async with database.target.connect(patient=True) as inside:
            answer = Answer(exercise, namespace, guess, database, inside, ready)
            await exercise.check(answer)
    finally:
        if answer is not None:
            await answer.end()
        else:
            for process in ready:
                await process.end()


def messages(exercise: Exercise) -> dict[str, str]:
    """Return what may be said of an answer to it, by its key: of any answer, and of this exercise's."""
    return {**COMMON, **exercise.messages}


def _not_yet(exercise: Exercise, error: NotYet) -> Outcome:
    sentences = messages(exercise)
    if error.message not in sentences:
        return _broke(f"The check itself broke, which is not your fault: it has no message {error.message!r}")
    text = sentences[error.message].format(**error.words)
    return Outcome("not yet", text, error.message, error.expected, error.actual, error.columns)


def _broke(text: str, error: BaseException | None = None) -> Outcome:
    trace = "".join(traceback.format_exception(error)) if error is not None else ""
    return Outcome("broke", text, trace=trace)
