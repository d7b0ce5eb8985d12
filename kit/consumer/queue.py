"""PGQueuer's queue table as `wait` asks about it, through a connection of its own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Collection
from typing import TYPE_CHECKING, Any, TypeVar

from pgqueuer.domain.settings import db_settings

from kit import faults
from kit.database.other_consumers import consumers_connected
from kit.database.target import LIMIT, Target, Unreachable, break_off
from kit.errors import KitError
from kit.reasons import NAMED, listed
from kit.threads import in_words

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")

LEAST = 1.0  # seconds that Postgres is given to answer, also when the time is up


class Queue:
    """The queue of a database, and what of it will not come to its end.

    Each question is given up when ``deadline`` (by the loop's clock) has passed, because Postgres does not
    answer.
    """

    def __init__(self, connection: asyncpg.Connection, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self.table = db_settings().qualified.queue_table

    @classmethod
    async def connect(cls, target: Target, deadline: float) -> Queue:
        """Connect to it.

        Raises:
            Unreachable: that is not possible before the deadline.
        """
        return cls(await target.open(limit=_until(deadline)), deadline)

    def close(self) -> None:
        """Break the connection, at once, without awaiting: this may be an interrupted cell."""
        self._connection.terminate()

    async def _answer(self, question: Awaitable[T]) -> T:
        seconds = _until(self._deadline)
        given_up = break_off(self._connection, seconds)
        try:
            return await question
        except Exception as error:
            if asyncio.get_running_loop().time() >= given_up.when():
                raise Unreachable(f"it did not answer within {seconds:g} s") from TimeoutError()
            raise error
        finally:
            given_up.cancel()

    async def _value(self, query: str, *arguments: Any) -> Any:
        return await self._answer(self._connection.fetchval(query, *arguments))

    async def _rows(self, query: str, *arguments: Any) -> list[Any]:
        return await self._answer(self._connection.fetch(query, *arguments))

    @property
    def _busy(self) -> str:
        # Not now(), which is a little older than what the statement sees: a job that was put back for an
        # immediate retry in between would look as if it were not due yet.
        due = "status = 'queued' AND execute_after <= clock_timestamp()"
        return f"{self.table} WHERE (status = 'picked' OR {due})"

    async def is_busy(self) -> bool:
        """Return whether a job is due or running."""
        import asyncpg

        try:
            return bool(await self._value(f"SELECT EXISTS (SELECT FROM {self._busy})"))
        except asyncpg.UndefinedTableError as error:
            raise KitError(f"{faults.NO_TABLES} ({error})") from error

    async def has_work_for(self, entrypoints: list[str], running: list[int]) -> bool:
        """Return whether a job that is due or running has one of these entrypoints or ids."""
        mine = "(entrypoint = ANY($1) OR id = ANY($2))"
        return bool(
            await self._value(f"SELECT EXISTS (SELECT FROM {self._busy} AND {mine})", entrypoints, running)
        )

    async def has_other_consumers(self, own: list[int]) -> bool:
        """Return whether consumers are connected whose Postgres processes are not ``own``."""
        return bool((await self._answer(consumers_connected(self._connection, own)))[1])

    async def jobs(self) -> tuple[int, list[Any]]:
        """Return how many jobs are due or running, and the first of them."""
        count = await self._value(f"SELECT count(*) FROM {self._busy}")
        columns = "id, entrypoint, status::text, now() - updated AS since"
        return count, await self._rows(f"SELECT {columns} FROM {self._busy} ORDER BY id LIMIT {NAMED}")

    async def running_for(self, seconds: float, known: Collection[int]) -> list[Any]:
        """Return the jobs, by id, that have been running for so long and are not among the ``known`` ids."""
        return await self._rows(
            f"SELECT id, entrypoint FROM {self.table} WHERE status = 'picked' AND NOT id = ANY($1)"
            " AND clock_timestamp() - updated >= make_interval(secs => $2) ORDER BY id",
            list(known),
            seconds,
        )

    async def entrypoints(self) -> list[str]:
        """Return the entrypoints of the jobs that are due or running."""
        rows = await self._rows(f"SELECT DISTINCT entrypoint FROM {self._busy} ORDER BY 1")
        return [row["entrypoint"] for row in rows]

    async def what_is_not_due(self) -> list[str]:
        """Return a line about the jobs whose time has not come, if there are any."""
        (row,) = await self._rows(
            f"SELECT count(*), min(execute_after) - clock_timestamp() AS next FROM {self.table} "
            "WHERE status = 'queued' AND execute_after > clock_timestamp()"
        )
        if not row["count"]:
            return []
        which = "" if row["count"] == 1 else "the next "
        return [f"{jobs_are(row['count'])} not due yet: {which}in {in_words(row['next'])}."]

    async def what_is_not_done(self, limit: float) -> str:
        """Return what to tell when the time, ``limit`` seconds, is up."""
        count, rows = await self.jobs()
        names = [
            f"{row['entrypoint']} #{row['id']} "
            + (f"(running for {in_words(row['since'])})" if row["status"] == "picked" else "(queued)")
            for row in rows
        ]
        return (
            f"{jobs_are(count)} not done after {limit:g} s: {listed(names, count)}. Look at kit.jobs(), "
            f"or wait longer: await kit.wait(timeout={max(60, math.ceil(2 * limit))})."
        )


def _until(deadline: float) -> float:
    left = deadline - asyncio.get_running_loop().time()
    return round(max(LEAST, min(left, LIMIT)), 1)


def jobs_are(count: int) -> str:
    """Return the beginning of a sentence about so many jobs."""
    return "1 job is" if count == 1 else f"{count} jobs are"
