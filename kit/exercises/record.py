"""What a learner has done: an event a line in ``progress.jsonl``; the state is what they add up to.

Two kernels lose nothing: whoever writes holds a lock, appends, and has it on the disk before it goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from kit.classroom import sending
from kit.session import session
from kit.sources import files

WAIT = 5.0  # seconds for the lock; whoever holds it writes one line


@dataclass
class State:
    """What the events say of one exercise.

    Attributes:
        status: ``"done"``, ``"tried"`` or ``"left"``.
        checks: how often it was checked with an answer in it.
        hints: how many hints were shown.
        asked: how often the solution was asked for.
        guess: what was predicted last, before it was checked.
        last: the outcome of the last check.
        at: when it was done, or touched last.
    """

    status: str = "left"
    checks: int = 0
    hints: int = 0
    asked: int = 0
    guess: dict[str, Any] | None = None
    last: str | None = None
    at: str | None = None


@dataclass
class Record:
    """The states of all exercises that something was done with, and what could not be read or written."""

    states: dict[str, State] = field(default_factory=dict)
    damaged: int = 0
    problem: str | None = None

    def of(self, exercise: str) -> State:
        """Return the state of one exercise."""
        return self.states.get(exercise, State())


def path() -> Path:
    """Return the file that the events are in."""
    return files.home() / "progress.jsonl"


def write(exercise: str, event: str, **more: Any) -> None:
    """Note an event: ``check``, ``hint``, ``solution``, ``predict`` or ``reset``. It never fails."""
    line = {
        "at": datetime.now().astimezone().isoformat(timespec="seconds"),
        "id": exercise,
        "event": event,
    } | more
    try:
        files.make_closed(path().parent)
        with FileLock(f"{path()}.lock", timeout=WAIT), open(path(), "ab") as file:
            # A line that was cut short by a full disk must not take this one with it.
            file.write((b"" if _ends_well() else b"\n") + json.dumps(line, default=repr).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except Exception:  # no folder can be made, nobody gives the lock back, the disk is full or read-only
        session.unwritten.append(line)
    else:
        sending.wake(path())


def _ends_well() -> bool:
    with open(path(), "rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def read() -> Record:
    """Return what all events add up to. A line that cannot be read is left out, and counted."""
    record = Record()
    try:
        lines = path().read_bytes().splitlines()
    except FileNotFoundError:
        lines = []
    except Exception as error:
        lines, record.problem = [], f"{path()} cannot be read: {error}"
    events = []
    for line in filter(None, (line.strip() for line in lines)):
        try:
            event = json.loads(line)
            events.append((event["id"], event["event"], event))
        except (ValueError, TypeError, KeyError):
            record.damaged += 1
    events += [(event["id"], event["event"], event) for event in session.unwritten]
    if session.unwritten:
        record.problem = f"{path()} cannot be written; what you do now is kept until this kernel ends"
    for name, kind, event in events:
        _add(record, str(name), str(kind), event)
    return record


def _add(record: Record, name: str, kind: str, event: dict[str, Any]) -> None:
    if kind == "reset":
        record.states.pop(name, None)
        return
    state = record.states.setdefault(name, State())
    if kind == "check" and event.get("outcome") != "not attempted":
        state.checks += 1
        state.last = str(event.get("outcome"))
        if state.last == "passed" and state.status != "done":
            state.status, state.at = "done", event.get("at")
    state.hints += kind == "hint"
    state.asked += kind == "solution"
    if kind == "predict" and isinstance(event.get("guess"), dict):
        state.guess = event["guess"]
    if state.status != "done":
        state.status, state.at = "tried", event.get("at")


def exported(exercises: Iterable[Any]) -> str:
    """Return the states of these exercises as JSON: one object for each, in the course's order."""
    record = read()
    rows = [
        {"id": one.id, "title": one.title, "minutes": one.minutes} | vars(record.of(one.id))
        for one in exercises
    ]
    return json.dumps({"exercises": rows, "damaged_lines": record.damaged}, indent=1, ensure_ascii=False)
