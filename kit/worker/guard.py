"""The guard: a small process that kills this kernel's workers when the kernel is gone.

It is started by its path and uses only the standard library. Its standard input is a pipe: the kernel writes
``+pid`` and ``-pid``, and the operating system closes the pipe however the kernel ends. The guard is outside
the kernel's process group, so it is neither killed nor interrupted with it. SIGKILL also ends frozen
processes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys


def watch() -> None:
    """Keep a set of the workers until the pipe is closed, then kill those that are left."""
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
    """Kill a worker and the processes of its handlers; do nothing if it has ended."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(pid)], capture_output=True, check=False)
        return
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    watch()
