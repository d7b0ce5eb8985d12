"""What a server is to those who share it: where it answers, what it can do, and how it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from kit.errors import KitError


@dataclass(frozen=True)
class Address:
    """Where a server answers, and as whom to log in."""

    host: str
    port: int
    user: str
    password: str

    def dsn(self, database: str) -> str:
        """Return the DSN of one database of this server."""
        user, password, name = (quote(part, safe="") for part in (self.user, self.password, database))
        return f"postgresql://{user}:{password}@{self.host}:{self.port}/{name}"


class Server(Protocol):
    """What a server must offer to be shared."""

    @property
    def source(self) -> str:
        """What kind of server it is, as `kit.postgres` calls it."""
        ...

    @property
    def folder(self) -> Path:
        """The folder this module keeps its files in."""
        ...

    @property
    def runs(self) -> str:
        """What it is made from, beside its folder: the image, or the folder of PostgreSQL's programs."""
        ...

    @property
    def after_stop(self) -> str:
        """What to tell somebody who has stopped it: whether the databases are kept."""
        ...

    def running(self) -> Address | None:
        """Return where the server answers, or None when it does not run. Cheap: asked twice a second."""
        ...

    def start(self) -> Address:
        """Start the server, make it where there is none, and return once it accepts logins."""
        ...

    def stop(self) -> None:
        """Stop the server and return once it has ended; do nothing when it does not run."""
        ...

    def password_refused(self) -> KitError:
        """Return the error for a server that refuses its own password: what to delete."""
        ...


@dataclass(frozen=True)
class Status:
    """One of the kit's shared servers.

    Attributes:
        source: ``"embedded"`` or ``"docker"``.
        folder: where it keeps its files.
        where: ``host:port``; None when it does not run.
        users: how many leases of it are alive, in all processes.
    """

    source: str
    folder: str
    where: str | None
    users: int
