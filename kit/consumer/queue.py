"""`Queue`: what `kit.wait` asks of PGQueuer's queue table, on a connection of its own."""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kit.database.other_consumers import consumers_connected
from kit.database.queue_tables import QueueTables
from kit.errors import KitError
from kit.errors.postgres import NO_TABLES
from kit.reasons import NAMED, listed
from kit.threads import in_words

if TYPE_CHECKING:
    import asyncpg


class Queue:
    """The queue of a database.

    Jobs that will be due within ``soon`` count as due. ``until`` is the learner's question in SQL.
    """

    def __init__(
        self, connection: asyncpg.Connection, statements: QueueTables, soon: timedelta, until: str
    ) -> None:
        self._connection = connection
        self._until = until
        self.due = f"due within {in_words(soon)}" if soon else "due"
        self._statements = statements
        self._busy = statements.busy(soon, NAMED)

    async def is_busy(self) -> bool:
        """Return whether a job is due or running."""
        import asyncpg

        try:
            return bool(await self._connection.fetchval(self._busy.exists))
        except asyncpg.UndefinedTableError as error:
            raise KitError(f"{NO_TABLES} ({error})") from error

    async def is_so(self) -> bool:
        """Return whether the answer to ``until`` is true; False without a question."""
        return bool(self._until and await self._connection.fetchval(self._until))

    async def has_work_for(self, entrypoints: list[str], running: list[int]) -> bool:
        """Return whether a job that is due or running has one of these entrypoints or ids."""
        return bool(await self._connection.fetchval(self._busy.exists_for, entrypoints, running))

    async def has_other_consumers(self, own: Collection[int]) -> bool:
        """Return whether there are consumers whose Postgres processes are not among the ``own`` pids."""
        return bool((await consumers_connected(self._connection, own))[1])

    async def jobs(self) -> tuple[int, list[Any]]:
        """Return how many jobs are due or running, and the first of them."""
        count = await self._connection.fetchval(self._busy.number)
        return count, await self._connection.fetch(self._busy.first)

    async def what_is_waited_for(self, seconds: float) -> str:
        """Return the message after ``seconds`` of waiting."""
        count = await self._connection.fetchval(self._busy.number)
        left = f"{jobs_are(count) if count else 'nothing is'} {self.due} or running"
        asked = f"this is not so yet: {self._until}; " if self._until else ""
        return f"After {seconds:g} s, {asked}{left}."

    async def running_for(self, seconds: float, known: Collection[int]) -> list[Any]:
        """Return the jobs that have been running for ``seconds``, except those with the ``known`` ids."""
        return await self._connection.fetch(self._statements.running_for, list(known), seconds)

    async def entrypoints(self) -> list[str]:
        """Return the entrypoints of the jobs that are due or running."""
        rows = await self._connection.fetch(self._busy.entrypoints)
        return [row["entrypoint"] for row in rows]

    async def what_is_not_due(self) -> list[str]:
        """Return a line about the jobs that are not due yet, if there are any."""
        (row,) = await self._connection.fetch(self._statements.not_due)
        if not row["count"]:
            return []
        which = "" if row["count"] == 1 else "the next "
        return [f"{jobs_are(row['count'])} not due yet: {which}in {in_words(row['next'])}."]

    async def what_is_not_done(self, limit: float) -> str:
        """Return the message when the time, ``limit`` seconds, is over."""
        count, rows = await self.jobs()
        names = [
            f"{row['entrypoint']} #{row['id']} "
            + (f"(running for {in_words(row['since'])})" if row["status"] == "picked" else "(queued)")
            for row in rows
        ]
        longer = f"await kit.wait(timeout={max(60, math.ceil(2 * limit))}{', …' * bool(self._until)})"
        if self._until:
            return f"{await self.what_is_waited_for(limit)} Look at kit.jobs(), or wait longer: {longer}."
        return (
            f"{jobs_are(count)} not done after {limit:g} s: {listed(names, count)}. Look at kit.jobs(), "
            f"or wait longer: {longer}."
        )


def jobs_are(count: int) -> str:
    """Return the beginning of a sentence about so many jobs."""
    return "1 job is" if count == 1 else f"{count} jobs are"
