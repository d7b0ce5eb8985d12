"""Why a job is where it is: what it waits for, who has it, or how it ended.

The order of picking is that of PGQueuer's own statement: it takes jobs that are queued and due, of the
consumer's entrypoints whose `concurrency_limit` is not used up, by priority and then by id.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from kit.database.other_consumers import consumers_connected
from kit.database.target import Target
from kit.errors import KitError
from kit.errors.postgres import NO_TABLES, tables_are_missing
from kit.errors.text import headline, one_line
from kit.session import RunningConsumer, session
from kit.threads import in_words, run_sync

NOBODY = "No consumer is running. Start one with kit.run(main)."
NAMED = 10  # jobs or names in a message; of more, only the number


def why(job_id: int) -> str:
    """Say why a job is where it is: what it waits for, who has it, or how it ended.

    PGQueuer's tables do not show which entrypoints the consumers of other programs have; the answer says so.

    Args:
        job_id: the job's number, such as ``7``.

    Returns:
        A sentence or two, such as ``Job 7 is queued. It is due in 83 s.``

    Raises:
        KitError: there has never been such a job, ``job_id`` is no number, or there is no Postgres.
    """
    if not isinstance(job_id, int) or isinstance(job_id, bool):
        raise KitError(f"kit.why takes the id of one job, such as kit.why(7), not {job_id!r}.")

    target = session.target()

    async def ask() -> str:
        async with target.connect() as connection:
            return await explain(connection, target, job_id)

    return run_sync(ask())


async def explain(connection: Any, target: Target, job: int) -> str:
    """Return why a job of ``target`` is where it is, by its tables and this process's consumers.

    Raises:
        KitError: there has never been such a job, or there are no tables of PGQueuer's.
    """
    try:
        row = await connection.fetchrow(target.queue_tables.job, job)
        if row is None:
            return await _ended(connection, target, job)
    except Exception as error:
        if tables_are_missing(error):
            raise KitError(f"{NO_TABLES} ({one_line(error)})") from error
        raise
    state = f"Job {job} is {'held' if row['status'] == 'failed' else row['status']}"
    if row["status"] == "failed":
        reason = await _last_error(connection, target, job)
        return f"{state}: its handler raised{reason}. `await q.requeue_jobs([{job}])` lets it go on."
    if row["unreadable"] and row["due_in"] is None:
        return (
            f"{state}, but {row['unreadable']}: every consumer that picks it ends. "
            f"`{take_out([job])}` takes it out of the queue."
        )
    if row["status"] == "picked":
        return f"{state}. {_holder(row)}"
    if row["due_in"] is not None:
        return f"{state}. It is due in {in_words(row['due_in'])}."
    return f"{state}. {await _waits_for(connection, target, row)}"


def take_out(jobs: Iterable[int]) -> str:
    """Return the line of PGQueuer's own Python that takes jobs out of the queue, whatever their state."""
    return f"await q.mark_job_as_cancelled({list(jobs)})"


async def picked_by(managers: Iterable[str], target: Target) -> list[tuple[str, int]]:
    """Return the entrypoint and the id of each job that the PGQueuer managers with these ids have."""
    async with target.connect(limit=3.0) as connection:
        rows = await connection.fetch(target.queue_tables.picked_by, list(managers))
        return [(row["entrypoint"], row["id"]) for row in rows]


def working() -> list[RunningConsumer]:
    """Return this process's consumers that take jobs now."""
    idle = ("stopping", "paused")
    return [one for one in list(session.consumers.values()) if one.alive and one.state not in idle]


def entrypoints_of(consumers: Iterable[RunningConsumer]) -> list[str]:
    """Return the names that these consumers have handlers for."""
    return sorted({name for consumer in consumers for name in consumer.entrypoints})


def nobody_has(entrypoint: str, known: list[str]) -> str:
    """Return a sentence: no consumer has the entrypoint; perhaps a similar one of ``known`` is meant."""
    close = difflib.get_close_matches(entrypoint, known, n=1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    return f"No running consumer has the entrypoint {entrypoint!r}.{meant}"


def listed(names: list[str], count: int, most: int = NAMED) -> str:
    """Return the first ``most`` names, and how many more of ``count`` there are."""
    more = count - min(len(names), most)
    return ", ".join(names[:most]) + (f" and {more:,} more" if more else "")


async def _waits_for(connection: Any, target: Target, row: Any) -> str:
    """Return a sentence about what a queued job that is due waits for."""
    entrypoint = row["entrypoint"]
    # In a database that is only looked at, none of this process's consumers can be at work.
    consumers = [] if target.read_only else working()
    known = entrypoints_of(consumers)
    if entrypoint not in known:
        _, others = await consumers_connected(connection, session.known_backends())
        if others:
            return (
                f"It waits for a consumer that has the entrypoint {entrypoint!r}. One of another program is "
                f"connected ({others[0]}); no table says which entrypoints that one has."
            )
        if target.read_only:
            return "No consumer is connected to its database."
        return nobody_has(entrypoint, known) if consumers else NOBODY
    rows = await connection.fetch(target.queue_tables.at_work)
    at_work = {each["entrypoint"]: each["jobs"] for each in rows}
    limits: dict[str, int] = {}
    for consumer in consumers:
        for name, limit in consumer.limits.items():
            limits[name] = max(limits.get(name, 0), limit)
    full = {name for name, limit in limits.items() if 0 < limit <= len(at_work.get(name, []))}
    if entrypoint in full:
        return (
            f"The concurrency_limit of {entrypoint!r}, {limits[entrypoint]}, is used up "
            f"by {_numbers(at_work[entrypoint], len(at_work[entrypoint]))}."
        )
    free = [name for name in known if name not in full]
    arguments = (free, row["priority"], row["id"])
    ahead = await connection.fetch(target.queue_tables.ahead, *arguments)
    if not ahead:
        return "It is next: no job that is due comes before it."
    count = ahead[0]["number"]
    before = "1 job comes" if count == 1 else f"{count:,} jobs come"
    order = "the highest priority first, then the lowest id (priority DESC, id ASC)"
    return f"{before} before it: {_numbers([each['id'] for each in ahead], count)}. Picked is {order}."


def _holder(row: Any) -> str:
    """Return a sentence about the consumer that has a picked job, and that consumer's state."""
    name = session.managers.get(row["worker"])
    who = f"{name!r} has it" if name is not None else f"Worker {str(row['worker'])[:8]} has it"
    text = f"{who} since {in_words(row['since'])}; its heartbeat is {in_words(row['silent'])} old."
    state = session.consumers[name].state if name in session.consumers else None
    if state in (None, "running"):
        return text
    return (
        f"{text} That consumer is {state}: another one takes the job when the heartbeat is older than its "
        "heartbeat_timeout."
    )


async def _ended(connection: Any, target: Target, job: int) -> str:
    row = await connection.fetchrow(target.queue_tables.last_transition, job)
    if row is None:
        raise KitError(f"There is no job {job}, and the log has none. kit.jobs() and kit.log() show all.")
    word = row["status"]
    if word in ("queued", "picked"):
        return f"Job {job} is gone: somebody deleted its row by hand. The log last had it as {word}."
    reason = await _last_error(connection, target, job) if word == "exception" else ""
    because = f": its handler raised{reason}" if reason else ""
    return f"Job {job} ended {in_words(row['ago'])} ago as {word}{because}."


async def _last_error(connection: Any, target: Target, job: int) -> str:
    row = await connection.fetchrow(target.queue_tables.last_error, job)
    return "" if row is None else f" {headline(row['kind'], row['message'] or '')}".rstrip(".")


def _numbers(jobs: list[int], count: int) -> str:
    return listed([f"#{job}" for job in jobs], count, 3)
