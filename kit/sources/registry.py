"""The kinds of server that the kit shares, and those that this user has.

A server's folder has a ``server.json`` that holds the name of its source, and what it runs. Only the names
below are looked up, and only in folders that no other account can write to.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from kit.database.target import Unreachable
from kit.errors import KitError
from kit.sources import files, sharing
from kit.sources.container import Container
from kit.sources.embedded import Embedded
from kit.sources.server import Server, Status

SHARED: dict[str, Callable[[Path, str], Server]] = {"docker": Container, "embedded": Embedded}
_EARLIER = {"Container": "docker", "Embedded": "embedded"}  # what version 0.1 wrote: a class, not a source


def load(record: Path) -> Server:
    """Make the server that a ``server.json`` describes.

    Raises:
        KitError: it is another account's, or it does not describe one of the kit's servers.
    """
    for path in (record.parent, record):
        if not files.is_own(path):
            raise KitError(f"{str(record)!r} is passed over: {str(path)!r} is not this account's alone.")
    try:
        said = json.loads(record.read_text("utf-8"))
        if "class" in said:
            return SHARED[_EARLIER[said["class"]]](record.parent, str(said["arguments"][1]))
        return SHARED[said["source"]](record.parent, str(said["runs"]))
    except (OSError, ValueError, LookupError, TypeError):
        raise KitError(
            f"{str(record)!r} is passed over: it does not describe a server of the kit's. Delete it; "
            "the next kit.postgres() writes it again."
        ) from None


def _look() -> tuple[list[Server], list[str]]:
    servers, passed_over = [], []
    for record in sorted(files.home().glob("*/server.json")):
        try:
            servers.append(load(record))
        except KitError as error:
            passed_over.append(str(error))
    return servers, passed_over


def known() -> list[Server]:
    """Return the servers that have been made for this user, running or not.

    What is damaged or another account's is passed over, with a line on standard error.
    """
    servers, passed_over = _look()
    for line in passed_over:
        print(line, file=sys.stderr)
    return servers


def status() -> list[Status]:
    """Return the shared servers of this user, running or not."""
    return [sharing.status(server) for server in known()]


def stop_all() -> list[Status]:
    """Stop every shared server of this user, also one that is in use, and return those that ran."""
    servers = known()
    before = [sharing.status(server) for server in servers]
    for server in servers:
        sharing.stop(server)
    return [each for each in before if each.where is not None]


def troubles() -> list[str]:
    """Return what is wrong with this user's servers, each in plain words with what mends it.

    Takes a login for each server that runs.
    """
    servers, found = _look()
    for server in servers:
        address = server.running()
        try:
            if address is not None:
                sharing.log_in(address)
        except Unreachable as error:
            refused = sharing.is_password_refused(error)
            found.append(
                str(server.password_refused() if refused else f"The {server.source} server: {error.reason}.")
            )
    return found
