"""What the events of a class add up to: who has passed what, who is stuck, and which mistake is common."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kit.classroom import wire
from kit.classroom.store import JOINED

STUCK = 600.0  # seconds from the first wrong check, after which an exercise not passed counts as stuck
NOW = 900.0  # seconds that a wrong answer counts as one of right now
HERE = 1800.0  # seconds since their last event, after which a learner is not at work any more
STATES = ("not tried", "tried", "stuck", "passed")


@dataclass(frozen=True)
class Task:
    """What the board says of an exercise.

    Attributes:
        id, title: the exercise's.
        lesson: what its lesson is called.
        messages: the sentence for each key with which a check says what is wrong.
        mistakes: for such a key, the misconceptions behind it.
    """

    id: str
    title: str
    lesson: str
    messages: Mapping[str, str]
    mistakes: Mapping[str, Sequence[str]]


@dataclass
class Work:
    """What a learner has done in one exercise. Moments are in seconds since 1970."""

    passed: bool = False
    wrong: int = 0
    hints: int = 0
    asked: int = 0
    message: str | None = None
    first: float | None = None
    last: float = 0.0

    def state(self, now: float) -> str:
        """Return one of `STATES`."""
        if self.passed:
            return "passed"
        return "stuck" if self.wrong > 1 and self.minutes(now) * 60 >= STUCK else "tried"

    def minutes(self, now: float) -> float:
        """Return how long ago the first wrong check was."""
        return 0 if self.first is None else (now - self.first) / 60


@dataclass
class Learner:
    """Somebody in the class."""

    name: str = "?"
    key: bytes = b""
    seen: float | None = None
    events: int = 0
    work: dict[str, Work] = field(default_factory=dict)


class Results:
    """The fold of the events, in the order in which they arrived."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = {task.id: task for task in tasks}
        self.learners: dict[str, Learner] = {}
        self.number = 0  # of the last event in here

    def add(self, number: int, learner: str, name: str, text: str) -> None:
        """Add a row of the table."""
        self.number = number
        who, event = self.learners.setdefault(learner, Learner()), json.loads(text)
        if name == JOINED:
            who.name, who.key = event["name"], bytes.fromhex(event["key"])
            return
        who.events += 1
        who.seen = max(who.seen or 0, event["when"])
        kind, outcome, exercise = event["event"], event.get("outcome"), event["id"]
        if kind == "reset":
            who.work.pop(exercise, None)
        elif exercise in self.tasks and outcome != "not attempted":
            work = who.work.setdefault(exercise, Work())
            work.last = event["when"]
            work.hints += kind == "hint"
            work.asked += kind == "solution"
            if kind == "check":
                work.passed = work.passed or outcome == "passed"
                work.message = event.get("message")
                if outcome == "not yet":
                    work.wrong += 1
                    work.first = event["when"] if work.first is None else work.first

    def names(self) -> dict[str, str]:
        """Return each learner's name; where two have the same, with the beginning of their id."""
        count = Counter(who.name for who in self.learners.values())
        return {
            key: who.name if count[who.name] == 1 else f"{who.name} ({key[:4]})"
            for key, who in self.learners.items()
        }

    def board(self, now: float) -> dict[str, Any]:
        """Return what the page shows."""
        lessons: dict[str, list[dict[str, str]]] = defaultdict(list)
        for task in self.tasks.values():
            lessons[task.lesson].append({"id": task.id, "title": task.title})
        names = self.names()
        learners = [
            {
                "name": names[key],
                "minutes": None if who.seen is None else round((now - who.seen) / 60),
                "passed": sum(work.passed for work in who.work.values()),
                "work": {
                    exercise: {"state": work.state(now), "wrong": work.wrong, "hints": work.hints}
                    for exercise, work in who.work.items()
                },
            }
            for key, who in self.learners.items()
        ]
        at = Counter(
            self.tasks[max(who.work, key=lambda one: who.work[one].last)].lesson
            for who in self.learners.values()
            if who.work
        )
        return {
            "lessons": [{"name": name, "exercises": those} for name, those in lessons.items()],
            "now_at": at.most_common(1)[0][0] if at else None,
            "learners": learners,
            "common": self._common(now),
            "help": self._help(now),
        }

    def _common(self, now: float) -> list[dict[str, Any]]:
        """Return the three wrong answers that most learners stand at right now, two of them at least."""
        standing = Counter(
            (exercise, work.message)
            for who in self.learners.values()
            for exercise, work in who.work.items()
            if not work.passed and work.message and work.wrong and now - work.last < NOW
        )
        return [
            {"title": self.tasks[exercise].title, "count": count} | self._said(exercise, message)
            for (exercise, message), count in standing.most_common(3)
            if count > 1 and message in self.tasks[exercise].messages
        ]

    def _said(self, exercise: str, message: str | None) -> dict[str, Any]:
        task = self.tasks[exercise]
        text = re.sub(r"\{[^{}]*\}", "…", task.messages.get(message or "", ""))
        text = re.sub(r"\*(\S[^*]*)\*", r"\1", text)
        return {"says": text, "mistakes": list(task.mistakes.get(message or "", ()))}

    def _help(self, now: float) -> list[dict[str, Any]]:
        """Return who needs help: first who is stuck, then by the number of wrong checks."""
        found = []
        for place, who in enumerate(self.learners.values()):
            at = {one: work for one, work in who.work.items() if not work.passed and work.wrong > 1}
            if not at or now - (who.seen or 0) > HERE:
                continue
            exercise, work = max(at.items(), key=lambda item: item[1].last)
            stuck = work.state(now) == "stuck"
            minutes = round(work.minutes(now))
            entry = {
                "learner": place,
                "title": self.tasks[exercise].title,
                "wrong": work.wrong,
                "stuck": stuck,
            }
            entry |= {"minutes": minutes, "hints": work.hints} | self._said(exercise, work.message)
            found.append(((not stuck, -work.wrong, -minutes), entry))
        return [entry for _, entry in sorted(found, key=lambda item: item[0])][:5]

    def as_csv(self, now: float) -> str:
        """Return a line for each learner and exercise; no cell is a formula in a spreadsheet."""
        out, names = io.StringIO(), self.names()
        rows = csv.writer(out)
        rows.writerow(
            ["learner", "lesson", "exercise", "state", "wrong checks", "hints", "solution asked for"]
        )
        for key, who in self.learners.items():
            name = f"'{names[key]}" if names[key].startswith(tuple("=+-@\t")) else names[key]
            for task in self.tasks.values():
                work = who.work.get(task.id)
                state = work.state(now) if work else STATES[0]
                counts = (work.wrong, work.hints, work.asked) if work else (0, 0, 0)
                rows.writerow([name, task.lesson, task.id, state, *counts])
        return out.getvalue()


def joined(key: bytes, name: str) -> tuple[str, str, str]:
    """Return the row of somebody who joins."""
    return wire.learner_of(key), JOINED, json.dumps({"name": name, "key": key.hex()})
