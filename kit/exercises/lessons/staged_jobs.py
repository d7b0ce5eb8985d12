"""Exercises of the lesson *Staged jobs*."""

from __future__ import annotations

from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, Wrong

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
    after="about-thank",
    task="Write a third step, `thank`: it thanks the customer of a *shipped* order by counting up its column "
    "`thanks`. The job may be delivered twice, even at the same time; each order is thanked once. An order that "
    "is not shipped yet is not thanked.",
    given=NOTEBOOK,
    names=("thank",),
    stub="""async def thank(job: Job) -> None:
    async with database() as db, db.transaction():
        print("nothing is written yet")  # SET status = 'thanked', thanks = thanks + 1, but only if …
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

EXERCISES = (THANK,)
