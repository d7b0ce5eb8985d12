"""``postgres()`` and ``reset()``: picking a source, opening a database there, and emptying it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from kit.database import PLAYGROUND, creation, dsn, emptying
from kit.database.emptying import Emptied
from kit.database.target import Target, Unreachable
from kit.errors import KitError, hints
from kit.session import session
from kit.sources import external, sharing
from kit.sources.opened import Found, Postgres, look_into
from kit.sources.server import Server
from kit.threads import run_sync

SOURCES = ("auto", "docker", "embedded", "external")
COMEBACK = 15.0  # seconds that a shared server may take to come back, when it was killed while it is joined


def postgres(
    source: str | None = None, *, database: str = PLAYGROUND, dsn: str | None = None, fresh: bool = True
) -> Postgres:
    """Start or adopt a PostgreSQL, make a database with PGQueuer's schema, and point this process at it.

    Afterwards ``asyncpg.connect()`` and ``pgq`` need no arguments. Running it again is safe: it adopts what
    runs, stops the consumers of this process and empties the database. One line tells what and why, once.

    Args:
        source: ``"embedded"`` (a server of your own, no Docker), ``"docker"`` (a container), ``"external"``
            (the server that ``dsn`` names), or ``"auto"``: a DSN if there is one, else Docker if its engine
            answers, else embedded. Without it, the variable ``KIT_POSTGRES`` decides, else ``"auto"``.
        database: the database's name. On an external server ``pgqueuer_kit_`` stands before it, and the
            role's name where another role has a database of that name.
        dsn: a PostgreSQL that somebody runs, ``postgresql://user:password@host:port/database``. Without it,
            the variable ``KIT_DSN``. Nothing that is in there is touched.
        fresh: stop this process's consumers and empty the database; False keeps both.

    Raises:
        KitError: no server is to be had, or the name cannot be used; the message says why and what helps.
    """
    if fresh:
        for consumer in session.consumers.copy().values():
            consumer.stop()
    opened, found = _choose_and_open(source, database, dsn, fresh=fresh)
    again = session.database is not None and session.database.target == opened.target
    session.enter(opened)
    hints.show()
    for line in _what_to_say(opened, found, again=again):
        print(line)
    return opened


def _what_to_say(opened: Postgres, found: Found, *, again: bool) -> list[str]:
    """Return, in lines, what and why; nothing when a section only begins again in its own database."""
    lines = []
    emptied = f" Emptied: {found.emptied}." if found.emptied is not None and str(found.emptied) else ""
    if not again or found.others:
        said = f"PostgreSQL {opened.version}, {opened.source}, database {opened.name!r}: {opened.why}."
        lines.append(said + emptied)
    if found.others:
        who = ", ".join(map(str, found.others))
        lines.append(
            f"Another program uses the queue in this database ({who}) and may take your jobs. Stop it "
            "there, or use another name here: kit.postgres(database=…)."
        )
    return lines


def open_database(
    source: str | None = None, database: str = PLAYGROUND, dsn: str | None = None, *, fresh: bool = False
) -> Postgres:
    """Do what `postgres` does, without a word, and point this process there only in a ``with`` statement.

    The database is made where there is none, and keeps its rows unless ``fresh``.
    """
    return _choose_and_open(source, database, dsn, fresh=fresh)[0]


def reset() -> None:
    """Empty this process's database: PGQueuer's tables lose their rows, and what else is there is dropped.

    Job ids start at 1 again, unless a job is being run. Connections and running consumers stay. Where
    PGQueuer's own tables were changed, the database is made anew, which ends its connections: a line says so.

    Raises:
        KitError: there is no database yet, the kit did not make it, or an open transaction is in the way.
    """
    template = session.database is not None and session.database.source != "external"
    if run_sync(_reset(session.target(), template)).made_anew:
        print(
            "PGQueuer's tables had been changed, so the database was made anew. Its connections have ended."
        )


def _choose_and_open(
    source: str | None, database: object, asked_dsn: str | None, *, fresh: bool
) -> tuple[Postgres, Found]:
    asked = source or os.environ.get("KIT_POSTGRES") or "auto"
    why = "you asked for it" if source else "KIT_POSTGRES asks for it"
    if asked not in SOURCES:
        whence = "" if source else ", which KIT_POSTGRES names"
        raise KitError(f"There is no source {asked!r}{whence}. Use one of: {', '.join(SOURCES)}.")
    if asked_dsn and asked not in ("auto", "external"):
        raise KitError(
            f"A DSN names an external server, and {asked!r} asks for another one. Leave one of them out."
        )
    name = creation.check_name(database)
    _refuse_other_tables()
    if asked in ("auto", "external") and (asked_dsn or os.environ.get("KIT_DSN")):
        named_by = "dsn=" if asked_dsn else "KIT_DSN"
        given = dsn.check(asked_dsn or os.environ["KIT_DSN"], named_by)
        server = Target(dsn.complete(given, session.outside()))
        return _open_external(server, named_by, name, fresh=fresh)
    if asked == "external":
        raise KitError(f'Which server? Set KIT_DSN, or pass dsn="{dsn.EXAMPLE}".')
    if asked == "auto":
        return _open_what_is_there(name, fresh)
    from kit.sources import container, embedded

    shared = container.server() if asked == "docker" else embedded.server()
    return _open_shared(shared, name, why, fresh=fresh)


def _refuse_other_tables() -> None:
    for variable in ("PGQUEUER_PREFIX", "PGQUEUER_SCHEMA"):
        if os.environ.get(variable):
            raise KitError(
                f"{variable} is set to {os.environ[variable]!r}, so PGQueuer would not look for its tables "
                f"where the kit puts them. Restart the kernel, and begin with del os.environ[{variable!r}]."
            )


def _open_what_is_there(database: str, fresh: bool) -> tuple[Postgres, Found]:
    """Adopt a shared server that runs, Docker's first; else start one, with Docker if there is a way."""
    from kit.sources import container, docker, embedded, registry

    for server in sorted(registry.known(), key=lambda server: server.source):
        if server.running() is not None:
            return _open_shared(server, database, "it runs already", fresh=fresh)
    try:
        return _open_shared(container.server(), database, "a Docker engine answered", fresh=fresh)
    except docker.NotUsable as error:
        return _open_shared(embedded.server(), database, error.problem, fresh=fresh)


def _open_shared(server: Server, name: str, why: str, *, fresh: bool) -> tuple[Postgres, Found]:
    deadline = time.monotonic() + COMEBACK
    while True:
        address, lease = sharing.join(server)
        try:
            target, found = run_sync(_make_and_enter(Target(address.dsn("postgres")), name, fresh))
            beside: Callable[[str], Postgres] = lambda other: _open_shared(server, other, why, fresh=False)[0]  # noqa: E731
            opened = Postgres(
                target, source=server.source, found=found, why=why, lease=lease, open_beside=beside
            )
            return opened, found
        except Unreachable as error:
            lease.release()
            if sharing.is_password_refused(error):
                raise server.password_refused() from None
            if time.monotonic() > deadline:
                raise KitError(
                    f"The {server.source} server runs, and lets nobody in: {error.reason}."
                ) from None
            time.sleep(0.1)
        except BaseException:
            lease.release()
            raise


def _open_external(server: Target, named_by: str, name: str, *, fresh: bool) -> tuple[Postgres, Found]:
    made = run_sync(external.prepare(server, named_by, name))
    target, found = run_sync(look_into(made, fresh=fresh, template=False))
    beside: Callable[[str], Postgres] = lambda other: _open_external(server, named_by, other, fresh=False)[0]  # noqa: E731
    why = f"{named_by} names it"
    return Postgres(target, source="external", found=found, why=why, lease=None, open_beside=beside), found


async def _make_and_enter(server: Target, name: str, fresh: bool) -> tuple[Target, Found]:
    async with server.connect(patient=True) as admin:
        made = await creation.ensure(admin, server, name, template=True)
    return await look_into(server.beside(name), fresh=fresh and not made, template=True)


async def _reset(target: Target, template: bool) -> Emptied:
    try:
        async with target.connect(patient=True) as inside:
            return await emptying.empty(inside, target, template=template)
    except Unreachable as error:
        raise KitError(
            f"The database of this process does not answer any more: {error.reason}. Run kit.postgres() "
            "again."
        ) from None
