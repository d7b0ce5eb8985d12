"""Start processes that outlive this one: servers and their keepers."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from io import FileIO
from typing import Any

import psutil

_IN_BACKGROUND = '"$@" >&2 & echo $!'


def apart() -> dict[str, Any]:
    """Return ``subprocess`` options for a process that gets no signals from this one or its terminal."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def start(command: list[str], log: FileIO, **options: Any) -> psutil.Process | None:
    """Start a process detached from this one and its terminal; return None if it ended at once.

    Its output goes to ``log``. It is no child of this process, so nobody has to wait for its end. ``options``
    are those of ``subprocess``.
    """
    if sys.platform == "win32":
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **apart(), **options
        )
        child.returncode = 0  # or Python warns of a child that was not waited for
        pid = child.pid
    else:
        started = subprocess.run(
            ["/bin/sh", "-c", _IN_BACKGROUND, "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            check=True,
            **apart(),
            **options,
        )
        pid = int(started.stdout)
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid)
    return None


def is_alive(process: psutil.Process | None) -> bool:
    """Return whether a process still runs. A zombie does not run."""
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def running(*words: str) -> list[psutil.Process]:
    """Return the processes that have all these words among their arguments."""
    found = psutil.process_iter(["cmdline"])
    return [process for process in found if set(words) <= set(process.info["cmdline"] or ())]
