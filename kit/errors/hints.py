"""What helps against a mistake, in one line: shown before an error, or in place of what Python says.

The lessons call asyncpg and PGQueuer directly, so their errors, and Python's own, are what a learner meets.
"""

from __future__ import annotations

import asyncio
import linecache
import re
import sys
import threading
import warnings
from collections.abc import Callable
from types import CoroutineType
from typing import Any, TextIO

from kit import notebook
from kit.errors.place import is_learners, learners_frames, place
from kit.errors.postgres import NO_TABLES
from kit.errors.text import one_line

_NEVER_AWAITED = re.compile(r"coroutine '(?:.*\.)?(\w+)' was never awaited")
_CANNOT_BE_AWAITED = re.compile(
    r"object (\w+) can't be used in 'await' expression|'(\w+)' object can't be awaited"
)


def show() -> None:
    """Let a notebook show hints; a second call changes nothing, and outside a notebook neither does one."""
    if not notebook.has_cells():
        return
    notebook.explain_errors(_for_a_cell, learners_frames)
    notebook.show_as(CoroutineType, _nothing_yet)
    if not isinstance(warnings.showwarning, _Forgotten):
        forgotten = _Forgotten(warnings.showwarning)
        notebook.after_each_cell(forgotten.tell)
        warnings.showwarning = forgotten
        # Python says it once for a line number, and the same one of another cell is another line.
        warnings.filterwarnings("always", _NEVER_AWAITED.pattern, RuntimeWarning)


def in_one_line(error: BaseException) -> str:
    """Return an exception with the cell and line it came from, and with its hint if there is one."""
    line = f"{one_line(error)}{place(error, cells_only=True)}"
    helps = hint(error)
    return f"{line}. {helps}" if helps is not None else line


def hint(error: BaseException) -> str | None:
    """Return what to do about ``error``, in one line; None when its own text says enough."""
    try:
        text = str(error)
    except Exception:
        return None
    match error:
        case NameError(name=str()) if type(error) is NameError and _is_in_learners_code(error):
            return (
                f"This notebook has no name {error.name!r} yet. Run the cells above first, from the top: a "
                "restarted kernel has forgotten all that they made."
            )
        case RuntimeError() if _asked_for_a_second_loop(text):
            return (
                "A notebook has a loop that runs already, so a cell awaits by itself. "
                f"Write {_awaited(error)} instead."
            )
        case RuntimeError() if "attached to a different loop" in text:
            return (
                "It belongs to the loop it was made on, and handlers run on the consumer's: make it inside "
                "main(), not in a cell. What was sent has probably been done, and only the answer is lost."
            )
        case TypeError() if (found := _CANNOT_BE_AWAITED.search(text)) and _is_in_learners_code(error):
            if "Consumer" in found.groups():
                return "The consumer runs: kit.run is a plain call. Write kit.run(main), without await."
            return "This is a plain call, and it has done its work already. Write it without await."
        case _:
            return _of_the_database(error)


def _of_the_database(error: BaseException) -> str | None:
    import asyncpg
    from pgqueuer.domain.errors import DuplicateJobError

    text = str(error)
    match error:
        case asyncpg.DataError() if "a bytes-like object is required" in text:
            return "A payload is bytes: write b'hello', or make bytes of a text with .encode()."
        case asyncpg.DataError() if "cannot be interpreted as an integer" in text:
            return "It takes a whole number, as a priority and a job's id are: write 3, not '3'."
        case asyncpg.DataError() if "value out of int32 range" in text:
            return "It takes a whole number from -2147483648 to 2147483647, as a priority is."
        case asyncpg.DataError() if "object has no attribute 'days'" in text:
            return "It takes a length of time, as execute_after is: write timedelta(seconds=5)."
        case DuplicateJobError():
            keys = ", ".join(repr(key) for key in error.dedupe_key if key is not None)
            return (
                f"A job with the dedupe_key {keys} is queued or picked already, so nothing was enqueued. "
                'on_conflict="skip" leaves such jobs out without an error.'
            )
        case asyncpg.InterfaceError() if "another operation is in progress" in text:
            return "A connection does one thing at a time. Give each user its own: await asyncpg.connect()."
        case asyncpg.InterfaceError() if "connection is closed" in text:
            return "Make the connection again: run the cell with asyncpg.connect() once more."
        case asyncpg.UndefinedTableError() if '"pgqueuer' in text:
            return NO_TABLES
        case asyncpg.InvalidCatalogNameError() | ConnectionRefusedError():
            return "There may be no Postgres yet: run the lesson's first cell, kit.postgres(…)."
        case _:
            return None


def _is_in_learners_code(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and is_learners(trace.tb_frame.f_code.co_filename)


def _asked_for_a_second_loop(text: str) -> bool:
    return (
        "cannot be called from a running event loop" in text or text == "This event loop is already running"
    )


def _awaited(error: BaseException) -> str:
    """Return, as code, what the learner's own line hands to ``asyncio.run``, awaited."""
    frames = learners_frames(error.__traceback__)
    code = ""
    if frames:
        code = linecache.getline(frames[-1].tb_frame.f_code.co_filename, frames[-1].tb_lineno)
    said = re.search(r"\.run(?:_until_complete)?\((.+?\))\)", code)
    return f"`await {said[1]}`" if said else "`await main()`"


def _for_a_cell(error: BaseException) -> str | None:
    line = hint(error)
    if line is not None and isinstance(error, RuntimeError):
        _let_go_of_what_asyncio_refused(error)
    return line


def _let_go_of_what_asyncio_refused(error: BaseException) -> None:
    # Else Python complains of it, too, in whichever cell forgets the error.
    trace = error.__traceback__
    while trace is not None:
        handed = trace.tb_frame.f_locals.get("main")
        if trace.tb_frame.f_code is asyncio.run.__code__ and asyncio.iscoroutine(handed):
            handed.close()
        trace = trace.tb_next


def _nothing_yet(coroutine: CoroutineType[Any, Any, Any]) -> str:
    name = coroutine.__name__
    return f"Nothing has happened yet: {name}(…) waits for an await. Write `await` before it."


class _Forgotten:
    """Shows warnings as Python does; what a cell calls without await, once and in plain words below it."""

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
        said = _NEVER_AWAITED.match(str(message))
        cell = notebook.cell_name(filename)
        if said is None or cell is None:
            self._pythons_own(message, category, filename, lineno, file, line)
            return
        told = (
            f"Nothing has happened in {cell}, line {lineno}: {said[1]}(…) was called without `await`. "
            "Write `await` before it."
        )
        if threading.current_thread() is threading.main_thread():
            self._lines[told] = None
        else:
            print(told, file=sys.stderr)  # a handler's own, to be seen with its job

    def tell(self, _result: object) -> None:
        """Say it, after a cell."""
        lines, self._lines = self._lines, {}
        for line in lines:
            print(line)
