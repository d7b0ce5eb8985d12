"""PGQueuer's documentation: its README as it is installed, and the shapes of its other snippets.

Each goes through a cell; what is a consumer goes through `kit.run` and `kit.spawn` as well.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from tests.test_mistakes import Cell, notebook_in

README = re.findall(
    r"```python\n(.*?)```", metadata.distribution("pgqueuer").read_text("METADATA") or "", re.S
)
SETUP = """
import kit
kit.postgres('embedded', database='documentation')
import asyncio, asyncpg, psycopg
from pgqueuer import AsyncpgDriver, PgQueuer, Queries
connection = await asyncpg.connect()
driver = AsyncpgDriver(connection)
queries = Queries(driver)
"""
ORDERS = "await connection.execute('CREATE TABLE IF NOT EXISTS orders (id int, status text)')"
IMPORTS = """
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
import asyncio, json
import asyncpg
import psycopg
from pgqueuer import PgQueuer, Queries, QueueManager, SchedulerManager
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver, PsycopgDriver
from pgqueuer.executors import AbstractEntrypointExecutor, DatabaseRetryEntrypointExecutor
from pgqueuer.models import Context, Job, Schedule, ScheduleContext
"""
HANDLER = """
    @pgq.entrypoint("fetch")
    async def process(job: Job) -> None:
        print(f"Processed: {job.payload!r}")
"""


def main(made: str, handler: str = HANDLER, end: str = "yield pgq") -> str:
    """Return a module with a ``main`` of the form that PGQueuer's documentation has today."""
    body = f"{textwrap.indent(made, '    ')}\n{handler}\n    {end}\n"
    return f"{IMPORTS}\n@asynccontextmanager\nasync def main():\n{body}"


CONNECTION = "pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))"
CONSUMERS = {
    "a driver over a connection": main(CONNECTION),
    "from a connection": main("pgq = PgQueuer.from_asyncpg_connection(await asyncpg.connect())"),
    "from a pool": main("pool = await asyncpg.create_pool()\npgq = PgQueuer.from_asyncpg_pool(pool)"),
    "from psycopg": main(
        "connection = await psycopg.AsyncConnection.connect(autocommit=True)\n"
        "pgq = PgQueuer.from_psycopg_connection(connection)"
    ),
    "autocommit set later": main(
        "connection = await psycopg.AsyncConnection.connect()\nawait connection.set_autocommit(True)\n"
        "pgq = PgQueuer(PsycopgDriver(connection))"
    ),
    "a queue manager": main("pgq = QueueManager(Queries(AsyncpgDriver(await asyncpg.connect())))"),
    "a pool's block": main(
        "async with asyncpg.create_pool(min_size=2) as pool:\n"
        f"    pgq = PgQueuer.from_asyncpg_pool(pool)\n{HANDLER}\n    yield pgq",
        handler="",
        end="",
    ),
    "clean-up below its yield": main(
        "connection = await asyncpg.connect()\npgq = PgQueuer(AsyncpgDriver(connection))",
        end="yield pgq\n    await connection.close()",
    ),
    "a context with resources": main(
        "pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()), resources={'flag': 'yes'})",
        handler="""
    @pgq.entrypoint("fetch", concurrency_limit=4, on_failure="hold")
    async def process(job: Job, ctx: Context) -> None:
        with ctx.cancellation:
            await asyncio.to_thread(print, f"Processed: {job.payload!r}", ctx.resources["flag"])

    @pgq.schedule("cleanup", "0 * * * *", clean_old=True)
    async def cleanup(schedule: Schedule, ctx: ScheduleContext) -> None: ...
""",
    ),
    "an executor of its own": IMPORTS + "class Loud(AbstractEntrypointExecutor):\n"
    "    async def execute(self, job, context):\n        print(f'Processed: {job.payload!r}')\n"
    + main(CONNECTION, HANDLER.replace('"fetch"', '"fetch", executor_factory=Loud')),
    "retries": main(
        CONNECTION,
        HANDLER.replace(
            '"fetch"',
            '"fetch", executor_factory=lambda p: DatabaseRetryEntrypointExecutor(p, max_attempts=5)',
        ),
    ),
    "made by another function": main(CONNECTION, end="return pgq").replace(
        "@asynccontextmanager\nasync def main", "async def create"
    )
    + "\n@asynccontextmanager\nasync def main():\n    try:\n        pgq = await create()\n        yield pgq\n"
    "    finally:\n        print('teardown')\n",
    "the form before 1.0": main(CONNECTION, end="return pgq").replace("@asynccontextmanager\n", ""),
}
OTHERS = {
    "schedules only": (
        main(
            "sm = SchedulerManager(Queries(AsyncpgDriver(await asyncpg.connect())))",
            handler='\n    @sm.schedule("every minute", "* * * * *")\n    async def each(schedule): ...\n',
            end="yield sm",
        ),
        "",
    ),
    "in memory": (main("pgq = PgQueuer.in_memory()"), ""),
    "the words of the command": (
        main(CONNECTION).replace("main():", "main(args: list[str]):"),
        "main(args) takes arguments, and is called without.",
    ),
    "a plain context manager": (
        main("pgq = PgQueuer.in_memory()").replace("@async", "@").replace("async def main", "def main"),
        "main lacks its decorator. Put @asynccontextmanager above it",
    ),
    "a plain handler": (
        main(CONNECTION, HANDLER.replace("async def", "def")),
        "A handler is not async",
    ),
    "a queue manager of before 1.0": (
        main("pgq = QueueManager(AsyncpgDriver(await asyncpg.connect()))"),
        "QueueManager takes Queries, not an AsyncpgDriver",
    ),
    "it runs what it made": (
        main(CONNECTION, end="await pgq.run()").replace("@asynccontextmanager\n", ""),
        "main() runs its PgQueuer itself",
    ),
}
PRODUCERS = {
    "several jobs": "print(await queries.enqueue(['fetch'] * 10, [b'payload'] * 10, [0] * 10))",
    "a plain program": """
        from pgqueuer.db import SyncPsycopgDriver
        from pgqueuer.queries import SyncQueries
        SyncQueries(SyncPsycopgDriver(psycopg.connect(autocommit=True))).enqueue("fetch", b"payload")
    """,
    "later": """
        from datetime import timedelta
        await queries.enqueue("my_task", payload=None, priority=0, execute_after=timedelta(minutes=1))
    """,
    "once": """
        for each in range(2):
            print(await queries.enqueue("invoice", payload=b"{}", dedupe_key="42", on_conflict="skip"))
    """,
    "cancelled": """
        job_ids = await queries.enqueue("task", b"Job data", priority=5)
        await queries.mark_job_as_cancelled(job_ids)
    """,
    "waited for": """
        from pgqueuer.core.completion import CompletionWatcher
        job_ids = await queries.enqueue("task", b"1")
        await queries.mark_job_as_cancelled(job_ids)
        async with CompletionWatcher(driver, queries=queries) as watcher:
            print(await watcher.wait_for(job_ids[0]))
    """,
    "asked about": """
        from pgqueuer.core.insights import InsightsService
        await InsightsService(queries).overview()
        await queries.queue_size(), await queries.list_failed_jobs()
    """,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documentation")


@pytest.fixture(scope="module")
def kernel(home: Path, folder: Path) -> Iterator[Cell]:
    with notebook_in(folder) as cell:
        assert "Traceback" not in (shown := cell(SETUP)), shown
        yield cell


@pytest.fixture
def cell(kernel: Cell) -> Iterator[Cell]:
    yield kernel
    kernel("for each in [*kit.session.session.consumers.values()]: each.stop(timeout=0)\nkit.reset()")


ENQUEUE = "await queries.enqueue('fetch', b'hello')\nawait kit.wait(60)"
SUCCESSFUL = "print(kit.log().query(\"status == 'successful'\").entrypoint.tolist())"


@pytest.mark.parametrize("code", CONSUMERS.values(), ids=CONSUMERS)
def test_a_documented_consumer_runs_in_the_kernel_and_as_a_worker(
    cell: Cell, folder: Path, code: str
) -> None:
    (folder / "documented.py").write_text(code)
    for start in (
        f"{code}\nconsumer = kit.run(main)",
        "consumer.stop()\nworker = kit.spawn('documented:main')",
    ):
        shown = cell(start)
        assert "Error" not in shown, shown
        before_1_0 = "before PGQueuer 1.0" in shown
        assert not before_1_0 or code == CONSUMERS["the form before 1.0"]
        shown = cell(ENQUEUE)
        assert re.search(r"fetch #\d+\] Processed: b'hello'", shown), shown
    assert cell(SUCCESSFUL).strip() == "['fetch', 'fetch']"


@pytest.mark.parametrize(("code", "said"), OTHERS.values(), ids=OTHERS)
def test_what_is_documented_for_another_use_runs_or_says_in_a_line_what_to_write(
    cell: Cell, folder: Path, code: str, said: str
) -> None:
    (folder / "documented.py").write_text(code)
    for start in (f"{code}\nconsumer = kit.run(main)", "kit.spawn('documented:main')"):
        shown = cell(start)
        assert shown.startswith(f"KitError: {said}") if said else "Error" not in shown, shown


@pytest.mark.parametrize("code", PRODUCERS.values(), ids=PRODUCERS)
def test_a_documented_producer_runs_as_a_cell(cell: Cell, code: str) -> None:
    shown = cell(code)
    assert "Error" not in shown, shown
    assert "await" not in shown, shown


@pytest.mark.parametrize("code", README, ids=lambda code: code.splitlines()[-1].strip()[:60])
def test_a_snippet_of_the_installed_readme_runs_as_a_cell_or_says_what_to_write(
    cell: Cell, code: str
) -> None:
    cell(ORDERS)
    shown = cell(code)
    if "Traceback" in shown:
        instead = re.match(
            r"A notebook has a loop that runs already, so .* Write `(await .*)` instead", shown
        )
        assert instead, shown
        shown = cell(instead[1])
    assert "Error" not in shown, shown
    if "@pgq.entrypoint" in code:
        assert "Error" not in cell("kit.run(main)")
        shown = cell(ENQUEUE)
        assert re.search(r"fetch #\d+\] Processed: ", shown), shown
    assert "Nothing has happened" not in cell("import gc; gc.collect()")


def test_the_installed_readme_has_snippets() -> None:
    assert len(README) > 3
    assert any("@pgq.entrypoint" in code for code in README)
