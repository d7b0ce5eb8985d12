"""Show the progress of slow programs, and replace this process by one; only Python is needed for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

EVERY = 10.0  # seconds from one line to the next


@contextmanager
def progress(doing: Callable[[], str]) -> Iterator[None]:
    """Print what is being done, and for how long, every few seconds until the block ends."""
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


def become(command: list[str]) -> int:
    """Run a command in place of this process, with the folder of its Python first on the PATH."""
    os.environ["PATH"] = os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", os.defpath)])
    if sys.platform != "win32":
        os.execv(command[0], command)
    process = subprocess.Popen(command)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches both, and the command decides what it means
    return process.wait()
