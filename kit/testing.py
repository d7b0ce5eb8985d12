"""Fresh queues for tests: what the fixtures of `kit.pytest_plugin` hand out.

To make a database takes longer than most tests do. So one that a test has used loses its rows and is the
next test's, under another name, so that nothing that was left running finds it. Where a test has changed more
than rows, its database is dropped, and another one made.
"""

from __future__ import annotations

import inspect
import os
import re
import secrets
import socket
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

import psutil

from kit.database import creation, emptying
from kit.errors import KitError
from kit.session import session
from kit.sources import Postgres, open_database
from kit.threads import run_sync

if TYPE_CHECKING:
    from kit.database.target import Target

APART = 60  # seconds by which two looks at when a process started may differ, as the clock is set meanwhile

Seed = str | Callable[[], object]
T = TypeVar("T")


@contextmanager
def server() -> Iterator[Postgres]:
    """Open a database on the server of this session's tests, and keep the server up during the block.

    What an earlier session of this machine left there because it was killed is removed first.
    """
    database = open_database(database=_name())
    run_sync(_drop_what_the_dead_left(database.target))
    yield database
    database.drop()
    database.stop()


class QueueDatabases:
    """Databases of one server, with PGQueuer's schema, that tests take turns with; also a context manager."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._made_of: dict[str, str] = {}  # each database, before a test had it
        self._spare: list[str] = []
        self._seeded: dict[Seed, str] = {}

    def __enter__(self) -> QueueDatabases:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop(*self._made_of)

    @contextmanager
    def fresh(self, seed: Seed | None = None) -> Iterator[Postgres]:
        """Point this process at a database that has PGQueuer's schema and no rows, during the block.

        Consumers, workers, boards and dashboards that the block starts end with it.

        Args:
            seed: what is in the database besides: SQL, or a function, async or not, that is called while
                ``PG*`` name it. It is used once; each database with this seed is a copy of what it made.

        Raises:
            KitError: the server is gone; or a seed is wrong, or the role may make no database for it.
        """
        name = self._copy(seed) if seed else self._spare.pop() if self._spare else self._make()
        try:
            with self._server.beside(name) as database, session.ending_what_begins():
                yield database
        finally:
            self._drop(name) if seed else self._spare.append(self._again(name))

    def _make(self) -> str:
        opened = self._server.database(_name())
        opened.stop()  # what keeps the server up is the use of its own database
        if opened.name != self._server.name:  # else this role may make none, and has the one
            self._made_of[opened.name] = self._at(opened.name, emptying.made_of)
        return opened.name

    def _again(self, used: str) -> str:
        if used == self._server.name:
            self._server.drop()
            return used
        name = self._another(used)
        with suppress(KitError):
            self._at(self._server.name, creation.rename, used, name)
            if self._at(name, emptying.delete_rows, self._made_of[name]):
                del self._made_of[used]
                return name
        self._drop(used, name)
        return self._make()

    def _copy(self, seed: Seed) -> str:
        if seed not in self._seeded:
            self._seeded[seed] = self._sow(seed)
        name = self._another(self._seeded[seed])
        self._at(self._server.name, creation.copy, self._seeded[seed], name)
        return name

    def _sow(self, seed: Seed) -> str:
        name = self._make()
        if name == self._server.name:
            raise KitError("A seed needs databases of its own, and this role may make none.")
        with self._server.beside(name), session.ending_what_begins():
            if isinstance(seed, str):
                self._at(name, lambda connection: connection.execute(seed))
            elif inspect.iscoroutine(coming := seed()):
                run_sync(coming)
        return name

    def _another(self, name: str) -> str:
        another = name[: -len(_token())] + _token()
        self._made_of[another] = self._made_of[name]
        return another

    def _drop(self, *names: str) -> None:
        for name in names:
            self._at(self._server.name, creation.drop, name)
            del self._made_of[name]

    def _at(self, database: str, do: Callable[..., Awaitable[T]], *arguments: str) -> T:
        async def there() -> T:
            async with self._server.target.beside(database).connect(patient=True) as connection:
                return await do(connection, *arguments)

        return run_sync(there())


def _host() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _name() -> str:
    """Return a name that says whose database it is: this machine's, this process's, and when that started."""
    return f"pytest_{_host()}_{os.getpid()}_{psutil.Process().create_time():.0f}_{_token()}"


def _token() -> str:
    return secrets.token_hex(4)


def _owner_is_dead(name: str) -> bool:
    """Return whether a process of this machine made the database ``name`` and has ended."""
    made = re.fullmatch(rf"\w*?pytest_{_host()}_(\d+)_(\d+)_[0-9a-f]{{8}}", name)
    if made is None:
        return False
    try:
        process = psutil.Process(int(made[1]))
        another = abs(process.create_time() - int(made[2])) > APART  # the system gave the number again
        return another or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


_UNUSED = """
SELECT datname FROM pg_database WHERE datname LIKE '%pytest@_%' ESCAPE '@' AND pg_has_role(datdba, 'USAGE')
AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE pg_stat_activity.datname = pg_database.datname)
"""


async def _drop_what_the_dead_left(target: Target) -> None:
    """Drop the databases whose process has ended; what cannot be dropped now is left for the next session."""
    with suppress(KitError):
        async with target.connect() as admin:
            for row in await admin.fetch(_UNUSED):
                if _owner_is_dead(row["datname"]):
                    await creation.drop(admin, row["datname"])
