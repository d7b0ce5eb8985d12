"""Private ways into Python and libraries. All are in this file, and the kit works without each of them.

Each function names the version it was tried with, and what is lost without it. A test fails when a way is
gone.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def replaced(owner: type, name: str, by: Callable[..., Any]) -> Iterator[None]:
    """Replace a method in this block. ``by`` gets the original method, then the arguments of the call.

    Nothing happens where the class has no such method.
    """
    before = getattr(owner, name, None)
    if before is None:
        yield
        return

    def ours(*arguments: Any, **options: Any) -> Any:
        return by(before, *arguments, **options)

    setattr(owner, name, ours)
    try:
        yield
    finally:
        if getattr(owner, name) is ours:  # or somebody has replaced it since: theirs stays
            setattr(owner, name, before)


def before_threads_are_joined(function: Callable[[], None]) -> None:
    """Call ``function`` when Python ends, before it waits for the threads of ``concurrent.futures``.

    CPython 3.11 to 3.14. Without it, ``function`` is called later: a handler's next ``asyncio.to_thread`` is
    refused, and its job is logged as an exception; a board's last picture may not be sent any more.
    """
    getattr(threading, "_register_atexit", atexit.register)(function)


def free_imports() -> None:
    """Let other threads import again, where an interrupt in an import has kept the lock for this one.

    CPython 3.11 to 3.13. Without it, they wait for ever, and only a restart of the kernel helps. No code of a
    module runs under this lock, so a thread that calls this needs it no more.
    """
    with suppress(ImportError, RuntimeError):  # RuntimeError: another thread has it, and gives it back itself
        import _imp

        while _imp.lock_held():
            _imp.release_lock()


@contextmanager
def asked_before_each_use(ask: Callable[[asyncio.AbstractEventLoop | None], None]) -> Iterator[None]:
    """Call ``ask`` before each use of an asyncpg connection, with the loop that the connection was made on.

    asyncpg 0.32: every method of a connection calls ``_check_open`` first. Without it, Python itself refuses
    a connection on another loop, but only after something was sent.
    """
    import asyncpg

    def check(before: Callable[[Any], None], connection: Any) -> None:
        before(connection)
        ask(loop_of(connection))

    with replaced(asyncpg.Connection, "_check_open", check):
        yield


def connection_of(driver: object) -> Any:
    """Return the connection or the pool of one of PGQueuer's drivers; None: not known.

    PGQueuer 1.6. Without it, a connection that the older form of ``main`` opened is dropped, not closed, when
    its loop ends.
    """
    return getattr(driver, "_connection", None) or getattr(driver, "_pool", None)


def loop_of(connection: object) -> asyncio.AbstractEventLoop | None:
    """Return the loop that an asyncpg connection or pool was made on; None: not known.

    asyncpg 0.32. Without it, a notebook's connection in ``main`` is not refused.
    """
    return getattr(connection, "_loop", None)


def gathered_by(task: asyncio.Task[Any] | None) -> Iterable[asyncio.Task[Any]]:
    """Return the tasks that a task waits for by ``asyncio.gather``.

    CPython 3.11 to 3.14. Without it, the error for a ``main`` that runs its PgQueuer beside other tasks says
    only that it took too long.
    """
    waited_for: Iterable[asyncio.Task[Any]] = getattr(getattr(task, "_fut_waiter", None), "_children", ())
    return waited_for


def is_of_a_cell(coroutine: Coroutine[Any, Any, Any] | None) -> bool:
    """Return whether this is the coroutine in which IPython runs a cell.

    IPython 8.24 to 9. Without it, an interrupted cell ends with CancelledError.
    """
    return getattr(coroutine, "__name__", "") == "run_cell_async"
