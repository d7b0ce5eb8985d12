"""A worker's operating-system process: start, guard, freeze and kill it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psutil

from kit.consumer.factory import working_folder
from kit.session import session
from kit.sources.processes import apart
from kit.worker import guard

TO_FREEZE = 5.0  # seconds for the operating system to stop or go on with every thread of a process

# What runs in it. It finds the same modules as this process does, those beside the notebook first.
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1])['path']; "
    "from kit.worker import program; program.main()"
)


class Process:
    """One process, in a group of its own: it gets no signals from this process or its terminal.

    It waits until the guard knows it. If this process dies before that, it ends by itself.
    """

    def __init__(self, given: dict[str, Any], environment: Mapping[str, str] = {}) -> None:
        here = working_folder()
        path = [here, *(entry for entry in sys.path if entry not in ("", here))]
        self.popen = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps({**given, "path": path})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONIOENCODING": "utf-8:backslashreplace"} | dict(environment),
            **apart(),
        )
        self.pid = self.popen.pid
        try:
            _guard(self.pid, True)
        except BaseException:
            self.kill()
            self.end()
            raise
        self.say("go")

    def say(self, command: str) -> None:
        """Send it a command; do nothing when it has ended."""
        assert self.popen.stdin is not None
        with suppress(OSError, ValueError):
            self.popen.stdin.write(f"{command}\n".encode())
            self.popen.stdin.flush()

    def kill(self) -> None:
        """End it and the processes of its handlers at once."""
        if self.popen.returncode is None:
            guard.kill(self.pid)

    def pause(self) -> None:
        """Freeze it and the processes of its handlers; return when it is frozen."""
        self._each("suspend")
        self._until_stopped(True)

    def resume(self) -> None:
        """Let it go on; do nothing if it was not frozen."""
        self._each("resume")
        self._until_stopped(False)

    def end(self) -> int:
        """Wait until it has ended, and return its exit code: negative when a signal ended it.

        Its pipes may stay open longer: in a process that its handlers started, and that has left its group.
        """
        code = self.popen.wait()
        if sys.platform != "win32":
            guard.kill(self.pid)  # the processes of its handlers in its group
        _guard(self.pid, False)
        assert self.popen.stdin is not None
        with suppress(OSError):
            self.popen.stdin.close()  # the threads that read the other two close them
        return code

    def _each(self, what: str) -> None:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            for each in [process, *process.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    getattr(each, what)()

    def _until_stopped(self, wanted: bool) -> None:
        deadline = time.monotonic() + TO_FREEZE
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            while (process.status() == psutil.STATUS_STOPPED) is not wanted and time.monotonic() < deadline:
                time.sleep(0.005)


def _guard(pid: int, there: bool) -> None:
    """Tell the guard that a worker is there, or no longer. The guard ends with the last worker."""
    with session.lock:
        (session.guarded.add if there else session.guarded.discard)(pid)
        if session.guard is None and session.guarded:
            _start_guard()
        elif session.guard is not None:
            _tell_guard(f"{'+' if there else '-'}{pid}")
        if session.guard is not None and not session.guarded:
            _leave_guard()


def _start_guard() -> None:
    session.guard = subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **apart(),
    )
    for pid in session.guarded:
        _tell_guard(f"+{pid}")
    threading.Thread(target=_replace_guard, args=(session.guard,), name="kit-guard", daemon=True).start()


def _replace_guard(ended: subprocess.Popen[bytes]) -> None:
    """Start another guard when this one has ended before its workers, because somebody killed it."""
    ended.wait()
    with session.lock:
        if session.guard is ended:
            _leave_guard()
            _start_guard()


def _tell_guard(line: str) -> None:
    assert session.guard is not None
    assert session.guard.stdin is not None
    with suppress(OSError):  # it was killed just now; its successor gets all workers
        session.guard.stdin.write(f"{line}\n".encode())
        session.guard.stdin.flush()


def _leave_guard() -> None:
    # A fork has the pipe, too, and would hide the kernel's end from the guard as long as it lives.
    if session.guard is not None and session.guard.stdin is not None:
        with suppress(OSError):
            session.guard.stdin.close()
    session.guard = None


def _forget_in_a_fork() -> None:
    _leave_guard()
    session.guarded.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_a_fork)
