"""Python's garbage collector while consumers run: it leaves out what was there before them.

Once in some thousand jobs, whose objects make it do so, it looks at every object there is. In a kernel with
pandas that takes 50 ms (the time of 500 jobs and more), and it finds next to nothing.
"""

from __future__ import annotations

import gc

import psutil

from kit.session import session

GROWN = 1.25  # times as much memory as when all was looked at


def start() -> None:
    """Leave out what is there, until `stop`. What this finds to be garbage may run code of anybody's."""
    memory = _memory()
    if memory > GROWN * session.memory > 0:
        # A part of it may be garbage, such as consumers from before this one, and what they held.
        gc.collect()
        session.memory = _memory()
    # The least there was: what is there for a while, such as a large table, leaves no room for garbage.
    session.memory = min(session.memory or memory, memory)
    gc.freeze()


def stop() -> None:
    """Have everything looked at again."""
    gc.unfreeze()


def _memory() -> int:
    """Return how much memory this process uses, in bytes. Few objects may hold much of it."""
    return int(psutil.Process().memory_info().rss)
