"""The servers that this user's processes share: who uses them, and how to stop them."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from kit.errors import KitError
from kit.sources import registry, sharing


@dataclass(frozen=True)
class User:
    """A process that keeps a server up: its id, whether it does so for a terminal only, and what it is."""

    pid: int
    holds: bool
    what: str

    def __str__(self) -> str:
        return f"{self.what} (process {self.pid})"


def users(folder: Path) -> list[User]:
    """Return the processes that keep the server of ``folder`` up now, each once."""
    return [_describe(user) for user in dict.fromkeys(sharing.users(folder))]


def _describe(user: sharing.User) -> User:
    if user.terminal:
        return User(user.pid, True, f"the terminal of process {user.terminal}")
    try:
        command = psutil.Process(user.pid).cmdline()
    except psutil.Error:
        command = []
    if "ipykernel_launcher" in command:
        return User(user.pid, False, "a notebook")
    line = textwrap.shorten(" ".join(command), 100, placeholder=" ...")
    return User(user.pid, False, f"`{line}`" if line else "a process that cannot be looked at")


def stop_all(*, force: bool, say: Callable[[str], None]) -> None:
    """Stop every shared server of this user, after saying who uses it.

    A terminal that ran ``kit env`` does not count as using it.

    Raises:
        KitError: a notebook or a program uses one, and ``force`` is False.
    """
    servers = registry.known()
    running = [server for server in servers if server.running() is not None]
    found = [user for server in running for user in users(server.folder)]
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
    failed = []
    for server in servers:  # also one that does not run: its keeper may try to bring it back
        try:
            sharing.stop(server)
        except KitError as error:
            failed.append(error)
        else:
            if server in running:
                say(server.after_stop)
    if failed:
        raise failed[0]
    if not running:
        say("No Postgres of the kit's is running.")
