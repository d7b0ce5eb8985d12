"""Calls without their `await`, and the line below the cell that reports them."""

from __future__ import annotations

import ast
import linecache
import re
import sys
import threading
import warnings
from collections.abc import Callable
from types import CoroutineType
from typing import Any, TextIO

from kit import notebook

_NEVER_AWAITED = re.compile(r"coroutine '(?:.*\.)?(?P<name>\w+)' was never awaited")
_MADE = re.compile(r'Coroutine created at .*\n +File "(?P<file>.*)", line (?P<line>\d+)')
# A call inside one of these needs no `await` of its own: the outer call lacks it, or has failed.
_TAKE_CALLS = "as_completed|create_task|ensure_future|gather|run|shield|wait|wait_for"


def show() -> bool:
    """Report such calls in a notebook; return False outside of one, or if that is done already."""
    if not notebook.has_cells() or isinstance(warnings.showwarning, _Forgotten):
        return False
    notebook.show_as(CoroutineType, _nothing_yet)
    forgotten = _Forgotten(warnings.showwarning)
    notebook.after_each_cell(forgotten.tell)
    warnings.showwarning = forgotten
    # Python warns once for each line number, but the same number in another cell is another line.
    warnings.filterwarnings("always", _NEVER_AWAITED.pattern, RuntimeWarning)
    remember_where()
    return True


def remember_where() -> None:
    """Let Python record where this thread's coroutines are made, not only where they are dropped."""
    if notebook.has_cells():
        sys.set_coroutine_origin_tracking_depth(1)


def _nothing_yet(coroutine: CoroutineType[Any, Any, Any]) -> str:
    name = coroutine.__name__
    return f"Nothing has happened yet: {name}(…) waits for an await. Write `await` before it."


class _Forgotten:
    """Shows warnings as Python does, but reports a cell's call without await once, plainly, below it."""

    def __init__(self, pythons_own: Callable[..., None]) -> None:
        self._pythons_own = pythons_own
        self._lines: dict[str, None] = {}

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        forgotten, made = _NEVER_AWAITED.match(str(message)), _MADE.search(str(message))
        if forgotten is None or made is None or (cell := notebook.cell_name(made["file"])) is None:
            self._pythons_own(message, category, filename, lineno, file, line)
            return
        if _is_handed_on(made["file"], int(made["line"]), forgotten["name"]):
            return
        text = (
            f"Nothing has happened in {cell}, line {made['line']}: {forgotten['name']}(…) was called without "
            "`await`. Write `await` before it."
        )
        if threading.current_thread() is threading.main_thread():
            self._lines[text] = None
        else:
            print(text, file=sys.stderr)  # a handler's own, to be seen with its job

    def tell(self, _result: object) -> None:
        """Print the lines, after a cell."""
        lines, self._lines = self._lines, {}
        for line in lines:
            print(line)


def _is_handed_on(file: str, line: int, name: str) -> bool:
    """Return whether the call of ``name`` in this line is an argument of a call that awaits it."""
    try:
        nodes = ast.walk(ast.parse("".join(linecache.getlines(file))))
    except SyntaxError:
        return False
    calls = (each for each in nodes if isinstance(each, ast.Call))
    around = (ast.unparse(each) for each in calls if each.lineno <= line <= (each.end_lineno or line))
    return any(re.match(rf"(asyncio\.)?({_TAKE_CALLS})\(.*\b{name}\(", each) for each in around)
