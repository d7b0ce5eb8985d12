"""The servers that this user's processes share: who uses them, and how to stop them."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from kit.errors import KitError
from kit.sources import shared


@dataclass(frozen=True)
class User:
    """A process that keeps a server up: its id, its command line, and what it is in plain words."""

    pid: int
    command: tuple[str, ...]
    what: str

    @property
    def holds(self) -> bool:
        """Whether it does nothing but keep the server up for a terminal."""
        return "kit.terminal" in self.command

    def __str__(self) -> str:
        return f"{self.what} (process {self.pid})"


def users(server: shared.Server) -> list[User]:
    """Return the processes that keep ``server`` up now."""
    return [_describe(int(path.name.split("-")[0])) for path in shared.users(server.folder)]


def _describe(pid: int) -> User:
    try:
        command = tuple(psutil.Process(pid).cmdline())
    except psutil.Error:
        return User(pid, (), "a process that cannot be looked at")
    if "kit.terminal" in command:
        return User(pid, command, f"the terminal of process {command[-1]}")
    if "ipykernel_launcher" in command:
        return User(pid, command, "a notebook")
    return User(pid, command, "`" + textwrap.shorten(" ".join(command), 100, placeholder=" ...") + "`")


def describe(server: shared.Server) -> str:
    """Return what kind of server it is: ``embedded`` or ``docker``."""
    return type(server).__name__.lower()


def stop_all(*, force: bool, say: Callable[[str], None]) -> None:
    """Stop every shared server of this user, after saying who uses it.

    A terminal that ran ``kit env`` does not count as using it.

    Raises:
        KitError: a notebook or a program uses one, and ``force`` is False.
    """
    running = [server for server in shared.known() if server.running()]
    if not running:
        say("No Postgres of the kit's is running.")
    for server in running:
        found = users(server)
        for user in found:
            say(f"Used by {user}.")
        busy = [user for user in found if not user.holds]
        if busy and not force:
            raise KitError(
                f"The {describe(server)} Postgres is in use, so it was left running. "
                "Shut down what uses it first, or run `kit stop --force`, which cuts it off."
            )
        for user in found:
            if user.holds:
                with contextlib.suppress(psutil.Error):
                    psutil.Process(user.pid).terminate()
        shared.stop(server)
        say(f"The {describe(server)} Postgres is stopped. Its databases are kept.")
