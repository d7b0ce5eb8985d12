"""Python's garbage collector while consumers run: it leaves out what was there before them.

Once in some thousand jobs, whose objects make it do so, it looks at every object there is. In a kernel with
pandas that takes 50 ms (the time of 500 jobs and more), and it finds next to nothing.
"""

from __future__ import annotations

import gc

from kit.session import session

GROWN = 1.25  # times as many objects as at the last full collection, as Python itself has it


def start() -> None:
    """Leave out what is there, until `stop`."""
    gc.freeze()
    count = gc.get_freeze_count()
    if session.objects and count > GROWN * session.objects:
        # A part of it may be garbage, such as consumers from before this one.
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        session.objects = gc.get_freeze_count()
    session.objects = session.objects or count


def stop() -> None:
    """Have everything looked at again."""
    gc.unfreeze()
