"""Which exercises there are: this course's, a module for each lesson, and those that another one adds."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from dataclasses import dataclass

from kit.errors import KitError
from kit.exercises.exercise import Exercise
from kit.session import session

KIT = "kit.exercises.lessons"


@dataclass(frozen=True)
class Lesson:
    """The exercises of one lesson.

    Attributes:
        name: the lesson's file name without its number: ``"start_here"`` for ``00_start_here.ipynb``.
        exercises: in the order in which they come.
    """

    name: str
    exercises: tuple[Exercise, ...]


def add(package: str) -> None:
    """Add the exercises of another course: a package, with a module for each lesson that has ``EXERCISES``.

    Raises:
        KitError: there is no such package, it has none, or one of the ids is taken.
    """
    if package not in session.courses and package != KIT:
        taken = {one.id for one in all_exercises()}
        for lesson in lessons(package):
            for one in lesson.exercises:
                if one.id in taken:
                    raise KitError(
                        f"{package!r} has an exercise {one.id!r}, and there is one already. Rename it."
                    )
        session.courses += [package]


def lessons(package: str = KIT) -> list[Lesson]:
    """Return the lessons of a course that have exercises, in the order that the package's ``ORDER`` says.

    Raises:
        KitError: there is no such package, or it has no exercises.
    """
    try:
        home = importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise KitError(f"There is no course {package!r}: {error}.") from None
    names = [module.name for module in pkgutil.iter_modules(getattr(home, "__path__", []))]
    order = list(getattr(home, "ORDER", ()))
    names.sort(key=lambda name: (order.index(name) if name in order else len(order), name))
    modules = [(name, importlib.import_module(f"{package}.{name}")) for name in names]
    found = [
        Lesson(name, tuple(module.EXERCISES)) for name, module in modules if hasattr(module, "EXERCISES")
    ]
    if not found:
        raise KitError(f"No module of {package!r} has EXERCISES.")
    return found


def all_lessons() -> list[Lesson]:
    """Return the lessons of this course, and of those that were added."""
    return [lesson for package in (KIT, *session.courses) for lesson in lessons(package)]


def all_exercises() -> list[Exercise]:
    """Return every exercise, in the course's order."""
    return [one for lesson in all_lessons() for one in lesson.exercises]


def find(name: object) -> Exercise:
    """Return the exercise with this id.

    Raises:
        KitError: there is none; the message names the one that is probably meant.
    """
    known = {one.id: one for one in all_exercises()}
    if isinstance(name, str) and name in known:
        return known[name]
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    meant = f" Did you mean {close[0]!r}?" if close else " kit.progress() lists them."
    raise KitError(f"There is no exercise {name!r}.{meant}")
