"""The keeper: a small process beside a shared server, which stops it after the last user.

It also brings back a server that died while somebody uses it. Started as
``python -m kit.sources.keeper <server.json>`` by whoever joins a server that has no keeper.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

PAUSE = 0.5  # seconds between two looks at the users and the server
LONGEST_PAUSE = 15.0  # seconds between two attempts to bring back a server that does not start


def keep(record: Path) -> None:
    """Watch over the server that ``record`` describes until its last user has left, then stop it."""
    import filelock

    from kit.errors import KitError
    from kit.sources import shared

    server = shared.load(record)
    keeping = filelock.FileLock(server.folder / "keeper.lock")
    try:
        keeping.acquire(blocking=False)
    except filelock.Timeout:
        return
    pause = PAUSE
    while True:
        shared.reap()
        try:
            if not shared.users(server.folder) or (server.folder / "stopped").exists():
                with shared.locked(server.folder):
                    if not shared.users(server.folder) or (server.folder / "stopped").exists():
                        server.stop()
                        for left in (server.folder / "users").glob("*.lock"):
                            if not shared.is_held(left):
                                left.unlink()
                        keeping.release()  # before the start lock: whoever joins next starts another keeper
                        return
            elif server.running() is None:
                with shared.locked(server.folder):
                    if shared.users(server.folder) and server.running() is None:
                        server.start()
            pause = PAUSE
        except (KitError, OSError) as error:
            print(time.strftime("%F %T"), error, flush=True)
            pause = min(pause * 2, LONGEST_PAUSE)
        time.sleep(pause)


if __name__ == "__main__":
    time.sleep(PAUSE)  # let the one that started it start the server first
    keep(Path(sys.argv[1]))
