"""``postgres()`` and ``reset()``: picking a source, opening a database there, and emptying it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from kit.database import PLAYGROUND, creation, emptying
from kit.database.dsn import EXAMPLE
from kit.database.emptying import Emptied
from kit.database.target import Target, Unreachable
from kit.errors import KitError, hints
from kit.errors.text import one_line
from kit.session import session
from kit.sources import external, files, sharing
from kit.sources.opened import Postgres, open_target
from kit.sources.registry import ALONE, KINDS, SOURCES, known
from kit.sources.server import Address, Server
from kit.threads import run_sync


def postgres(
    source: str | None = None,
    *,
    database: str = PLAYGROUND,
    dsn: str | None = None,
    fresh: bool = True,
    alone: bool = False,
) -> Postgres:
    """Start or adopt a PostgreSQL, make a database with PGQueuer's schema, and point this process at it.

    Afterwards ``asyncpg.connect()`` and ``pgq`` need no arguments. Running it again is safe: it adopts what
    runs, stops the consumers of this process and empties the database. It prints one line: what, where, why.

    Args:
        source: ``"embedded"`` (a server of your own, no Docker), ``"docker"`` (a container), ``"external"``
            (the server that ``dsn`` names), or ``"auto"``: a DSN if there is one, else Docker if its engine
            answers, else embedded. Without it, the variable ``KIT_POSTGRES`` decides, else ``"auto"``.
        database: the database's name. On an external server ``pgqueuer_kit_`` stands before it, and the
            role's name where another role has a database of that name.
        dsn: a PostgreSQL that somebody runs, ``postgresql://user:password@host:port/database``. Without it,
            the variable ``KIT_DSN``. What is in there stays as it is.
        fresh: stop this process's consumers and empty the database; False keeps both.
        alone: use a server that no other process uses, so that nobody is hurt when it is crashed or stopped.

    Raises:
        KitError: no server is to be had, or the name cannot be used; the message says why and what helps.
    """
    if fresh:
        for consumer in session.consumers.copy().values():
            consumer.stop()
        session.drill = None
    opened = open_database(source, database, dsn, fresh=fresh, alone=alone)
    again = session.database is not None and session.database.target == opened.target
    session.enter(opened)
    hints.show()
    for line in _lines_to_print(opened, again=again):
        print(line)
    return opened


def _lines_to_print(opened: Postgres, *, again: bool) -> list[str]:
    """Return the lines that `postgres` prints: when a section begins again in its own database, warnings."""
    lines = []
    emptied = f" Emptied: {opened.emptied}." if opened.emptied is not None and str(opened.emptied) else ""
    if not again or opened.others:
        line = f"PostgreSQL {opened.version}, {opened.source}, database {opened.name!r}: {opened.why}."
        lines.append(line + emptied)
    if opened.left_open is not None:
        lines.append(
            f"Beware: {opened.left_open} Nobody else sees what is written there until it is "
            "committed. An interrupt may have left it open; on a connection of this notebook: "
            "await connection.reset()"
        )
    if opened.others:
        who = ", ".join(map(str, opened.others))
        lines.append(
            f"Another program uses the queue in this database ({who}) and may take your jobs. Stop it "
            "there, or use another name here: kit.postgres(database=…)."
        )
    return lines


def open_database(
    source: str | None = None,
    database: str = PLAYGROUND,
    dsn: str | None = None,
    *,
    fresh: bool = False,
    alone: bool = False,
) -> Postgres:
    """Do what `postgres` does, without a word, and point this process there only in a ``with`` statement.

    The database is made where there is none, and keeps its rows unless ``fresh``.
    """
    asked = asked_source(source)
    if dsn and asked not in ("auto", "external"):
        by = "the source" if source else "KIT_POSTGRES"
        raise KitError(
            f"dsn= names an external server, and {by} asks for {asked!r}. Leave one of them out, or say "
            'which is meant: kit.postgres("external", dsn=…).'
        )
    name = creation.check_name(database)
    _refuse_other_tables()
    named_by, given = ("dsn=", dsn) if dsn else ("KIT_DSN", os.environ.get("KIT_DSN"))
    if asked in ("auto", "external") and given:
        if alone:
            raise KitError(
                f"{named_by} names a server that others may use, and alone=True asks for one that nobody "
                "else does. Such a one is of the kit's own: kit.postgres('embedded', alone=True)."
            )
        return _open_external(external.target(given, named_by), named_by, name, fresh=fresh)
    if asked == "external":
        raise KitError(f'Which server? Set KIT_DSN, or pass dsn="{EXAMPLE}".')
    return _open_shared(join_one(source, alone=alone), name, fresh=fresh)


def reset() -> None:
    """Empty this process's database: PGQueuer's tables lose their rows, and everything else is dropped.

    Job ids start at 1 again, unless a job is being run. Connections and running consumers stay. Where
    PGQueuer's own tables were changed, the database is made anew, which ends its connections: a line says so.

    Raises:
        KitError: there is no database yet, the kit did not make it, or an open transaction is in the way.
    """
    session.drill = None
    if run_sync(_reset(session.target())).made_anew:
        print(
            "PGQueuer's tables had been changed, so the database was made anew. Its connections have ended."
        )


async def _reset(target: Target) -> Emptied:
    try:
        async with target.connect(patient=True) as inside:
            return await emptying.empty(inside, target)
    except Unreachable as error:
        raise KitError(
            f"The database of this process does not answer any more: {error.reason}. Run kit.postgres() "
            "again."
        ) from None


def asked_source(source: str | None) -> str:
    """Return the source that the argument ``source`` or the variable ``KIT_POSTGRES`` asks for.

    Raises:
        KitError: there is no such source.
    """
    asked = source or os.environ.get("KIT_POSTGRES") or "auto"
    if asked not in SOURCES:
        whence = "" if source else ", which KIT_POSTGRES names"
        raise KitError(f"There is no source {asked!r}{whence}. Use one of: {', '.join(SOURCES)}.")
    return asked


def _refuse_other_tables() -> None:
    for variable in ("PGQUEUER_PREFIX", "PGQUEUER_SCHEMA"):
        if os.environ.get(variable):
            raise KitError(
                f"{variable} is set to {os.environ[variable]!r}, so PGQueuer would not look for its tables "
                f"where the kit puts them. Restart the kernel, and begin with del os.environ[{variable!r}]."
            )


class Joined(NamedTuple):
    """A server of the kit's that this process uses, and why this one was chosen."""

    server: Server
    address: Address
    lease: sharing.Lease
    why: str


def join_one(source: str | None, *, alone: bool = False) -> Joined:
    """Use a server of the kit's: of the source that is asked for, else of the first source that works.

    Raises:
        KitError: there is none; the message says why not, for each source that was tried.
    """
    failed: dict[str, str] = {}
    for kind, why, find in _candidates(source, alone=alone):
        if kind in failed:
            continue
        try:
            server = find()
            server, address, lease = _join_alone(server) if alone else (server, *sharing.join(server))
        except Exception as error:
            reason = str(error) if isinstance(error, KitError) else one_line(error)
            failed[kind] = getattr(error, "problem", f"{kind}: {reason.rstrip('.')}")
            last = error
        else:
            chosen = "; ".join(failed.values()) or why
            return Joined(server, address, lease, f"{chosen}; nobody else uses it" if alone else chosen)
    if len(failed) == 1 and isinstance(last, KitError):
        raise last
    tried = "\n  ".join(failed.values())
    raise KitError(f"No Postgres of the kit's own works here. `kit doctor` looks closer. Tried:\n  {tried}")


def _candidates(source: str | None, *, alone: bool) -> Iterator[tuple[str, str, Callable[[], Server]]]:
    """Yield what to try, best first: the source, the reason, and a call that returns its server or raises."""
    asked = asked_source(source)
    kinds = [asked] if asked in KINDS else list(KINDS)
    if source is None or asked == "auto":
        for server in known(alone=False):
            if server.source in kinds and server.running() is not None:
                why = "one of its kind runs already" if alone else "it runs already"
                yield server.source, why, partial(_known, server)
    for kind in kinds:
        because = KINDS[kind].why if asked == "auto" else "KIT_POSTGRES asks for it"
        yield kind, "you asked for it" if source == kind else because, KINDS[kind].find


def _known(server: Server) -> Server:
    return server


def _join_alone(server: Server) -> tuple[Server, Address, sharing.Lease]:
    """Use the first server of this kind that no other process uses."""
    number = 1
    while True:
        mine = KINDS[server.source](files.home() / ALONE / f"{server.folder.name}-{number}", server.runs)
        try:
            return mine, *sharing.join(mine, alone=True)
        except sharing.Taken:
            number += 1


def _open_shared(joined: Joined, name: str, *, fresh: bool) -> Postgres:
    server, address, lease, why = joined

    def beside(other: str) -> Postgres:
        return _open_shared(Joined(server, *sharing.join(server), why), other, fresh=False)

    async def make_and_open() -> Postgres:
        target = address.target("postgres")
        async with target.connect(patient=True) as admin:
            made = await creation.ensure(admin, target, name)
        new = target.beside(name)
        return await open_target(new, server.source, why, lease, beside, fresh=fresh and not made)

    try:
        return run_sync(make_and_open())
    except BaseException:
        lease.release()
        raise


def _open_external(server: Target, named_by: str, name: str, *, fresh: bool) -> Postgres:
    def beside(other: str) -> Postgres:
        return _open_external(server, named_by, other, fresh=False)

    made = run_sync(external.prepare(server, named_by, name))
    return run_sync(open_target(made, "external", f"{named_by} names it", None, beside, fresh=fresh))
