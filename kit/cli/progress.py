"""A line every ten seconds for what takes long. ``python3 -m kit`` uses it, so it needs nothing installed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY = 10.0  # seconds from one line to the next


@contextmanager
def progress(doing: Callable[[], str]) -> Iterator[None]:
    """Print what is being done, and for how long already, until the block ends."""
    began, ended = time.monotonic(), threading.Event()

    def tell() -> None:
        while not ended.wait(EVERY):
            print(f"{time.monotonic() - began:5.0f} s  {doing()}", file=sys.stderr, flush=True)

    thread = threading.Thread(target=tell, name="kit-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
