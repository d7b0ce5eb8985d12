"""Exercises of the lesson *From your application*."""

from __future__ import annotations

import asyncio
from textwrap import indent
from typing import Any

from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, NotYet, Wrong
from kit.exercises.lessons.accidents import cut_session_at_enqueue

NOTEBOOK = """
import asyncio
import asyncpg
from pgqueuer import AsyncpgDriver, AsyncpgPoolDriver, Job, Queries
"""

# Of Cy an order is left, so that he cannot be deleted; of Dee the commit is refused.
_USERS = """
CREATE TABLE users (name text PRIMARY KEY);
INSERT INTO users VALUES ('Ada'), ('Bob'), ('Cy'), ('Dee');
CREATE TABLE orders (name text REFERENCES users);
INSERT INTO orders VALUES ('Cy');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$;
CREATE CONSTRAINT TRIGGER refuse AFTER DELETE ON users DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.name = 'Dee') EXECUTE FUNCTION refuse();
"""


async def _in_a_pool(function: Any, name: str) -> None:
    import asyncpg

    async with asyncpg.create_pool(min_size=2) as pool:
        await function(pool, name)


async def gone_and_told(answer: Answer) -> None:
    await answer.sql(_USERS)
    await cut_session_at_enqueue(answer, "convert_from(NEW.payload, 'UTF8') = 'Bob'")
    names = ["Ada", "Bob", "Cy", "Dee"]
    first, *_ = await answer.calls([(_in_a_pool, (answer["part_with"], name)) for name in names])
    if error := first.get("error"):
        raise NotYet("raises", error=f"{error['type']}: {error['message']}")
    rows = await answer.sql(
        "SELECT n, NOT EXISTS (SELECT FROM users WHERE name = n), EXISTS (SELECT FROM pgqueuer WHERE"
        " entrypoint = 'goodbye' AND convert_from(payload, 'UTF8') = n) FROM unnest($1::text[]) AS n",
        names,
    )
    want = [("Ada", True, True), *((name, False, False) for name in names[1:])]
    columns = ("user", "deleted", "goodbye")
    answer.same(rows[:1], want[:1], "missing", columns=columns)
    for name, deleted, told in rows:
        if deleted and not told:
            answer.same(rows, want, "no-goodbye", columns=columns, name=name)
        if told and not deleted:
            answer.same(rows, want, "still-there", columns=columns, name=name)


def _part(body: str) -> str:
    return "async def part_with(pool, name):\n" + indent(body, "    ") + "\n"


_DELETE = 'await db.execute("DELETE FROM users WHERE name = $1", name)'
_MINE = 'await Queries(AsyncpgDriver(db)).enqueue("goodbye", name.encode())'
_ANY = 'await Queries(AsyncpgPoolDriver(pool)).enqueue("goodbye", name.encode())'
_TOGETHER = "async with pool.acquire() as db, db.transaction():\n    "

GOODBYE = Exercise(
    id="goodbye",
    kind="mend",
    title="Deleted and told, or neither",
    minutes=4,
    task="A page deletes a user, and enqueues the mail that tells them. Mend it: whatever happens in between, and whatever Postgres refuses, "
    "a user is deleted and has a job `goodbye`, or neither. `pool` is the application's.",
    given=NOTEBOOK,
    names=("part_with",),
    stub="from pgqueuer import AsyncpgPoolDriver\n\n\n"
    + _part(f"async with pool.acquire() as db:\n    {_DELETE}\n{_ANY}").rstrip(),
    solution=_part(f"{_TOGETHER}{_DELETE}\n    {_MINE}"),
    also=(
        _part(f"{_TOGETHER}{_MINE}\n    {_DELETE}"),
        _part(f"async with pool.acquire() as db:\n    q = Queries(AsyncpgDriver(db))\n    async with db.transaction():\n        "
              f'{_DELETE}\n        await q.enqueue(["goodbye"], [name.encode()], [0])'),
    ),
    check=gone_and_told,
    hints=(
        "Two writes, on how many connections?",
        "`AsyncpgPoolDriver(pool)` enqueues on whichever connection is free, so no transaction of `db` holds it.",
        "`async with pool.acquire() as db, db.transaction():`, and below it both, the second one with "
        "`Queries(AsyncpgDriver(db))`.",
    ),
    why="One connection, one transaction, both writes. A pool's driver is for what stands alone.",
    wrong=(
        Wrong("the lines are swapped", _part(f"{_ANY}\nasync with pool.acquire() as db:\n    {_DELETE}"), "still-there"),
        Wrong("a transaction of another connection", _part(f"{_TOGETHER}{_DELETE}\n    {_ANY}"), "still-there"),
        Wrong("no transaction", _part(f"async with pool.acquire() as db:\n    {_DELETE}\n    {_MINE}"), "no-goodbye"),
        Wrong("no job", _part(f"{_TOGETHER}{_DELETE}"), "missing"),
        Wrong("raises", _part('raise ValueError("no")'), "raises"),
    ),
    messages={
        "no-goodbye": "{name} was deleted, and the session ended when the job was enqueued: nobody will ever say goodbye.",
        "still-there": "{name} could not be deleted, and is told goodbye all the same: the job was enqueued on a connection "
        "of its own, and stays where the other write is taken back.",
        "missing": "Ada, of whom nothing was refused, is to be deleted and to have a job `goodbye`.",
        "raises": "For Ada it raised {error}.",
    },
    equivalent={
        "swapped `await db.execute('DELETE FROM users WHERE name = $1', name)` and the next": "one transaction holds both, in either order",
    },
)  # fmt: skip


async def seen_while_it_runs(answer: Answer) -> None:
    await answer.sql(
        "CREATE TABLE progress (job bigint PRIMARY KEY, done int); INSERT INTO progress VALUES (1, 0), (2, 0), (99, 0)"
    )
    await answer.enqueue("count", [None, None])
    running = asyncio.create_task(answer.run(count=answer["count_names"]))
    seen: set[int] = set()
    try:
        while not running.done():
            seen.update(done for (done,) in await answer.sql("SELECT done FROM progress WHERE job = 2"))
            await asyncio.sleep(0.02)
        await running
    finally:
        running.cancel()
    await answer.no_exceptions()
    rows = await answer.sql("SELECT job, done FROM progress ORDER BY job")
    columns = ("job", "done")
    want = [(1, 4), (2, 4), (99, 0)]
    answer.same(rows[-1:], want[-1:], "all-of-them", columns=columns)
    answer.same(rows, want, "not-all", columns=columns)
    if not seen & {1, 2, 3}:
        raise NotYet("unseen")


def _count(body: str) -> str:
    lines = ["db = await asyncpg.connect()", *body.splitlines(), "await db.close()"]
    return "async def count_names(job: Job) -> None:\n" + "\n".join(f"    {line}" for line in lines) + "\n"


_QUARTER = "for done in 1, 2, 3, 4:\n    await asyncio.sleep(0.3)  # a quarter of the work\n    "
_ONE = 'await db.execute("UPDATE progress SET done = $1 WHERE job = $2", done, job.id)'
_EVERY = 'await db.execute("UPDATE progress SET done = $1", done)'


SEEN = Exercise(
    id="seen",
    kind="mend",
    title="A progress that is seen",
    minutes=4,
    task="The table `progress` (columns `job` and `done`) has a row for each job; a page shows it. Mend the handler: its "
    "quarters are to be seen while it runs, and in the row of its own job.",
    given=NOTEBOOK,
    names=("count_names",),
    stub=_count(f"async with db.transaction():\n{indent(_QUARTER + _EVERY, '    ')}").rstrip(),
    solution=_count(_QUARTER + _ONE),
    also=(_count(_QUARTER + f"async with db.transaction():\n        {_ONE}"),),
    check=seen_while_it_runs,
    hints=(
        "When do others see what is written inside of a transaction?",
        "After its end, and here that is the end of the job. And which rows does the UPDATE change?",
        "Leave the transaction out, and add `WHERE job = $2` with `job.id`.",
    ),
    why="What is to be seen while it happens is committed while it happens: on a connection that no transaction holds.",
    wrong=(
        Wrong("one transaction", _count(f"async with db.transaction():\n{indent(_QUARTER + _ONE, '    ')}"), "unseen"),
        Wrong("written at the end", _count("await asyncio.sleep(1.2)\ndone = 4\n" + _ONE), "unseen"),
        Wrong("every row", _count(_QUARTER + _EVERY), "all-of-them"),
        Wrong("stops short", _count((_QUARTER + _ONE).replace(", 4", "")), "not-all"),
        Wrong("a number for the job", _count((_QUARTER + _ONE).replace("job.id", "1")), "not-all"),
    ),
    messages={
        "unseen": "Nobody saw a quarter before the end: until its transaction is committed, or until it is written, the page "
        "shows 0.",
        "all-of-them": "Job 99 has done nothing yet, and its row says otherwise: the UPDATE changes every row.",
        "not-all": "Two jobs ran. At the end all four quarters are to be in the row of each.",
    },
    equivalent={
        "dropped `await asyncio.sleep(0.3)`": "work that is done at once",
        "swapped `await asyncio.sleep(0.3)` and the next": "a quarter that is told too early is seen all the same",
        "1 is 2": "how far a quarter is, the handler says",
        "2 is 3": "how far a quarter is, the handler says",
        "3 is 4": "how far a quarter is, the handler says",
        "0.3 is 1.3": "only slower",
    },
)  # fmt: skip


async def a_hang_is_a_failure(answer: Answer) -> None:
    await answer.enqueue("deliver", [b"lost", b"Ada", b"Bob"])
    ran = await answer.run(
        deliver=answer["deliver"], how={"deliver": {"concurrency_limit": 1}, "": {"batch_size": 1}}
    )
    rows = [
        (job, status, error)
        for job, _, status, error in await answer.log("successful", "exception", "failed")
    ]
    want = [(1, "exception", "TimeoutError"), (2, "successful", None), (3, "successful", None)]
    columns = ("job", "ended as", "with")
    if any(error not in (None, "TimeoutError") for job, _, error in rows if job != 1):
        await answer.no_exceptions()
    if rows and rows[0][1] == "successful":
        answer.same(rows, want, "swallowed", columns=columns)
    if any(status != "successful" for job, status, _ in rows if job != 1):
        answer.same(rows, want, "too-short", columns=columns)
    if sorted(line for line in ran.lines if line.startswith("delivered")) != [
        "delivered Ada",
        "delivered Bob",
    ]:
        raise NotYet("not-delivered")


_SERVER = """\
async def mail_server(name):
    await asyncio.sleep(3600 if name == "lost" else 0.2)


"""


def _deliver(body: str) -> str:
    return f"{_SERVER}async def deliver(job: Job) -> None:\n" + indent(body, "    ") + "\n"


_CALL = "await mail_server(job.payload.decode())"
_PRINT = 'print("delivered", job.payload.decode())'

HANGS = Exercise(
    id="hangs",
    kind="complete",
    title="A server that does not answer",
    minutes=3,
    task="The server never answers for `lost`. There is one place, and others wait behind it. Give the call a limit: a second "
    "at most, and every other mail takes a fifth of one. The job of `lost` is to fail; `mail_server` stays as it is.",
    given=NOTEBOOK,
    names=("deliver",),
    stub=_deliver(f"{_CALL}\n{_PRINT}").rstrip(),
    solution=_deliver(f"async with asyncio.timeout(1):\n    {_CALL}\n{_PRINT}"),
    also=(
        _deliver(f"await asyncio.wait_for(mail_server(job.payload.decode()), timeout=0.8)\n{_PRINT}"),
        _deliver(f"try:\n    async with asyncio.timeout(0.9):\n        {_CALL}\nexcept TimeoutError:\n    raise RuntimeError('no answer')\n{_PRINT}"),
    ),
    check=a_hang_is_a_failure,
    hints=(
        "PGQueuer has no limit of time for a handler. Who can set one?",
        "`asyncio.timeout` breaks off what is awaited inside of it, with a `TimeoutError`. Let that one go on its way.",
        "`async with asyncio.timeout(1):` above the call.",
    ),
    why="A hang has become an ordinary failure: it is in the log, its place is free, and the others go on.",
    wrong=(
        Wrong("no limit yet, but a log line", _deliver(f'print("calling")\n{_CALL}\n{_PRINT}'), "endless"),
        Wrong("the error is swallowed", _deliver(f"try:\n    async with asyncio.timeout(1):\n        {_CALL}\nexcept TimeoutError:\n    return\n{_PRINT}"), "swallowed"),
        Wrong("asyncio.wait raises nothing", _deliver(f"task = asyncio.create_task(mail_server(job.payload.decode()))\nawait asyncio.wait([task], timeout=1)\n{_PRINT}"), "swallowed"),
        Wrong("too short for the others", _deliver(f"async with asyncio.timeout(0.05):\n    {_CALL}\n{_PRINT}"), "too-short"),
        Wrong("with, and not async with", _deliver(f"with asyncio.timeout(1):\n    {_CALL}\n{_PRINT}"), "raised"),
        Wrong("nothing is delivered", _deliver(f'if job.payload == b"lost":\n    raise TimeoutError\n{_CALL}'), "not-delivered"),
    ),
    messages={
        "swallowed": "The server has not answered, and the log says `successful`: nobody will ever look for this mail. Let the "
        "`TimeoutError` out of the handler.",
        "too-short": "Mails that take a fifth of a second failed: the limit is shorter than the work.",
        "not-delivered": "Ada's and Bob's mails are to be delivered, and `delivered` printed after each; nothing for `lost`.",
    },
    equivalent={"1 is 2": "a limit all the same", "3600 is 3601": "it hangs all the same"},
)  # fmt: skip

EXERCISES = (GOODBYE, SEEN, HANGS)
