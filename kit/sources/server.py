"""`Server`: what a source has to implement; `Address`: where a server answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from kit.database.target import Target
from kit.errors import KitError

# An idle server is small: about 8 MB of memory. A commit survives killed workers and a killed server, but not
# a power cut: to survive that too, each commit would wait for the disk.
SETTINGS = {
    "max_connections": "60",  # several notebooks with their workers; no lesson had more than 40
    "shared_buffers": "16MB",
    "max_wal_senders": "0",
    "fsync": "off",
    "full_page_writes": "off",
}


@dataclass(frozen=True)
class Address:
    """Where a server answers, and the password of its administrator, ``postgres``."""

    host: str
    port: int
    password: str

    def target(self, database: str) -> Target:
        """Return one database of this server."""
        password, name = quote(self.password, safe=""), quote(database, safe="")
        return Target(f"postgresql://postgres:{password}@{self.host}:{self.port}/{name}", own=True)


class Server(Protocol):
    """A server that can be shared. Its class is a source, listed in `registry.KINDS`.

    Attributes:
        source: its kind, as `kit.postgres` calls it.
        why: why it is used when nobody asked for a source.
        after_stop: the message after it was stopped: whether the databases are kept.
        folder: the folder of its files.
        runs: the image that it is made from, or the folder of PostgreSQL's programs.
    """

    source: str
    why: str
    after_stop: str
    folder: Path
    runs: str

    def __init__(self, folder: Path, runs: str) -> None:
        """Describe the server in ``folder``, running or not."""

    @classmethod
    def find(cls) -> Server:
        """Return this user's server, running or not.

        Raises:
            KitError: there is no such server here, and why.
        """
        ...

    def running(self) -> Address | None:
        """Return where the server answers, or None when it does not run. Cheap: asked twice a second."""
        ...

    def start(self) -> Address:
        """Start the server, make it if there is none, and return when it accepts logins.

        Raises:
            KitError: it cannot be started, and why.
        """
        ...

    def stop(self) -> None:
        """Stop the server and return once it has ended; do nothing when it does not run."""
        ...

    def password_refused(self) -> KitError:
        """Return the error for a server that refuses its own password: what to delete."""
        ...
