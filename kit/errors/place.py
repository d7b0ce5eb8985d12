"""The place an exception comes from: the frames of its traceback that a learner wrote."""

from __future__ import annotations

import ast
import itertools
import linecache
import os
import re
import sysconfig
import traceback
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType

from kit import notebook

# A user's own libraries, or Debian's, are beside the folders that this Python names.
_PACKAGES = re.compile(r"[/\\](?:site|dist)-packages[/\\]")


@cache
def is_learners(filename: str) -> bool:
    """Return whether a learner may have written the file: a cell, or a file that belongs to no library."""
    kit = str(Path(__file__).parents[1])
    folders = {sysconfig.get_path(key) for key in ("stdlib", "purelib", "platlib")} | {kit}
    libraries = tuple(os.path.join(folder, "") for folder in folders)
    if filename.startswith((*libraries, "<frozen", "<string>")) or _PACKAGES.search(filename):
        return False
    # Code that was compiled from .pyx, such as asyncpg's protocol, names its source without a folder.
    return not filename.endswith(".pyx")


def learners_frames(trace: TracebackType | None) -> list[TracebackType]:
    """Return those entries of a traceback that are in code a learner may have written, outermost first."""
    found = []
    while trace is not None:
        if is_learners(trace.tb_frame.f_code.co_filename):
            found.append(trace)
        trace = trace.tb_next
    return found


def failing_code(error: BaseException) -> ast.expr | None:
    """Return the expression that raised, in the learner's last frame; None if its source is gone."""
    if not (frames := learners_frames(error.__traceback__)):
        return None
    code, at = frames[-1].tb_frame.f_code, frames[-1].tb_lasti // 2
    wanted = next(itertools.islice(code.co_positions(), at, None), None)
    with suppress(SyntaxError, ValueError):
        for node in ast.walk(ast.parse("".join(linecache.getlines(code.co_filename)))):
            if isinstance(node, ast.expr) and wanted == (
                *(node.lineno, node.end_lineno),
                *(node.col_offset, node.end_col_offset),
            ):
                return node
    return None


def place(error: BaseException, *, cells_only: bool = False) -> str:
    """Return the learner's last frame in the traceback, as `` (Cell In[3], line 4: `the code`)``.

    Empty if there is none, or if it is in no cell and ``cells_only``.
    """
    if frames := learners_frames(error.__traceback__):
        file, number = frames[-1].tb_frame.f_code.co_filename, frames[-1].tb_lineno
    elif isinstance(error, SyntaxError) and error.filename is not None:
        file, number = error.filename, error.lineno or 0
    else:
        return ""
    if cells_only and notebook.cell_name(file) is None:
        return ""
    return _shown(file, number)


def place_in(text: str) -> str:
    """Return the same for a traceback that was printed in another process."""
    for file, number in reversed(re.findall(r'File "(.+?)", line (\d+)', text)):
        if is_learners(file):
            return _shown(file, int(number))
    return ""


def _shown(file: str, number: int) -> str:
    cell, code = notebook.cell_name(file), linecache.getline(file, number).strip()
    return f" ({cell or os.path.basename(file)}, line {number}" + (f": `{code}`)" if code else ")")


def own_traceback(error: BaseException) -> str:
    """Return the traceback without the outer frames, which called or imported the learner's code."""
    callers = ("kit", "pgqueuer", "asyncio", "contextlib", "importlib")
    start = error.__traceback__
    while start and start.tb_frame.f_globals.get("__name__", "").split(".")[0] in callers:
        start = start.tb_next
    return "".join(traceback.format_exception(type(error), error, start or error.__traceback__))
