"""The check's own database: one a kernel, emptied before each check, dropped when the kernel ends."""

from __future__ import annotations

import asyncio
import atexit
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kit.database import creation, emptying, temporary
from kit.database.target import Target
from kit.errors import KitError
from kit.session import NO_POSTGRES, session
from kit.sources import Postgres
from kit.threads import run_sync

if TYPE_CHECKING:
    import asyncpg

PREFIX = "check"


def mine() -> Postgres:
    """Return this kernel's scratch database, on the server of its lesson; made the first time.

    Raises:
        KitError: there is no Postgres in this process yet, or its role may not make a database.
    """
    lesson, made = session.database, session.scratch
    if not isinstance(lesson, Postgres):
        raise KitError(NO_POSTGRES)
    if isinstance(made, Postgres) and made.target.where == lesson.target.where:
        return made
    drop()
    made = lesson.database(temporary.name(PREFIX))
    if made.target.name == lesson.target.name:  # somebody's server, where this role may make none
        made.stop()
        raise KitError(
            "A check works in a database of its own, so that yours stays as it is, and this role may not "
            "make one. Let it (ALTER ROLE … CREATEDB), or use the kit's own server: kit.postgres('embedded')."
        )
    run_sync(temporary.drop_what_the_dead_left(made.target, PREFIX))
    session.scratch = made
    atexit.register(drop)
    return made


async def empty(inside: asyncpg.Connection, scratch: Postgres) -> None:
    """Empty the scratch database, whatever the check before has left there."""
    # A process that was killed in the midst of a statement has a backend that still holds its locks.
    await inside.execute(
        "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename = current_user"
    )
    await emptying.empty(inside, scratch.target)


def drop() -> None:
    """Drop the scratch database, if there is one."""
    atexit.unregister(drop)
    made, session.scratch = session.scratch, None
    if made is not None:
        with suppress(Exception), asyncio.Runner(loop_factory=_AtTheEnd) as runner:
            runner.run(_drop(made.target))
        made.stop()


class _AtTheEnd(asyncio.SelectorEventLoop):
    """A loop that needs no threads: when Python ends, none can be started any more."""

    async def getaddrinfo(self, host: Any, port: Any, **more: Any) -> Any:
        return socket.getaddrinfo(host, port, **more)


async def _drop(target: Target) -> None:
    async with target.connect() as inside:
        beside = target.beside(await creation.maintenance_database(inside))
    async with beside.connect() as admin:
        await creation.drop(admin, target.name)
