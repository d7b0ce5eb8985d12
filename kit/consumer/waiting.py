"""``await wait()``: until nothing more will happen in the queue, showing meanwhile what the handlers do."""

from __future__ import annotations

import asyncio
import difflib
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pgqueuer.domain.settings import db_settings

from kit import faults
from kit.consumer import capture, console
from kit.consumer.long_running import LongRunning
from kit.database.other_consumers import consumers_connected
from kit.database.target import LIMIT, Target
from kit.errors import KitError
from kit.notebook import Interruptible
from kit.session import RunningConsumer, session
from kit.threads import Duration, as_timedelta

if TYPE_CHECKING:
    import asyncpg


POLL_SECONDS = 0.05
STUCK_SECONDS = 1.0
NAMED = 10
SHOWN_LINES = 2_000


async def wait(timeout: Duration = 30.0) -> None:
    """Wait until nothing more will happen in the queue by itself, and show meanwhile what handlers do.

    That is when no job is due or running, by the tables, whoever runs them. Jobs that are not due yet, and
    held ones, do not count. What handlers printed since it was last shown appears in the cell that waits,
    each line with its job (``[fetch #1] Processed: …``), and so does the last line of every exception.

    It also returns, and says why, when jobs are due that nobody will run: no consumer is there, or none has
    their entrypoint. That is no error, because a consumer for them may come tomorrow.

    Args:
        timeout: how long to wait at most, in seconds or as a timedelta.

    Raises:
        KitError: jobs were still due or running after ``timeout``, by name; or Postgres cannot be reached.
    """
    if capture.in_a_handler():
        raise KitError("kit.wait() in a handler would wait for the handler's own job. Call it in a cell.")
    limit = as_timedelta("timeout", timeout, zero=True).total_seconds()
    target = session.target()
    __tracebackhide__ = True
    with Interruptible(), console.looking():
        screen = _Screen()
        async with _refreshed(screen):
            last_words = await _until_done(target, limit)
        screen.refresh()
        screen.close(last_words)


async def _until_done(target: Target, limit: float) -> list[str]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit
    stuck, slow = _Stuck(), LongRunning()
    queue: _Queue | None = None
    try:
        while True:
            try:
                if queue is None:
                    queue = await _Queue.connect(target, deadline - loop.time())
                if not await queue.is_busy():
                    return await queue.what_is_not_due()
                for line in await slow.look(queue.connection, queue.table):
                    print(line)
                if why := await stuck.look(queue):
                    return why
                if loop.time() >= deadline:
                    raise KitError(await queue.what_is_not_done(limit))
            except Exception as error:
                if not faults.postgres_is_away(error):
                    raise
                if queue is not None:
                    queue.connection.terminate()
                    queue = None
                # A consumer that lost its connection tells of it meanwhile, and comes back.
                if loop.time() >= deadline or not any(consumer.alive for consumer in _consumers()):
                    raise KitError(f"No Postgres could be reached: {faults.one_line(error)}.") from error
            await asyncio.sleep(POLL_SECONDS)
    finally:
        if queue is not None:
            # At once, and without awaiting: this may be an interrupted cell.
            queue.connection.terminate()


@dataclass
class _Queue:
    """PGQueuer's queue table, looked at through a connection of its own."""

    connection: asyncpg.Connection
    table: str

    @classmethod
    async def connect(cls, target: Target, limit: float) -> _Queue:
        connection = await target.open(limit=max(1.0, min(limit, LIMIT)))
        return cls(connection, db_settings().qualified.queue_table)

    @property
    def busy(self) -> str:
        # Not now(), which is a little older than what the statement sees: a job that was put back for an
        # immediate retry in between would look as if it were not due yet.
        due = "status = 'queued' AND execute_after <= clock_timestamp()"
        return f"{self.table} WHERE (status = 'picked' OR {due})"

    async def is_busy(self) -> bool:
        import asyncpg

        try:
            return bool(await self.connection.fetchval(f"SELECT EXISTS (SELECT FROM {self.busy})"))
        except asyncpg.UndefinedTableError as error:
            raise KitError(f"The database has no table {self.table!r}. Run kit.postgres() first.") from error

    async def has_work_for(self, entrypoints: list[str], running: list[int]) -> bool:
        """Return whether a job that is due or running has one of these entrypoints or ids."""
        mine = "(entrypoint = ANY($1) OR id = ANY($2))"
        return bool(
            await self.connection.fetchval(
                f"SELECT EXISTS (SELECT FROM {self.busy} AND {mine})", entrypoints, running
            )
        )

    async def jobs(self) -> tuple[int, list[Any]]:
        """Return how many jobs are due or running, and the first of them."""
        count = await self.connection.fetchval(f"SELECT count(*) FROM {self.busy}")
        columns = "id, entrypoint, status::text, now() - updated AS since"
        rows = await self.connection.fetch(f"SELECT {columns} FROM {self.busy} ORDER BY id LIMIT {NAMED}")
        return count, rows

    async def entrypoints(self) -> list[str]:
        """Return the entrypoints of the jobs that are due or running."""
        rows = await self.connection.fetch(f"SELECT DISTINCT entrypoint FROM {self.busy} ORDER BY 1")
        return [row["entrypoint"] for row in rows]

    async def what_is_not_due(self) -> list[str]:
        """Return a line about the jobs whose time has not come, if there are any."""
        row = await self.connection.fetchrow(
            f"SELECT count(*), min(execute_after) - clock_timestamp() AS next FROM {self.table} "
            "WHERE status = 'queued' AND execute_after > clock_timestamp()"
        )
        assert row is not None
        if not row["count"]:
            return []
        which = "" if row["count"] == 1 else "the next "
        return [f"{_jobs(row['count'])} not due yet: {which}in {_in_words(row['next'])}."]

    async def what_is_not_done(self, limit: float) -> str:
        """Return what to tell when the time is up."""
        count, rows = await self.jobs()
        names = [
            f"{row['entrypoint']} #{row['id']} "
            + (f"(running for {_in_words(row['since'])})" if row["status"] == "picked" else "(queued)")
            for row in rows
        ]
        return (
            f"{_jobs(count)} not done after {limit:g} s: {_listed(names, count)}. Look at kit.jobs(), "
            f"or wait longer: await kit.wait(timeout={max(60, math.ceil(2 * limit))})."
        )


class _Stuck:
    """Finds out that nobody will run what is due, by seeing so for a while."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._next_look = 0.0

    async def look(self, queue: _Queue) -> list[str]:
        """Return why nothing goes on, in lines; empty as long as something may."""
        now = asyncio.get_running_loop().time()
        if now < self._next_look:
            return []
        self._next_look = now + STUCK_SECONDS / 5
        consumers = [consumer for consumer in _consumers() if consumer.alive]
        working = [consumer for consumer in consumers if consumer.state != "stopping"]
        known = [name for consumer in working for name in consumer.entrypoints]
        running = [job for consumer in consumers for job in consumer.running_jobs()]
        own = [pid for consumer in consumers for pid in consumer.backends]
        if (
            any(consumer.state != "running" for consumer in working)
            or await queue.has_work_for(known, running)
            or (await consumers_connected(queue.connection, own))[1]
        ):
            self._since = None
            return []
        self._since = now if self._since is None else self._since
        return await _why(queue, known, bool(working)) if now - self._since >= STUCK_SECONDS else []


async def _why(queue: _Queue, known: list[str], working: bool) -> list[str]:
    """Return, in lines, why the jobs that are due stay so."""
    count, rows = await queue.jobs()
    if not count:
        return []
    names = [f"{row['entrypoint']} #{row['id']}" for row in rows]
    lines = [f"{_jobs(count)} due: {_listed(names, count)}."]
    if not working:
        dead = [consumer for consumer in _consumers() if consumer.state == "failed"]
        lines += [f"Consumer {consumer.name!r} has failed. {consumer.problem}" for consumer in dead]
        return [*lines, "No consumer is running. Start one with kit.run(main)."]
    for name in (await queue.entrypoints())[:NAMED]:
        close = difflib.get_close_matches(name, known, n=1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        lines.append(f"No running consumer has the entrypoint {name!r}.{meant}")
    has = _listed([repr(name) for name in sorted(set(known))], len(set(known))) or "none"
    return [*lines, f"Those that run have: {has}. A job waits until a consumer has its entrypoint."]


class _Screen:
    """The cell that waits."""

    def __init__(self) -> None:
        self._left = SHOWN_LINES
        self._more = 0

    def refresh(self) -> None:
        """Show what is new."""
        lines = console.unseen()
        console.show(lines[: self._left])
        self._more += max(0, len(lines) - self._left)
        self._left -= min(self._left, len(lines))

    def close(self, last_words: list[str]) -> None:
        """Say how much was too much to show, and what else there is to say."""
        if self._more:
            last_words = [f"… and {self._more} more lines: see the consumer's .output", *last_words]
        for line in last_words:
            print(line)


@asynccontextmanager
async def _refreshed(screen: _Screen) -> AsyncIterator[None]:
    """Refresh the screen all the time. It also wakes the loop: only then is a kernel's interrupt heard."""

    async def refresh() -> None:
        while True:
            screen.refresh()
            await asyncio.sleep(POLL_SECONDS)

    task = asyncio.create_task(refresh())
    try:
        yield
    finally:
        task.cancel()


def _consumers() -> list[RunningConsumer]:
    return list(session.consumers.values())


def _jobs(count: int) -> str:
    return "1 job is" if count == 1 else f"{count} jobs are"


def _listed(names: list[str], count: int) -> str:
    more = count - min(len(names), NAMED)
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more else "")


def _in_words(span: timedelta) -> str:
    seconds = max(0, math.ceil(span.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 7200 else f"{math.ceil(seconds / 3600)} h"
