"""The keeper: a small process that stops a shared server after its last user.

It also restarts a server that died while somebody uses it. Whoever joins a server without a keeper starts
one: ``python -m kit.sources.keeper <server.json>``.
"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from kit.sources.server import Server

PAUSE = 0.5  # seconds between two checks of the users and the server
LONGEST_PAUSE = 15.0  # seconds between two failing attempts to restart or stop a server, at most
GIVE_UP = 300.0  # seconds of failing attempts: its Docker is gone for good


def keep(record: Path) -> None:
    """Keep the server that ``record`` describes up until its last user has left, then stop it.

    After `GIVE_UP` seconds in which it could be neither restarted nor stopped, log that and leave it.
    """
    import filelock

    from kit.errors import KitError
    from kit.sources import registry

    try:
        server = registry.load(record)
        keeping = filelock.FileLock(server.folder / "keeper.lock", mode=0o600)
        keeping.acquire(blocking=False)
    except (KitError, filelock.Timeout) as error:
        _log(error)
        return
    stopped = server.folder / "stopped"
    pause, worked = PAUSE, time.monotonic()
    while True:
        try:
            if _stop_or_restart(server, keeping):
                return
            pause, worked = PAUSE, time.monotonic()
        except (KitError, OSError) as error:
            _log(error)
            pause, failing = min(pause * 2, LONGEST_PAUSE), time.monotonic() - worked
            if stopped.exists() or failing > GIVE_UP:
                _log(
                    "The keeper gave up: the server could neither be brought back nor stopped for "
                    f"{failing:.0f} s. The next kit.postgres() starts or stops it."
                )
                return
        until = time.monotonic() + pause
        while time.monotonic() < until and not stopped.exists():
            time.sleep(min(PAUSE, pause))


def _stop_or_restart(server: Server, keeping: BaseFileLock) -> bool:
    """Stop a server that nobody uses, or restart one that died; return whether the keeper is done."""
    from kit.sources import sharing

    def is_over() -> bool:
        return not sharing.users(server.folder) or (server.folder / "stopped").exists()

    if is_over():
        with sharing.locked(server.folder):
            if is_over():
                server.stop()
                sharing.forget_the_dead(server.folder)
                keeping.release()  # before the start lock: whoever joins next starts another keeper
                return True
    elif server.running() is None:
        with sharing.locked(server.folder):
            if not is_over() and server.running() is None:
                server.start()
    return False


def _log(what: object) -> None:
    with contextlib.suppress(OSError):  # the disk may be full
        print(time.strftime("%F %T"), what, flush=True)


if __name__ == "__main__":
    time.sleep(PAUSE)  # let the process that started this one start the server first
    keep(Path(sys.argv[1]))
