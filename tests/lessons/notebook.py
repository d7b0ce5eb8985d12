"""A lesson as it is written: its setup cells, its sections, and what each **Look** speaks of.

A cell is named by its id, so ids are words: ``charge-with-guard``.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from kit.display.text import without_commands
from kit.exercises.authoring.stubs import is_written
from kit.pictures import live

FOLDER = Path(__file__).parents[2] / "notebooks"
LESSONS = sorted(path.stem for path in FOLDER.glob("[0-9][0-9]_*.ipynb"))
COMPANIONS = ["primer", "two_programs", "in_production"]


@dataclass(frozen=True)
class Look:
    """One **Look** paragraph, the values it names, and what was shown where it looks."""

    paragraph: str
    values: list[str]
    shown: str

    def check(self) -> None:
        """Fail unless each value stands in what was shown, in that order, each after the one before."""
        assert self.values, f"this paragraph names no value: {self.paragraph!r}"
        missing = first_missing([exactly(value) for value in self.values], self.shown)
        assert missing is None, f"{missing} of {self.paragraph!r} is not (in that order) in:\n{self.shown}"


@dataclass(frozen=True)
class Section:
    """What stands under one ``##`` heading."""

    title: str
    cells: list[Any]

    @property
    def code(self) -> list[Any]:
        """The code cells, in order."""
        return [cell for cell in self.cells if cell.cell_type == "code"]

    def looks(self) -> Iterator[Look]:
        """Yield the **Look** paragraphs.

        Each speaks of the nearest cell above it in its section that showed something, or of the cells whose
        ids its own cell's metadata lists as ``look_at``.
        """
        for place, cell in enumerate(self.cells):
            if cell.cell_type != "markdown":
                continue
            paragraphs = [text for text in cell.source.split("\n\n") if text.startswith("**Look")]
            if not paragraphs:
                continue
            if named := cell.metadata.get("look_at"):
                seen = [one_with_id(self.cells, name) for name in named]
            else:
                above = [
                    shown for shown in self.cells[:place] if shown.cell_type == "code" and text_of(shown)
                ]
                seen = above[-1:]
            shown = "\n".join(map(text_of, seen))
            for paragraph in paragraphs:
                yield Look(paragraph, re.findall(r"(?<!`)`([^`]+)`(?!`)", paragraph), shown)

    def shown(self, cell_id: str) -> str:
        """Return what the cell with this id showed."""
        return text_of(one_with_id(self.cells, cell_id))


@dataclass(frozen=True)
class Lesson:
    """A lesson, executed or not."""

    name: str
    cells: list[Any]

    @property
    def code(self) -> list[Any]:
        """The code cells, in order."""
        return [cell for cell in self.cells if cell.cell_type == "code"]

    @property
    def read_code(self) -> list[Any]:
        """The code cells that a learner reads: not what is folded, which only helps."""
        return [cell for cell in self.code if not cell.metadata.get("jupyter", {}).get("source_hidden")]

    @property
    def prose(self) -> list[str]:
        """The sources of the markdown cells, in order."""
        return [cell.source for cell in self.cells if cell.cell_type == "markdown"]

    @property
    def setup(self) -> list[Any]:
        """The code cells above the first section: what every section may rely on, and nothing else."""
        first = next((place for place, cell in enumerate(self.cells) if _heading(cell)), len(self.cells))
        return [cell for cell in self.cells[:first] if cell.cell_type == "code"]

    @property
    def sections(self) -> list[Section]:
        """What stands under each heading, in order; the recap, which has no code, is none."""
        sections: list[Section] = []
        for cell in self.cells:
            if title := _heading(cell):
                sections.append(Section(title, []))
            if sections:
                sections[-1].cells.append(cell)
        return [section for section in sections if section.code]

    def section(self, title: str) -> Section:
        """Return the section with this title."""
        found = [section for section in self.sections if section.title == title]
        assert found, f"{self.name} has no section {title!r}, but {[one.title for one in self.sections]}"
        return found[0]

    def shown_by(self, fragment: str, *, occurrence: int = 0) -> str:
        """Return what the code cell that contains ``fragment`` showed."""
        found = [cell for cell in self.code if fragment in cell.source]
        assert len(found) > occurrence, f"lesson {self.name} has no code cell with {fragment!r}"
        return text_of(found[occurrence])


def _heading(cell: Any) -> str | None:
    if cell.cell_type == "markdown" and cell.source.startswith("## "):
        return str(cell.source.splitlines()[0][3:])
    return None


def one_with_id(cells: list[Any], cell_id: str) -> Any:
    """Return the one cell that has this id."""
    found = [cell for cell in cells if cell.id == cell_id]
    assert len(found) == 1, f"there is no cell {cell_id!r} among {[cell.id for cell in cells]}"
    return found[0]


def read(name: str) -> Lesson:
    """Read a lesson as it is stored, without the cells that its exercises have written into it.

    Those have tests of their own, `tests.exercises`, and add neither to its length nor to its sections.
    """
    path = FOLDER / f"{name}.ipynb"
    return Lesson(name, [cell for cell in nbformat.read(path, as_version=4).cells if not is_written(cell)])


def text_of(cell: Any) -> str:
    """Return what a cell showed, as text without colours: its prints, its result and its displays."""
    parts: list[str] = []
    before = None
    for output in cell.get("outputs", []):
        before, last = output.get("name"), before
        if output.output_type == "stream" and output.name == last:
            parts[-1] = f"{parts[-1]}{output.text}"  # one print may come in two pieces
        elif output.output_type == "stream":
            parts.append(output.text)
        elif "kit-panel" in output.get("data", {}).get("text/html", ""):
            continue  # the consumer's panel repeats what the cells show
        elif live.WIDGET in output.get("data", {}):
            continue  # what is live has a still picture after it
        elif output.output_type in ("execute_result", "display_data"):
            parts.append(output.data.get("text/plain", ""))
        else:
            parts.append("\n".join(output.traceback))
    return without_commands("\n".join(part.removesuffix("\n") for part in parts))


def plain_python(source: str) -> str:
    """Return the Python of a cell: also what it writes to a file, and without what goes to a shell."""
    lines = source.splitlines()
    if lines and lines[0].startswith("%%") and not re.match(r"%%writefile .*\.py$", lines[0]):
        return ""
    return "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


def exactly(value: str) -> str:
    """Return a pattern for ``value`` where it is not a piece of a longer word or number."""
    left = r"(?<![\w.])" if re.match(r"\w", value) else ""
    right = r"(?!\w)" if re.search(r"\w$", value) else ""
    return left + re.escape(value) + right


def first_missing(patterns: list[str], text: str) -> str | None:
    """Return the first of the patterns that is not found after those before it; None when all are."""
    position = 0
    for pattern in patterns:
        found = re.compile(pattern, re.MULTILINE).search(text, position)
        if found is None:
            return repr(pattern)
        position = found.end()
    return None


def blank(cell: Any) -> Any:
    """Return a copy of the cell that nothing was shown by yet."""
    copied = copy.deepcopy(cell)
    if copied.cell_type == "code":
        copied.outputs = []
    return copied
