"""The notebook around this process: its cells, their output, and how they are interrupted.

Only this module uses IPython. Outside a notebook its calls do nothing.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

from kit.internals import is_of_a_cell


def _shell() -> Any:
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return get_ipython()  # type: ignore[no-untyped-call, unused-ignore]


def has_cells() -> bool:
    """Return whether this process runs cells: in a notebook, or in a terminal's IPython."""
    return _shell() is not None


def in_notebook() -> bool:
    """Return whether what this process displays appears in a notebook (not in a terminal's IPython)."""
    shell = _shell()
    return shell is not None and getattr(shell, "kernel", None) is not None


def forget_settings_of_tools() -> None:
    """Remove variables that would change the output of programs started in cells, such as COLUMNS."""
    if in_notebook():
        for name in list(os.environ):
            if name.startswith("PYTEST_") or name in ("COLUMNS", "PYTHONWARNINGS"):
                del os.environ[name]


def cell_number() -> int | None:
    """Return the number of the cell that runs or ran last, as in ``In[3]``; None without cells."""
    shell = _shell()
    return int(shell.execution_count) if shell is not None else None


def cell_name(filename: str) -> str | None:
    """Return what IPython calls the cell whose code has this file name, such as ``Cell In[3]``."""
    shell = _shell()
    name = shell.compile.format_code_name(filename) if shell is not None else None
    return " ".join(name) if name else None


def namespace() -> dict[str, Any] | None:
    """Return the notebook's variables by name; None without cells."""
    shell = _shell()
    return shell.user_ns if shell is not None else None


def next_cell(source: str) -> None:
    """Put a cell with this source below the running one; do nothing without cells."""
    if (shell := _shell()) is not None:
        shell.set_next_input(source)


def after_each_cell(callback: Callable[[Any], None]) -> None:
    """Call ``callback`` after every cell, with its result. The same callback twice counts once."""
    if (shell := _shell()) is not None:
        shell.events.register("post_run_cell", callback)


def no_longer_after_cells(callback: Callable[[Any], None]) -> None:
    """Undo `after_each_cell`; do nothing if it was not called."""
    if (shell := _shell()) is not None:
        with suppress(ValueError):
            shell.events.unregister("post_run_cell", callback)


def explain_errors(
    hint: Callable[[BaseException], str | None],
    learners_frames: Callable[[TracebackType | None], list[TracebackType]],
) -> None:
    """Show the line that ``hint`` has for an error, and below it only the learner's own frames.

    An error without a hint looks as IPython shows it. IPython's own `set_custom_exc` is not enough: it misses
    errors in %run and %%capture.
    """
    if (shell := _shell()) is None:
        return
    ipythons_own = shell.showtraceback

    def show(exc_tuple: Any = None, *args: Any, **options: Any) -> None:
        error: Any = (exc_tuple or sys.exc_info())[1]
        line = None
        with suppress(Exception):  # a broken hint must not hide the error
            line = hint(error)
        if line is None or isinstance(error, SyntaxError):  # IPython formats it itself
            if line is not None:
                print(line)
            ipythons_own(exc_tuple, *args, **options)
            return
        text = _shortened(shell, error, error.__traceback__, learners_frames)
        error._render_traceback_ = lambda: [line, "", *text]
        try:
            ipythons_own(exc_tuple, *args, **options)
        finally:
            del error._render_traceback_

    shell.showtraceback = show


def _shortened(
    shell: Any,
    error: BaseException,
    trace: TracebackType | None,
    learners_frames: Callable[[TracebackType | None], list[TracebackType]],
) -> list[str]:
    """Return the traceback without the frames of libraries, and without causes that have no other frames."""
    kept: TracebackType | None = None
    for each in reversed(learners_frames(trace)):
        kept = TracebackType(kept, each.tb_frame, each.tb_lasti, each.tb_lineno)
    cause, context, suppressed = error.__cause__, error.__context__, error.__suppress_context__
    before = cause or (None if suppressed else context)
    while before is not None and not learners_frames(before.__traceback__):
        before = before.__cause__ or before.__context__
    if before is None:
        error.__cause__ = None
    try:
        text: list[str] = shell.InteractiveTB.structured_traceback(
            type(error), error, kept or trace, tb_offset=0
        )
        return text
    finally:
        error.__cause__, error.__context__, error.__suppress_context__ = cause, context, suppressed


def show_as(kind: type, text: Callable[[Any], str]) -> None:
    """Show a cell's value of this type as the text that ``text`` returns."""
    if (shell := _shell()) is not None:
        formatter = shell.display_formatter.formatters["text/plain"]
        formatter.for_type(kind, lambda value, printer, _cycle: printer.text(text(value)))


def show_as_html(module: str, kind: str, html: Callable[[Any], str | None]) -> None:
    """Show a cell's value of a type, which need not be imported yet, also as HTML, which ``html`` returns."""
    if (shell := _shell()) is not None:
        shell.display_formatter.formatters["text/html"].for_type_by_name(module, kind, html)


def publish(bundle: dict[str, Any], display_id: str | None = None, *, update: bool = False) -> None:
    """Show ``bundle`` (contents by MIME type) below the running cell.

    With ``update`` it replaces the output that has this ``display_id``, also from another thread.
    """
    shell = _shell()
    if shell is not None:
        transient = {"display_id": display_id} if display_id is not None else None
        shell.display_pub.publish(bundle, transient=transient, update=update)


def channel(name: str, heard: Callable[[Any], None]) -> Callable[[Any], None]:
    """Make a channel of that name, and return what sends there.

    A page that knows the name finds it by any message. It is not opened from here: what runs a notebook
    without a page warns of each channel that it does not know.
    """
    from comm import create_comm, get_comm_manager

    made = create_comm(target_name=name, comm_id=name, primary=False)
    get_comm_manager().register_comm(made)
    made.on_msg(lambda message: heard(message["content"]["data"]))
    made.send({})
    return lambda data: made.send(data)


class Interruptible:
    """Turns the interrupt of an awaiting cell into a KeyboardInterrupt.

    ipykernel cancels the cell's task, which alone would end the cell with CancelledError.
    """

    def __enter__(self) -> None:
        self._interrupted = False
        self._in_cell = _in_the_task_of_a_cell()
        if self._in_cell:
            self._before: Any = signal.getsignal(signal.SIGINT)
            signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, *arguments: Any) -> None:
        self._interrupted = True
        self._before(*arguments)

    def __exit__(self, *_: object) -> None:
        __tracebackhide__ = True
        if self._in_cell:
            signal.signal(signal.SIGINT, self._before)
        if self._interrupted:
            raise KeyboardInterrupt from None


def _in_the_task_of_a_cell() -> bool:
    # In any other task a KeyboardInterrupt would end the kernel's loop: IPython does not catch it there.
    if _shell() is None or threading.current_thread() is not threading.main_thread():
        return False
    coroutine = getattr(asyncio.current_task(), "get_coro", lambda: None)()
    return is_of_a_cell(coroutine) and callable(signal.getsignal(signal.SIGINT))
