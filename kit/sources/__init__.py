"""Where Postgres comes from: ``postgres()`` picks a source, says which and why, and points this process at it."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from kit import current
from kit.errors import KitError
from kit.sync import run_sync

__all__ = ["Postgres", "postgres", "reset"]

VARIABLES = ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE")


class Postgres:
    """A database with PGQueuer's schema, on a server that stays up as long as this process uses it.

    Attributes:
        dsn: what ``asyncpg.connect`` takes.
        source: ``"embedded"``, ``"docker"`` or ``"external"``.
        version: the server's version, for example ``"18.1"``.
        name: the database's name.
        why: why this source was picked.
    """

    def __init__(
        self, *, dsn: str, source: str, version: str, name: str, why: str, address: Any, use: Any
    ) -> None:
        self.dsn = dsn
        self.source = source
        self.version = version
        self.name = name
        self.why = why
        self._address = address
        self._use = use
        self._before: dict[str, str | None] | None = None

    def __repr__(self) -> str:
        host = urlsplit(self.dsn)
        return (
            f"<Postgres {self.version}, {self.source}, database {self.name!r} on {host.hostname}:{host.port}>"
        )

    def __enter__(self) -> Postgres:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let the server go, which stops it when nobody else uses it, and put ``PG*`` back as they were."""
        if self._before is not None:
            for key, value in self._before.items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value
            self._before = None
        if current.database is self:
            current.database = None
        if self._use is not None:
            self._use.release()
            self._use = None

    def _point(self) -> None:
        self._before = {key: os.environ.get(key) for key in VARIABLES}
        parts = urlsplit(self.dsn)
        values = (
            parts.hostname,
            str(parts.port),
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            self.name,
        )
        os.environ.update({key: value for key, value in zip(VARIABLES, values, strict=True) if value})
        current.database = self


def open_database(source: str | None, name: str, dsn: str | None = None) -> Postgres:
    """Start or adopt a server and make database ``name`` on it, without touching this process's settings."""
    from kit.sources import databases, embedded, shared

    address, use = shared.join(embedded.server())
    try:
        run_sync(databases.ensure(address, name))
        target = databases.dsn(address, name)
        return Postgres(
            dsn=target,
            source="embedded",
            version=run_sync(databases.server_version(target)),
            name=name,
            why="no Docker engine answered",
            address=address,
            use=use,
        )
    except BaseException:
        use.release()
        raise


def postgres(
    source: str | None = None, *, database: str = "playground", dsn: str | None = None, fresh: bool = True
) -> Postgres:
    """Start or adopt Postgres, make a database with PGQueuer's schema, and point this process at it."""
    from kit.sources import databases

    for consumer in list(current.consumers.values()):
        consumer.stop()
    opened = open_database(source, database, dsn)
    if fresh:
        run_sync(databases.empty(opened.dsn))
    if current.database is not None:
        current.database.stop()
    opened._point()
    address = opened._address
    print(
        f"PostgreSQL {opened.version}, {opened.source}, database {opened.name!r} on {address.host}:{address.port}: "
        f"{opened.why}"
    )
    return opened


def reset() -> None:
    """Make this process's database empty again."""
    from kit.sources import databases

    if current.database is None:
        raise KitError("There is no Postgres in this process yet. Run kit.postgres() first.")
    run_sync(databases.empty(current.database.dsn))
