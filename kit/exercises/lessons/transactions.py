"""Exercises of the lesson *Transactions*."""

from __future__ import annotations

from contextlib import AsyncExitStack
from textwrap import indent
from typing import Any

from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, NotYet, Wrong
from kit.exercises.lessons.accidents import cut_session_at_enqueue
from kit.session import session

NOTEBOOK = """
from contextlib import asynccontextmanager
import asyncpg
from pgqueuer import AsyncpgDriver, AsyncpgPoolDriver, Job, PgQueuer, Queries
from pgqueuer.errors import DuplicateJobError
conn = await asyncpg.connect()
q = Queries(AsyncpgDriver(conn))
"""


async def _all_are_done() -> None:
    import asyncpg

    db = await asyncpg.connect()
    await db.execute("DELETE FROM pgqueuer")
    await db.close()


async def paid_and_receipted(answer: Answer) -> None:
    await answer.sql("CREATE TABLE payments (order_id int PRIMARY KEY)")
    pay = answer["pay"]
    await cut_session_at_enqueue(answer, "NEW.payload = '3'")
    called = await answer.calls([(pay, (1,)), (_all_are_done, ()), (pay, (1,)), (pay, (2,)), (pay, (3,))])
    for one in (called[0], called[3]):
        if error := one.get("error"):
            raise NotYet("raises", error=f"{error['type']}: {error['message']}")
    paid = {order for (order,) in await answer.sql("SELECT order_id FROM payments")}
    ((receipts,),) = await answer.sql(
        "SELECT count(DISTINCT job_id) FROM pgqueuer_log WHERE entrypoint = 'receipt'"
    )
    columns = ("payments", "receipts")
    want, have = [(2, 2)], [(len(paid), receipts)]
    if 3 in paid:
        answer.same(have, want, "no-receipt", columns=columns)
    if receipts > 2:
        answer.same(have, want, "second-receipt", columns=columns)
    answer.same(have, want, "missing", columns=columns)


def _pay(body: str) -> str:
    lines = indent(body, "    ")
    return f"async def pay(order_id):\n{lines}\n"


_RECEIPT = 'await q.enqueue("receipt", str(order_id).encode())'
_INSERT = 'await conn.execute("INSERT INTO payments VALUES ($1)", order_id)'

PAY = Exercise(
    id="pay",
    kind="mend",
    title="One receipt for one payment",
    minutes=3,
    lent=True,
    cell="pay",
    task="Someone clicks *pay* twice. `payments` takes an order only once: the second INSERT raises. But the receipt was "
    "enqueued by then. Change `pay` so that there is one receipt for each payment, and none without one, also when the "
    "session ends in between, or when the first receipt is done before the second click.",
    given=NOTEBOOK,
    names=("pay",),
    stub=_pay(f"{_RECEIPT}\n{_INSERT}").rstrip(),
    solution=_pay(f"async with conn.transaction():\n    {_INSERT}\n    {_RECEIPT}"),
    also=(
        _pay(f"async with conn.transaction():\n    {_RECEIPT}\n    {_INSERT}"),
        _pay(
            'async with conn.transaction():\n    if await conn.execute("INSERT INTO payments VALUES ($1) ON CONFLICT DO NOTHING", order_id) == "INSERT 0 1":\n'
            f"        {_RECEIPT}"
        ),
    ),
    check=paid_and_receipted,
    hints=(
        "Two writes that are meant as one: where do they belong?",
        "`q` was made with `conn`, so a transaction of `conn` holds both.",
        "`async with conn.transaction():` around the two lines.",
    ),
    why="The transaction makes one of the two writes. An exception or a cut takes both back, in whichever order they "
    "stand. Swapping the lines, or a key for the job, only makes the gap smaller.",
    wrong=(
        Wrong("the lines are swapped", _pay(f"{_INSERT}\n{_RECEIPT}"), "no-receipt"),
        Wrong("a key for the job", _pay('await q.enqueue("receipt", str(order_id).encode(), dedupe_key=f"receipt {order_id}")\n' + _INSERT), "second-receipt"),
        Wrong("caught", _pay(f"{_RECEIPT}\ntry:\n    {_INSERT}\nexcept asyncpg.UniqueViolationError:\n    pass"), "second-receipt"),
        Wrong("another connection's transaction", _pay(f"db = await asyncpg.connect()\nasync with db.transaction():\n    {_RECEIPT}\n    {_INSERT.replace('conn', 'db')}"), "second-receipt"),
        Wrong("no receipt", _pay(_INSERT), "no-receipt"),
        Wrong("raises at once", _pay('raise ValueError("no")'), "raises"),
        Wrong("no payment", _pay("async with conn.transaction():\n    pass"), "missing"),
    ),
    messages={
        "no-receipt": "The session ended when the receipt of order 3 was enqueued. Its payment is there, and nobody will "
        "ever send a receipt.",
        "second-receipt": "There are more receipts than payments. The first receipt was done before the second click, so "
        "its key went with it; and what was enqueued outside of the transaction is not taken back.",
        "raises": "A first click raised {error}.",
        "missing": "Two orders were paid for, and each needs its payment and its receipt.",
    },
    equivalent={
        "swapped `await conn.execute('INSERT INTO payments VALUES ($1)', order` and the next":
        "in one transaction the order does not count",
    },
)  # fmt: skip


async def _place(order_book: Any, numbers: list[int]) -> None:
    for number in numbers:
        try:
            await order_book(number)
        except Exception as error:
            print(type(error).__name__, flush=True)


async def order_and_job_together(answer: Answer) -> None:
    await answer.sql(
        "CREATE TABLE orders (id int UNIQUE DEFERRABLE INITIALLY DEFERRED, book text); INSERT INTO orders VALUES (2, 'Emma');"
    )
    await cut_session_at_enqueue(answer, "NEW.payload = '3'")
    await answer.run_function(_place, answer["order_book"], [1, 2, 3])
    orders = await answer.sql("SELECT id, count(*) FROM orders GROUP BY 1 ORDER BY 1")
    jobs = await answer.sql(
        "SELECT convert_from(payload, 'UTF8')::int, count(*) FROM pgqueuer WHERE entrypoint = 'ship' GROUP BY 1 ORDER BY 1"
    )
    if not jobs and 1 in dict(orders):
        answer.same(jobs, [(1, 1)], "no-job", columns=("job for order", "jobs"))
    if [order for order, _ in orders] == [1, 2, 3]:
        answer.same(orders, [(1, 1), (2, 1)], "order-without-job", columns=("order", "rows"))
    if [order for order, _ in orders] != [1, 2]:
        answer.same(orders, [(1, 1), (2, 1)], "no-order", columns=("order", "rows"))
    columns = ("job for order", "jobs")
    answer.same(jobs, [(1, 1)], "job-without-order", columns=columns)


def _book(enqueue: str, before: str = "") -> str:
    return f"""{before}async def order_book(number):
    shop = await asyncpg.connect()
    async with shop.transaction():
        await shop.execute("INSERT INTO orders VALUES ($1, 'Dune')", number)
        {enqueue}
    await shop.close()
"""


CONNECTION = Exercise(
    id="connection",
    kind="mend",
    title="On the right connection",
    minutes=3,
    lent=True,
    task="Here the order is written in a transaction, and the job on another connection. When the transaction does not "
    "come to its commit (there is an order 2 already), the job is there all the same. Mend it.",
    given=NOTEBOOK,
    names=("order_book",),
    stub=_book('await q.enqueue("ship", str(number).encode())').rstrip(),
    solution=_book('await Queries(AsyncpgDriver(shop)).enqueue("ship", str(number).encode())'),
    also=(
        """async def order_book(number):
    async with conn.transaction():
        await q.enqueue("ship", b"%d" % number)
        await conn.execute("INSERT INTO orders VALUES ($1, 'Dune')", number)
""",
        _book('await Queries.from_asyncpg_connection(shop).enqueue(["ship"], [str(number).encode()], [0])'),
    ),
    check=order_and_job_together,
    hints=(
        "A transaction belongs to one connection. On which one is the job enqueued?",
        "Make a `Queries` with the connection that has the transaction.",
        '`await Queries(AsyncpgDriver(shop)).enqueue("ship", …)`.',
    ),
    why="The job appears with the order, in the same instant, or neither does. A `Queries` costs nothing: make one where "
    "the transaction is.",
    wrong=(
        Wrong("the job first, on q", 'async def order_book(number):\n    await q.enqueue("ship", str(number).encode())\n    async with conn.transaction():\n        await conn.execute("INSERT INTO orders VALUES ($1, \'Dune\')", number)\n', "job-without-order"),
        Wrong("a pool", _book('async with asyncpg.create_pool(min_size=1) as pool:\n            await Queries(AsyncpgPoolDriver(pool)).enqueue("ship", str(number).encode())'), "job-without-order"),
        Wrong("committed by hand", _book('await shop.execute("COMMIT")\n        await q.enqueue("ship", str(number).encode())').replace("async with shop.transaction():\n", "if await shop.execute('BEGIN'):\n").replace('await shop.execute("COMMIT")\n        await q.enqueue("ship", str(number).encode())', 'await q.enqueue("ship", str(number).encode())\n        await shop.execute("COMMIT")'), "job-without-order"),
        Wrong("no job", _book("pass"), "no-job"),
        Wrong("no transaction", _book('await Queries(AsyncpgDriver(shop)).enqueue("ship", str(number).encode())').replace("async with shop.transaction()", "if shop"), "order-without-job"),
        Wrong("no order", 'async def order_book(number):\n    if number == 1:\n        await q.enqueue("ship", b"1")\n', "no-order"),
    ),
    messages={
        "job-without-order": "The second order 2 was taken back at its commit, and its job was not: it was enqueued "
        "outside of that transaction.",
        "no-job": "The order is there, and no job ships it.",
        "order-without-job": "The session of order 3 ended at the enqueue, and the order is there all the same: no job will "
        "ever ship it.",
        "no-order": "Order 1 is not in the table.",
    },
    equivalent={
        'swapped `await shop.execute("INSERT INTO orders VALUES ($1, \'Dune\')",` and the next':
        "in one transaction the order does not count",
    },
)  # fmt: skip


async def _express(express: Any, orders: list[int]) -> None:
    import asyncpg
    from pgqueuer import AsyncpgDriver, Queries

    q = Queries(AsyncpgDriver(await asyncpg.connect()))
    for order in orders:
        try:
            await express(q, order)
        except Exception as error:
            raise RuntimeError(f"order {order}: {type(error).__name__}") from error


async def one_job_and_first(answer: Answer) -> None:
    await answer.enqueue("ship", [b"1", b"2"], dedupe_key=["ship 1", "ship 2"])
    called = await answer.calls([(_express, (answer["express"], [1, 3, 3]))])
    if error := called[0].get("error"):
        if "DuplicateJobError" in error["message"]:
            raise NotYet("raises", order=error["message"])
        raise NotYet("raised", error=error["message"], place="")
    rows = await answer.sql(
        "SELECT convert_from(payload, 'UTF8'), priority, dedupe_key FROM pgqueuer WHERE entrypoint = 'ship'"
        " ORDER BY payload, id"
    )
    want, columns = (
        [("1", 9, "ship 1"), ("2", 0, "ship 2"), ("3", 9, "ship 3")],
        ("payload", "priority", "dedupe_key"),
    )
    payloads = [payload for payload, _, _ in rows]
    if payloads.count("1") > 1 or payloads.count("3") > 1:
        answer.same(rows, want, "two-jobs", columns=columns)
    if "3" not in payloads:
        answer.same(rows, want, "one-key", columns=columns)
    answer.same(rows, want, "stays" if ("1", 0, "ship 1") in rows else "another-job", columns=columns)


def _dedupe(arguments: str) -> str:
    return f'async def express(q, order):\n    await q.enqueue("ship", str(order).encode(), {arguments})\n'


DEDUPE = Exercise(
    id="dedupe",
    kind="complete",
    title="Now with express",
    minutes=4,
    task="Each order has at most one job that ships it, with the dedupe key `ship 1` for order 1, and so on. A customer "
    "who pays for *express* wants it at once: `express` gives the job of the order the priority 9, whether it waits "
    "already or not, and however often they click.",
    given=NOTEBOOK,
    names=("express",),
    stub=_dedupe("9").rstrip(),
    solution=_dedupe('9, dedupe_key=f"ship {order}", on_conflict="update_priority"'),
    also=(
        'async def express(q, order):\n    await q.enqueue(["ship"], [str(order).encode()], [9], dedupe_key=["ship " + str(order)], on_conflict="update_priority")\n',
        _dedupe('9, dedupe_key=f"ship {order}", on_conflict="skip"') + '    await q.driver.execute("UPDATE pgqueuer SET priority = 9 WHERE dedupe_key = $1", f"ship {order}")\n',
    ),
    check=one_job_and_first,
    hints=(
        "The key has to be the one that the job in the queue has.",
        "There are three ways to go on when the key is taken; section 4 names them.",
        '`dedupe_key=f"ship {order}", on_conflict="update_priority"`.',
    ),
    why="The key finds the job that waits, and `update_priority` moves it forward. No second job is made, and nobody has "
    "to look first.",
    wrong=(
        Wrong("no way out", _dedupe('9, dedupe_key=f"ship {order}"'), "raises"),
        Wrong("skipped", _dedupe('9, dedupe_key=f"ship {order}", on_conflict="skip"'), "stays"),
        Wrong("one key for all", _dedupe('9, dedupe_key="ship 1", on_conflict="update_priority"'), "one-key"),
        Wrong("a key of its own", _dedupe('9, dedupe_key=f"express {order}", on_conflict="update_priority"'), "two-jobs"),
        Wrong("another priority", _dedupe('5, dedupe_key=f"ship {order}", on_conflict="update_priority"'), "another-job"),
    ),
    messages={
        "raises": "The job of an order waited already, and a DuplicateJobError was raised. `on_conflict` says what "
        "happens instead.",
        "stays": "There is one job, and its priority is still 0: the customer has paid for express, and waits.",
        "one-key": "Order 3 has no job of its own: its key was that of another order.",
        "two-jobs": "An order has two jobs, and would be shipped twice.",
        "another-job": "The jobs are others.",
    },
)  # fmt: skip


async def longest_open(answer: Answer) -> None:
    async with AsyncExitStack() as stack:
        elsewhere = await stack.enter_async_context(session.target().connect())
        await elsewhere.execute("BEGIN; SELECT 'another database'")
        first = await stack.enter_async_context(answer.another())
        await first.execute("BEGIN")
        await first.execute("SELECT 1 AS begun")
        second = await stack.enter_async_context(answer.another())
        await second.execute("BEGIN; SELECT 2 AS later")
        idle = await stack.enter_async_context(answer.another())
        await idle.execute("SELECT 3 AS idle")
        await first.execute("SELECT 1 AS again")
        pids = {
            one.get_server_pid(): name for one, name in ((first, "first"), (second, "second"), (idle, "idle"))
        }
        rows = await answer.ask("open_longest")
        who = pids.get(rows[0][0], "another") if rows else "nobody"
        texts = [str(value) for value in rows[0]] if rows else []
        pid = rows[0][0] if rows and isinstance(rows[0][0], int) else 0
        here = await answer.sql(
            "SELECT datname = current_database() FROM pg_stat_activity WHERE pid = $1", pid
        )
    columns = ("pid", "since", "query")
    if here == [(False,)]:
        raise NotYet("another-database", actual=rows, columns=columns)
    if who == "idle":
        raise NotYet("idle", actual=rows, columns=columns)
    if who != "first":
        raise NotYet("last-statement" if who == "second" else "not-it", actual=rows, columns=columns)
    if len(texts) < 3 or not any("again" in text for text in texts):
        raise NotYet("columns", actual=rows, columns=columns)


def _open(columns: str, condition: str, order: str) -> str:
    return f'open_longest = """SELECT {columns} FROM pg_stat_activity\n    WHERE {condition} ORDER BY {order} LIMIT 1"""'


_HERE = "datname = current_database() AND xact_start IS NOT NULL"

OPEN = Exercise(
    id="open",
    kind="query",
    title="Who holds it open?",
    minutes=4,
    processes=0,
    task="The queue grows slow, and an open transaction may keep its dead rows. Who has had one "
    "open *longest*? One row with three columns: its pid, since when, and its last query. (`pg_stat_activity` has "
    "`pid`, `datname`, `state`, `xact_start`, `query_start` and `query`.)",
    names=("open_longest",),
    stub=_open("pid, query_start, query", "state = 'active'", "query_start"),
    solution=_open("pid, xact_start, query", _HERE, "xact_start"),
    also=(
        _open("pid, now() - xact_start AS open_for, query, state", "state LIKE 'idle in transaction%' AND datname = current_database()", "xact_start"),
        _open("pid, age(clock_timestamp(), xact_start), left(query, 80)", _HERE + " AND pid <> pg_backend_pid()", "2 DESC"),
    ),
    check=longest_open,
    hints=(
        "A transaction begins earlier than its last statement.",
        "`xact_start` is NULL for a session without a transaction. Other databases keep no rows of this one.",
        "`WHERE datname = current_database() AND xact_start IS NOT NULL ORDER BY xact_start`.",
    ),
    why="The oldest transaction decides which dead rows must stay. Its session is usually *idle*, so who asks for active "
    "ones never finds it.",
    wrong=(
        Wrong("active ones", _open("pid, xact_start, query", "state = 'active' AND datname = current_database()", "xact_start"), "not-it"),
        Wrong("all databases", _open("pid, xact_start, query", "xact_start IS NOT NULL", "xact_start"), "another-database"),
        Wrong("the last statement", _open("pid, query_start, query", _HERE, "query_start"), "last-statement"),
        Wrong("whoever is idle", _open("pid, xact_start, query", "state = 'idle' AND datname = current_database()", "query_start DESC"), "idle"),
        Wrong("only the pid", _open("pid", _HERE, "xact_start"), "columns"),
    ),
    messages={
        "not-it": "That is somebody else. The session that has had its transaction open longest is not at work just now: "
        "it is idle *in* a transaction.",
        "another-database": "That session is in another database, and keeps no rows of this one.",
        "last-statement": "That session's last statement is the oldest. The transaction of another one began before.",
        "idle": "That session has no transaction open at all.",
        "columns": "It is the right one. Three columns are asked for: pid, since when, and the query.",
    },
    equivalent={
        'SQL: another word for `1`': 'a second row below the right one',
    },
)  # fmt: skip

EXERCISES = (PAY, CONNECTION, DEDUPE, OPEN)
