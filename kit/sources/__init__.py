"""Where Postgres comes from: ``postgres()`` picks a source, says why, and points this process at it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from types import TracebackType

from kit import current, hints
from kit.errors import KitError
from kit.sources import external
from kit.sources.registry import status, stop_all
from kit.sources.server import Server, Status
from kit.sources.sharing import Lease
from kit.sync import run_sync

__all__ = ["Postgres", "Status", "open_database", "postgres", "reset", "status", "stop_all"]

SOURCES = ("auto", "docker", "embedded", "external")
COMEBACK = 15.0  # seconds that a shared server may take to come back, when it was killed while it is joined
VARIABLES = frozenset(external.VARIABLES.values())  # what names a database to asyncpg and libpq


class Postgres:
    """A database with PGQueuer's schema, on a server that stays up as long as this process uses it.

    As a context manager it is this process's database until the block ends.

    Attributes:
        dsn: what ``asyncpg.connect`` and ``pgq`` take; it contains the password.
        source: ``"embedded"``, ``"docker"`` or ``"external"``.
        version: the server's version, for example ``"18.4"``.
        name: the database's name.
        why: why this source was picked, in a few words.
    """

    def __init__(
        self, *, dsn: str, source: str, found: _Found, why: str, origin: Server | str, lease: Lease | None
    ) -> None:
        self.dsn = dsn
        self.source = source
        self.version = found.version
        self.name = found.name
        self.why = why
        self._strangers = found.strangers
        self._origin = origin  # a shared server, or the DSN of somebody's
        self._lease = lease
        self._stopped = False
        self._before: Postgres | None = None
        self._outside: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<{self._what()}>"

    def _ipython_display_(self) -> None:
        """Add nothing below the cell's own output: `postgres` has printed what this is."""

    def _what(self) -> str:
        where = external.shown(self.dsn)
        return f"PostgreSQL {self.version}, {self.source}, database {self.name!r} on {where}"

    def __enter__(self) -> Postgres:
        if current.database is not self:
            self._point()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def database(self, name: str) -> Postgres:
        """Return another database of this server, made with PGQueuer's schema where there is none.

        This process stays with the database it has, unless the other one is used in a ``with`` statement.
        """
        if isinstance(self._origin, str):
            return _open_external(self._origin, name, self.why, fresh=False)
        return _open_shared(self._origin, name, self.why, fresh=False)

    def stop(self) -> None:
        """Let the server go, which stops it when nobody else uses it, and put ``PG*`` back as they were."""
        if self._stopped:
            return
        self._stopped = True
        if current.database is self:
            before = self._before
            while before is not None and before._stopped:
                before = before._before
            current.database = before
            _set_environment(self._outside | (external.variables(before.dsn) if before else {}))
        if self._lease is not None:
            self._lease.release()

    def _point(self) -> None:
        """Make this the database of this process: ``kit``'s calls use it, and ``PG*`` name it."""
        before = current.database
        if before is None:
            self._outside = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        else:
            self._outside = before._outside
        _set_environment(self._outside | external.variables(self.dsn))
        current.database = self
        if before is not None and before.dsn == self.dsn:  # the same cell again: one use is enough
            self._before = before._before
            before.stop()
        else:
            self._before = before

    def drop(self) -> None:
        """Drop this database, or empty it where the kit made only the tables in it."""
        run_sync(_drop(self))


def _set_environment(variables: dict[str, str]) -> None:
    for name in VARIABLES - variables.keys():
        os.environ.pop(name, None)
    os.environ.update(variables)


def postgres(
    source: str | None = None, *, database: str = "playground", dsn: str | None = None, fresh: bool = True
) -> Postgres:
    """Start or adopt a PostgreSQL, make a database with PGQueuer's schema, and point this process at it.

    Afterwards ``asyncpg.connect()`` and ``pgq`` need no arguments. Running it again is safe: it adopts what
    runs, stops the consumers of this process and empties the database. One line tells what, where and why.

    Args:
        source: ``"embedded"`` (a server of your own, no Docker), ``"docker"`` (a container), ``"external"``
            (the server that ``dsn`` names), or ``"auto"``: a DSN if there is one, else Docker if its engine
            answers, else embedded. Without it, the variable ``KIT_POSTGRES`` decides, else ``"auto"``.
        database: the database's name. On an external server ``pgqueuer_kit_`` stands before it.
        dsn: a PostgreSQL that somebody runs, ``postgresql://user:password@host:port/database``. Without it,
            the variable ``KIT_DSN``. Nothing that is in there is touched.
        fresh: stop this process's consumers and empty the database; False keeps both.

    Raises:
        KitError: no server is to be had, or the name cannot be used; the message says why and what helps.
    """
    if fresh:
        for consumer in list(current.consumers.values()):
            consumer.stop()
    opened = _choose_and_open(source, database, dsn, fresh=fresh)
    opened._point()
    hints.show_below_errors()
    print(f"{opened._what()}: {opened.why}")
    if opened._strangers:
        print(
            f"Another program uses the queue in this database ({', '.join(opened._strangers)}) and may take "
            "your jobs. Stop it there, or use another name here: kit.postgres(database=…)."
        )
    return opened


def open_database(
    source: str | None = None, database: str = "playground", dsn: str | None = None, *, fresh: bool = False
) -> Postgres:
    """Do what `postgres` does, without a word, and point this process there only in a ``with`` statement.

    The database is made where there is none, and keeps its rows unless ``fresh``.
    """
    return _choose_and_open(source, database, dsn, fresh=fresh)


def reset() -> None:
    """Empty this process's database: PGQueuer's tables lose their rows, and what else is there is dropped.

    Job ids start at 1 again, unless a job is being run. Connections and running consumers stay. Where
    PGQueuer's own tables were changed, the database is made anew, which ends its connections: a line says so.

    Raises:
        KitError: there is no database yet, the kit did not make it, or an open transaction is in the way.
    """
    dsn = current.dsn()
    template = current.database is not None and current.database.source != "external"
    if run_sync(_reset(dsn, template)):
        print(
            "PGQueuer's tables had been changed, so the database was made anew. Its connections have ended."
        )


def _choose_and_open(source: str | None, database: str, dsn: str | None, *, fresh: bool) -> Postgres:
    asked = source or os.environ.get("KIT_POSTGRES") or "auto"
    why = "you asked for it" if source else "KIT_POSTGRES asks for it"
    if asked not in SOURCES:
        whence = "" if source else ", which KIT_POSTGRES names"
        raise KitError(f"There is no source {asked!r}{whence}. Use one of: {', '.join(SOURCES)}.")
    if dsn and asked not in ("auto", "external"):
        raise KitError(
            f"A DSN names an external server, and {asked!r} asks for another one. Leave one of them out."
        )
    for variable in ("PGQUEUER_PREFIX", "PGQUEUER_SCHEMA"):
        if os.environ.get(variable):
            raise KitError(
                f"{variable} is set to {os.environ[variable]!r}, so PGQueuer would not look for its tables "
                f"where the kit puts them. Restart the kernel, and begin with del os.environ[{variable!r}]."
            )
    if asked in ("auto", "external") and (dsn or os.environ.get("KIT_DSN")):
        named_by = "dsn=" if dsn else "KIT_DSN"
        return _open_external(dsn or os.environ["KIT_DSN"], database, f"{named_by} names it", fresh=fresh)
    if asked == "external":
        raise KitError(
            'Which server? Set KIT_DSN, or pass dsn="postgresql://user:password@host:port/database".'
        )
    if asked == "auto":
        return _open_what_is_there(database, fresh)
    from kit.sources import container, embedded

    server = container.server() if asked == "docker" else embedded.server()
    return _open_shared(server, database, why, fresh=fresh)


def _open_what_is_there(database: str, fresh: bool) -> Postgres:
    """Adopt a shared server that runs, Docker's first; else start one, with Docker if there is a way."""
    from kit.sources import container, docker, embedded, registry

    for server in sorted(registry.known(), key=lambda server: server.source):
        if server.running() is not None:
            return _open_shared(server, database, "it runs already", fresh=fresh)
    try:
        return _open_shared(container.server(), database, "a Docker engine answered", fresh=fresh)
    except docker.NotUsable as error:
        return _open_shared(embedded.server(), database, error.problem, fresh=fresh)


def _open_shared(server: Server, name: str, why: str, *, fresh: bool) -> Postgres:
    from kit.sources import databases, sharing

    databases.check_name(name)
    deadline = time.monotonic() + COMEBACK
    while True:
        address, lease = sharing.join(server)
        dsn = address.dsn(name)
        try:
            found = run_sync(_make_and_enter(address.dsn("postgres"), dsn, name, fresh))
            return Postgres(dsn=dsn, source=server.source, found=found, why=why, origin=server, lease=lease)
        except databases.NotThere as error:
            lease.release()
            if sharing.is_password_refused(error):
                raise server.password_refused() from None
            if time.monotonic() > deadline:
                raise KitError(f"The {server.source} server runs, and lets nobody in: {error}.") from None
            time.sleep(0.1)
        except BaseException:
            lease.release()
            raise


def _open_external(server: str, name: str, why: str, *, fresh: bool) -> Postgres:
    dsn = run_sync(external.prepare(server, why.removesuffix(" names it"), name))
    found = run_sync(_enter(dsn, fresh, template=False))
    return Postgres(dsn=dsn, source="external", found=found, why=why, origin=server, lease=None)


@dataclass(frozen=True)
class _Found:
    """What a look into the database told: its name, the server's version, and who else uses its queue."""

    name: str
    version: str
    strangers: tuple[str, ...]


async def _make_and_enter(admin_dsn: str, dsn: str, name: str, fresh: bool) -> _Found:
    from kit.sources import databases

    async with databases.connection(admin_dsn) as admin:
        made = await databases.ensure(admin, admin_dsn, name, template=True)
    return await _enter(dsn, fresh and not made, template=True)


async def _enter(dsn: str, fresh: bool, *, template: bool) -> _Found:
    from kit.sources import databases, emptying

    async with databases.connection(dsn) as inside:
        name = str(await inside.fetchval("SELECT current_database()"))
        version = str(await inside.fetchval("SHOW server_version")).split()[0]
        made_anew = fresh and await emptying.empty(inside, dsn, template=template, renumber=True)
        return _Found(name, version, () if made_anew else await databases.strangers(inside, dsn))


async def _reset(dsn: str | None, template: bool) -> bool:
    from kit.sources import databases, emptying

    try:
        async with databases.connection(dsn) as inside:
            return await emptying.empty(inside, dsn, template=template, renumber=False)
    except databases.NotThere as error:
        raise KitError(
            f"The database of this process does not answer any more: {error}. Run kit.postgres() again."
        ) from None


async def _drop(opened: Postgres) -> None:
    from kit.sources import databases, emptying

    async with databases.connection(opened.dsn) as inside:
        if not await databases.is_ours(inside, opened.name):
            await emptying.empty(inside, opened.dsn, template=False, renumber=True)
            return
        async with databases.connection(opened.dsn, await databases.another(inside)) as admin:
            await databases.drop(admin, opened.name)
