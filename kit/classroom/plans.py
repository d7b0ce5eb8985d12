"""What is taught in which minute: the plans that the guide prints and the board goes by.

How long a lesson takes stands in its first cell, and how long an exercise takes in the metadata of its own.
A plan says only what comes after what.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from kit.errors import KitError

TALK = 5  # minutes in which the teacher speaks, before and after a lesson


@dataclass(frozen=True)
class Taught:
    """A lesson: the talk, the whole notebook, and some exercises of its *Practice* and predictions.

    Attributes:
        lesson: its file's name without number and ending.
        exercises: the ids of those that come on top of the notebook's own ones.
    """

    lesson: str
    exercises: tuple[str, ...]


@dataclass(frozen=True)
class Pause:
    """What is no lesson."""

    title: str
    minutes: int


_START = (
    Taught("start_here", ("statuses", "fetched")),
    Taught("entrypoints", ("names", "rename")),
)
_CORE = (
    Taught("staged_jobs", ("lost", "atomic")),
    Taught("failures", ("poison", "retry")),
)

PLANS: dict[str, tuple[Taught | Pause, ...]] = {
    "half-day": (
        Pause("Arrive: install, join, first cell", 15),
        *_START,
        Pause("Break", 15),
        *_CORE,
        Pause("Break", 5),
        Taught("crashes", ("deliveries", "blocking")),
        Pause("What we take home", 10),
    ),
    "day": (
        Pause("Arrive: install, join, first cell", 15),
        *_START,
        Pause("Break", 15),
        Taught("payloads", ("dangling",)),
        Taught("priorities", ("order", "starvation")),
        Pause("Lunch", 60),
        *_CORE,
        Pause("Break", 15),
        Taught("crashes", ("deliveries", "posted")),
        Taught("transactions", ("connection",)),
        Pause("Break", 15),
        Taught("concurrency", ("wins", "narrow")),
        Taught("to_production", ("stop", "deploy")),
        Pause("What we take home", 10),
    ),
    "evening-1": (
        Pause("Arrive: install, join, first cell", 15),
        *_START,
        Pause("Break", 10),
        Taught("payloads", ("headers", "dangling")),
        Pause("What we take home", 5),
    ),
    "evening-2": (
        Pause("What was last time", 5),
        Taught("priorities", ("order", "starvation")),
        Taught("staged_jobs", ("lost", "atomic")),
        Pause("Break", 10),
        Taught("failures", ("poison", "retry")),
        Pause("What we take home", 5),
    ),
    "evening-3": (
        Pause("What was last time", 5),
        Taught("crashes", ("deliveries", "posted")),
        Taught("transactions", ("connection", "dedupe")),
        Pause("Break", 10),
        Taught("concurrency", ("wins", "narrow")),
        Pause("What we take home", 5),
    ),
    "evening-4": (
        Pause("What was last time", 5),
        Taught("watching", ("outcome", "oldest")),
        Taught("to_production", ("stop", "deploy")),
        Pause("Break", 10),
        Taught("on_call", ("renamed", "hung", "requeue", "heartbeats")),
        Pause("What we take home", 10),
    ),
}


@dataclass(frozen=True)
class Part:
    """A part of a plan with its times.

    Attributes:
        title: the lesson's number and title, or what the pause is called.
        lesson: the lesson's file; empty: a pause.
        begins, minutes: when it begins, in minutes of the plan, and how long it takes.
        due: of each exercise its id, and the minute in which it is to be passed.
    """

    title: str
    lesson: str
    begins: int
    minutes: int
    due: Sequence[Sequence[Any]] = ()


@dataclass(frozen=True)
class Plan:
    """A plan that runs.

    Attributes:
        name: one of `PLANS`.
        begun: when its first minute began, in seconds since 1970.
        parts: in order.
        fixed: whether its beginning was asked for.
    """

    name: str
    begun: float
    parts: Sequence[Part]
    fixed: bool = False

    @property
    def minutes(self) -> int:
        """How long it takes."""
        return sum(part.minutes for part in self.parts)

    def minute(self, now: float) -> float:
        """Return how many minutes have passed of it; negative before it begins."""
        return (now - self.begun) / 60

    def kept(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a class keeps of it. ``before`` is what it kept: the same plan goes on in its time."""
        if (
            not self.fixed
            and before.get("name") == self.name
            and 0 <= read(before).minute(self.begun) < self.minutes
        ):
            return asdict(replace(self, begun=before["begun"]))
        return asdict(self)


def read(kept: Mapping[str, Any]) -> Plan:
    """Return the plan that a class has kept."""
    return Plan(kept["name"], kept["begun"], [Part(**part) for part in kept["parts"]])


def times(kept: Mapping[str, Any]) -> str:
    """Return the plan's name, and from when to when it goes."""
    plan = read(kept)
    begins, ends = (datetime.fromtimestamp(plan.begun + 60 * more) for more in (0, plan.minutes))
    return f"{plan.name}, {begins:%H:%M} to {ends:%H:%M}."


def find(asked: str, folder: Path, now: float | None = None) -> Plan:
    """Return a plan by its name, with the times of the lessons in ``folder``.

    It begins now, or at the time of today that stands behind an ``@``: ``half-day@9:00``.

    Raises:
        KitError: there is no such plan, or that is no time of the day.
    """
    name, _, at = asked.partition("@")
    if name not in PLANS:
        raise KitError(f"There is no plan {name!r}. There are: {', '.join(PLANS)}.")
    begun = time.time() if now is None else now
    if at:
        try:
            moment = datetime.strptime(at, "%H:%M").time()
        except ValueError:
            raise KitError(f"{at!r} is no time of the day, such as 9:00: --plan {name}@9:00.") from None
        begun = datetime.combine(datetime.fromtimestamp(begun), moment).timestamp()
    parts: list[Part] = []
    for each in PLANS[name]:
        begins = parts[-1].begins + parts[-1].minutes if parts else 0
        if isinstance(each, Taught):
            parts.append(_taught(each, begins, folder))
        else:
            parts.append(Part(each.title, "", begins, each.minutes))
    return Plan(name, begun, parts, fixed=bool(at))


def _taught(part: Taught, begins: int, folder: Path) -> Part:
    path = next(path for path in folder.glob("*.ipynb") if path.stem.lstrip("0123456789_") == part.lesson)
    cells = json.loads(path.read_text("utf-8"))["cells"]
    top = "".join(cells[0]["source"])
    (takes,) = re.findall(r"\*\*Takes\*\* about (\d+) minutes", top)
    there, minutes = dict(_exercises(cells, part.exercises)), int(takes) + TALK
    minutes += sum(there[one] for one in part.exercises)
    ends, due = begins + minutes, []
    for name, takes_it in reversed(there.items()):
        due.append((name, ends))
        ends -= takes_it
    return Part(top.partition("\n")[0].removeprefix("# "), path.name, begins, minutes, due[::-1])


def _exercises(cells: Iterable[Any], chosen: Sequence[str]) -> Iterable[tuple[str, int]]:
    """Yield the exercises that are the lesson's own, or chosen, and the minutes of each."""
    for cell in cells:
        for tag in cell["metadata"].get("tags", ()):
            kind, _, name = tag.partition(":")
            if kind == "exercise" and name and (name in chosen or cell["id"] != f"exercise-{name}"):
                yield name, cell["metadata"]["minutes"]


def how_far(plan: Plan, titles: Mapping[str, str], passed: Sequence[set[str]], now: float) -> str:
    """Return a sentence or two: where the plan is, and where the room is. An hour after its end, nothing.

    ``titles`` names the exercises, and ``passed`` are the ids that each learner in the room has passed. The
    room is where half of it is: a learner is at the last exercise of the plan that they have passed.
    """
    minute = plan.minute(now)
    if minute < 0:
        return f"{plan.name}: begins in {-minute:.0f} min."
    if minute >= plan.minutes + 60:
        return ""
    if minute >= plan.minutes:
        return f"{plan.name}: its {plan.minutes} minutes are over."
    part = next(one for one in plan.parts if minute < one.begins + one.minutes)
    where = f"{plan.name}: {part.title}, minute {int(minute - part.begins) + 1} of {part.minutes}."
    return f"{where} {_room([tuple(one) for each in plan.parts for one in each.due], titles, passed, minute)}"


def _room(
    due: Sequence[tuple[str, int]], titles: Mapping[str, str], passed: Sequence[set[str]], minute: float
) -> str:
    if not passed:
        return "Nobody is here yet."
    furthest = [max((at + 1 for at, (one, _) in enumerate(due) if one in who), default=0) for who in passed]
    half = sorted(furthest, reverse=True)[(len(furthest) + 1) // 2 - 1]  # so many has half the room behind it
    asked = sum(when <= minute for _, when in due)
    has = f"Half the room has passed “{titles.get(due[half - 1][0], due[half - 1][0])}”" if half else ""
    if half < asked:
        late, when = due[half]
        behind = f"{minute - when:.0f} min behind: “{titles.get(late, late)}” was due then"
        text = f"{has}, and is {behind}." if has else f"Half the room is {behind}."
    elif half > asked:
        text = f"{has}, {due[half - 1][1] - minute:.0f} min before its time."
    else:
        text = f"{has}, as planned." if has else "No exercise is due yet."
    with_it = sum(one >= asked for one in furthest)
    return text if not asked else f"{text} With the plan or ahead of it: {with_it} of {len(furthest)}."
