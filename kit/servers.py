"""The servers that this user's processes share: which run, who uses them, and how to stop them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from kit.errors import KitError
from kit.sources import shared
from kit.sources.embedded import Embedded

STOP_TIMEOUT = 30.0  # seconds for the keeper to end


@dataclass(frozen=True)
class User:
    """A process that keeps a server up: its id, what it is, and whether it is only a terminal."""

    pid: int
    what: str
    waits: bool

    def __str__(self) -> str:
        return f"{self.what} (process {self.pid})"


def servers() -> Iterator[shared.Server]:
    """Yield the shared servers that this user has ever started, running or not."""
    for folder in sorted(shared.home().glob("embedded-*")):
        yield Embedded(folder, "")


def users(server: shared.Server) -> list[User]:
    """Return the processes that keep ``server`` up now."""
    return [_describe(path) for path in shared.users(server.folder)]


def _describe(path: Path) -> User:
    pid = int(path.name.split("-")[0])
    try:
        process = psutil.Process(pid)
        command = " ".join(process.cmdline())
        name = process.name()
    except psutil.Error:
        return User(pid, "a process that cannot be looked at", False)
    if path.stem.endswith("-shell"):
        return User(pid, f"a terminal ({name})", True)
    if "ipykernel" in command:
        return User(pid, "a notebook", False)
    return User(pid, f"`{command if len(command) < 80 else command[:77] + '...'}`", False)


def stop_all(*, force: bool, say: Callable[[str], None]) -> None:
    """Stop every shared server of this user, after saying who uses it.

    A terminal that ran ``kit env`` does not count as in use: it only keeps the server up.

    Raises:
        KitError: a notebook or a program uses one, and ``force`` is False.
    """
    stopped = 0
    for server in servers():
        if server.running() is None and not shared.keeper_runs(server.folder):
            continue
        found = users(server)
        for user in found:
            say(f"Used by {user}.")
        busy = [user for user in found if not user.waits]
        if busy and not force:
            raise KitError(
                f"The {server.kind} Postgres is in use by {len(busy)} of your programs, so it was left running. "
                "Shut them down first, or run `kit stop --force`: they lose their connection."
            )
        _stop(server)
        say(f"The {server.kind} Postgres is stopped. Its databases are kept.")
        stopped += 1
    if not stopped:
        say("No Postgres of the kit's is running.")


def _stop(server: shared.Server) -> None:
    with shared.locked(server.folder):
        # The keeper would start the server again as long as it has users.
        for keeper in _keepers(server.folder):
            keeper.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT
        while shared.keeper_runs(server.folder):
            if time.monotonic() > deadline:
                raise KitError(f"The process that watches the server in {str(server.folder)!r} does not end.")
            time.sleep(0.02)
        server.stop()
        for path in (server.folder / "users").glob("*.lock"):
            with contextlib.suppress(OSError):  # on Windows a living process keeps its own
                path.unlink()


def _keepers(folder: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if "kit.sources.keeper" in command and str(folder) in command:
                yield process
