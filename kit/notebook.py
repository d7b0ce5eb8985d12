"""The notebook this process may be in: its cells, what they show, and how they are interrupted.

The one Python module that knows IPython. Outside a notebook each call does nothing, or says so.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


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


def cell_number() -> int | None:
    """Return the number of the cell that runs or ran last, as in ``In[3]``; None without cells."""
    shell = _shell()
    return int(shell.execution_count) if shell is not None else None


def cell_name(filename: str) -> str | None:
    """Return what IPython calls the cell whose code has this file name, such as ``Cell In[3]``."""
    shell = _shell()
    name = shell.compile.format_code_name(filename) if shell is not None else None
    return " ".join(name) if name else None


def after_each_cell(callback: Callable[[Any], None]) -> None:
    """Call back after every cell, with what came of it; the same one twice counts once."""
    if (shell := _shell()) is not None:
        shell.events.register("post_run_cell", callback)


def no_longer_after_cells(callback: Callable[[Any], None]) -> None:
    """End what `after_each_cell` began; do nothing where it did not begin."""
    if (shell := _shell()) is not None:
        with suppress(ValueError):
            shell.events.unregister("post_run_cell", callback)


def publish(bundle: dict[str, Any], display_id: str | None = None, *, update: bool = False) -> None:
    """Show ``bundle``, contents by MIME type, below the running cell.

    With a ``display_id`` it can be shown anew later, in place, with ``update``; also from another thread.
    """
    shell = _shell()
    if shell is not None:
        transient = {"display_id": display_id} if display_id is not None else None
        shell.display_pub.publish(bundle, transient=transient, update=update)


class Interruptible:
    """Lets the interrupt of an awaiting cell be the KeyboardInterrupt it is.

    ipykernel cancels the cell's task, so the cell would end with CancelledError.
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
    # In any other task a KeyboardInterrupt would end the kernel's loop, where IPython does not catch it.
    if _shell() is None or threading.current_thread() is not threading.main_thread():
        return False
    coroutine = getattr(asyncio.current_task(), "get_coro", lambda: None)()
    return getattr(coroutine, "__name__", "") == "run_cell_async" and callable(
        signal.getsignal(signal.SIGINT)
    )
