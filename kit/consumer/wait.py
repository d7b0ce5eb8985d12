"""``await wait()``: wait until nothing more will happen in the queue, and show what handlers do."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kit import reasons
from kit.consumer import capture, console
from kit.database.other_consumers import consumers_connected
from kit.database.queue_tables import QueueTables
from kit.database.target import LIMIT, Target, Unreachable
from kit.errors import KitError
from kit.errors.postgres import NO_TABLES
from kit.notebook import Interruptible
from kit.reasons import NAMED, listed
from kit.session import RunningConsumer, session
from kit.threads import Duration, as_timedelta, in_words

if TYPE_CHECKING:
    import asyncpg

LEAST = 1.0  # seconds for Postgres to answer, even when the time is over
POLL_SECONDS = 0.05
STUCK_SECONDS = 1.0
GIVE_WAY = 0.01  # seconds for new jobs to start
SLOW_SECONDS = 2.0  # seconds of a job, and of the wait for it, until it is named
TO_FINISH = 1.0  # seconds for handlers to end whose jobs have left the queue


async def wait(timeout: Duration = 30.0, *, due_within: Duration = 0.0, until: str = "") -> None:
    """Wait until nothing more will happen in the queue by itself, and show meanwhile what handlers do.

    That is when no job in the tables is due or running, for any consumer. Jobs that are not due yet, and held
    ones, do not count. The handler of a cancelled job has a moment more to end. The cell that waits shows
    each new line that handlers print, with its job (``[fetch #1] Processed: …``), and the last line of every
    exception. After two seconds it shows what it waits for.

    It also returns, and says why, when jobs are due that nobody will run: no consumer is there, or none has
    their entrypoint. That is no error, because a consumer for them may come tomorrow.

    Args:
        timeout: how long to wait at most, in seconds or as a timedelta.
        due_within: wait also for jobs that are due so soon, in seconds or as a timedelta: those that are
            tried again, and those of ``execute_after``.
        until: a question in SQL with one value. Where it is given, the wait is over as soon as the answer is
            true, whatever is in the queue: ``until="SELECT count(*) > 5 FROM letters"``.

    Raises:
        KitError: jobs were still due or running after ``timeout``, by name, or the answer to ``until`` was
            not true by then, or nobody will run what it waits for; or Postgres cannot be reached.
    """
    if capture.of_a_handler() is not None:
        raise KitError("kit.wait() in a handler would wait for the handler's own job. Call it in a cell.")
    limit = as_timedelta("timeout", timeout, zero=True).total_seconds()
    soon = as_timedelta("due_within", due_within, zero=True)
    target = session.target()
    __tracebackhide__ = True
    with Interruptible(), console.about_to_show():
        # Let the handler of a job that was just enqueued begin first: this process's consumer shares the
        # interpreter with what follows here (a connection with its login, the cell's output).
        await asyncio.sleep(GIVE_WAY)
        cell = console.Screen()
        last_words: list[str] = []
        try:
            async with _refreshed(cell):
                last_words = await _until_done(target, limit, soon, until)
            for consumer in _consumers():
                consumer.catch_up()  # what a worker printed may still be on its way
        finally:
            cell.show(console.unseen())
            cell.close(last_words)


async def _until_done(target: Target, limit: float, soon: timedelta, until: str) -> list[str]:
    import asyncpg

    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit
    stuck, slow, finishing = _Stuck(), _Slow(), _Finishing()
    connection: asyncpg.Connection | None = None
    try:
        while True:
            seconds = round(max(LEAST, min(deadline - loop.time(), LIMIT)), 1)
            try:
                if connection is None:
                    connection = await target.open(limit=seconds)
                async with target.answering(connection, limit=seconds):
                    queue = _Queue(connection, target.queue_tables, soon, until)
                    if await queue.is_so():
                        return []
                    if until or await queue.is_busy():
                        finishing = _Finishing()
                        for line in await slow.new_lines(queue):
                            print(line)
                        if why := await stuck.why(queue):
                            if until:
                                raise KitError("\n".join([f"It is not so yet: {until}", *why]))
                            return why
                        if loop.time() >= deadline:
                            raise KitError(await queue.what_is_not_done(limit) + _who_is_away())
                    elif not finishing.may_take_longer(deadline):
                        return [*finishing.jobs_left(), *await queue.what_is_not_due()]
            except Unreachable as error:
                if connection is not None:
                    connection.terminate()
                    connection = None
                # A consumer that lost its connection reports that itself, and reconnects.
                if loop.time() >= deadline or not any(consumer.alive for consumer in _consumers()):
                    raise KitError(_why_away(error)) from error
            except KitError as error:
                if until and isinstance(error.__cause__, asyncpg.PostgresError):
                    raise error.__cause__ from None  # the question is the learner's
                raise
            await asyncio.sleep(POLL_SECONDS)
    finally:
        if connection is not None:
            connection.terminate()  # without awaiting: this may be an interrupted cell


def _who_is_away() -> str:
    away = [repr(consumer.name) for consumer in _consumers() if consumer.state == "reconnecting"]
    return f" Without a connection to Postgres: consumer {listed(away, len(away))}." if away else ""


def _why_away(error: Unreachable) -> str:
    if "did not answer" not in error.reason:
        return f"No Postgres could be reached: {error.reason}."
    return f"Postgres does not answer: {error.reason}. Jobs and consumers are as they were; wait again later."


class _Queue:
    """What is asked of the queue of a database.

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
        left = f"{_jobs_are(count) if count else 'nothing is'} {self.due} or running"
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
        return [f"{_jobs_are(row['count'])} not due yet: {which}in {in_words(row['next'])}."]

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
            f"{_jobs_are(count)} not done after {limit:g} s: {listed(names, count)}. Look at kit.jobs(), "
            f"or wait longer: {longer}."
        )


def _jobs_are(count: int) -> str:
    """Return the beginning of a sentence about so many jobs."""
    return "1 job is" if count == 1 else f"{count} jobs are"


class _Finishing:
    """The handlers that still run although no job is left in the queue: their jobs were cancelled there.

    Or another worker, to which they seemed dead, was quicker. Frozen workers are not waited for.
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def may_take_longer(self, deadline: float) -> bool:
        """Return whether a handler still runs and has time left."""
        now = asyncio.get_running_loop().time()
        self._since = now if self._since is None else self._since
        return now < min(self._since + TO_FINISH, deadline) and bool(self._jobs())

    def jobs_left(self) -> list[str]:
        """Return a line about the handlers that have not ended; nothing if all have."""
        names = [f"#{job}" for job in self._jobs()]
        text = f"Out of the queue, but their handlers still run: {listed(names, len(names))}."
        return [text] if names else []

    def _jobs(self) -> list[int]:
        awake = (consumer for consumer in _consumers() if consumer.state == "running")
        return sorted({job for consumer in awake for job in consumer.running_jobs()})


class _Slow:
    """Names each job that runs for long, once; without such a job, says once what it waits for."""

    def __init__(self) -> None:
        self._named: set[int] = set()
        self._next_look = asyncio.get_running_loop().time() + SLOW_SECONDS
        self._has_spoken = False

    async def new_lines(self, queue: _Queue) -> list[str]:
        """Return the lines that were not shown yet."""
        now = asyncio.get_running_loop().time()
        if now < self._next_look:
            return []
        self._next_look = now + SLOW_SECONDS / 4
        rows = await queue.running_for(SLOW_SECONDS, self._named)
        first, self._has_spoken = not self._has_spoken, True
        if not rows:
            return [await queue.what_is_waited_for(SLOW_SECONDS)] if first else []
        self._named.update(row["id"] for row in rows)
        names = listed([f"{row['entrypoint']} #{row['id']}" for row in rows], len(rows), 5)
        return [f"Still running after {SLOW_SECONDS:g} s: {names}."]


class _Stuck:
    """Finds out that nobody will run the jobs that are due, if it looks so for a while."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._next_look = 0.0

    async def why(self, queue: _Queue) -> list[str]:
        """Return, in lines, why nothing goes on; empty as long as something may happen."""
        now = asyncio.get_running_loop().time()
        if now < self._next_look:
            return []
        self._next_look = now + STUCK_SECONDS / 5
        consumers = [consumer for consumer in _consumers() if consumer.alive]
        working = reasons.working()
        known = reasons.entrypoints_of(working)
        running = [job for consumer in consumers for job in consumer.running_jobs()]
        if (
            any(consumer.state != "running" for consumer in working)
            or await queue.has_work_for(known, running)
            or await queue.has_other_consumers(session.known_backends())
        ):
            self._since = None
            return []
        self._since = now if self._since is None else self._since
        return await _why(queue, known, bool(working)) if now - self._since >= STUCK_SECONDS else []


async def _why(queue: _Queue, known: list[str], working: bool) -> list[str]:
    """Return, in lines, why nobody runs the jobs that are due."""
    count, rows = await queue.jobs()
    if not count:
        return []
    names = [f"{row['entrypoint']} #{row['id']}" for row in rows]
    lines = [f"{_jobs_are(count)} {queue.due}: {listed(names, count)}."]
    if not working:
        dead = [consumer for consumer in _consumers() if consumer.problem is not None]
        for one in dead:
            how = "was killed" if one.state == "killed" else "has failed"
            lines.append(f"Consumer {one.name!r} {how}. {one.problem}")
        return [*lines, reasons.NOBODY.split(" Start")[0] if dead else reasons.NOBODY]
    lines += [reasons.nobody_has(name, known) for name in (await queue.entrypoints())[:NAMED]]
    has = listed([repr(name) for name in known], len(known)) or "none"
    return [*lines, f"Those that run have: {has}. A job waits until a consumer has its entrypoint."]


@asynccontextmanager
async def _refreshed(cell: console.Screen) -> AsyncIterator[None]:
    """Show new output all the time. This also wakes the loop: only then does a kernel's interrupt arrive."""

    async def refresh() -> None:
        while True:
            cell.show(console.unseen())
            await asyncio.sleep(POLL_SECONDS)

    task = asyncio.create_task(refresh())
    try:
        yield
    finally:
        task.cancel()


def _consumers() -> list[RunningConsumer]:
    return list(session.consumers.values())
