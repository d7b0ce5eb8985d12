"""Exercises of the lesson *Staged jobs*."""

from __future__ import annotations

from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, NotYet, Wrong
from kit.exercises.lessons.accidents import cut_session_at_enqueue, cut_session_at_update

NOTEBOOK = """
import asyncio
from contextlib import asynccontextmanager
import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries, RetryRequested

@asynccontextmanager
async def database():
    connection = await asyncpg.connect()
    try:
        yield connection
    finally:
        await connection.close()
"""

ORDERS = """
CREATE TABLE orders (id int PRIMARY KEY, item text, status text DEFAULT 'new',
                     charges int DEFAULT 0, parcels int DEFAULT 0, thanks int DEFAULT 0);
INSERT INTO orders (id, item) VALUES (1, 'teapot'), (2, 'kettle'), (3, 'cup'), (4, 'bowl');
"""


async def thanked_once(answer: Answer) -> None:
    await answer.sql(ORDERS + "UPDATE orders SET status = 'shipped' WHERE id <> 4;")
    # No job for order 3: a job for every row would hide a WHERE that is turned.
    await answer.enqueue("thank", [b"1", b"1", b"2", b"4", b"1"])
    await answer.run(thank=answer["thank"])
    await answer.no_exceptions()
    rows = await answer.sql("SELECT id, thanks, status FROM orders ORDER BY id")
    thanks = [(number, count) for number, count, _ in rows]
    columns = ("id", "thanks")
    answer.same(thanks[2:], [(3, 0), (4, 0)], "somebody-else", columns=columns)
    if all(count == 0 for _, count in thanks):
        answer.same(thanks, [(1, 1), (2, 1)], "nobody", columns=columns)
    answer.same(thanks[:2], [(1, 1), (2, 1)], "thanked-again", columns=columns)


THANK = Exercise(
    id="thank",
    kind="complete",
    title="Thank once",
    minutes=5,
    cell="thank",
    task="Write a third step, `thank`: it thanks the customer of a *shipped* order by counting up its column "
    "`thanks`. The job may be delivered twice, even at the same time; each order is thanked once. An order that "
    "is not shipped yet is not thanked.",
    given=NOTEBOOK,
    names=("thank",),
    stub="""async def thank(job: Job) -> None:
    async with database() as db, db.transaction():
        # SET status = 'thanked', thanks = thanks + 1, but only if …
        print("nothing is written yet")
""",
    solution="""async def thank(job: Job) -> None:
    async with database() as db:
        await db.execute("UPDATE orders SET status = 'thanked', thanks = thanks + 1"
                         " WHERE id = $1 AND status = 'shipped'", int(job.payload))
""",
    also=(
        """async def thank(job: Job) -> None:
    async with database() as db, db.transaction():
        row = await db.fetchrow("SELECT status FROM orders WHERE id = $1 FOR UPDATE", int(job.payload))
        if row["status"] == "shipped":
            await db.execute("UPDATE orders SET status = 'thanked', thanks = 1 WHERE id = $1", int(job.payload))
""",
        """async def thank(job: Job) -> None:
    async with database() as db:
        await db.execute("UPDATE orders SET thanks = 1 WHERE id = $1 AND status = 'shipped'", int(job.payload))
""",
    ),
    check=thanked_once,
    hints=(
        "What differs between the first delivery and the second? Something in the row must have changed.",
        "Ask and act in one statement, as `charge` does: `UPDATE … WHERE id = $1 AND …`.",
        "`SET status = 'thanked', thanks = thanks + 1 WHERE id = $1 AND status = 'shipped'`.",
    ),
    why="The second delivery finds a row that has moved on, and changes nothing. One statement asks and acts, so two "
    "deliveries at the same time cannot both find the order shipped: the second waits for the first, and looks "
    "again.",
    wrong=(
        Wrong(
            "no guard",
            """async def thank(job: Job) -> None:
    async with database() as db:
        await db.execute("UPDATE orders SET thanks = thanks + 1 WHERE id = $1 AND status <> 'new'", int(job.payload))
""",
            "thanked-again",
        ),
        Wrong(
            "SELECT, then UPDATE",
            """async def thank(job: Job) -> None:
    async with database() as db, db.transaction():
        if await db.fetchval("SELECT status FROM orders WHERE id = $1", int(job.payload)) == "shipped":
            await asyncio.sleep(0.1)
            await db.execute("UPDATE orders SET status = 'thanked', thanks = thanks + 1 WHERE id = $1",
                             int(job.payload))
""",
            "thanked-again",
        ),
        Wrong(
            "every row",
            """async def thank(job: Job) -> None:
    async with database() as db:
        await db.execute("UPDATE orders SET status = 'thanked', thanks = thanks + 1 WHERE status = 'shipped'")
""",
            "somebody-else",
        ),
        Wrong(
            "an order that is not shipped",
            """async def thank(job: Job) -> None:
    async with database() as db:
        await db.execute("UPDATE orders SET status = 'thanked', thanks = thanks + 1"
                         " WHERE id = $1 AND status <> 'thanked'", int(job.payload))
""",
            "somebody-else",
        ),
        Wrong(
            "raises on the second",
            """async def thank(job: Job) -> None:
    async with database() as db:
        sql = "UPDATE orders SET status = 'thanked', thanks = thanks + 1 WHERE id = $1 AND status = 'shipped'"
        if await db.execute(sql, int(job.payload)) == "UPDATE 0":
            raise ValueError("thanked before")
""",
            "raised",
        ),
        Wrong(
            "says so, and writes nothing",
            """async def thank(job: Job) -> None:
    print("thank you")
""",
            "nobody",
        ),
    ),
    messages={
        "thanked-again": "The job of order 1 came more than once, twice of these at the same time, and each delivery "
        "thanked. Between asking and acting there must be no gap.",
        "somebody-else": "Orders were thanked that nobody should thank: order 3 had no job, and order 4 is not "
        "shipped yet.",
        "nobody": "No order has a 1 in `thanks`, though a job was delivered for two that are shipped.",
    },
)


async def charged_and_shipped_together(answer: Answer) -> None:
    await answer.sql(ORDERS)
    await cut_session_at_enqueue(answer, "NEW.entrypoint = 'ship' AND NEW.payload = '2'")
    await cut_session_at_update(answer, "orders", "NEW.id = 3")
    await answer.enqueue("charge", [b"1", b"2", b"3", b"1", b"4"])
    await answer.run(charge=answer["charge_safely"], how={"charge": {"concurrency_limit": 1}})
    rows = await answer.sql(
        "SELECT id, charges, (SELECT count(*) FROM pgqueuer WHERE entrypoint = 'ship' AND payload = orders.id::text::bytea)"
        " FROM orders ORDER BY id"
    )
    columns = ("order", "charges", "jobs to ship it")
    want = [(1, 1, 1), (2, 0, 0), (3, 0, 0), (4, 1, 1)]
    if all(charges == 0 for _, charges, _ in rows):
        await answer.no_exceptions()
    if rows[3] != (4, 1, 1):
        answer.same(rows, want, "nothing", columns=columns)
    if rows[1][1] > rows[1][2]:
        answer.same(rows, want, "charged-for-nothing", columns=columns)
    if rows[2][2] > rows[2][1]:
        answer.same(rows, want, "a-gift", columns=columns)
    if rows[0] != (1, 1, 1):
        answer.same(rows, want, "twice", columns=columns)


def _charge(body: str) -> str:
    return f"""async def charge_safely(job: Job) -> None:
    async with database() as db:
        {body}
"""


_UPDATE = """await db.execute("UPDATE orders SET status = 'charged', charges = charges + 1 WHERE id = $1{guard}", int(job.payload))"""
_SHIP = 'await Queries(AsyncpgDriver(db)).enqueue("ship", job.payload)'
_GUARD = " AND status = 'new'"

ATOMIC = Exercise(
    id="atomic",
    kind="mend",
    title="Both lines, or neither",
    minutes=5,
    task="Mend this step. Whatever happens, an order is charged just when it has a job of `ship`, and once, even if its "
    "own job comes twice. (The check cuts connections at the worst moments.)",
    given=NOTEBOOK,
    names=("charge_safely",),
    stub="""async def charge_safely(job: Job) -> None:
    charge = '''UPDATE orders SET status = 'charged',
        charges = charges + 1 WHERE id = $1'''
    async with database() as db:
        await db.execute(charge, int(job.payload))
        await Queries(AsyncpgDriver(db)).enqueue("ship", job.payload)""",
    solution=f"""async def charge_safely(job: Job) -> None:
    async with database() as db, db.transaction():
        charged = {_UPDATE.format(guard=_GUARD)}
        if charged == "UPDATE 1":
            {_SHIP}
""",
    also=(
        f"""async def charge_safely(job: Job) -> None:
    async with database() as db, db.transaction():
        if await db.fetchval("SELECT status FROM orders WHERE id = $1 FOR UPDATE", int(job.payload)) != "new":
            return
        {_SHIP}
        {_UPDATE.format(guard="")}
""",
        f"""async def charge_safely(job: Job) -> None:
    async with database() as db:
        try:
            async with db.transaction():
                if {_UPDATE.format(guard=_GUARD)} == "UPDATE 0":
                    return
                {_SHIP}
        except (asyncpg.PostgresError, OSError) as error:
            raise RetryRequested(reason=str(error)) from error
""",
    ),
    check=charged_and_shipped_together,
    hints=(
        "Both lines write to the same Postgres, so one transaction can hold them.",
        "And the second delivery of order 1 must find that it is charged: a guard, whose result says whether to go on.",
        "`async with database() as db, db.transaction():`, then `UPDATE … AND status = 'new'`, and `enqueue` only "
        "after `\"UPDATE 1\"`.",
    ),
    why="The transaction keeps the two lines together, the guard keeps the second delivery out. Each without the other "
    "is not enough: a guard alone takes half a step for a whole one.",
    wrong=(
        Wrong("a guard, no transaction", _charge(f"if {_UPDATE.format(guard=_GUARD)} == 'UPDATE 1':\n            {_SHIP}"), "charged-for-nothing"),
        Wrong(
            "the lines are swapped",
            _charge(f"if await db.fetchval('SELECT status FROM orders WHERE id = $1', int(job.payload)) == 'new':\n"
                    f"            {_SHIP}\n            {_UPDATE.format(guard='')}"),
            "a-gift",
        ),
        Wrong("caught", _charge(f"try:\n            {_UPDATE.format(guard=_GUARD)}\n            {_SHIP}\n        except Exception:\n            pass"), "charged-for-nothing"),
        Wrong("a transaction, no guard", _charge(f"async with db.transaction():\n            {_UPDATE.format(guard='')}\n            {_SHIP}"), "twice"),
        Wrong("the job every time", _charge(f"async with db.transaction():\n            {_UPDATE.format(guard=_GUARD)}\n            {_SHIP}"), "twice"),
        Wrong(
            "two connections",
            _charge(f"async with db.transaction():\n            if {_UPDATE.format(guard=_GUARD)} == 'UPDATE 1':\n"
                    f"                async with database() as other:\n                    {_SHIP.replace('(db)', '(other)')}"),
            "a-gift",
        ),
        Wrong("no job", _charge(_UPDATE.format(guard=_GUARD)), "nothing"),
        Wrong("another status", _charge(f"async with db.transaction():\n            if {_UPDATE.format(guard=_GUARD.replace('new', 'paid'))} == 'UPDATE 1':\n                {_SHIP}"), "nothing"),
    ),
    messages={
        "nothing": "Nothing happened to order 4: it should be charged, with one job to ship it.",
        "charged-for-nothing": "The session of order 2 ended at the enqueue. It is charged, and no job will ever ship it.",
        "a-gift": "The session of order 3 ended before its UPDATE took effect. It was not charged, and a job will ship it all the same.",
        "twice": "The job of order 1 came twice, and the order was charged or sent on twice.",
    },
)  # fmt: skip


LOST_TABLE = """
| order | its status | what the log says of its jobs |
| --- | --- | --- |
| 1 | shipped | charge: successful · ship: successful |
| 2 | charged | charge: exception, ConnectionError |
| 3 | charged | charge: successful · ship: queued |
| 4 | charged | charge: successful · ship: queued again, RetryRequested |
| 5 | new | charge: queued |
| 6 | charged | charge: successful, after a retry that found it charged |"""


async def two_are_lost(answer: Answer) -> None:
    try:
        named = set(answer["lost"])
    except TypeError:
        raise NotYet("a-list") from None
    for order, key in ((1, "is-done"), (3, "waits"), (4, "comes-again"), (5, "waits")):
        if order in named:
            raise NotYet(key, order=order)
    if named != {2, 6}:
        raise NotYet("more" if named < {2, 6} else "a-list")


LOST = Exercise(
    id="lost",
    kind="read",
    title="Which orders are lost?",
    minutes=3,
    processes=0,
    task="An order is *lost* when somebody has paid, and no job will ever ship it. Which of these are?\n"
    + LOST_TABLE,
    names=("lost",),
    stub="lost = []  # the numbers of the orders",
    solution="lost = [2, 6]",
    also=("lost = (6, 2)", "lost = {2, 6}"),
    check=two_are_lost,
    hints=(
        "A job that is queued will run some day, for the first time or once more.",
        "A job that ended with an exception has left the queue. And one that was successful may have done nothing.",
        "Look at 2 and at 6: charged, and no job of `ship`.",
    ),
    why="Order 2 lost its job to an exception, order 6 to a guard that took half a step for a whole one. A retry saves "
    "the first and not the second; a transaction with a retry saves both.",
    wrong=(
        Wrong("all that are charged", "lost = [2, 3, 4, 6]", "waits"),
        Wrong("a retry is an exception", "lost = [2, 4, 6]", "comes-again"),
        Wrong("exceptions only", "lost = [2]", "more"),
        Wrong("the one that is done", "lost = [1]", "is-done"),
        Wrong("one number", "lost = 2", "a-list"),
    ),
    messages={
        "waits": "Order {order} is not lost: a job that is queued will run.",
        "comes-again": "Order {order} is not lost: its job was put back, and will come again.",
        "is-done": "Order {order} is shipped.",
        "more": "That is right, and one is missing. A job can be successful without having done anything.",
        "a-list": "`lost` is a list of the numbers of orders.",
    },
)


async def stuck_orders(answer: Answer) -> None:
    await answer.sql(
        "CREATE TABLE orders (id int PRIMARY KEY, status text, updated timestamptz);"
        "INSERT INTO orders SELECT id, status, now() - make_interval(mins => age) FROM (VALUES"
        " (1, 'shipped', 300), (2, 'charged', 120), (3, 'charged', 120), (4, 'new', 10), (5, 'new', 180), (6, 'new', 70)"
        ") AS o (id, status, age);"
    )
    await answer.enqueue("ship", [b"3"])
    await answer.enqueue("charge", [b"6"])
    await answer.enqueue("tidy", [None])
    await answer.sql("UPDATE pgqueuer SET status = 'picked' WHERE payload = '6'")
    await answer.write_log((20, "charge", "successful", 1), (21, "charge", "exception", 2, "KeyError: 5"))
    rows = sorted({row[:1] for row in await answer.ask("stuck")})
    numbers = {row[0] for row in rows}
    want, columns = [(2,), (5,)], ("order",)
    if numbers and not {2, 5} <= numbers:
        answer.same(rows, want, "missing", columns=columns)
    for wrong, key in (({3, 6}, "has-a-job"), ({4}, "too-young"), ({1}, "is-shipped")):
        if numbers & wrong:
            answer.same(rows, want, key, columns=columns)
    answer.same(rows, want, "none", columns=columns)


_HAS_A_JOB = "SELECT FROM pgqueuer WHERE payload = orders.id::text::bytea"
_STUCK = 'stuck = """SELECT id FROM orders\n    WHERE status <> \'shipped\' AND updated < now() - interval \'1 hour\'\n    {}"""'

STUCK = Exercise(
    id="stuck",
    kind="query",
    title="Orders that do not move",
    minutes=5,
    processes=0,
    task="Every morning somebody looks for orders that are not `shipped`, have not moved for an hour, and for which no "
    "job waits or runs. Write that query. (`orders` has `id`, `status` and `updated`; a payload is "
    "`id::text::bytea`, or NULL. `NOT EXISTS (SELECT …)` helps.)",
    names=("stuck",),
    stub=_STUCK.format("-- and no job waits or runs for it"),
    solution=_STUCK.format(f"AND NOT EXISTS ({_HAS_A_JOB})"),
    also=(
        _STUCK.format("AND id NOT IN (SELECT convert_from(payload, 'UTF8')::int FROM pgqueuer WHERE payload IS NOT NULL)"),
        '''stuck = """SELECT orders.id, orders.status FROM orders
    LEFT JOIN pgqueuer ON payload = convert_to(orders.id::text, 'UTF8')
    WHERE pgqueuer.id IS NULL AND orders.status IN ('new', 'charged') AND age(now(), orders.updated) > '1 hour'"""''',
    ),
    check=stuck_orders,
    hints=(
        "As long as no job is held, the queue has just those that wait or run. So an order is stuck if the queue has "
        "none with its id.",
        "`NOT EXISTS (SELECT FROM pgqueuer WHERE …)`; a payload is bytes, and `id::text::bytea` is the id as bytes.",
        "`AND NOT EXISTS (SELECT FROM pgqueuer WHERE payload = orders.id::text::bytea)`.",
    ),
    why="This query finds orders whose job is gone, whatever took it. Held jobs, and names that nobody knows, need an "
    "alarm of their own. `NOT EXISTS` is safe where "
    "`NOT IN` is not: with one NULL among its values, `NOT IN` is never true.",
    wrong=(
        Wrong("NOT IN, and a payload is NULL", _STUCK.format("AND id::text::bytea NOT IN (SELECT payload FROM pgqueuer)"), "none"),
        Wrong("no thought of jobs", _STUCK.format("AND true"), "has-a-job"),
        Wrong("only queued ones", _STUCK.format(f"AND NOT EXISTS ({_HAS_A_JOB} AND status = 'queued')"), "has-a-job"),
        Wrong("the job's id for the order's", _STUCK.format("AND id NOT IN (SELECT id FROM pgqueuer)"), "missing"),
        Wrong("the job's id in NOT EXISTS", _STUCK.format("AND NOT EXISTS (SELECT FROM pgqueuer WHERE payload = id::text::bytea)"), "has-a-job"),
        Wrong("any job of any order", _STUCK.format("AND NOT EXISTS (SELECT FROM pgqueuer)"), "none"),
        Wrong("any age", _STUCK.format(f"AND NOT EXISTS ({_HAS_A_JOB})").replace("1 hour", "1 minute"), "too-young"),
        Wrong("any status", _STUCK.format(f"AND NOT EXISTS ({_HAS_A_JOB})").replace("status <> 'shipped'", "true"), "is-shipped"),
    ),
    messages={
        "none": "No row at all. One job has no payload, and with a NULL among its values `NOT IN` is never true; and a "
        "`NOT EXISTS` asks for a job of *this* order.",
        "has-a-job": "An order is among them for which a job waits or runs. (Inside of `SELECT … FROM pgqueuer`, `id` is "
        "the job's: the order's is `orders.id`.)",
        "missing": "An order is missing: it has not moved for hours, and no job has its number as the payload.",
        "too-young": "Order 4 is ten minutes old. It may be on its way.",
        "is-shipped": "Order 1 is shipped. It need not move any more.",
    },
)  # fmt: skip

EXERCISES = (THANK, ATOMIC, LOST, STUCK)
