"""The servers that this user's processes share: who uses them, and how to stop them."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from kit import sources
from kit.errors import KitError
from kit.sources import shared

_STOPPED = {
    "embedded": "The embedded Postgres is stopped. Its databases are kept.",
    "docker": "The Postgres in Docker is stopped, and its container with all databases is removed.",
}


@dataclass(frozen=True)
class User:
    """A process that keeps a server up: its id, its command line, and what it is in plain words."""

    pid: int
    command: tuple[str, ...]
    what: str

    @property
    def holds(self) -> bool:
        """Whether it does nothing but keep the server up for a terminal."""
        return "kit.cli.terminal" in self.command

    def __str__(self) -> str:
        return f"{self.what} (process {self.pid})"


def users(folder: Path) -> list[User]:
    """Return the processes that keep the server of ``folder`` up now."""
    pids = {int(path.name.split("-")[0]) for path in shared.users(folder)}
    return [_describe(pid) for pid in sorted(pids)]


def _describe(pid: int) -> User:
    try:
        command = tuple(psutil.Process(pid).cmdline())
    except psutil.Error:
        return User(pid, (), "a process that cannot be looked at")
    if "kit.cli.terminal" in command:
        return User(pid, command, f"the terminal of process {command[-1]}")
    if "ipykernel_launcher" in command:
        return User(pid, command, "a notebook")
    return User(pid, command, "`" + textwrap.shorten(" ".join(command), 100, placeholder=" ...") + "`")


def stop_all(*, force: bool, say: Callable[[str], None]) -> None:
    """Stop every shared server of this user, after saying who uses it.

    A terminal that ran ``kit env`` does not count as using it.

    Raises:
        KitError: a notebook or a program uses one, and ``force`` is False.
    """
    running = [server for server in sources.status() if server.where is not None]
    if not running:
        say("No Postgres of the kit's is running.")
        return
    found = [user for server in running for user in users(Path(server.folder))]
    for user in found:
        say(f"Used by {user}.")
    if not force and not all(user.holds for user in found):
        raise KitError(
            "It is in use, so it was left running. "
            "Shut down what uses it first, or run `kit stop --force`, which cuts it off."
        )
    for user in found:
        if user.holds:
            with contextlib.suppress(psutil.Error):
                psutil.Process(user.pid).terminate()
    for server in sources.stop_all():
        say(_STOPPED[server.source])
