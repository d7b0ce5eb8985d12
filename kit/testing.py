"""Fresh queues for tests, for the fixtures of `kit.pytest_plugin`.

Making a database takes longer than most tests. So a used database loses its rows and gets another name, by
which nothing that still runs finds it, and the next test gets it. If a test has changed more than rows, its
database is dropped, and another one made.
"""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from kit.database import creation, emptying, temporary
from kit.database.target import Unreachable
from kit.errors import KitError
from kit.session import session
from kit.sources import Postgres, open_database
from kit.threads import run_sync

PREFIX = "pytest"

Seed = str | Callable[[], object]
T = TypeVar("T")


@contextmanager
def server() -> Iterator[Postgres]:
    """Open a database on the server of this session's tests, and keep the server up during the block.

    First the databases of earlier, killed sessions on this machine are dropped.
    """
    database = open_database(database=temporary.name(PREFIX))
    run_sync(temporary.drop_what_the_dead_left(database.target, PREFIX))
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
            seed: the contents of the database: SQL, or a function, async or not, that is called while
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
        opened = self._server.database(temporary.name(PREFIX))
        opened.stop()  # what keeps the server up is the use of its own database
        if opened.name != self._server.name:  # otherwise this role may make none, and has this one
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
                try:
                    self._at(name, lambda connection: connection.execute(seed))
                except Unreachable:
                    raise
                except KitError as error:
                    raise KitError(f"The seed of these tests does not work: {error.__cause__}.") from None
            elif inspect.iscoroutine(coming := seed()):
                run_sync(coming)
        return name

    def _another(self, name: str) -> str:
        another = f"{name.rpartition('_')[0]}_{secrets.token_hex(4)}"
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
