"""`Postgres`: a database with PGQueuer's schema that this process uses, and its server meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from kit.database import creation, emptying
from kit.database.emptying import Emptied
from kit.database.other_consumers import OtherConsumer, consumers_connected
from kit.database.target import Target
from kit.session import session
from kit.sources.sharing import Lease
from kit.threads import run_sync


@dataclass(frozen=True)
class Found:
    """What a look into a database told.

    Attributes:
        version: the server's.
        others: who else consumes its queue.
        emptied: what was emptied, if that was asked for.
    """

    version: str
    others: tuple[OtherConsumer, ...]
    emptied: Emptied | None


class Postgres:
    """A database with PGQueuer's schema, on a server that stays up as long as this process uses it.

    As a context manager it is this process's database until the block ends.

    Attributes:
        target: what to connect to.
        source: ``"embedded"``, ``"docker"`` or ``"external"``.
        version: the server's version, for example ``"18.4"``.
        why: why this source was picked, in a few words.
    """

    def __init__(
        self,
        target: Target,
        *,
        source: str,
        found: Found,
        why: str,
        lease: Lease | None,
        open_beside: Callable[[str], Postgres],
    ) -> None:
        self.target = target
        self.source = source
        self.version = found.version
        self.why = why
        self._lease = lease
        self._open_beside = open_beside
        self._stopped = False

    @property
    def dsn(self) -> str:
        """What ``asyncpg.connect`` and ``pgq`` take; it contains the password."""
        return self.target.dsn

    @property
    def name(self) -> str:
        """The database's name."""
        return self.target.name

    @property
    def server_folder(self) -> Path | None:
        """The folder of the server, where the kit runs it; None when it is somebody's."""
        return self._lease.folder if self._lease is not None else None

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        return f"PostgreSQL {self.version}, {self.source}, database {self.name!r} on {self.target.where}"

    def _ipython_display_(self) -> None:
        """Add nothing below the cell's own output: `postgres` has printed what this is."""

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
        return self._open_beside(name)

    def beside(self, name: str) -> Postgres:
        """Return a database that is there, as long as this one keeps the server up."""
        other = copy(self)
        other.target, other._lease = self.target.beside(name), None
        return other

    def stop(self) -> None:
        """Let the server go, which stops it when nobody else uses it, and put ``PG*`` back as they were."""
        if self._stopped:
            return
        self._stopped = True
        session.leave(self)
        if self._lease is not None:
            self._lease.release()

    def drop(self) -> None:
        """Drop this database, or empty it where the kit made only the tables in it."""
        run_sync(_drop(self.target))


async def look_into(target: Target, *, fresh: bool, template: bool) -> tuple[Target, Found]:
    """Look into a database, emptied first if ``fresh``; return what it is, with its name, and what was found.

    ``template`` says whether the server has the kit's template to make a database from.
    """
    async with target.connect(patient=True) as inside:
        name = str(await inside.fetchval("SELECT current_database()"))
        version = str(await inside.fetchval("SHOW server_version")).split()[0]
        others: list[OtherConsumer] = []
        emptied = await emptying.empty(inside, target, template=template) if fresh else None
        if emptied is None or not emptied.made_anew:
            _, others = await consumers_connected(inside, session.known_backends())
        named = target if target.name else target.beside(name)
        return named, Found(version, tuple(others), emptied)


async def _drop(target: Target) -> None:
    async with target.connect(patient=True) as inside:
        name = str(await inside.fetchval("SELECT current_database()"))
        if not await creation.is_ours(inside, name):
            await emptying.empty(inside, target, template=False)
            return
        beside = target.beside(await creation.maintenance_database(inside))
    async with beside.connect(patient=True) as admin:
        await creation.drop(admin, name)
