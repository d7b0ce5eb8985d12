"""Ways into Python and libraries that are not public: every one is here, and without it the kit works too.

Each is a function that names the version it was tried with, and what is lost where the way is gone. A test
fails in that case.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(owner: type, name: str, by: Callable[..., Any]) -> Iterator[None]:
    """Have a method replaced by a function that gets the method itself, and then what that is called with.

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
        if getattr(owner, name) is ours:  # what somebody put over it meanwhile stays
            setattr(owner, name, before)


def before_threads_are_joined(function: Callable[[], None]) -> None:
    """Call ``function`` when Python ends, before it waits for the threads of ``concurrent.futures``.

    CPython 3.11 to 3.14. Without it, it is called after that: a handler's next ``asyncio.to_thread`` is
    refused, and its job is logged as an exception.
    """
    getattr(threading, "_register_atexit", atexit.register)(function)


@contextmanager
def asked_before_each_use(ask: Callable[[asyncio.AbstractEventLoop | None], None]) -> Iterator[None]:
    """Call ``ask`` with the loop that a connection was made on before each use of one of asyncpg's.

    asyncpg 0.32: every method of a connection calls ``_check_open`` first. Without it, a connection that is
    used on another loop is found out by Python, after something was sent.
    """
    import asyncpg

    def check(before: Callable[[Any], None], connection: Any) -> None:
        before(connection)
        ask(loop_of(connection))

    with replaced(asyncpg.Connection, "_check_open", check):
        yield


def connection_of(driver: object) -> Any:
    """Return the connection, or the pool, that one of PGQueuer's drivers was made with; None: not known.

    PGQueuer 1.6. Without it, what the older form of ``main`` has connected is dropped when its loop ends,
    without a goodbye.
    """
    return getattr(driver, "_connection", None) or getattr(driver, "_pool", None)


def loop_of(connection: object) -> asyncio.AbstractEventLoop | None:
    """Return the loop that one of asyncpg's connections or pools was made on; None: not known.

    asyncpg 0.32. Without it, a notebook's connection in ``main`` is not refused.
    """
    return getattr(connection, "_loop", None)


def gathered_by(task: asyncio.Task[Any] | None) -> Iterable[asyncio.Task[Any]]:
    """Return the tasks that a task waits for by ``asyncio.gather``.

    CPython 3.11 to 3.14. Without it, a ``main`` that runs its PgQueuer beside other things is only told that
    it did not come to its end in time.
    """
    waited_for: Iterable[asyncio.Task[Any]] = getattr(getattr(task, "_fut_waiter", None), "_children", ())
    return waited_for


def is_of_a_cell(coroutine: Coroutine[Any, Any, Any] | None) -> bool:
    """Return whether a coroutine is the one in which IPython runs a cell.

    IPython 8.24 to 9. Without it, an interrupted cell ends with CancelledError.
    """
    return getattr(coroutine, "__name__", "") == "run_cell_async"
