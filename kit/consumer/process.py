"""What running consumers change of their process, and what is put back when the last one ends."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kit.consumer import capture, garbage, own_loop, screen
from kit.errors import unawaited
from kit.session import session

SWITCH_INTERVAL = 0.001


@contextmanager
def while_running() -> Iterator[None]:
    """Catch prints, and let threads take turns more often, as long as at least one consumer runs."""
    unawaited.remember_where()
    with session.lock:
        session.running += 1
        first = session.running == 1
        if first:
            capture.start()
            own_loop.start()
            screen.show_notices_after_cells()
            # A cell that computes in pure Python keeps the interpreter for this long (5 ms by default)
            # whenever the consumer's thread asks for a turn, and a job takes several turns.
            session.switch_interval = sys.getswitchinterval()
            sys.setswitchinterval(min(SWITCH_INTERVAL, session.switch_interval))
    try:
        if first:
            # Without the lock: the finalizers that this runs may start or stop consumers and workers.
            garbage.start()
        yield
    finally:
        with session.lock:
            session.running -= 1
            if session.running == 0:
                capture.stop()
                own_loop.stop()
                sys.setswitchinterval(session.switch_interval)
                garbage.stop()


def _stop_all() -> None:
    for consumer in list(session.consumers.values()):
        with suppress(Exception):
            consumer.stop(timeout=1.0)


def _forget_in_a_fork() -> None:
    if session.running:
        garbage.stop()
    session.forget_consumers()
    capture.stop()
    own_loop.stop()


# Before concurrent.futures joins its threads, which waits for handlers in asyncio.to_thread: afterwards the
# next job's to_thread would be refused, and the job logged as an exception. There is no public way in.
getattr(threading, "_register_atexit", atexit.register)(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_a_fork)
