"""Each hint: what it is for, and three correct programs that look like that, where it stays silent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit.errors.hints import HINTS
from tests.test_mistakes import Cell, notebook_in

SETUP = """
import asyncio, contextlib, json, sys
from datetime import date, datetime, timedelta, timezone
import asyncpg, pandas as pd, psycopg
import kit
from pgqueuer import AsyncpgDriver, PgQueuer, Queries
from pgqueuer.core.completion import CompletionWatcher
from pgqueuer.db import AsyncpgPoolDriver, PsycopgDriver, SyncPsycopgDriver
from pgqueuer.queries import SyncQueries
kit.postgres('embedded', database='hints')
conn = await asyncpg.connect()
other = await psycopg.AsyncConnection.connect(autocommit=True)
plain = psycopg.connect(autocommit=True)
q, p, s = Queries(AsyncpgDriver(conn)), Queries(PsycopgDriver(other)), SyncQueries(SyncPsycopgDriver(plain))
await q.enqueue('seed', b'1', dedupe_key='seed')
ids = await q.enqueue(['held'] * 2, [b'1'] * 2, [0, 0])
"""
FILES = {
    "producer.py": "import asyncio\nasync def main():\n    pass\nasyncio.run(main())\n",
    "guarded.py": "import asyncio\nasync def main():\n    return 7\nif __name__ == '__main__':\n"
    "    asyncio.run(main())\n",
    "helper.py": "import asyncio\nasync def main():\n    return 7\n"
    "def go():\n    return asyncio.run(main())\n",
    "lacks.py": "def go():\n    return Job\n",
    "has.py": "from pgqueuer.models import Job\ndef go():\n    return Job\n",
}


@dataclass
class Mistake:
    """A cell with a mistake, how its hint begins, cells like it that are right, and which row this tries."""

    code: str
    hint: str
    like: tuple[str, str, str]
    row: str = ""  # the function that makes the hint; nothing where the row has a text


BYTES = "A payload is bytes: write b'hello'"
RANGE = "It takes a whole number from -2147483648 to 2147483647"
LENGTH = "It takes a length of time, as execute_after is"
MOMENT = "execute_after is how long from now"
LISTS = "For several jobs entrypoint, payload and priority are lists"
IDS = "It takes a list of ids, such as [1]"
UTC = "One of these times has no time zone"
DOUBLE = "In SQL double quotes name a column"
DICT = "A payload is bytes: make a text of a dict or a list"
MAGIC = "%%time, %%capture and others"
ENDED = "A statement before this one failed"
CLOSED = "A closed connection stays closed."
NOTHING_THERE = "Nothing is there under this address."
SENT = (
    "await q.enqueue('f', b'hello')",
    "await p.enqueue('f', 'hello')",
    "s.enqueue('f', 'hello'.encode(), 3, timedelta(seconds=5))",
)
LATER = (
    "await q.enqueue('f', None, execute_after=datetime(2999, 1, 1) - datetime.now())",
    "then = datetime(2999, 1, 1, tzinfo=timezone.utc)\n"
    "await p.enqueue('f', None, execute_after=then - datetime.now(timezone.utc))",
    "s.enqueue('f', None, execute_after=timedelta(days=1))",
)
SEVERAL = (
    "await q.enqueue(['f'] * 2, [b'1', b'2'], [0, 0])",
    "await p.enqueue(['f'] * 2, [None, None], [0, 0], [timedelta(0), None])",
    "s.enqueue(['f'], [b'1'], [0], dedupe_key=[None], headers=[None])",
)
LISTED = (
    "await q.requeue_jobs([1]); await p.requeue_jobs([1, 2]); await q.requeue_jobs(ids)",
    "await q.mark_job_as_cancelled([])",
    "await p.mark_job_as_cancelled(await p.enqueue('gone', None))",
)
QUOTED = (
    """await conn.fetch('SELECT "entrypoint" FROM pgqueuer WHERE entrypoint = $1', 'f')""",
    """await other.execute("SELECT 1 AS \\"fetch\\" WHERE 'a' = 'a'")""",
    """kit.sql("SELECT id FROM pgqueuer WHERE entrypoint = 'f'")""",
)
ENDS = (
    "async with conn.transaction():\n    with contextlib.suppress(asyncpg.DivisionByZeroError):\n"
    "        async with conn.transaction():\n            await conn.execute('SELECT 1/0')\n"
    "    await conn.execute('SELECT 1')",
    "with contextlib.suppress(psycopg.errors.DivisionByZero):\n    plain.execute('SELECT 1/0')\n"
    "plain.execute('SELECT 1')",
    "own = psycopg.connect()\nwith contextlib.suppress(psycopg.errors.DivisionByZero):\n"
    "    own.execute('SELECT 1/0')\nown.rollback()\nown.execute('SELECT 1')\nown.close()",
)
OPEN = (
    "async with asyncpg.create_pool(min_size=1) as pool:\n    await pool.fetch('SELECT 1')",
    "own = await asyncpg.connect()\nawait own.close()\nown.is_closed()",
    "with psycopg.connect() as own:\n    own.execute('SELECT 1')\nassert own.closed",
)
ADDRESSES = (
    "own = await asyncpg.connect(database='hints')\nawait own.close()",
    "with contextlib.suppress(ConnectionRefusedError):\n    await asyncio.open_connection('127.0.0.1', 1)",
    "with contextlib.suppress(psycopg.OperationalError):\n    psycopg.connect(port=1)",
)
DRIVERS = (
    "PgQueuer(AsyncpgDriver(conn)), PgQueuer(PsycopgDriver(other))",
    "async with asyncpg.create_pool(min_size=1) as pool:\n"
    "    await Queries(AsyncpgPoolDriver(pool)).enqueue('f', None)",
    "async with asyncpg.create_pool(min_size=1) as pool, pool.acquire() as own:\n"
    "    await Queries(AsyncpgDriver(own)).enqueue('f', None)",
)
LOOPS = (
    "await asyncio.to_thread(asyncio.run, asyncio.sleep(0))",
    "asyncio.get_running_loop().call_soon(int)",
    "import guarded\nassert await guarded.main() == 7",
)
CALLS = (
    "await kit.wait(0)",
    "waits = kit.wait\nawait waits(0)",
    "jobs = kit.jobs()\nx = await asyncio.sleep(0, jobs)",
)
MAGICS = ("%time 1 + 1", "%%time\nasync def f():\n    await asyncio.sleep(0)", "%%capture out\nprint('x')")
FRAME = (
    "kit.jobs()[['id', 'status']]",
    "pairs = {('id', 'status'): 1}\npairs['id', 'status']",
    "two = kit.jobs().pivot_table(index='id', columns=['status', 'entrypoint'], values='priority')\n"
    "two['queued', 'seed']",
)
TIMES = (
    "kit.jobs().created > datetime.now(timezone.utc)",
    "pd.Timestamp.now('UTC') - kit.jobs().created",
    "datetime.now() - datetime(2025, 1, 1), pd.Series([datetime.now()]) > datetime(2025, 1, 1)",
)
NAMES = (
    "later = lambda: made_below\nmade_below = 1\nlater()",
    "with contextlib.suppress(NameError):\n    never_made",
    "'never_made' in globals()",
)
AWAITED = (
    "(await q.enqueue('f', None))[0]",
    "[await call for call in [q.enqueue('f', None)]]",
    "calls = [q.enqueue('f', None)]\nfor call in calls: await call",
)
KEYS = (
    "await q.enqueue('f', None, dedupe_key='seed', on_conflict='skip')",
    "await q.enqueue(['f'] * 2, [None] * 2, [0, 0], dedupe_key=['x', 'y'])\nawait q.clear_queue('f')",
    "with contextlib.suppress(asyncpg.UniqueViolationError):\n"
    "    await conn.execute('CREATE TEMP TABLE t (n int UNIQUE); INSERT INTO t VALUES (1), (1)')",
)

MISTAKES = [
    Mistake(
        "never_made",
        "This notebook has no name 'never_made' yet. Run the cells above",
        NAMES,
        "_unknown_name",
    ),
    Mistake(
        "main",
        "This notebook has no name 'main' yet. Run the cells above",
        NAMES,
        "_unknown_name",
    ),
    Mistake(
        "kit.predict('names', known=successful, unknown=queued)",
        "a restarted kernel has forgotten all that they made. If it is a text, put it in quotes.",
        NAMES,
        "_unknown_name",
    ),
    Mistake(
        "def main():\n    pgq = 1\n    return lambda: pgq\n\n@pgq.entrypoint('fetch')\ndef fetch(): 1",
        "'pgq' is known only inside of main(), which makes it: write this line there, indented; or run",
        NAMES,
        "_unknown_name",
    ),
    Mistake(
        "pritn('x')",
        "This notebook has no name 'pritn'. Is 'print' meant? If not, first run",
        NAMES,
        "_unknown_name",
    ),
    Mistake(
        "import lacks\nlacks.go()",
        "lacks.py has no name 'Job': a file knows only what it imports",
        (
            "import has\nhas.go()",
            "import lacks\nlacks.Job = 1\nlacks.go()\ndel lacks.Job",
            "import has\nhas.Job",
        ),
        "_unknown_name",
    ),
    Mistake(
        "asyncio.run(q.queue_size())", "A notebook has a loop that runs already, so", LOOPS, "_second_loop"
    ),
    Mistake(
        "import producer", "A notebook has a loop that runs already, and producer.py", LOOPS, "_second_loop"
    ),
    Mistake(
        "%run guarded.py", "A notebook has a loop that runs already, and guarded.py", LOOPS, "_second_loop"
    ),
    Mistake(
        "import helper\nhelper.go()",
        "A notebook's loop runs already, and go starts one. In another thread it can: `await asyncio.to_",
        ("import helper\nassert await asyncio.to_thread(helper.go) == 7", *LOOPS[:2]),
        "_second_loop",
    ),
    Mistake(
        "async def main():\n    pgq = PgQueuer(AsyncpgDriver(conn))\n    @pgq.entrypoint('f')\n"
        "    async def f(job): ...\n    await pgq.run()\nasyncio.run(main())",
        "`await main()` would not come back, because main runs a consumer.",
        (
            "async def main():\n    pgq = PgQueuer.in_memory()\n    @pgq.entrypoint('f')\n"
            "    async def f(job): ...\n    return pgq\nawait main()",
            "async def main():\n    return 'runs'\nawait main()",
            "await asyncio.to_thread(lambda: asyncio.run(asyncio.sleep(0)))",
        ),
        "_second_loop",
    ),
    Mistake("%%capture out\nawait kit.wait(0)", MAGIC, MAGICS, "_second_loop"),
    Mistake("%time await kit.wait(0)", MAGIC, MAGICS),
    Mistake("%%time\nawait kit.wait(0)", MAGIC, MAGICS),
    Mistake("%timeit await kit.wait(0)", MAGIC, MAGICS),
    Mistake(
        "future = asyncio.get_running_loop().create_future()\nasync def use():\n    await future\n"
        "await asyncio.to_thread(lambda: asyncio.run(use()))",
        "It belongs to the loop it was made on",
        (
            "lock = asyncio.Lock()\nasync with lock: ...",
            "asyncio.Event().set()",
            "await asyncio.Queue().put(1)",
        ),
    ),
    Mistake("await kit.wait", "Nothing was called: `kit.wait` lacks its ( ).", CALLS, "_not_awaitable"),
    Mistake("await kit.jobs()", "This is a plain call, and it has done its work", CALLS, "_not_awaitable"),
    Mistake("await s.enqueue('f', None)", "This is a plain call, and it has done", CALLS, "_not_awaitable"),
    Mistake("x = 5\nawait x", "There is nothing to wait for: x is of type int.", CALLS, "_not_awaitable"),
    Mistake(
        "await conn.transaction()",
        "Nothing was done: it is for a block. Write `async with conn.transaction():`",
        (
            "async with conn.transaction(): ...",
            "change = conn.transaction()\nawait change.start()\nawait change.rollback()",
            "async with other.transaction(): ...",
        ),
        "_not_awaitable",
    ),
    Mistake(
        "await [kit.wait(0), kit.wait(0)]",
        "`await` takes one call; `await asyncio.gather(*[",
        (
            "await asyncio.gather(*[kit.wait(0)])",
            "[await each for each in [kit.wait(0)]]",
            "await asyncio.gather()",
        ),
        "_not_awaitable",
    ),
    Mistake(
        "N = 1_000 if len(sys.argv) == 1 else int(sys.argv[1])",
        "In a notebook sys.argv has what the kernel was started with.",
        ("sys.argv[0]", "int('7')", "with contextlib.suppress(ValueError):\n    int('-f')"),
    ),
    Mistake("kit.jobs().created > datetime.now()", UTC, TIMES),
    Mistake("kit.jobs().created > date(2025, 1, 1)", UTC, TIMES),
    Mistake("kit.jobs()[kit.jobs().created > pd.Timestamp('2025-01-31')]", UTC, TIMES),
    Mistake("datetime.now() - kit.jobs().created", UTC, TIMES),
    Mistake("datetime.now() - datetime.now(timezone.utc)", UTC, TIMES),
    Mistake(
        "kit.jobs()['id', 'status']",
        "Several columns are a list, in brackets of its own: [['id', 'status']].",
        FRAME,
        "_two_columns",
    ),
    Mistake("await q.enqueue('f', {'to': 'ada'})", DICT, SENT),
    Mistake("await p.enqueue('f', {'to': 'ada'})", DICT, SENT),
    Mistake("s.enqueue('f', {'to': 'ada'})", DICT, SENT),
    Mistake("await q.enqueue('f', 'hello')", BYTES, SENT),
    Mistake("await q.enqueue(['f'], ['hello'], [0])", BYTES, SENT),
    Mistake("await conn.fetchval('SELECT $1::bytea', 'hello')", "This value is bytes: write b'hello'", SENT),
    Mistake("await q.enqueue('f', None, execute_after=datetime(2999, 1, 1))", MOMENT, LATER),
    Mistake("await p.enqueue('f', None, execute_after=datetime(2999, 1, 1))", MOMENT, LATER),
    Mistake("s.enqueue('f', None, execute_after=datetime.now(timezone.utc))", MOMENT, LATER),
    Mistake("await q.enqueue('f', None, execute_after=5)", LENGTH, LATER),
    Mistake("await p.enqueue('f', None, execute_after=5)", LENGTH, LATER),
    Mistake("s.enqueue('f', None, execute_after=5)", LENGTH, LATER),
    Mistake("await q.enqueue('f', None, execute_after='5s')", "execute_after is a timedelta, such as", LATER),
    Mistake("await q.enqueue(['f', 'g'], [b'1', b'2'])", LISTS, SEVERAL),
    Mistake("await p.enqueue(['f', 'g'], [b'1'], [0, 0])", LISTS, SEVERAL),
    Mistake("s.enqueue(['f'] * 3, [b'1'] * 3, [0])", LISTS, SEVERAL),
    Mistake("await q.requeue_jobs(1)", IDS, LISTED),
    Mistake("await p.requeue_jobs(1)", IDS, LISTED),
    Mistake("await q.mark_job_as_cancelled(1)", IDS, LISTED),
    Mistake("await p.mark_job_as_cancelled([[999]])", IDS, LISTED),
    Mistake(
        "async with CompletionWatcher(q.driver, queries=q) as watcher:\n    await watcher.wait_for(ids)",
        "It takes one id, and enqueue(…) returns a list: write wait_for(ids[0]).",
        (
            "async with CompletionWatcher(q.driver, queries=q) as watcher:\n"
            "    done = await q.enqueue('f', None)\n    await q.mark_job_as_cancelled(done)\n"
            "    await watcher.wait_for(done[0])",
            "with contextlib.suppress(TypeError):\n    {[1]: 2}",
            "await asyncio.wait_for(asyncio.sleep(0), 5)",
        ),
    ),
    Mistake("await q.enqueue('f', None, priority='3')", "It takes a whole number, as a priority", SENT),
    Mistake("await q.enqueue('f', None, priority=10**10)", RANGE, SENT),
    Mistake("await p.enqueue('f', None, priority=10**10)", RANGE, SENT),
    Mistake("s.enqueue('f', None, priority=10**10)", RANGE, SENT),
    *(
        Mistake(code, hint, KEYS, "_duplicate")
        for code, hint in [
            (
                "await q.enqueue('f', None, dedupe_key='seed')",
                "A job with the dedupe_key 'seed' is queued or picked",
            ),
            (
                "await p.enqueue('f', None, dedupe_key='seed')",
                "A job with the dedupe_key 'seed' is queued or picked",
            ),
            (
                "s.enqueue(['f'] * 2, [None] * 2, [0, 0], dedupe_key=['new', 'seed'])",
                "A job with the dedupe_key 'seed' is queued or picked",
            ),
            (
                "await q.enqueue(['f'] * 2, [None] * 2, [0, 0], dedupe_key=['new', 'new'])",
                "Nothing was enqueued: the dedupe_key 'new' stands more than once in this call.",
            ),
            (
                """await conn.execute("CREATE UNIQUE INDEX one_each ON pgqueuer ((headers->>'order'))")\n"""
                "for each in q, p: await each.enqueue('f', None, headers={'order': '7'})",
                "Nothing was enqueued: the unique index 'one_each', which is not PGQueuer's, refuses it.",
            ),
        ]
    ),
    Mistake(
        "pool = asyncpg.create_pool()\nawait pool.fetch('SELECT 1')",
        "The pool was not awaited: write pool = await asyncpg.create_pool().",
        (DRIVERS[1], OPEN[0], "pool = await asyncpg.create_pool(min_size=1)\nawait pool.close()"),
    ),
    *(
        Mistake(code, hint, DRIVERS, "_wrong_connection")
        for code, hint in [
            (
                "await Queries(AsyncpgDriver(asyncpg.connect())).enqueue('f', None)",
                "AsyncpgDriver got a connection that was not awaited. Write AsyncpgDriver(await asyncpg.con",
            ),
            (
                "await Queries(AsyncpgDriver(other)).enqueue('f', None)",
                "AsyncpgDriver takes asyncpg.Connection, not psycopg.AsyncConnection: that is for Psycopg",
            ),
            ("await Queries(AsyncpgDriver(plain)).enqueue('f', None)", "AsyncpgDriver takes"),
            ("PsycopgDriver(conn)", "PsycopgDriver takes"),
            (
                "PsycopgDriver(psycopg.AsyncConnection.connect())",
                "PsycopgDriver got a connection that was not",
            ),
            ("await Queries(PsycopgDriver(plain)).enqueue('f', None)", "PsycopgDriver takes"),
            ("SyncQueries(SyncPsycopgDriver(other)).enqueue('f', None)", "SyncPsycopgDriver takes"),
            (
                "await Queries(AsyncpgPoolDriver(conn)).driver.add_listener('x', print)",
                "AsyncpgPoolDriver takes",
            ),
        ]
    ),
    Mistake("q.enqueue('f', None)[0]", "A call here was not awaited", AWAITED),
    Mistake("for row in conn.fetch('SELECT 1'): ...", "A call here was not awaited", AWAITED),
    Mistake("kit.wait(0).done", "A call here was not awaited", AWAITED),
    Mistake(
        "await asyncio.gather(conn.fetch('SELECT 1'), conn.fetch('SELECT 2'))",
        "A connection does one thing at a time.",
        (
            "await asyncio.gather(q.queue_size(), q.queue_size())",
            "await asyncio.gather(other.execute('SELECT 1'), other.execute('SELECT 2'))",
            "await conn.fetch('SELECT 1')\nawait conn.fetch('SELECT 2')",
        ),
    ),
    Mistake("own = await asyncpg.connect()\nawait own.close()\nawait own.fetch('SELECT 1')", CLOSED, OPEN),
    Mistake(
        "own = await psycopg.AsyncConnection.connect()\nawait own.close()\nawait own.execute('SELECT 1')",
        CLOSED,
        OPEN,
    ),
    Mistake("own = psycopg.connect()\nown.close()\nown.execute('SELECT 1')", CLOSED, OPEN),
    Mistake(
        "own = await asyncpg.connect()\nawait own.execute('BEGIN')\n"
        "with contextlib.suppress(asyncpg.DivisionByZeroError):\n    await own.execute('SELECT 1/0')\n"
        "await own.execute('SELECT 1')",
        ENDED,
        ENDS,
    ),
    Mistake(
        "own = psycopg.connect()\nwith contextlib.suppress(psycopg.errors.DivisionByZero):\n"
        "    own.execute('SELECT 1/0')\nown.execute('SELECT 1')",
        ENDED,
        ENDS,
    ),
    Mistake(
        """await conn.fetch('SELECT id FROM pgqueuer WHERE entrypoint = "fetch"')""",
        DOUBLE,
        QUOTED,
        "_quoted",
    ),
    Mistake(
        """await other.execute('SELECT id FROM pgqueuer WHERE entrypoint = "f"')""", DOUBLE, QUOTED, "_quoted"
    ),
    Mistake("""plain.execute('SELECT id FROM pgqueuer WHERE entrypoint = "f"')""", DOUBLE, QUOTED, "_quoted"),
    Mistake("""kit.sql('SELECT id FROM pgqueuer WHERE entrypoint = "f"')""", DOUBLE, QUOTED, "_quoted"),
    *(
        Mistake(
            code,
            "PGQueuer's tables are not in this database",
            (
                "await conn.fetch('SELECT 1 FROM pgqueuer'), plain.execute('SELECT 1 FROM pgqueuer_log')",
                "with contextlib.suppress(psycopg.Error):\n    plain.execute('TABLE pgqueuer_logs')",
                "await conn.execute('CREATE TEMP TABLE IF NOT EXISTS orders (id int)')",
            ),
        )
        for code in (
            "own = await asyncpg.connect(database='postgres')\nawait own.fetch('TABLE public.pgqueuer')",
            "own = psycopg.connect(dbname='postgres')\nown.execute('TABLE pgqueuer_log')",
        )
    ),
    Mistake("await asyncpg.connect(database='there_is_none')", NOTHING_THERE, ADDRESSES),
    Mistake("await asyncpg.connect(host='127.0.0.1', port=1)", NOTHING_THERE, ADDRESSES),
    Mistake("psycopg.connect(dbname='there_is_none')", NOTHING_THERE, ADDRESSES),
    Mistake("await psycopg.AsyncConnection.connect(host='127.0.0.1', port=1)", NOTHING_THERE, ADDRESSES),
]


@pytest.fixture(scope="module")
def cell(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """A kernel with connections of each driver."""
    folder = tmp_path_factory.mktemp("hints")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    with notebook_in(folder) as run:
        assert "Traceback" not in (shown := run(SETUP)), shown
        yield run


def hints_in(shown: str) -> list[str]:
    """Return the beginnings of hints that stand in what a cell showed."""
    known = {mistake.hint[:20] for mistake in MISTAKES} | {"Nothing has happened"}
    return [each for each in known if each in shown]


def last_line(code: str) -> str:
    return code.splitlines()[-1][:70]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: last_line(mistake.code))
def test_a_mistake_has_its_hint(cell: Cell, mistake: Mistake) -> None:
    shown = cell(mistake.code)
    assert mistake.hint in shown, shown
    assert "Traceback" in shown or "KitError" in shown


@pytest.mark.parametrize("code", sorted({code for each in MISTAKES for code in each.like}), ids=last_line)
def test_a_program_that_only_looks_like_a_mistake_has_no_hint(cell: Cell, code: str) -> None:
    shown = cell(code)
    assert "Traceback" not in shown, shown
    assert not hints_in(shown), shown


def test_every_hint_is_tried() -> None:
    for row in HINTS:
        if isinstance(row.text, str):
            beginning = row.text.partition("{")[0]
            assert any(
                beginning.startswith(each.hint) or each.hint.startswith(beginning) for each in MISTAKES
            ), row
        else:
            assert any(each.row == row.text.__name__ for each in MISTAKES), row
