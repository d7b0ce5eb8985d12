"""Drills of the lesson *On call*: broken queues, each made for real, to be found out about and mended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from kit.exercises.answers import Answer
from kit.exercises.drills import FILE, MODULE, Incident
from kit.exercises.exercise import Exercise, NotYet, Wrong
from kit.session import session
from kit.worker.worker import Worker

DAY = timedelta(days=1)
PATIENCE = 5.0  # seconds that a check gives what was mended to do its work

ORDERS = "CREATE TABLE orders (id int PRIMARY KEY, confirmed int NOT NULL DEFAULT 0);"
LATE = (
    "UPDATE pgqueuer SET created = created - interval '20 min', updated = updated - interval '20 min',"
    " execute_after = execute_after - interval '20 min' WHERE status = 'queued'"
)

# The service of most drills: what it does before it confirms, and how its entrypoint is registered.
_SERVICE = """\
import asyncio
import os
from contextlib import asynccontextmanager

import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer


@asynccontextmanager
async def main():
    connection = await asyncpg.connect({connect})
    shop = await asyncpg.create_pool(min_size=1, max_size=4)

    async def confirm(job: Job) -> None:
        order = int(job.payload)
        {before}
        await shop.execute("UPDATE orders SET confirmed = confirmed + 1 WHERE id = $1", order)

    pgq = PgQueuer(AsyncpgDriver(connection))
    pgq.entrypoint({entrypoint})(confirm)
    yield pgq
    shop.terminate()
    await connection.close()
"""


def service(before: str = "", entrypoint: str = '"confirm"', connect: str = "") -> str:
    """Return the text of a service that confirms orders."""
    text = _SERVICE.format(before=before.replace("\n", "\n        "), entrypoint=entrypoint, connect=connect)
    return text.replace("        \n", "")


def edit(
    old: str, new: str, start: str = f'kit.spawn("{MODULE}:main")', wait: str = "await kit.wait()"
) -> str:
    """Return a cell that changes the service's file and starts it again."""
    return (
        "from pathlib import Path\n\n"
        f'file = Path("{FILE}")\n'
        f"file.write_text(file.read_text().replace({old!r}, {new!r}))\n{start}\n{wait}"
    )


# What a check looks at


async def settled(answer: Answer, condition: str, patience: float = PATIENCE) -> bool:
    """Return whether a query's one value comes true in time."""
    try:
        await answer.until(condition, limit=patience)
    except TimeoutError:
        return False
    return True


async def orders_are_safe(answer: Answer, besides: str = "false") -> None:
    """Raise `NotYet` where an order has neither been confirmed nor a job.

    Args:
        answer: what the check has.
        besides: a condition on orders that are not looked at.
    """
    rows = await answer.sql(
        "SELECT id FROM (SELECT id::text FROM orders WHERE confirmed = 0 AND NOT (" + besides + ")"
        " EXCEPT SELECT trim(convert_from(payload, 'UTF8')) FROM pgqueuer) AS lost ORDER BY id::int LIMIT 20"
    )
    if rows:
        raise NotYet("deleted", actual=rows, columns=("order",), order=rows[0][0])


async def none_confirmed_twice(answer: Answer) -> None:
    """Raise `NotYet` where an order was confirmed more than once."""
    rows = await answer.sql("SELECT id, confirmed FROM orders WHERE confirmed > 1 ORDER BY id")
    if rows:
        raise NotYet("twice", actual=rows, columns=("order", "confirmed"), order=rows[0][0])


def still(**words: Any) -> NotYet:
    """Return what is said where the cause is there as before."""
    return NotYet("restarted" if session.drill.restarted else "rings", **words)


async def new_order_is_confirmed(answer: Answer, patience: float = PATIENCE) -> bool:
    """Let an order come, and return whether it is confirmed in time."""
    await answer.sql("INSERT INTO orders (id) VALUES (9) ON CONFLICT (id) DO UPDATE SET confirmed = 0")
    await answer.enqueue("confirm", [b"9"])
    return await settled(answer, "SELECT confirmed > 0 FROM orders WHERE id = 9", patience)


async def all_confirmed(answer: Answer, besides: str = "false", patience: float = PATIENCE) -> None:
    """Raise `NotYet` unless every order comes to be confirmed once."""
    waiting = f"EXISTS (SELECT FROM orders WHERE confirmed = 0 AND NOT ({besides}))"
    lost = "NOT EXISTS (SELECT FROM pgqueuer)"
    confirmed = await settled(answer, f"SELECT NOT {waiting} OR {lost}", patience)
    await orders_are_safe(answer, besides)
    if not confirmed:
        raise still()


def drill(
    name: str,
    title: str,
    page: str,
    breaks: Callable[[Incident], None],
    check: Any,
    *,
    solution: str,
    hints: tuple[str, str, str],
    why: str,
    alarm: str,
    restart: str,
    restarted: str,
    delete: str,
    deleted: str,
    also: tuple[str, ...] = (),
    wrong: tuple[Wrong, ...] = (),
    messages: dict[str, str] | None = None,
) -> Exercise:
    """Return a drill, whose wrong cures are at least two: start it all again, delete what is stuck."""
    return Exercise(
        id=name, kind="mend", title=title, minutes=6, task=page, check=check, breaks=breaks, processes=0,
        stub="# Find the cause, and mend it.",
        given=GIVEN, solution=solution, also=also, hints=hints, why=why, alarm=alarm,
        wrong=(
            Wrong("start everything again", restart, "restarted"),
            Wrong("delete what is stuck", delete, "deleted"),
            *wrong,
        ),
        messages={
            "rings": "The pager still rings: nothing has changed yet of what it rings for.",
            "restarted": restarted,
            "deleted": deleted,
            **(messages or {}),
        },
    )  # fmt: skip


GIVEN = """
import asyncpg
from pgqueuer import AsyncpgDriver, Queries

import kit

conn = await asyncpg.connect()
q = Queries(AsyncpgDriver(conn))
"""
AGAIN = f'kit.spawn("{MODULE}:main")'
NO_WORKER = "from kit.session import session\nfor one in session.consumers.values():\n    one.stop(2)"
OVERDUE = "SELECT count(*) FROM pgqueuer WHERE status = 'queued' AND execute_after < now() - interval '5 min'"


# 1. An entrypoint that was renamed


def break_renamed(at: Incident) -> None:
    """Four jobs wait under a name that the service had until its last release."""
    at.sql(ORDERS + "INSERT INTO orders (id) SELECT generate_series(1, 6)")
    at.do(lambda answer: answer.enqueue("confirm", [b"1", b"2", b"3", b"4"]))
    at.sql(LATE)
    at.service(service(entrypoint='"confirm_order"'))
    at.start()
    at.do(lambda answer: answer.enqueue("confirm_order", [b"5", b"6"]))
    at.until("SELECT count(*) = 4 AND (SELECT count(*) FROM orders WHERE confirmed = 1) = 2 FROM pgqueuer")


async def old_ones_too(answer: Answer) -> None:
    """Every order is confirmed, once."""
    await all_confirmed(answer)
    await none_confirmed_twice(answer)


RENAMED = drill(
    "renamed",
    "Orders are not confirmed",
    "*Some orders have not been confirmed for twenty minutes. New ones are, at once. The service was released "
    "twenty minutes ago.*",
    break_renamed,
    old_ones_too,
    solution="await conn.execute(\"UPDATE pgqueuer SET entrypoint = 'confirm_order' WHERE entrypoint = 'confirm'\")\nawait kit.wait()",
    also=(edit("    yield pgq", '    pgq.entrypoint("confirm")(confirm)\n    yield pgq'),),
    hints=(
        "What do the jobs that wait have in common? `kit.jobs()` has all of them.",
        "`kit.why` of one of them, and what the file registers: the two names differ.",
        "Let the service have the old name beside the new one until no job has it any more, or give the jobs "
        "the new name with an UPDATE of `entrypoint`.",
    ),
    why="A job waits for a name, and a release that renames an entrypoint leaves its jobs behind. Nothing fails, so "
    "nothing is logged. Keep the old name registered until its last job is gone.",
    alarm=OVERDUE,
    restart=AGAIN,
    restarted="The service runs, and did before: the jobs that wait are of a name that it does not know, and no new "
    "start changes that.",
    delete="await conn.execute(\"DELETE FROM pgqueuer WHERE entrypoint = 'confirm'\")",
    deleted="Order {order} is not confirmed, and has no job any more. The jobs that wait were all there was of these "
    "orders. Open the drill again.",
    wrong=(
        Wrong(
            "new jobs beside the old ones",
            'await q.enqueue(["confirm_order"] * 4, [b"1", b"2", b"3", b"4"], [0] * 4)\nawait kit.wait(timeout=5)\n'
            "await conn.execute(\"UPDATE pgqueuer SET entrypoint = 'confirm_order'\")\nawait kit.wait()",
            "twice",
        ),
    ),
    messages={"twice": "Order {order} was confirmed twice: it had a job already, which waited."},
)


# 2. Workers that disagree about the heartbeat


def break_heartbeats(at: Incident) -> None:
    """One worker beats every fifteen seconds, another takes what has not beaten for half a second."""
    at.sql(ORDERS + "INSERT INTO orders (id) SELECT generate_series(1, 8)")
    at.service(service("await asyncio.sleep(1.5)  # the bank is slow"))
    at.start(name="one", heartbeat_timeout=30)
    at.start(name="two", heartbeat_timeout=0.5)
    _, two = at.first
    two.pause()  # so that it is the other one that has them
    at.do(lambda answer: answer.enqueue("confirm", [b"1", b"2"]))
    at.until("SELECT count(*) = 2 FROM pgqueuer WHERE status = 'picked'")
    at.sql("UPDATE pgqueuer SET heartbeat = heartbeat - interval '10 s'")
    two.resume()
    at.until("SELECT count(*) = 2 FROM orders WHERE confirmed = 2")
    at.do(lambda answer: answer.enqueue("confirm", [b"3", b"4", b"5", b"6", b"7", b"8"], execute_after=DAY))


async def beat_alike(answer: Answer) -> None:
    """The workers agree, what waits for tomorrow still waits, and a new order is confirmed."""
    before = "id <= 2"
    await orders_are_safe(answer, before)
    timeouts = {one.heartbeat_timeout for one in session.consumers.values() if one.alive}
    if len(timeouts) > 1:
        raise still()
    if not await new_order_is_confirmed(answer):
        raise NotYet("nobody")
    await orders_are_safe(answer, before)


_BOTH = "\n".join(
    f'kit.spawn("{MODULE}:main", name="{name}", heartbeat_timeout={{}})' for name in ("one", "two")
)

HEARTBEATS = drill(
    "heartbeats",
    "Customers get two mails",
    "*Customers are told twice that their order is confirmed. No job has failed, and no worker has ended. A second "
    "worker was added this morning.*",
    break_heartbeats,
    beat_alike,
    solution=_BOTH.format(10, 10),
    also=(f'kit.spawn("{MODULE}:main", name="two", heartbeat_timeout=30)',),
    hints=(
        "How often was job 1 `picked`? `kit.log(1)` has its life.",
        "It was picked twice, while its first worker was well. A worker takes a job whose heartbeat is older than its "
        "own `heartbeat_timeout`. What do the two commands say?",
        "A worker beats twice in its `heartbeat_timeout`: one here every 15 s, and the other takes what has not "
        "beaten for half a second. Start both again with the same number.",
    ),
    why="A worker beats by its own `heartbeat_timeout`, and takes others' jobs by its own, too. So all workers of a "
    "queue need the same, and a change of it is a change of all of them at once.",
    alarm="SELECT count(*) FROM (SELECT FROM pgqueuer_log WHERE created > now() - interval '1 min' GROUP BY job_id "
    "HAVING count(*) FILTER (WHERE status = 'picked') > 1 "
    "AND count(*) FILTER (WHERE traceback->>'exception_type' = 'RetryRequested') = 0) AS twice",
    restart=_BOTH.format(30, 0.5),
    restarted="Both run anew, as they did before: one beats every 15 s, and the other takes what has not beaten for "
    "half a second.",
    delete='await conn.execute("DELETE FROM pgqueuer")',
    deleted="Order {order} was to be confirmed tomorrow, and has no job any more. Nothing in the queue was stuck. Open "
    "the drill again.",
    wrong=(
        Wrong(
            "no worker at all",
            NO_WORKER,
            "nobody",
        ),
    ),
    messages={"nobody": "No order is confirmed twice, nor at all: a new one waits. Start a worker."},
)


# 3. A handler that hangs


def break_hung(at: Incident) -> None:
    """The call of the first job never returns, in an entrypoint of one slot."""
    at.sql(ORDERS + "INSERT INTO orders (id) SELECT generate_series(1, 5)")
    at.service(
        service("await bank(order)\n", '"confirm", concurrency_limit=1, on_failure="hold"').replace(
            "\n\n@asynccontextmanager", _BANK, 1
        )
    )
    at.start(heartbeat_timeout=1)
    at.do(lambda answer: answer.enqueue("confirm", [b"1", b"2", b"3", b"4", b"5"]))
    at.until("SELECT status = 'picked' FROM pgqueuer WHERE id = 1")
    at.sql(f"{LATE}; UPDATE pgqueuer SET updated = updated - interval '20 min' WHERE status = 'picked'")


_BANK = """

async def bank(order: int) -> None:
    if order == 1:
        await asyncio.Event().wait()  # a connection that never answers


@asynccontextmanager"""


async def hung_is_told(answer: Answer) -> None:
    """The others are confirmed, and of the first there is a failure on record."""
    ended = await answer.sql(
        "SELECT count(*) FROM pgqueuer_log WHERE job_id = 1 AND status IN ('failed', 'exception')"
    )
    gone = await answer.sql("SELECT count(*) = 0 FROM pgqueuer WHERE id = 1")
    if not ended[0][0] and gone[0][0]:
        raise NotYet("deleted", order=1)
    await all_confirmed(answer, "id = 1")
    if not await settled(
        answer, "SELECT NOT EXISTS (SELECT FROM pgqueuer WHERE id = 1 AND status = 'picked')", 1.0
    ):
        raise NotYet("slot")


_HELD = "SELECT status = 'failed' FROM pgqueuer WHERE id = 1"
HUNG = drill(
    "hung",
    "Nothing moves, and all is green",
    "*No order has been confirmed for twenty minutes. The worker is up, its heartbeat is fresh, its processor idle.*",
    break_hung,
    hung_is_told,
    solution=edit(
        "await bank(order)",
        "async with asyncio.timeout(1):\n            await bank(order)",
        f'kit.spawn("{MODULE}:main", heartbeat_timeout=1)',
        f'await kit.wait(until="{_HELD}")',
    ),
    also=(
        edit(
            "await bank(order)",
            "await asyncio.wait_for(bank(order), 0.5)",
            f'kit.spawn("{MODULE}:main", heartbeat_timeout=1)',
            f'await kit.wait(until="{_HELD}")',
        ),
    ),
    hints=(
        "Which job is `picked`, and since when?",
        "A heartbeat says that the worker lives, not that its handler gets on. This one awaits something that never "
        "comes, and it has the only slot.",
        "Give the call to the bank a limit, `async with asyncio.timeout(1):`, and start the service again. Then the "
        "first job fails and is held, and the others go on.",
    ),
    why="A handler that awaits for ever keeps its slot, and its heartbeat is fresh. Every call to somebody else needs a "
    "limit of time; what exceeds it fails, where it can be seen.",
    alarm="SELECT count(*) FROM pgqueuer WHERE status = 'picked' AND updated < now() - interval '5 min'",
    restart=f'kit.spawn("{MODULE}:main", heartbeat_timeout=1)\n'
    "await kit.wait(until=\"SELECT status = 'picked' AND updated > now() - interval '1 min' FROM pgqueuer WHERE id = 1\")",
    restarted="The new worker has taken the first job again, and hangs where the old one did.",
    delete="await conn.execute(\"DELETE FROM pgqueuer WHERE status = 'picked'\")\nawait kit.wait(timeout=5)",
    deleted="Order {order} has no job any more, and nothing says that it failed. And the next call that hangs takes "
    "the slot again. Open the drill again.",
    wrong=(
        Wrong(
            "more slots",
            edit(
                "concurrency_limit=1",
                "concurrency_limit=3",
                f'kit.spawn("{MODULE}:main", heartbeat_timeout=1)',
                'await kit.wait(until="SELECT count(*) = 4 FROM orders WHERE confirmed = 1")',
            ),
            "slot",
        ),
    ),
    messages={
        "slot": "The others are confirmed, and job 1 still has a slot, for ever: the next such call takes another."
    },
)


# 4. A poison job


def break_killer(at: Incident) -> None:
    """One job ends the worker that takes it, and what it had beside it stays picked."""
    at.sql(ORDERS + "INSERT INTO orders (id) SELECT generate_series(1, 5)")
    at.service(
        service(
            "if len(job.payload) > 1000:\n    await asyncio.sleep(1)\n"
            "    os._exit(137)  # so ends a process that takes all memory\n"
            "await asyncio.sleep(2)  # the bank is slow\n",
            '"confirm", on_failure="hold"',
        )
    )
    silent = "UPDATE pgqueuer SET heartbeat = now() - interval '1 min'"
    for number in range(2):
        at.start(
            heartbeat_timeout=2
        )  # which ends with the first jobs, so there must be none before it has begun
        if number:
            at.sql(silent)
        else:
            at.do(lambda answer: answer.enqueue("confirm", [b"1", b"2", b"3" + b" " * 5000, b"4", b"5"]))
        at.until(f"SELECT count(*) >= {5 * len(at.first)} FROM pgqueuer_log WHERE status = 'picked'")
        at.first[-1].kill()  # it has ended, or is about to
        at.sql("UPDATE pgqueuer SET heartbeat = now() + interval '1 min'")
    at.sql(silent)


async def killer_is_out(answer: Answer) -> None:
    """The others are confirmed, and of the poisonous one something is left to be read."""
    trace = await answer.sql(
        "SELECT count(*) FROM pgqueuer_log WHERE job_id = 3 AND status NOT IN ('queued', 'picked')"
    )
    left = await answer.sql("SELECT count(*) FROM pgqueuer WHERE id = 3")
    others = await answer.sql("SELECT count(*) FROM pgqueuer WHERE id <> 3")
    if not left[0][0] and not trace[0][0] and others[0][0]:
        raise NotYet("no-trace")
    await all_confirmed(answer, "id = 3", 3.0)
    if not left[0][0] and not trace[0][0]:
        raise NotYet("no-trace")


_SPAWN_AGAIN = f'kit.spawn("{MODULE}:main", heartbeat_timeout=2)'
_OTHERS = 'await kit.wait(until="SELECT count(*) = 4 FROM orders WHERE confirmed = 1")'
KILLER = drill(
    "killer",
    "The worker is gone, again",
    "*No order is confirmed. The worker ends, with no traceback; it was started again, and ended again. Five orders "
    "wait.*",
    break_killer,
    killer_is_out,
    solution=edit("os._exit(137)", 'raise ValueError("too large")', _SPAWN_AGAIN, _OTHERS),
    also=(f"await q.mark_job_as_cancelled([3])\n{_SPAWN_AGAIN}\n{_OTHERS}",),
    hints=(
        "Five jobs are `picked`, and nobody has them: all of them were in a worker that ended. One of them did it.",
        "In what does one of the five differ? Look at the size of each payload: "
        '`kit.sql("SELECT id, length(payload) FROM pgqueuer")`.',
        "Job 3. Let the service refuse what is too large with an exception, so that it is held; or take it out with "
        "`await q.mark_job_as_cancelled([3])`. Then start the service again.",
    ),
    why="A job that ends its process has no exception and no attempt counted: the next worker takes it, with all that "
    "was picked beside it. Taking all of them out loses the innocent ones. Refuse in the handler what it cannot bear.",
    alarm="SELECT count(*) FROM (SELECT FROM pgqueuer_log GROUP BY job_id "
    "HAVING count(*) FILTER (WHERE status = 'picked') > 1 "
    "AND count(*) FILTER (WHERE status IN ('successful', 'exception', 'failed', 'canceled')) = 0) AS again",
    restart=f"{_SPAWN_AGAIN}\n"
    "await kit.wait(until=\"SELECT count(*) = 15 FROM pgqueuer_log WHERE status = 'picked'\", timeout=10)",
    restarted="It was started again, took the same five, and ended again. The cause is in one of the jobs.",
    delete=f"await conn.execute(\"DELETE FROM pgqueuer WHERE status = 'picked'\")\n{_SPAWN_AGAIN}",
    deleted="Order {order} was in a worker that ended, and had done nothing. It is not confirmed, and has no job any "
    "more. Open the drill again.",
    wrong=(
        Wrong(
            "out without a trace",
            f'await conn.execute("DELETE FROM pgqueuer WHERE id = 3")\n{_SPAWN_AGAIN}\n{_OTHERS}',
            "no-trace",
        ),
    ),
    messages={
        "no-trace": "The others go on, and of order 3 nothing is left: no job, and nothing in the log that says why. "
        "`q.mark_job_as_cancelled` takes a job out, and writes that into the log."
    },
)


# 5. A held job whose key is taken


def break_requeue(at: Incident) -> None:
    """Three jobs are held; the key of one of them is taken by another job that waits for tomorrow."""
    at.sql(ORDERS + "INSERT INTO orders (id) SELECT generate_series(1, 4)")
    at.service(
        service(
            "if await shop.fetchval(\"SELECT to_regclass('bank_is_back') IS NULL\"):\n"
            '    raise ConnectionError("the bank is away")\n',
            '"confirm", on_failure="hold"',
        )
    )
    at.start()
    keys = ["customer-7", "customer-8", "customer-9"]
    at.do(lambda answer: answer.enqueue("confirm", [b"1", b"2", b"3"], dedupe_key=keys))
    at.until("SELECT count(*) = 3 FROM pgqueuer WHERE status = 'failed'")
    at.do(lambda answer: answer.enqueue("confirm", [b"4"], dedupe_key=["customer-8"], execute_after=[DAY]))
    at.sql("CREATE TABLE bank_is_back ()")


async def requeued(answer: Answer) -> None:
    """What was held is confirmed, and tomorrow's job is there."""
    await orders_are_safe(answer)
    await all_confirmed(answer, "id = 4", 2.0)
    await none_confirmed_twice(answer)
    if (await answer.sql("SELECT confirmed FROM orders WHERE id = 4"))[0][0]:
        raise NotYet("early")


_HELD_ONES = "SELECT count(*) = 3 FROM orders WHERE confirmed = 1"
REQUEUE = drill(
    "requeue",
    "Held jobs cannot go on",
    "*The bank was away, and three orders are held. It is back, but `await q.requeue_jobs([1, 2, 3])` raises. Let them "
    "go on. Order 4 is not to be confirmed before tomorrow.*",
    break_requeue,
    requeued,
    solution="await conn.execute(\"UPDATE pgqueuer SET dedupe_key = NULL WHERE status = 'failed'\")\n"
    f'await q.requeue_jobs([1, 2, 3])\nawait kit.wait(until="{_HELD_ONES}")',
    also=(
        "await conn.execute(\"UPDATE pgqueuer SET dedupe_key = 'customer-8, tomorrow' WHERE id = 4\")\n"
        f'await q.requeue_jobs([1, 2, 3])\nawait kit.wait(until="{_HELD_ONES}")',
    ),
    hints=(
        'What does it raise? And which two jobs does `kit.sql("SELECT id, status, dedupe_key FROM pgqueuer")` show '
        "with the same key?",
        "A `dedupe_key` keeps out copies of what is queued or picked. A held job's key is free, so another job could "
        "take it; and now the held one cannot come back beside it.",
        "They are two orders, no copies. Take the key from the held ones: `UPDATE pgqueuer SET dedupe_key = NULL "
        "WHERE status = 'failed'`, then requeue.",
    ),
    why="`dedupe_key` guards what is queued or picked, and no held job. A key by customer, where it should have been by "
    "order, shows only when something is requeued. And `requeue_jobs` of several goes as a whole or not at all.",
    alarm="SELECT count(*) FROM pgqueuer WHERE status = 'failed'",
    restart=AGAIN,
    restarted="The service is new, and held jobs are still held: only `requeue_jobs` lets them go on, and another "
    "job has the key of one of them.",
    delete="await conn.execute(\"DELETE FROM pgqueuer WHERE status = 'failed'\")",
    deleted="Order {order} is not confirmed, and has no job any more. What seemed to be in the way was somebody's "
    "order. Open the drill again.",
    wrong=(
        Wrong(
            "delete the one in the way",
            'await conn.execute("DELETE FROM pgqueuer WHERE id = 4")\n'
            f'await q.requeue_jobs([1, 2, 3])\nawait kit.wait(until="{_HELD_ONES}")',
            "deleted",
        ),
        Wrong(
            "new jobs beside the held ones",
            'await q.enqueue(["confirm"] * 3, [b"1", b"2", b"3"], [0] * 3)\n'
            f'await kit.wait(until="{_HELD_ONES}")\n'
            "await conn.execute(\"UPDATE pgqueuer SET dedupe_key = NULL WHERE status = 'failed'\")\n"
            "await q.requeue_jobs([1, 2, 3])\nawait kit.wait()",
            "twice",
        ),
        Wrong(
            "the one in the way runs today",
            'await conn.execute("UPDATE pgqueuer SET execute_after = now() WHERE id = 4")\n'
            'await kit.wait(until="SELECT NOT EXISTS (SELECT FROM pgqueuer WHERE id = 4)")\n'
            f'await q.requeue_jobs([1, 2, 3])\nawait kit.wait(until="{_HELD_ONES.replace("3", "4")}")',
            "early",
        ),
    ),
    messages={
        "twice": "Order {order} was confirmed twice: by a new job, and by the one that was held.",
        "early": "Order 4 is confirmed today already, and was to be tomorrow. Open the drill again.",
    },
)


# 6. An old version that deletes the new one's schedule

_REPORTS = """\
from contextlib import asynccontextmanager

import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer


def report_at(expression: str):
    @asynccontextmanager
    async def main():
        connection = await asyncpg.connect()
        shop = await asyncpg.connect()
        pgq = PgQueuer(AsyncpgDriver(connection))

        @pgq.schedule("report", expression, clean_old=True)
        async def report(schedule) -> None:
            await shop.execute("INSERT INTO reports DEFAULT VALUES")

        yield pgq
        await shop.close()
        await connection.close()

    return main


old = report_at("0 6 * * *")  # at six in the morning
main = report_at("* * * * * *")  # every second, since the release
"""


def break_schedule(at: Incident) -> None:
    """A worker of the old version was started after one of the new."""
    at.sql("CREATE TABLE reports (id serial PRIMARY KEY, at timestamptz DEFAULT now());")
    at.service(_REPORTS)
    at.start()
    at.until("SELECT count(*) > 0 FROM reports")
    at.start("old", name="old")
    at.until("SELECT count(*) = 1 AND max(expression) LIKE '0 6%' FROM pgqueuer_schedules")


async def reports_are_made(answer: Answer) -> None:
    """The new schedule is there, the old version is not, and reports come."""
    rows = await answer.sql("SELECT expression, entrypoint FROM pgqueuer_schedules")
    if not rows:
        raise NotYet("deleted")
    if not any(expression.startswith("*") for expression, _ in rows):
        raise still()
    workers = [one for one in session.consumers.values() if isinstance(one, Worker) and one.alive]
    if any(one.factory == f"{MODULE}:old" for one in workers):
        raise NotYet("old-is-up")
    ((last,),) = await answer.sql("SELECT coalesce(max(id), 0) FROM reports")
    if not await settled(answer, f"SELECT max(id) > {last} FROM reports"):
        raise NotYet("restarted")


_ALL_NEW = f'kit.spawn("{MODULE}:main", name="old")\nkit.spawn("{MODULE}:main")'
SCHEDULE = drill(
    "schedule",
    "No report comes any more",
    "*The report that the new release makes every second has not come for a while. Both workers are up. One of them was "
    "missed in the release, and has just been started again.*",
    break_schedule,
    reports_are_made,
    solution=_ALL_NEW,
    hints=(
        "What does `kit.schedules()` show? And what do the two versions in the file register?",
        "`clean_old=True` deletes all schedules of its entrypoint when a worker starts. The old version did that after "
        "the new one, and the new one does not look again whether its row is there.",
        f'Let no old version run: `kit.spawn("{MODULE}:main", name="old")` puts the new one in its place; then '
        "start the other one again, too.",
    ),
    why="Whoever starts last with `clean_old=True` decides which schedules there are, and an old version that starts "
    "again takes the new one's away, with no word. Stop the old version before the new one starts.",
    alarm="SELECT (max(at) IS NULL OR max(at) < now() - interval '5 s')::int FROM reports",
    restart=f'kit.spawn("{MODULE}:main")\nkit.spawn("{MODULE}:old", name="old")',
    restarted="Both were started again, and the old version, last as before, has deleted the new one's schedule again.",
    delete='await conn.execute("DELETE FROM pgqueuer_schedules")',
    deleted="No schedule is left at all, and a worker that runs does not put its own back. Open the drill again.",
    wrong=(
        Wrong("the new one once more", AGAIN, "old-is-up"),
        Wrong("the old one first", f'kit.spawn("{MODULE}:old", name="old")\n{AGAIN}', "old-is-up"),
    ),
    messages={
        "old-is-up": "Reports come, until the old version is started the next time: it is still up, and will delete the "
        "schedule again."
    },
)


# 7. A transaction that has been idle for an hour

_REPORT = """

@asynccontextmanager
async def report():
    connection = await asyncpg.connect()
    export = await asyncpg.connect(server_settings={"application_name": "monthly report"})
    await export.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM orders")
    yield PgQueuer(AsyncpgDriver(connection))
    export.terminate()
    await connection.close()
"""

# How many pages Postgres reads to find the job that is next.
PAGES = (
    "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT id FROM pgqueuer"
    " WHERE status = 'queued' AND entrypoint = 'confirm' AND execute_after < now()"
    " ORDER BY priority DESC, id LIMIT 10 FOR UPDATE SKIP LOCKED"
)


def break_idle(at: Incident) -> None:
    """A report's transaction sees all rows that have been deleted since it began, so that none can be removed."""
    at.sql(ORDERS + "INSERT INTO orders (id) SELECT generate_series(1, 3)")
    at.service(service() + _REPORT)
    at.start("report", name="report")
    at.start()
    at.do(lambda answer: answer.enqueue("confirm", [b"1", b"2", b"3"], execute_after=DAY))
    at.sql(
        "INSERT INTO pgqueuer (priority, status, entrypoint, payload)"
        " SELECT 0, 'queued', 'confirm', '0' FROM generate_series(1, 30000) RETURNING id;"
        "DELETE FROM pgqueuer WHERE payload = '0'"
    )


async def pages_read(answer: Answer) -> int:
    """Return how many pages are read to find the next job."""
    import json

    ((plan,),) = await answer.sql(PAGES)
    root = json.loads(plan)[0]["Plan"]
    return int(root["Shared Hit Blocks"] + root["Shared Read Blocks"])


async def few_pages(answer: Answer) -> None:
    """Nobody's transaction stands open, the dead rows are gone, and tomorrow's jobs are there."""
    left = await answer.sql("SELECT count(*) FROM pgqueuer WHERE payload <> '0'")
    if left[0][0] < 3:
        raise NotYet("deleted", order=1)
    pages = await pages_read(answer)
    open_since = await answer.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'monthly report' AND state LIKE 'idle in transaction%'"
    )
    if open_since[0][0]:
        raise still(pages=pages)
    if pages > 50:
        raise NotYet("dead", pages=pages)


_END_IT = (
    'await conn.execute("SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE datname = current_database() '
    "AND state = 'idle in transaction'\")"
)
_VACUUM = 'await conn.execute("VACUUM pgqueuer")'
IDLE = drill(
    "idle",
    "Every job is a little slower than the one before",
    "*Orders are confirmed, but it takes longer each hour. There are three rows in the queue. Nobody has released "
    "anything; the monthly report was started an hour ago.* To see what is slow, run the query that finds the next "
    "job: `kit.sql(\"EXPLAIN (ANALYZE, BUFFERS) SELECT id FROM pgqueuer WHERE status = 'queued' AND entrypoint = 'confirm' "
    'AND execute_after < now() ORDER BY priority DESC, id LIMIT 10")`. How many pages (`Buffers`) does it read for '
    "three rows?",
    break_idle,
    few_pages,
    solution=f"{_END_IT}\n{_VACUUM}",
    also=(f'kit.spawn("{MODULE}:main", name="report")\n{_VACUUM}',),
    hints=(
        "Thousands of pages for three rows: the rest are dead rows. VACUUM removes them. Why has it not? "
        "`kit.sql` of `pg_stat_activity` shows who is connected, and in which `state`.",
        "The session `monthly report` is `idle in transaction`. It may still look at every row that was there when it "
        "began, so none of those can be removed.",
        "End it with `pg_terminate_backend(pid)`. Then `VACUUM pgqueuer`, and look at the pages again.",
    ),
    why="A queue makes a dead row of each job. As long as any transaction may still see them, VACUUM removes none, and "
    "every dequeue walks over all of them. Set `idle_in_transaction_session_timeout`, and let long reports read "
    "elsewhere.",
    alarm="SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND state LIKE 'idle in transaction%' AND xact_start < now() - interval '1 s'",
    restart=f'kit.spawn("{MODULE}:report", name="report")\nkit.spawn("{MODULE}:main")',
    restarted="All of it runs anew, the report with a transaction of its own that stands open again; {pages} pages are "
    "read to find the next job.",
    delete='await conn.execute("TRUNCATE pgqueuer")',
    deleted="Orders 1 to 3 were to be confirmed tomorrow, and have no jobs any more. The dead rows are gone, and the "
    "living with them. Open the drill again.",
    wrong=(
        Wrong("VACUUM, while it stands open", _VACUUM, "rings"),
        Wrong("only end it", _END_IT, "dead"),
    ),
    messages={
        "rings": "The pager still rings: {pages} pages are read to find the next job, and whatever holds the dead rows "
        "is there yet.",
        "dead": "Nobody holds the dead rows any more, and they are still there: {pages} pages are read to find the next "
        "job. Autovacuum would come in a while. What can be done now?",
    },
)


# 8. The trigger is gone


def break_trigger(at: Incident) -> None:
    """PGQueuer's trigger is not there, so no enqueue wakes the worker."""
    at.sql(ORDERS + "INSERT INTO orders (id) SELECT generate_series(1, 3)")
    at.service(service())
    at.start(dequeue_timeout=30)
    at.sql("DROP TRIGGER tg_pgqueuer_changed ON pgqueuer")
    at.do(lambda answer: answer.enqueue("confirm", [b"1", b"2", b"3"]))


async def orders_wake_it(answer: Answer) -> None:
    """PGQueuer's trigger is back, and an order is confirmed at once."""
    await orders_are_safe(answer)
    there = await answer.sql("SELECT count(*) FROM pg_trigger WHERE tgname = 'tg_pgqueuer_changed'")
    if not there[0][0]:
        confirmed = await answer.sql("SELECT bool_or(confirmed > 0) FROM orders")
        raise NotYet("restarted" if confirmed[0][0] else "rings")
    if not await new_order_is_confirmed(answer):
        raise still()
    await all_confirmed(answer)


TRIGGER = drill(
    "trigger",
    "Up to thirty seconds late",
    "*Since the database was restored from its backup, an order is confirmed up to thirty seconds late. The worker is "
    "up, and has nothing else to do.*",
    break_trigger,
    orders_wake_it,
    solution="await q.upgrade()",
    also=(f'await q.upgrade()\nkit.spawn("{MODULE}:main", dequeue_timeout=30)',),
    hints=(
        "The service's `dequeue_timeout` is 30: so often it looks by itself. What should wake it before?",
        "An enqueue sends a notification, by a trigger on the table `pgqueuer`. "
        "`kit.sql(\"SELECT tgname FROM pg_trigger WHERE tgrelid = 'pgqueuer'::regclass\")`: is there one?",
        "`await q.upgrade()`, or `pgq upgrade` in a terminal, makes what is missing of PGQueuer's schema.",
    ),
    why="Without its trigger a queue still works, by looking every `dequeue_timeout`: so nothing fails. After a restore, "
    "`pgq verify` says what of the schema is missing, and `pgq upgrade` makes it.",
    alarm="SELECT 1 - count(*) FROM pg_trigger WHERE tgrelid = 'pgqueuer'::regclass AND tgname = 'tg_pgqueuer_changed'",
    restart=f'kit.spawn("{MODULE}:main", dequeue_timeout=30)\nawait kit.wait()',
    restarted="What waited was found, because a worker looked. Of the next order again nothing tells it: the cause is "
    "still there.",
    delete='await conn.execute("DELETE FROM pgqueuer")',
    deleted="Order {order} is not confirmed, and has no job any more. It was only late. Open the drill again.",
    wrong=(
        Wrong(
            "look more often", f'kit.spawn("{MODULE}:main", dequeue_timeout=1)\nawait kit.wait()', "restarted"
        ),
    ),
)


# 9. A log that nobody has ever deleted from


def break_history(at: Incident) -> None:
    """The log is as long as years: most of it counted, a part of the old not, and the last day as it should be."""
    at.sql(ORDERS + "INSERT INTO orders (id) VALUES (1), (2)")
    at.service(service())
    at.start()
    at.do(lambda answer: answer.enqueue("confirm", [b"1", b"2"], execute_after=DAY))
    at.sql(
        "INSERT INTO pgqueuer_log (job_id, entrypoint, status, priority, created, aggregated)"
        " SELECT n, 'confirm', 'successful', 0,"
        "   now() - CASE WHEN n <= 300 THEN interval '1 h' ELSE interval '90 days' END, n > 1300"
        " FROM generate_series(1, 150000) AS n;"
        "INSERT INTO pgqueuer_statistics (created, count, priority, status, entrypoint)"
        " VALUES (date_trunc('second', now() - interval '90 days'), 148700, 0, 'successful', 'confirm');"
        "ANALYZE pgqueuer_log"
    )


async def log_is_short(answer: Answer) -> None:
    """The old is gone, the last day is there, and what was counted, or was to be, is counted."""
    (rows, young) = (
        await answer.sql(
            "SELECT count(*), count(*) FILTER (WHERE created > now() - interval '1 day') FROM pgqueuer_log"
        )
    )[0]
    jobs = (await answer.sql("SELECT count(*) FROM pgqueuer"))[0][0]
    if young < 300 or jobs < 2:
        raise NotYet("deleted")
    if rows > 20_000:
        raise still()
    counted = await answer.sql(
        "SELECT (SELECT coalesce(sum(count), 0) FROM pgqueuer_statistics WHERE status = 'successful')"
        " + (SELECT count(*) FROM pgqueuer_log WHERE NOT aggregated AND status = 'successful')"
    )
    if counted[0][0] < 150_000:
        raise NotYet("uncounted", missing=int(150_000 - counted[0][0]))


_OLD = "DELETE FROM pgqueuer_log WHERE aggregated AND created < now() - interval '30 days'"
HISTORY = drill(
    "history",
    "The dashboard takes a minute",
    "*The dashboard, and every query of the log, takes longer each month. The queue itself is well. Nobody needs rows "
    "of the log that are older than thirty days; the statistics are to be kept, for ever.*",
    break_history,
    log_is_short,
    solution=f'await q.log_statistics(None)\nawait conn.execute("{_OLD}")\nawait conn.execute("VACUUM ANALYZE pgqueuer_log")',
    also=(f'await conn.execute("{_OLD}")',),
    hints=(
        "How many rows has `pgqueuer_log`, and how old is the oldest?",
        "PGQueuer deletes nothing from its log. Rows that are `aggregated` are counted in `pgqueuer_statistics`; the "
        "others are not yet.",
        "`DELETE FROM pgqueuer_log WHERE aggregated AND created < now() - interval '30 days'`; and "
        "`await q.log_statistics(None)` counts what is not counted yet.",
    ),
    why="The log grows by three rows a job, for ever. What is counted and old can go; what is not counted yet would be "
    "missing from the statistics. Let a schedule do it each night.",
    alarm="SELECT count(*) FROM pgqueuer_log WHERE aggregated AND created < now() - interval '31 days'",
    restart=AGAIN,
    restarted="The service runs anew, and the log is as long as before.",
    delete='await conn.execute("TRUNCATE pgqueuer_log")',
    deleted="What happened in the last hour is gone as well, and with it what the next one on call would look for. "
    "Open the drill again.",
    wrong=(
        Wrong(
            "also what is not counted",
            "await conn.execute(\"DELETE FROM pgqueuer_log WHERE created < now() - interval '30 days'\")",
            "uncounted",
        ),
    ),
    messages={
        "uncounted": "{missing} jobs are missing from the statistics: they were not counted when their rows were deleted."
    },
)


# 10. A service that looks at another database


def break_elsewhere(at: Incident) -> None:
    """A service that was left on the tables of staging, which are empty, and as good."""
    at.sql(ORDERS + "INSERT INTO orders (id) SELECT generate_series(1, 4); CREATE SCHEMA staging")
    at.do(_install_staging)
    at.service(service(connect='server_settings={"search_path": "staging"}'))
    at.start()
    at.do(lambda answer: answer.enqueue("confirm", [b"1", b"2", b"3", b"4"]))
    at.sql(LATE)


async def _install_staging(answer: Answer) -> None:
    async with answer.another() as connection:
        await connection.execute("SET search_path = staging")
        from pgqueuer import AsyncpgDriver, Queries

        await Queries(AsyncpgDriver(connection)).install()


ELSEWHERE = drill(
    "elsewhere",
    "The worker is well, and idle",
    "*No order has been confirmed for twenty minutes. The worker is up, listens, and says that there is nothing to do. "
    "Its settings were tried out on staging before.*",
    break_elsewhere,
    all_confirmed,
    solution=edit('server_settings={"search_path": "staging"}', ""),
    hints=(
        "The jobs are of a name that the service has, they are due, and nobody takes them. Does it look at *these* "
        "tables?",
        "Compare how the file connects with how this notebook does. Tables of the same names are in another schema: "
        "`kit.sql(\"SELECT schemaname, tablename FROM pg_tables WHERE tablename = 'pgqueuer'\")`.",
        "The file connects with `search_path` set to `staging`. Take that out, and start the service again.",
    ),
    why="A worker that looks at another database, or at another schema, is in perfect health. Only the age of the oldest "
    "job that is due says that nobody takes it. Let a service say at its start where it is connected.",
    alarm=OVERDUE,
    restart=AGAIN,
    restarted="The service was started again as it was, and looks where it looked before: not at these tables.",
    delete='await conn.execute("DELETE FROM pgqueuer")',
    deleted="Order {order} is not confirmed, and has no job any more. Open the drill again.",
    wrong=(Wrong("one more of the same", f'kit.spawn("{MODULE}:main", name="second")', "rings"),),
)


# 11. A stream of urgent jobs

_STREAM = '''\
import asyncio
from contextlib import asynccontextmanager

import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries


async def customers() -> None:
    """Ask more than one worker can answer."""
    connection = await asyncpg.connect()
    q = Queries(AsyncpgDriver(connection))
    for number in range(1, 20_000):
        async with connection.transaction():
            await connection.execute("INSERT INTO asked VALUES ($1)", number)
            await q.enqueue("answer", str(number).encode(), 10)
        await asyncio.sleep(0.05)


def consumer(*names: str):
    @asynccontextmanager
    async def main():
        connection = await asyncpg.connect()
        shop = await asyncpg.create_pool(min_size=1, max_size=4)

        async def answer(job: Job) -> None:
            await asyncio.sleep(0.25)
            await shop.execute("INSERT INTO answered VALUES ($1)", int(job.payload))

        async def confirm(job: Job) -> None:
            await shop.execute(
                "UPDATE orders SET confirmed = confirmed + 1 WHERE id = $1", int(job.payload))

        pgq = PgQueuer(AsyncpgDriver(connection))
        if "answer" in names:
            pgq.entrypoint("answer")(answer)
        if "confirm" in names:
            pgq.entrypoint("confirm")(confirm)
        yield pgq
        shop.terminate()
        await connection.close()

    return main


@asynccontextmanager
async def shop():
    """The shop's own program, in which customers ask. It takes no jobs."""
    connection = await asyncpg.connect()
    asking = asyncio.create_task(customers())
    yield PgQueuer(AsyncpgDriver(connection))
    asking.cancel()
    await connection.close()


main = consumer("answer", "confirm")
only_orders = consumer("confirm")
'''
_TWO = f'kit.spawn("{MODULE}:main", batch_size=1, max_concurrent_tasks=2)'
_QUEUE_FULL = "SELECT count(*) >= 6 FROM pgqueuer WHERE status = 'queued' AND entrypoint = 'answer'"


def break_stream(at: Incident) -> None:
    """More urgent jobs come than one worker can do, and what is not urgent waits for ever."""
    at.sql(
        ORDERS + "INSERT INTO orders (id) SELECT generate_series(1, 3);"
        "CREATE TABLE asked (number int); CREATE TABLE answered (number int);"
    )
    at.service(_STREAM)
    at.start(batch_size=1, max_concurrent_tasks=2)
    at.start("shop", name="shop")
    at.until(_QUEUE_FULL)
    at.do(lambda answer: answer.enqueue("confirm", [b"1", b"2", b"3"]))
    at.sql(f"{LATE} AND entrypoint = 'confirm'")


async def nobody_starves(answer: Answer) -> None:
    """Orders are confirmed beside the stream, one that comes now as well, and no question was thrown away."""
    thrown = await answer.sql(
        "SELECT number FROM asked WHERE number NOT IN (SELECT number FROM answered)"
        " AND NOT EXISTS (SELECT FROM pgqueuer WHERE entrypoint = 'answer' AND convert_from(payload, 'UTF8') = number::text)"
        " ORDER BY number LIMIT 3"
    )
    if thrown:
        raise NotYet("deleted", number=thrown[0][0])
    if not await settled(answer, "SELECT bool_and(confirmed > 0) FROM orders WHERE id < 9", 2.0):
        raise still()
    ((asked,),) = await answer.sql("SELECT count(*) FROM asked")
    if not await settled(answer, f"SELECT count(*) > {asked} FROM asked", 2.0):
        raise NotYet("no-customers")
    if not await settled(answer, _QUEUE_FULL):
        return  # more workers than the stream needs: nothing can starve
    if not await new_order_is_confirmed(answer, 2.0):
        raise NotYet("only-these")


STREAM = drill(
    "stream",
    "Urgent is all there is",
    "*Three orders have not been confirmed for twenty minutes. Customers ask questions without end, which are urgent and "
    "are answered. Both need to go on.*",
    break_stream,
    nobody_starves,
    solution=f'kit.spawn("{MODULE}:only_orders", name="orders")\nawait kit.wait(until="SELECT bool_and(confirmed = 1) FROM orders")',
    also=(
        edit(
            'pgq.entrypoint("answer")',
            'pgq.entrypoint("answer", concurrency_limit=1)',
            _TWO,
            'await kit.wait(until="SELECT bool_and(confirmed = 1) FROM orders")',
        ),
    ),
    hints=(
        "Which jobs wait, by entrypoint and priority, and how many of each? What does the worker pick next?",
        "The higher priority runs first, always. As more urgent jobs come than the worker can do, it never comes to the "
        "others. Raising those that wait helps only those.",
        f'Give orders a worker of their own: `kit.spawn("{MODULE}:only_orders", name="orders")`. Or give the urgent '
        "ones a `concurrency_limit` that leaves room.",
    ),
    why="A priority is no share. What is urgent and more than can be done takes everything, so what is not urgent needs a "
    "place that nothing urgent can take: a worker of its own, or a limit for the others.",
    alarm=f"{OVERDUE} AND entrypoint = 'confirm'",
    restart=_TWO,
    restarted="The worker runs anew, and picks what is most urgent, as before. Orders wait.",
    delete="await conn.execute(\"DELETE FROM pgqueuer WHERE entrypoint = 'answer' AND status = 'queued'\")",
    deleted="Question {number} was thrown away, and its customer waits for an answer. Open the drill again.",
    wrong=(
        Wrong(
            "raise those that wait",
            "await conn.execute(\"UPDATE pgqueuer SET priority = 99 WHERE entrypoint = 'confirm'\")\n"
            'await kit.wait(until="SELECT bool_and(confirmed = 1) FROM orders")',
            "only-these",
        ),
        Wrong(
            "no customers any more",
            "from kit.session import session\nsession.consumers['shop'].stop(2)\n"
            'await kit.wait(until="SELECT bool_and(confirmed = 1) FROM orders", timeout=120)',
            "no-customers",
        ),
    ),
    messages={
        "only-these": "The three are confirmed, and the next order waits again: the cause is still there.",
        "no-customers": "No customer asks any more: the worker `shop` is what they ask in, and it has to go on. (It ends "
        "by itself after a quarter of an hour.) Open the drill again.",
    },
)

# 12. Five places, and batches of ten

MANY = 20_000
_FIVE = f'kit.spawn("{MODULE}:main", batch_size={{}})'


def break_places(at: Incident) -> None:
    """An entrypoint of five places, whose worker writes ends down in batches of ten."""
    at.sql(ORDERS + f"INSERT INTO orders (id) SELECT generate_series(1, {MANY})")
    at.service(service("await asyncio.sleep(0.01)  # the bank\n", '"confirm", concurrency_limit=5'))
    at.sql(
        "INSERT INTO pgqueuer (priority, status, entrypoint, payload)"
        " SELECT 0, 'queued', 'confirm', id::text::bytea FROM orders ORDER BY id;" + LATE
    )
    at.start(batch_size=10)
    at.until("SELECT count(*) > 20 FROM pgqueuer_log WHERE status = 'successful'")


async def places_are_used(answer: Answer) -> None:
    """Ends are written down as soon as the places are full, no more than five are at the bank, and none is lost."""
    await orders_are_safe(answer)
    working = [one for one in session.consumers.values() if one.alive and "confirm" in one.entrypoints]
    if any(one.limits["confirm"] not in range(1, 6) for one in working):
        raise NotYet("bank")
    if any(one.batch_size > one.limits["confirm"] for one in working):
        raise still()
    (before,) = await answer.sql("SELECT count(*) FROM orders WHERE confirmed > 0")
    if not await settled(
        answer, f"SELECT count(*) > least({before[0]}, {MANY - 1}) FROM orders WHERE confirmed > 0"
    ):
        raise NotYet("nobody")


PLACES = drill(
    "places",
    "Fifty a second",
    "*Twenty thousand orders have been waiting since this morning, and about fifty are confirmed in a second. The worker "
    "is up, and its processor idle. The bank takes five at once, no more, and answers in a hundredth of a second.* So "
    "many were done in each second: `kit.sql(\"SELECT date_trunc('second', created) AS second, count(*) FROM pgqueuer_log WHERE "
    "status = 'successful' GROUP BY 1 ORDER BY 1 DESC LIMIT 5\")`.",
    break_places,
    places_are_used,
    solution=_FIVE.format(5),
    also=(_FIVE.format(1), edit("concurrency_limit=5", "concurrency_limit=4", _FIVE.format(2), "")),
    hints=(
        "Five places, a hundredth of a second each: that would be some hundreds in a second. Where is a job for the "
        "rest of its time? Compare the times of `picked` and `successful` in `kit.log(last=20)`.",
        "A worker writes the ends of jobs down in batches, too: when there are `batch_size` of them, or a tenth of a "
        "second has passed. Until then a job keeps its place. How many ends can five places bring together?",
        f"Five never fill a batch of ten. Start the worker with a batch no larger than the limit: `{_FIVE.format(5)}`.",
    ),
    why="A place is free when the end of its job is written down, and ends are written down in batches. So where there is "
    "a limit, the batch must be no larger than it; else each place does ten jobs a second, however quick they are.",
    alarm=OVERDUE,
    restart=_FIVE.format(10),
    restarted="The worker runs anew, with batches of ten and five places: as slowly as before.",
    delete="await conn.execute(\"DELETE FROM pgqueuer WHERE status = 'queued'\")",
    deleted="Order {order} is not confirmed, and has no job any more: it was only slow. Open the drill again.",
    wrong=(
        Wrong(
            "more places",
            edit("concurrency_limit=5", "concurrency_limit=20", _FIVE.format(10), ""),
            "bank",
        ),
        Wrong(
            "no worker at all",
            NO_WORKER,
            "nobody",
        ),
    ),
    messages={
        "bank": "It is faster, and the bank, which takes five at once, refuses the others: the limit is there for it.",
        "nobody": "No order is confirmed any more. Start the worker again.",
    },
)

# In the notebook: behind a heading of it, each drill below the one before.
SECTIONS = {
    "nothing-happens": (RENAMED, TRIGGER, HUNG, KILLER, REQUEUE, ELSEWHERE),
    "twice-or-never": (HEARTBEATS, SCHEDULE, STREAM),
    "slower": (PLACES, IDLE, HISTORY),
}
EXERCISES = tuple(
    replace(one, after=f"check-{drills[number - 1].id}" if number else heading)
    for heading, drills in SECTIONS.items()
    for number, one in enumerate(drills)
)
