"""The keeper: a small process beside a shared server. It restarts a server that died, stops it after the last user.

Run as ``python -m kit.sources.keeper KIND ARGUMENT…``; `kit.sources.shared` starts it.
"""

from __future__ import annotations

import contextlib
import sys
import time

import filelock

from kit.errors import KitError
from kit.sources import shared

PAUSE = 0.5  # seconds between two looks at the users and the server


def keep(server: shared.Server) -> None:
    """Watch over ``server`` until its last user has left, then stop it."""
    lock = filelock.FileLock(server.folder / "keeper.lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return
    while True:
        if not shared.users(server.folder):
            with shared.locked(server.folder):
                if not shared.users(server.folder):
                    server.stop()
                    for path in (server.folder / "users").glob("*.lock"):
                        path.unlink()
                    lock.release()
                    return
        elif server.running() is None:
            with shared.locked(server.folder), contextlib.suppress(KitError):
                if server.running() is None:
                    server.start()
        time.sleep(PAUSE)


def main() -> None:
    """Build the server named on the command line and keep it."""
    kind, *arguments = sys.argv[1:]
    if kind == "embedded":
        from kit.sources.embedded import Embedded

        keep(Embedded(*arguments))


if __name__ == "__main__":
    main()
