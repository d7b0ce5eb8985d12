"""`Postgres`: a database with PGQueuer's schema, whose server stays up while this process uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from kit.database import creation, emptying
from kit.database.emptying import Emptied
from kit.database.other_consumers import OtherConsumer, consumers_connected
from kit.database.target import Target
from kit.session import session
from kit.sources.sharing import Lease
from kit.threads import run_sync


@dataclass(eq=False)
class Postgres:
    """A database with PGQueuer's schema, on a server that stays up as long as this process uses it.

    As a context manager it is this process's database until the block ends.

    Attributes:
        target: the database to connect to.
        source: ``"embedded"``, ``"docker"`` or ``"external"``.
        version: the server's version, for example ``"18.4"``.
        why: why this source was picked, in a few words.
        others: other programs' consumers of its queue, when it was opened.
        emptied: what was emptied then; None if nothing was to be emptied.
        left_open: a transaction that was left open there, in words; None if there was none.
        lease: keeps the server up; None on somebody else's server.
        open_beside: opens another database of the server.
    """

    target: Target
    source: str
    version: str
    why: str
    others: list[OtherConsumer]
    emptied: Emptied | None
    left_open: str | None
    lease: Lease | None
    open_beside: Beside

    @property
    def dsn(self) -> str:
        """The DSN for ``asyncpg.connect`` and ``pgq``; it contains the password."""
        return self.target.dsn

    @property
    def name(self) -> str:
        """The database's name."""
        return self.target.name

    @property
    def server_folder(self) -> Path | None:
        """The server's folder; None for somebody else's server."""
        return self.lease.folder if self.lease is not None else None

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        return f"PostgreSQL {self.version}, {self.source}, database {self.name!r} on {self.target.where}"

    def _ipython_display_(self) -> None:
        """Show nothing: `postgres` has already printed what this is."""

    def __enter__(self) -> Postgres:
        session.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def database(self, name: str) -> Postgres:
        """Return another database of this server, made with PGQueuer's schema where there is none.

        This process stays with the database it has, unless the other one is used in a ``with`` statement.
        """
        return self.open_beside(name)

    def beside(self, name: str) -> Postgres:
        """Return another, existing database of the server; this one keeps the server up."""
        return replace(self, target=self.target.beside(name), lease=None)

    def stop(self) -> None:
        """Release the server, which stops if nobody else uses it, and restore the earlier ``PG*``."""
        session.leave(self)
        if self.lease is not None:
            self.lease.release()

    def drop(self) -> None:
        """Drop this database, or empty it where the kit made only the tables in it."""
        run_sync(_drop(self.target))


Beside: TypeAlias = Callable[[str], Postgres]


async def open_target(
    target: Target, source: str, why: str, lease: Lease | None, beside: Beside, *, fresh: bool
) -> Postgres:
    """Connect to a database, empty it if ``fresh``, and return it; the arguments are its attributes."""
    async with target.connect(patient=True) as inside:
        name = str(await inside.fetchval("SELECT current_database()"))
        version = str(await inside.fetchval("SHOW server_version")).split()[0]
        others: list[OtherConsumer] = []
        left_open: str | None = None
        emptied = await emptying.empty(inside, target) if fresh else None
        if emptied is None or not emptied.made_anew:
            _, others = await consumers_connected(inside, session.known_backends())
            left_open = await emptying.left_open(inside)
        named = target if target.name else target.beside(name)
        return Postgres(named, source, version, why, others, emptied, left_open, lease, beside)


async def _drop(target: Target) -> None:
    async with target.connect(patient=True) as inside:
        name = str(await inside.fetchval("SELECT current_database()"))
        if not await creation.is_ours(inside, name):
            await emptying.empty(inside, target)
            return
        beside = target.beside(await creation.maintenance_database(inside))
    async with beside.connect(patient=True) as admin:
        await creation.drop(admin, name)
