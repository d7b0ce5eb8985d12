"""Proofs of an exercise, without a notebook: what its check says of each answer that is written beside it."""

from __future__ import annotations

import ast
import asyncio
import linecache
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kit.exercises import drills
from kit.exercises.authoring.mutants import mutants
from kit.exercises.exercise import Exercise
from kit.exercises.judging import Outcome, judge


@dataclass(frozen=True)
class Proof:
    """One answer, what its check has to say, and what it said.

    Attributes:
        what: which answer it is.
        wanted: the state, and for an answer that is wrong the key of its message.
        outcome: what the check said; None where the answer itself could not be run.
    """

    what: str
    wanted: str
    outcome: Outcome | None

    @property
    def holds(self) -> bool:
        """Whether the check said what it has to."""
        if self.outcome is None:
            return self.wanted == "not passed"
        if self.wanted == "not passed":
            return self.outcome.state in ("not yet", "not attempted")
        return self.wanted in (self.outcome.state, f"not yet: {self.outcome.message}")

    def __str__(self) -> str:
        if self.outcome is None:
            said = "could not be run"
        else:
            detail = self.outcome.message or self.outcome.text
            said = self.outcome.state if self.outcome.state == "passed" else f"{self.outcome.state}: {detail}"
            said += f" ({self.outcome.seconds:.1f} s)"
        return f"{'ok  ' if self.holds else 'FAIL'} {self.what}: {said}" + (
            "" if self.holds else f"; wanted {self.wanted}"
        )


def answers_of(exercise: Exercise) -> Iterator[tuple[str, str, str]]:
    """Yield what each answer beside the exercise is, its source, and what has to be said of it."""
    untouched = "not attempted" if exercise.breaks is None else "not yet: rings"
    yield "the stub", exercise.stub, untouched
    yield "the solution", exercise.solution, "passed"
    for number, source in enumerate(exercise.also, 1):
        yield f"another right answer, {number}", source, "passed"
    for wrong in exercise.wrong:
        yield f"wrong: {wrong.why}", wrong.answer, f"not yet: {wrong.gets}"


def proofs(exercise: Exercise) -> Iterator[Proof]:
    """Judge each answer that is written beside the exercise."""
    for what, source, wanted in answers_of(exercise):
        yield Proof(what, wanted, judged(exercise, source))


def mutant_proofs(exercise: Exercise) -> Iterator[Proof]:
    """Judge each mutant of the solution that is not listed as equivalent: none may pass."""
    # Of these there is one answer, or what was done to a database counts, and not how.
    if exercise.kind in ("predict", "read") or exercise.breaks is not None or exercise.long:
        return
    for name, source in mutants(exercise.solution):
        if name in exercise.equivalent:
            continue
        try:
            outcome = judged(exercise, source)
        except Exception:
            outcome = None
        yield Proof(f"mutant: {name}", "not passed", outcome)


def judged(exercise: Exercise, source: str) -> Outcome:
    """Judge a cell of this source, after what the lesson has given."""
    with answering(exercise, source) as (namespace, guess):
        return judge(exercise, namespace, guess)


@contextmanager
def answering(exercise: Exercise, source: str) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Run what the lesson has given, and a cell of this source; yield the names there are, and the guess.

    A file that the cell writes comes into the working folder.
    """
    guesses: list[dict[str, Any]] = []
    namespace: dict[str, Any] = {"__name__": "a_notebook"}
    with asyncio.Runner() as runner:
        _execute(runner, exercise.given, "<given>", namespace)
        if exercise.breaks is not None:
            drills.begin(exercise)
        if exercise.kind == "predict":
            namespace["kit"] = SimpleNamespace(predict=lambda _, **guess: guesses.append(guess))
        _execute(runner, source, f"<{exercise.id}>", namespace)
        try:
            guess = guesses[-1] if guesses and ... not in guesses[-1].values() else None
            yield namespace, guess
        finally:
            for value in namespace.values():
                if hasattr(value, "terminate"):  # a connection or a pool of the notebook's
                    with suppress(Exception):
                        value.terminate()


def _execute(runner: asyncio.Runner, source: str, name: str, namespace: dict[str, Any]) -> None:
    if source.startswith("%%writefile"):
        first, _, text = source.partition("\n")
        path = Path(first.split()[-1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    code = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)

    async def run() -> None:
        made = eval(code, namespace)
        if made is not None:
            await made

    runner.run(run())
