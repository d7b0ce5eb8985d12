"""The servers that this user's processes share: who uses them, and how to stop them."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Callable

import psutil

from kit.errors import KitError
from kit.sources import registry, sharing


def describe(user: sharing.User) -> str:
    """Return what a process is that keeps a server up: a notebook, a terminal, or its command."""
    if user.terminal:
        return f"the terminal of process {user.terminal} (process {user.pid})"
    try:
        command = psutil.Process(user.pid).cmdline()
    except psutil.Error:
        command = []
    if "ipykernel_launcher" in command:
        return f"a notebook (process {user.pid})"
    line = textwrap.shorten(" ".join(command), 100, placeholder=" ...")
    return f"{f'`{line}`' if line else 'a process that cannot be looked at'} (process {user.pid})"


def stop_all(*, force: bool, say: Callable[[str], None]) -> None:
    """Stop every shared server of this user, after saying who uses it.

    A terminal that ran ``kit env`` does not count as using it.

    Raises:
        KitError: a notebook or a program uses one, and ``force`` is False.
    """
    servers = registry.known()
    running = [server for server in servers if server.running() is not None]
    found = [user for server in running for user in sharing.users(server.folder)]
    for user in found:
        say(f"Used by {describe(user)}.")
    if not force and not all(user.terminal for user in found):
        raise KitError(
            "It is in use, so it was left running. "
            "Shut down what uses it first, or run `kit stop --force`, which cuts it off."
        )
    for user in found:
        if user.terminal:
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
