"""The guard: a small process that kills this kernel's workers when the kernel is gone.

Started by its path, with nothing but the standard library. Its standard input is a pipe from the kernel,
which says ``+pid`` and ``-pid`` on it, and which the operating system closes however the kernel ends. It is
outside the kernel's process group, and so neither killed nor interrupted with it. SIGKILL also ends what is
stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys


def watch() -> None:
    """Keep account of the workers until the pipe is closed, then kill those that are left."""
    workers: set[int] = set()
    for line in sys.stdin:
        pid = int(line[1:])
        if line[0] == "+":
            workers.add(pid)
        else:
            workers.discard(pid)
    for pid in workers:
        kill(pid)


def kill(pid: int) -> None:
    """Kill a worker and what its handlers have started; one that is gone is no error."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(pid)], capture_output=True, check=False)
        return
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    watch()
