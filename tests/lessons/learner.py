"""A learner at a lesson: a real kernel, and cells that are run in whatever order they like."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from tests.kernels import SECONDS_A_CELL, notebook_client
from tests.lessons.ingredients import Edit
from tests.lessons.notebook import Lesson, Section, blank, one_with_id, read

# What a line of `kit.postgres` tells a learner to do whose interrupt has left a transaction open.
_AFTER_AN_INTERRUPT = """
for _each in [_value for _value in [*globals().values()] if hasattr(_value, "is_in_transaction")]:
    if not _each.is_closed() and _each.is_in_transaction():
        await _each.reset()
"""
_CLOSE = """
for _each in [_value for _value in [*globals().values()] if hasattr(_value, "is_in_transaction")]:
    _each.terminate()
"""
# A module that is half imported when an interrupt comes stays so until the kernel ends; these take long.
_BEFORE_AN_INTERRUPT = "import fastapi, matplotlib.pyplot, psycopg, sqlalchemy.ext.asyncio"


@dataclass
class Learner:
    """One kernel for one lesson. A cell that raises or hangs fails the test, with its source."""

    lesson: Lesson
    client: NotebookClient
    _alone: dict[str, Section] = field(default_factory=dict)

    def run(self, cells: list[Any], *, times: int = 1) -> list[Any]:
        """Run the code among these cells, each ``times`` times in a row; return copies with the outputs."""
        executed = []
        for cell in cells:
            for _ in range(times):
                copied = blank(cell)
                if copied.cell_type == "code":
                    self._execute(copied)
            executed.append(copied)
        return executed

    def run_section(self, section: Section, *, times: int = 1) -> Section:
        """Run a section as the kernel is now."""
        return Section(section.title, self.run(section.cells, times=times))

    def run_first(self, section: Section, edits: tuple[Edit, ...] = ()) -> Section:
        """Run a section right after the setup cells, in a kernel that has forgotten every name.

        Edits are made in the setup cells and in the section's. What an unedited section shows is kept.
        """
        if not edits and section.title in self._alone:
            return self._alone[section.title]
        cells = [blank(cell) for cell in [*self.lesson.setup, *section.cells]]
        for edit in edits:
            edit.make(one_with_id(cells, edit.cell))
        self.forget()
        executed = self.run(cells)[len(self.lesson.setup) :]
        result = Section(section.title, executed)
        if not edits:
            self._alone[section.title] = result
        return result

    def interrupt(self, section: Section, chance: random.Random) -> None:
        """Run a section down to one of its cells, and interrupt that one, as the square button does."""
        number = chance.randrange(len(section.code))
        self.run(section.code[:number])
        (asked,) = self.run([nbformat.v4.new_code_cell(f"{_BEFORE_AN_INTERRUPT}\nimport os; os.getpid()")])
        pid = int(asked.outputs[0].data["text/plain"])
        button = threading.Timer(chance.uniform(0, 1), os.kill, (pid, signal.SIGINT))
        button.start()
        try:
            self.run([section.code[number]])
        except AssertionError as error:
            # An interrupt that comes right before a cell begins takes its request away: it never ends. The
            # kernel answers the next one, unless it is the cell that hangs.
            if not any(name in str(error) for name in ("KeyboardInterrupt", "CancelledError", "ran longer")):
                raise
        button.cancel()  # the cell was quicker
        button.join()
        self.run([nbformat.v4.new_code_cell(_AFTER_AN_INTERRUPT)])

    def close_connections(self) -> None:
        """Close the connections of the notebook."""
        self.run([nbformat.v4.new_code_cell(_CLOSE)])

    def forget(self) -> None:
        """Forget every name, and what was told once, as a restarted kernel does.

        Modules stay imported, which saves the time.
        """
        untold = "from kit.session import session; session.advised.clear()"
        self.run([nbformat.v4.new_code_cell(f"{untold}\n%reset -f")])

    def _execute(self, cell: Any) -> None:
        where = f"lesson {self.lesson.name}, cell {cell.id!r}"
        self.client.nb.cells.append(cell)  # nbclient writes what comes later for a display of it in there
        try:
            self.client.execute_cell(cell, len(self.client.nb.cells) - 1)
        except CellTimeoutError as error:
            raise AssertionError(f"{where} ran longer than {SECONDS_A_CELL} s\n{error}") from None
        except (CellExecutionError, DeadKernelError) as error:
            raise AssertionError(f"{where} failed\n{error}") from None


@contextmanager
def learner_of(name: str, folder: str | None = None) -> Iterator[Learner]:
    """Start a fresh kernel for a lesson, and end it.

    What the lesson writes comes into ``folder``; where none is named, into one that is removed afterwards.
    """
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="kit-lesson-"))
        client = notebook_client(
            nbformat.v4.new_notebook(),
            resources={"metadata": {"path": folder}},
        )
        stack.enter_context(client.setup_kernel())
        yield Learner(read(name), client)


def execute(name: str, folder: str | None = None) -> Lesson:
    """Run a lesson top to bottom on a fresh kernel."""
    with learner_of(name, folder) as learner:
        return Lesson(name, learner.run(learner.lesson.cells))
