"""What each section of a lesson credits, and the proof: without it, the outcome changes as the text says.

A lesson's table stands in ``ingredients_NN.py``: for each section's title a list of `Ingredient`, or a text
that says why there is nothing to take away. For ``Your turn`` the edits are a solution, and what it shows.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests.lessons.notebook import Section, first_missing


@dataclass(frozen=True)
class Edit:
    """A change in one cell of the lesson, which is named by its id."""

    cell: str
    old: str
    new: str

    def make(self, cell: Any) -> None:
        """Make the change; the old text must stand there exactly once."""
        count = cell.source.count(self.old)
        assert count == 1, f"{self.old!r} stands {count} times in the cell {self.cell!r}:\n{cell.source}"
        cell.source = cell.source.replace(self.old, self.new)


@dataclass(frozen=True)
class Ingredient:
    """One thing the text credits.

    Attributes:
        name: what it is, in the lesson's words.
        without: the edits that take it away.
        then: for each cell (by its id) patterns that stand in its output, in that order, when it is away,
            and that do not stand there when it is not.
    """

    name: str
    without: tuple[Edit, ...]
    then: dict[str, tuple[str, ...]]

    def prove(self, section: Section, without: Section) -> None:
        """Fail unless the outcome without the ingredient is the one told, and is another one than with it."""
        assert self.then, f"{self.name}: no outcome is told"
        for cell, patterns in self.then.items():
            shown = without.shown(cell)
            missing = first_missing(list(patterns), shown)
            assert missing is None, f"without {self.name}, {cell!r} does not show {missing}, but:\n{shown}"
            assert first_missing(list(patterns), section.shown(cell)) is not None, (
                f"{cell!r} shows {patterns} also with {self.name}: it is not what did it"
            )


Beats: TypeAlias = dict[str, list[Ingredient] | str]


def beats_of(lesson: str) -> Beats:
    """Return the table of a lesson, by its name; empty when it has none."""
    module = f"tests.lessons.ingredients_{lesson[:2] if lesson[:2].isdigit() else lesson}"
    if importlib.util.find_spec(module) is None:
        return {}
    beats: Beats = importlib.import_module(module).BEATS
    return beats
