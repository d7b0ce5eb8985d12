"""The exercise of the lesson *Capstone*: a service of the learner's own, hurt for certain."""

from __future__ import annotations

import random

from kit.exercises.answers import Answer
from kit.exercises.capstone.run import NoService, Run
from kit.exercises.capstone.verdict import COLUMNS
from kit.exercises.exercise import Exercise, NotYet, Wrong
from kit.exercises.running import TooBusy


async def survives(answer: Answer) -> None:
    """The service passes all levels."""
    try:
        verdict = await Run(random.randrange(1, 1000)).do()
    except NoService as error:
        raise NotYet("no-start", said=str(error).rstrip("."), place="") from None
    if verdict.wrong:
        first = verdict.wrong[0]
        _, what, fault, _, lesson = first.row()
        rows = [one.row() for one in verdict.wrong]
        raise NotYet(
            first.kind.replace(" ", "-"), actual=rows, columns=COLUMNS, order=first.order, what=what, fault=fault,
            lesson=lesson, level=verdict.level, seed=verdict.seed,
        )  # fmt: skip
    if verdict.missing:
        raise TooBusy(", ".join(verdict.missing))


STUB = """\
%%writefile programs/service.py
from contextlib import asynccontextmanager
import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer
from programs.bank import Refused, charge

@asynccontextmanager
async def main():
    yield PgQueuer(AsyncpgDriver(await asyncpg.connect()))
"""

SOLUTION = '''\
%%writefile programs/service.py
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries
from pgqueuer.errors import RetryRequested
from pgqueuer.models import Context
from programs.bank import Refused, charge


def patient(work):
    """Try again what others have failed at; a bad payload fails at once."""
    async def handler(job: Job, context: Context) -> None:
        try:
            await work(job, context.resources["pool"])
        except ValueError:
            raise
        except Exception as error:
            if job.attempts >= 8:
                raise
            delay = timedelta(seconds=0.1 * 2**job.attempts)
            raise RetryRequested(delay=delay) from error
    return handler


async def receive(job, pool):
    order = int(job.payload)
    await charge(order, key=f"order {order}")
    async with pool.acquire() as db, db.transaction():
        items = await db.fetchval("""UPDATE orders SET status = 'charged'
            WHERE id = $1 AND status = 'new' RETURNING items""", order)
        if items:  # nobody has come this far before
            parcels = [f"{order} {item + 1}".encode() for item in range(items)]
            await Queries(AsyncpgDriver(db)).enqueue(
                ["pack"] * items, parcels, [job.priority] * items)


async def pack(job, pool):
    order, item = map(int, job.payload.split())
    async with pool.acquire() as db, db.transaction():
        items = await db.fetchval("""SELECT items FROM orders
            WHERE id = $1 FOR UPDATE""", order)  # one of them at a time
        await db.execute("""INSERT INTO parcels (order_id, item) SELECT $1, $2
            WHERE NOT EXISTS (SELECT FROM parcels
                WHERE order_id = $1 AND item = $2)""", order, item)
        packed = await db.fetchval(
            "SELECT count(*) FROM parcels WHERE order_id = $1", order)
        moved = "UPDATE orders SET status = 'packed' WHERE id = $1 AND status = 'charged'"
        if packed == items and await db.execute(moved, order) == "UPDATE 1":
            await Queries(AsyncpgDriver(db)).enqueue(
                "notify", str(order).encode(), job.priority)


async def notify(job, pool):
    order = int(job.payload)
    async with pool.acquire() as db, db.transaction():
        moved = "UPDATE orders SET status = 'mailed' WHERE id = $1 AND status = 'packed'"
        if await db.execute(moved, order) == "UPDATE 1":
            await db.execute("INSERT INTO mails (order_id) VALUES ($1)", order)


@asynccontextmanager
async def main():
    connection = await asyncpg.connect()
    async with asyncpg.create_pool(min_size=1, max_size=8) as pool:
        pgq = PgQueuer(AsyncpgDriver(connection), resources={"pool": pool})
        pgq.entrypoint("receive", concurrency_limit=3)(patient(receive))
        pgq.entrypoint("pack")(patient(pack))
        pgq.entrypoint("notify")(patient(notify))

        @pgq.schedule("report", "* * * * * *")
        async def report(schedule) -> None:
            await pool.execute("INSERT INTO reports (mailed) SELECT count(*) FROM mails")

        yield pgq
    await connection.close()
'''

# Another right one: unique rows in place of a guard, a lock of its own, and PGQueuer's executor for retries.
OTHER = '''\
%%writefile programs/service.py
import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries
from pgqueuer.executors import DatabaseRetryEntrypointExecutor
from programs.bank import charge_now

RULES = """CREATE UNIQUE INDEX IF NOT EXISTS once_packed ON parcels (order_id, item);
    CREATE UNIQUE INDEX IF NOT EXISTS once_mailed ON mails (order_id);"""


def executor(parameters):
    return DatabaseRetryEntrypointExecutor(
        parameters, max_attempts=6, initial_delay=timedelta(seconds=0.1), max_delay=timedelta(seconds=1))


@asynccontextmanager
async def main():
    connection = await asyncpg.connect()
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(1)")
        await connection.execute(RULES)

    @asynccontextmanager
    async def alone(order):
        db = await asyncpg.connect()
        try:
            async with db.transaction():
                await db.execute("SELECT pg_advisory_xact_lock(2, $1)", order)
                yield db, Queries(AsyncpgDriver(db))
        finally:
            db.terminate()

    async def receive(job: Job) -> None:
        order = int(job.payload)
        await asyncio.to_thread(charge_now, order, str(order))
        async with alone(order) as (db, q):
            row = await db.fetchrow("SELECT items, status FROM orders WHERE id = $1", order)
            if row["status"] == "new":
                await db.execute("UPDATE orders SET status = 'packing' WHERE id = $1", order)
                for item in range(row["items"]):
                    await q.enqueue("pack", f"{order}:{item}".encode(), job.priority)

    async def pack(job: Job) -> None:
        order, item = map(int, job.payload.split(b":"))
        async with alone(order) as (db, q):
            await db.execute("INSERT INTO parcels VALUES ($1, $2) ON CONFLICT DO NOTHING", order, item)
            if await db.fetchval("""SELECT items = (SELECT count(*) FROM parcels WHERE order_id = $1)
                    FROM orders WHERE id = $1""", order):
                await db.execute("INSERT INTO mails VALUES ($1) ON CONFLICT DO NOTHING", order)

    pgq = PgQueuer(AsyncpgDriver(connection))
    pgq.entrypoint("receive", concurrency_limit=3, executor_factory=executor)(receive)
    pgq.entrypoint("pack", executor_factory=executor)(pack)

    @pgq.schedule("report", "* * * * * *")
    async def report(schedule) -> None:
        db = await asyncpg.connect()
        await db.execute("INSERT INTO reports VALUES (0)")
        await db.close()

    yield pgq
    await connection.close()
'''


def broken(*changes: tuple[str, str]) -> str:
    """Return the solution with changes in it."""
    text = SOLUTION
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


_KEY = 'await charge(order, key=f"order {order}")'
BROKEN = {
    "never called": Wrong("it never calls the bank", broken((f"    {_KEY}\n", "")), "never-called"),
    "nothing": Wrong(
        "no report",
        broken(('        @pgq.schedule("report", "* * * * * *")\n', "")),
        "no-report",
    ),
    "a bad payload": Wrong(
        "a bad payload tried for ever",
        broken(
            ("        except ValueError:\n            raise\n", ""),
            ("            if job.attempts >= 8:\n                raise\n", ""),
        ),
        "stuck",
    ),
    "a bank that refuses": Wrong(
        "no retry",
        broken(("            if job.attempts >= 8:\n                raise\n", "            raise\n")),
        "lost",
    ),
    "a worker killed at the bank": Wrong("no key", broken((_KEY, "await charge(order)")), "doubled"),
    "a worker frozen at the bank": Wrong(
        "no guard",
        broken(
            ("\n            WHERE id = $1 AND status = 'new' RETURNING items", "\n            WHERE id = $1 RETURNING items"),
            (
                "SELECT $1, $2\n            WHERE NOT EXISTS (SELECT FROM parcels\n                WHERE order_id = $1 AND item = $2)",
                "VALUES ($1, $2)",
            ),
        ),
        "doubled",
    ),
    "a bank slower than the heartbeat": Wrong(
        "it blocks",
        broken((_KEY, 'charge_now(order, key=f"order {order}")'), ("Refused, charge\n", "charge_now\n")),
        "again",
    ),
    "a session cut at the enqueue": Wrong(
        "no transaction",
        broken(
            (
                "    async with pool.acquire() as db, db.transaction():\n        items = await db.fetchval(\"\"\"UPDATE",
                "    async with pool.acquire() as db:\n        items = await db.fetchval(\"\"\"UPDATE",
            )
        ),
        "lost",
    ),
    "two parcels packed at once": Wrong(
        "the last one is not seen", broken(("WHERE id = $1 FOR UPDATE", "WHERE id = $1")), "lost"
    ),
    "a burst": Wrong(
        "no limit", broken(('"receive", concurrency_limit=3', '"receive"')), "over"
    ),
}  # fmt: skip

_AFTER = "It reached level {level} of 4. `capstone.hurt(seed={seed})` repeats this run, and has its report."
CAPSTONE = Exercise(
    id="capstone",
    kind="design",
    title="A service that survives",
    minutes=60,
    long=True,
    processes=0,
    task="Write the service into one file. Below it, run it as you like; then let it be hurt.",
    file="programs/service.py",
    after="your-turn",
    stub=STUB,
    solution=SOLUTION,
    also=(OTHER,),
    check=survives,
    hints=(
        "Level by level. First only let it work: `receive` charges, and enqueues a `pack` for each item; whichever "
        "`pack` is the last enqueues `notify`.",
        "Every handler may run twice, at the same time, and end at any line. So: the same key for the same order; "
        "move the order's status and enqueue what comes next in *one* transaction, and only if the status was what "
        "you expect.",
        "What others have failed at is tried again with `RetryRequested`, some times; a bad payload is not. Let the "
        "packers of an order wait for one another: `SELECT … FOR UPDATE` on its row. The limit is "
        "`concurrency_limit=3`.",
    ),
    why="Nothing was lost, nothing done twice, and nothing stood still, though workers were killed and frozen, sessions "
    "cut, Postgres crashed, and the bank refused and dawdled. A queue gives you the second delivery. The key, the guard, "
    "the transaction and the limit are yours.",
    wrong=tuple(BROKEN.values()),
    messages={
        "lost": f"Not valid. Order {{order}} is lost: {{what}}, after {{fault}} ({{lesson}}). {_AFTER}",
        "doubled": f"Not valid. Order {{order}} has something twice: {{what}}, after {{fault}} ({{lesson}}). {_AFTER}",
        "stuck": f"Not valid. Something is stuck: {{what}}, after {{fault}} ({{lesson}}). {_AFTER}",
        "again": f"Not valid. Order {{order}} was {{what}} ({{lesson}}). {_AFTER}",
        "over": f"Not valid. {{what}}, in {{fault}} ({{lesson}}). {_AFTER}",
        "no-report": "Not valid. No row came into `reports`: the schedule is missing (08 · Time).",
        "never-called": "Could not tell. Three orders came, and the bank was never called: nothing could be done to the "
        "service there.",
    },
)

EXERCISES = (CAPSTONE,)
