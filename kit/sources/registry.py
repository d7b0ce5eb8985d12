"""The sources of the kit's own servers, and this user's servers of each.

A server's folder has a ``server.json`` with the name of its source and its image or programs. A source is
looked up only by the names below, and a record only in folders that no other account can write to.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from kit.errors import KitError
from kit.sources import files
from kit.sources.container import Container
from kit.sources.embedded import Embedded
from kit.sources.server import Server

KINDS: dict[str, type[Server]] = {each.source: each for each in (Container, Embedded)}  # the best first
SOURCES = ("auto", *KINDS, "external")
ALONE = "alone"  # the folder of servers that only one process uses


def load(record: Path) -> Server:
    """Make the server that a ``server.json`` describes.

    Raises:
        KitError: it is another account's, or it does not describe one of the kit's servers.
    """
    for path in (record.parent, record):
        if not files.is_own(path):
            raise KitError(
                f"{str(record)!r} is passed over: {str(path)!r} is not this account's alone. Set KIT_HOME to "
                "a folder of yours."
            )
    try:
        described = json.loads(record.read_text("utf-8"))
        return KINDS[described["source"]](record.parent, str(described["runs"]))
    except (OSError, ValueError, LookupError, TypeError):
        raise KitError(
            f"{str(record)!r} is passed over: it does not describe a server of the kit's. Delete it; "
            "the next kit.postgres() writes it again."
        ) from None


def known(*, alone: bool = True, say: Callable[[str], object] | None = None) -> list[Server]:
    """Return the servers that were made for this user, running or not; shared ones first.

    Damaged records and those of another account are passed over, with a line for ``say`` or standard error.
    """
    servers = []
    for pattern in (f"*/{files.RECORD}", f"{ALONE}/*/{files.RECORD}")[: 1 + alone]:
        for record in sorted(files.home().glob(pattern)):
            try:
                servers.append(load(record))
            except KitError as error:
                (say or partial(print, file=sys.stderr))(str(error))
    return servers
