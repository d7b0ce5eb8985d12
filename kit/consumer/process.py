"""Changes of this process while consumers run. They are undone when the last one ends."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil

from kit.consumer import capture, console
from kit.errors import KitError, unawaited
from kit.internals import asked_before_each_use, before_threads_are_joined
from kit.session import session

SWITCH_INTERVAL = 0.001
GROWN = 1.25  # times the memory after the last full collection, to collect again


@contextmanager
def while_running() -> Iterator[None]:
    """Change the process as long as at least one consumer runs; used on each consumer's thread."""
    unawaited.remember_where()
    with session.lock:
        session.running += 1
        first = session.running == 1
        if first:
            session.changes = ExitStack()
            session.changes.enter_context(capture.prints_are_caught())
            # asyncpg sends the query before it checks the loop. Then two threads work on one connection: the
            # answer is lost, and about every second time the whole kernel dies.
            session.changes.enter_context(asked_before_each_use(_refuse_another_loop))
            session.changes.enter_context(_threads_take_turns_often())
            session.changes.callback(gc.unfreeze)
            console.show_notices_after_cells()
    try:
        if first:
            # Without the lock, because finalizers that run here may start or stop consumers and workers.
            _freeze_existing_objects()
        yield
    finally:
        with session.lock:
            session.running -= 1
            if session.running == 0:
                session.changes.close()


@contextmanager
def _threads_take_turns_often() -> Iterator[None]:
    # While a cell computes in pure Python, the consumer's thread waits so long (5 ms by default) for each
    # turn, and a job takes several turns.
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(SWITCH_INTERVAL, before))
    yield
    sys.setswitchinterval(before)


def _refuse_another_loop(made_on: asyncio.AbstractEventLoop | None) -> None:
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:  # a plain call, such as connection.transaction()
        return
    if made_on is not None and made_on is not running:
        raise KitError(
            "This connection was made elsewhere, so nothing was sent: a connection belongs to the loop it "
            "was made on, and a handler runs on the consumer's. For a handler connect inside main(), not in "
            "a cell."
        )


def _freeze_existing_objects() -> None:
    """Let Python's garbage collector skip all objects that exist now.

    Once in some thousand jobs it would visit each of them. In a kernel with pandas that takes 50 ms, the time
    of 500 jobs and more, and frees next to nothing.
    """
    memory = psutil.Process().memory_info().rss  # not the number of objects: few may hold much
    if memory > GROWN * session.memory > 0:
        # Part of it may be garbage, such as earlier consumers with their objects.
        gc.collect()
        session.memory = psutil.Process().memory_info().rss
    # The minimum, because a large table that stays for a while would hide later garbage.
    session.memory = min(session.memory or memory, memory)
    gc.freeze()


def _stop_all() -> None:
    for consumer in list(session.consumers.values()):
        with suppress(Exception):
            consumer.stop(timeout=1.0)


def _forget_in_a_fork() -> None:
    session.changes.close()
    session.forget_consumers()


before_threads_are_joined(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_a_fork)
