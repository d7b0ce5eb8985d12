"""Running a lesson on a fresh kernel, and reading what its cells showed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

FOLDER = Path(__file__).parent.parent / "notebooks"
LESSONS = sorted(path.stem for path in FOLDER.glob("[0-9][0-9]_*.ipynb"))
SECONDS_A_CELL = 60


@dataclass(frozen=True)
class Look:
    """One **Look** paragraph: the values it names, and what the cells before it showed."""

    paragraph: str
    values: list[str]
    shown: str


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
    def prose(self) -> list[str]:
        """The sources of the markdown cells, in order."""
        return [cell.source for cell in self.cells if cell.cell_type == "markdown"]

    def shown_by(self, fragment: str, *, occurrence: int = 0) -> str:
        """Return what the code cell that contains ``fragment`` showed."""
        found = [cell for cell in self.code if fragment in cell.source]
        assert len(found) > occurrence, f"lesson {self.name} has no code cell with {fragment!r}"
        return shown(found[occurrence])

    def looks(self) -> Iterator[Look]:
        """Yield the **Look** paragraphs, each with the outputs since the markdown before it."""
        since: list[str] = []
        for cell in self.cells:
            if cell.cell_type == "code":
                since.append(shown(cell))
                continue
            for paragraph in cell.source.split("\n\n"):
                if paragraph.startswith("**Look"):
                    yield Look(paragraph, re.findall(r"(?<!`)`([^`]+)`(?!`)", paragraph), "\n".join(since))
            since = []


def shown(cell: Any) -> str:
    """Return what a cell showed, as text: its prints, its result and its displays."""
    parts = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            parts.append(output.text)
        elif "kit-panel" in output.get("data", {}).get("text/html", ""):
            continue  # the consumer's panel repeats what the cells show
        elif output.output_type in ("execute_result", "display_data"):
            parts.append(output.data.get("text/plain", ""))
        else:
            parts.append("\n".join(output.traceback))
    return "\n".join(parts)


def read(name: str) -> Lesson:
    """Read a lesson as it is stored."""
    return Lesson(
        name,
        nbformat.read(  # type: ignore[no-untyped-call]
            FOLDER / f"{name}.ipynb", as_version=4
        ).cells,
    )


def execute(name: str) -> Lesson:
    """Run a lesson top to bottom on a fresh kernel; a cell that fails or hangs is named with its source."""
    notebook = nbformat.read(  # type: ignore[no-untyped-call]
        FOLDER / f"{name}.ipynb", as_version=4
    )
    client = NotebookClient(notebook, timeout=SECONDS_A_CELL, resources={"metadata": {"path": str(FOLDER)}})
    try:
        client.execute()
    except CellTimeoutError as error:
        raise AssertionError(f"lesson {name}: a cell ran longer than {SECONDS_A_CELL} s\n{error}") from None
    except (CellExecutionError, DeadKernelError) as error:
        raise AssertionError(f"lesson {name}: a cell failed\n{error}") from None
    return Lesson(name, notebook.cells)
