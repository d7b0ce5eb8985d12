"""`Target`: a database to connect to, and the kit's own connections to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kit.database import dsn as dsns
from kit.database.queue_tables import QueueTables
from kit.errors import KitError
from kit.errors.postgres import patience_to_connect, postgres_is_away, sqlstate
from kit.errors.text import server_message

if TYPE_CHECKING:
    import asyncpg
    from pgqueuer.domain.settings import QualifiedNames

APPLICATION = "pgqueuer-kit"  # the name of the kit's connections in pg_stat_activity
LIMIT = 10.0  # seconds for a call of the kit when Postgres does not answer
_CLOSING = 1.0  # seconds for the server to say goodbye
_PAUSE = 0.1  # seconds between two tries to connect
_PROBE = 5.0  # seconds between two checks that a busy server still answers

# Settings of a read-only session, sent when it starts: there a pooler refuses them. A SET would stay on a
# pooler's connection, which others get next.
_READ_ONLY = {
    "default_transaction_read_only": "on",
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
}


class Unreachable(KitError):
    """No server answers, or it refuses this role, or it went away. ``reason`` has no full stop at its end."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"Cannot reach Postgres: {reason}. If it was stopped, or the database was dropped, "
            "kit.postgres() brings it back."
        )
        self.reason = reason


@dataclass(frozen=True)
class Target:
    """A database to connect to.

    Attributes:
        dsn: its address, with the password. The environment adds nothing to it.
        own: whether it is on a server of the kit's own, which needs no setting of the environment.
        read_only: whether each block of `connect` and `answering` is a read-only transaction that is rolled
            back, and a query is ended after 5 s.
        search_path: the schemas of names without a schema; empty: the role's own setting.
        tables: the names of PGQueuer's tables there; None: those of this process's settings.
    """

    dsn: str
    own: bool = False
    read_only: bool = False
    search_path: str = ""
    tables: QualifiedNames | None = None

    @classmethod
    def of_variables(cls, environment: Mapping[str, str]) -> Target:
        """Return the database that the ``PG*`` variables name now."""
        return cls(dsns.from_variables(environment))

    def __repr__(self) -> str:
        return f"<{self.name!r} on {self.where}>"

    @property
    def name(self) -> str:
        """The database's name; empty if the server chooses it by the role."""
        return self.variables().get("PGDATABASE", "")

    @property
    def where(self) -> str:
        """Its host and port, for a message: without the password."""
        return dsns.shown(self.dsn)

    @property
    def names(self) -> QualifiedNames:
        """The names of PGQueuer's tables there, as an SQL statement has them."""
        from pgqueuer.domain.settings import db_settings

        return self.tables or db_settings().qualified

    @property
    def queue_tables(self) -> QueueTables:
        """The statements on PGQueuer's tables there. Pictures read only the end of somebody else's log."""
        return QueueTables(self.names, long=self.read_only)

    def beside(self, database: str) -> Target:
        """Return another database of the same server."""
        return replace(self, dsn=dsns.beside(self.dsn, database))

    def variables(self) -> dict[str, str]:
        """Return the ``PG*`` variables that name it to asyncpg, libpq and ``pgq``."""
        return dsns.variables(self.dsn) | ({"PGSSLMODE": "disable"} if self.own else {})

    def environment(self, outside: Mapping[str, str]) -> dict[str, str | None]:
        """Return the value of each variable with which programs connect to it; None: it must not be set.

        On somebody else's server, ways in that are set ``outside``, such as a certificate, stay.
        """
        theirs = {} if self.own else {name: outside[name] for name in dsns.VARIABLES & outside.keys()}
        return dict.fromkeys(sorted(dsns.VARIABLES)) | theirs | dict.fromkeys(dsns.DSNS) | self.variables()

    async def open(self, application: str = APPLICATION, limit: float = LIMIT) -> asyncpg.Connection:
        """Open a connection, which the caller closes; ``limit`` is in seconds.

        A server that starts, or recovers from a crash, gets this time.

        Raises:
            Unreachable: it cannot be opened.
        """
        import asyncpg

        complete = dsns.complete(self.dsn, dsns.DEFAULTS | self.variables())
        asyncpgs_own = (asyncpg.InterfaceError, asyncpg.InternalClientError)
        settings = {"application_name": application} | (_READ_ONLY if self.read_only else {})
        if self.search_path:
            settings["search_path"] = self.search_path
        began = time.monotonic()
        while True:
            spent = time.monotonic() - began
            try:
                return await asyncpg.connect(complete, timeout=limit - spent, server_settings=settings)
            except TimeoutError as error:
                raise Unreachable(f"it did not answer within {limit:g} s") from error
            except (OSError, ValueError, asyncpg.PostgresError, *asyncpgs_own) as error:
                if spent + 2 * _PAUSE > min(patience_to_connect(error), limit):
                    raise Unreachable(server_message(error) or type(error).__name__) from error
            await asyncio.sleep(_PAUSE)

    @asynccontextmanager
    async def connect(
        self, *, limit: float = LIMIT, patient: bool = False
    ) -> AsyncIterator[asyncpg.Connection]:
        """Open one of the kit's own connections, and close it after the block.

        Args:
            limit: seconds until the block is broken off, because Postgres does not answer.
            patient: let the block take longer, as long as the server answers other connections.

        Raises:
            Unreachable: it cannot be opened, it broke during the block, or the time was over.
            KitError: the server refused a statement.
        """
        opened = await self.open(limit=limit)
        try:
            async with self.answering(opened, limit=limit, patient=patient):
                yield opened
        finally:
            # Wait for the server to close it, too: the next step may need it gone.
            with suppress(Exception):
                await opened.close(timeout=_CLOSING)

    @asynccontextmanager
    async def answering(
        self, opened: asyncpg.Connection, *, limit: float = LIMIT, patient: bool = False
    ) -> AsyncIterator[None]:
        """Let a block use ``opened`` for ``limit`` seconds; arguments and errors are those of `connect`."""

        watch = asyncio.ensure_future(self._give_up(opened, limit, patient))
        try:
            with _in_plain_words(opened, watch, limit):
                async with _only_reading(opened) if self.read_only else nullcontext():
                    yield
        finally:
            watch.cancel()

    async def _give_up(self, opened: asyncpg.Connection, limit: float, patient: bool) -> None:
        await asyncio.sleep(_PROBE if patient else limit)
        while patient and await self._answers(limit - _PROBE):
            await asyncio.sleep(_PROBE)
        # Not by cancelling the task: asyncpg, or a transaction's end, would wait for Postgres again.
        opened.terminate()

    async def _answers(self, limit: float) -> bool:
        try:
            probe = await self.open(limit=limit)
        except Unreachable as error:
            # A server that refuses one more connection has answered, too.
            return not isinstance(error.__cause__, OSError)
        probe.terminate()
        return True


@asynccontextmanager
async def _only_reading(opened: asyncpg.Connection) -> AsyncIterator[None]:
    # The isolation that a transaction inside of it asks for: asyncpg refuses to mix two.
    reading = opened.transaction(isolation="repeatable_read", readonly=True)
    await reading.start()
    try:
        yield
    finally:
        if not opened.is_closed():
            await reading.rollback()


@contextmanager
def _in_plain_words(opened: asyncpg.Connection, watch: asyncio.Future[None], limit: float) -> Iterator[None]:
    import asyncpg

    try:
        yield
    except KitError:
        raise
    except Exception as error:
        message = server_message(error)
        if watch.done() and not watch.cancelled():
            raise Unreachable(f"it did not answer within {limit:g} s") from error
        if postgres_is_away(error, opened):
            # Without an SQLSTATE or error number the text is asyncpg's own, about its inner states.
            raise Unreachable(
                message if sqlstate(error) or isinstance(error, OSError) else "the connection broke"
            ) from error
        if isinstance(error, asyncpg.DiskFullError):
            raise KitError(f"The server's disk is full: {message}. Free some space and try again.") from error
        if isinstance(error, asyncpg.PostgresError):
            raise KitError(f"PostgreSQL refused what the kit asked for: {message}.") from error
        raise
