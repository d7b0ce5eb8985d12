"""`kit.run`: what it refuses, at once and in plain words."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
from pgqueuer import AsyncpgDriver, PgQueuer, Queries, QueueManager, SchedulerManager
from pgqueuer.models import Job, Schedule
from pgqueuer.types import QueueExecutionMode

import kit
from kit.session import session
from kit.threads import happens_within
from tests.consumer.queue import enqueue, logged, main_with, nobody_is_connected, nothing
from tests.waiting import until


async def returns_nothing() -> None:
    PgQueuer(AsyncpgDriver(await asyncpg.connect()))


async def returns_a_text() -> str:
    return "pgq"


@asynccontextmanager
async def yields_nothing() -> AsyncIterator[None]:
    yield None


@asynccontextmanager
async def never_yields() -> AsyncIterator[PgQueuer]:
    if os.environ.get("KIT_NEVER_SET"):
        yield PgQueuer.in_memory()


async def lacks_its_decorator() -> AsyncIterator[PgQueuer]:
    yield PgQueuer.in_memory()


@contextmanager
def has_the_wrong_decorator() -> Iterator[PgQueuer]:
    yield PgQueuer.in_memory()


def is_not_async() -> PgQueuer:
    return PgQueuer.in_memory()


async def has_a_plain_handler() -> PgQueuer:
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))

    @pgq.entrypoint("fetch")  # type: ignore[type-var]
    def process(job: Job) -> None: ...

    return pgq


async def has_a_plain_schedule() -> PgQueuer:
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))

    @pgq.schedule("report", "* * * * *")  # type: ignore[arg-type]
    def report(schedule: Schedule) -> None: ...

    return pgq


async def has_a_name_twice() -> PgQueuer:
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))
    pgq.entrypoint("fetch")(nothing)
    pgq.entrypoint("fetch")(nothing)
    return pgq


async def has_a_mistake() -> PgQueuer:
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))
    pgq.entrypoint("fetch")(proces)  # type: ignore[name-defined]  # noqa: F821
    return pgq


async def has_a_mistake_that_shows_in_the_kit() -> None:
    happens_within("soon", threading.Event())  # type: ignore[arg-type]


async def goes_to_a_closed_port() -> PgQueuer:
    return PgQueuer(AsyncpgDriver(await asyncpg.connect(host="127.0.0.1", port=1)))


async def goes_to_no_database() -> PgQueuer:
    return PgQueuer(AsyncpgDriver(await asyncpg.connect(database="there_is_no_such")))


async def runs_its_pgqueuer() -> None:
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))
    pgq.entrypoint("fetch")(nothing)
    await pgq.run()


@asynccontextmanager
async def runs_it_before_its_yield() -> AsyncIterator[PgQueuer]:
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))
    await pgq.run()
    yield pgq


async def runs_both_managers() -> None:
    queries = Queries(AsyncpgDriver(await asyncpg.connect()))
    await asyncio.gather(QueueManager(queries).run(), SchedulerManager(queries).run())


async def returns_inside_of_a_pools_block() -> PgQueuer:
    async with asyncpg.create_pool(min_size=2) as pool:
        return PgQueuer.from_asyncpg_pool(pool)


async def returns_what_is_back_in_its_pool() -> PgQueuer:
    async with asyncpg.create_pool(min_size=2) as pool, pool.acquire() as connection:
        return PgQueuer(AsyncpgDriver(connection))  # type: ignore[arg-type]


async def returns_a_closed_psycopg_connection() -> PgQueuer:
    async with await psycopg.AsyncConnection.connect(autocommit=True) as connection:
        return PgQueuer.from_psycopg_connection(connection)


async def gives_a_queue_manager_a_driver() -> QueueManager:
    return QueueManager(AsyncpgDriver(await asyncpg.connect()))  # type: ignore[arg-type]


async def gives_a_pgqueuer_a_connection() -> PgQueuer:
    return PgQueuer(await asyncpg.connect())  # type: ignore[arg-type]


async def does_not_await_its_connection() -> PgQueuer:
    return PgQueuer(AsyncpgDriver(asyncpg.connect()))  # type: ignore[arg-type]


async def does_not_await_its_pool() -> PgQueuer:
    return PgQueuer.from_asyncpg_pool(asyncpg.create_pool())


async def gives_a_driver_the_wrong_connection() -> PgQueuer:
    connection = await psycopg.AsyncConnection.connect(autocommit=True)
    return PgQueuer(AsyncpgDriver(connection))  # type: ignore[arg-type]


@asynccontextmanager
async def takes_the_words_of_the_command(args: list[str]) -> AsyncIterator[PgQueuer]:
    yield PgQueuer.in_memory()


@asynccontextmanager  # type: ignore[arg-type]
async def yields_in_its_handler() -> None:
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))

    async def fetch(job: Job) -> AsyncIterator[PgQueuer]:
        yield pgq

    pgq.entrypoint("fetch")(fetch)  # type: ignore[type-var]


async def returns_and_yields_in_its_handler() -> PgQueuer:
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))

    @pgq.entrypoint("fetch")  # type: ignore[type-var]
    async def fetch(job: Job) -> AsyncIterator[PgQueuer]:
        yield pgq

    return pgq


async def reads_a_table_of_its_own() -> PgQueuer:
    connection = await asyncpg.connect()
    await connection.fetch("SELECT * FROM orders")
    return PgQueuer(AsyncpgDriver(connection))


CLOSED = ["whose connection is closed", "`yield pgq` inside of that block", "@asynccontextmanager"]


@pytest.mark.parametrize(
    ("main", "said"),
    [
        (runs_its_pgqueuer, ["main() runs its PgQueuer itself", "`await pgq.run()`", "yield pgq"]),
        (runs_it_before_its_yield, ["main() runs its PgQueuer itself"]),
        (runs_both_managers, ["main() runs its PgQueuer itself"]),
        (reads_a_table_of_its_own, ["main() raised UndefinedTableError", "orders", "test_refusals.py, line"]),
        (returns_inside_of_a_pools_block, CLOSED),
        (returns_what_is_back_in_its_pool, CLOSED),
        (returns_a_closed_psycopg_connection, CLOSED),
        (gives_a_queue_manager_a_driver, ["QueueManager takes Queries", "QueueManager(Queries(driver))"]),
        (gives_a_pgqueuer_a_connection, ["PgQueuer takes a driver", "PgQueuer(AsyncpgDriver(connection))"]),
        (does_not_await_its_connection, ["was not awaited", "AsyncpgDriver(await asyncpg.connect())"]),
        (does_not_await_its_pool, ["pool is not initialized", "await asyncpg.create_pool()"]),
        (gives_a_driver_the_wrong_connection, ["AsyncpgDriver takes asyncpg.Connection", "PsycopgDriver"]),
        (takes_the_words_of_the_command, ["command(args) takes arguments", "`lambda: takes_the_words_of"]),
        (nothing, ["nothing(job) is a handler", "yield pgq"]),
        (yields_in_its_handler, ["has no yield", "The one in fetch is indented too far"]),
        (returns_and_yields_in_its_handler, ["or has a `yield` in it", "test_refusals.py, line"]),
        (returns_nothing, ["nothing (None)", "return pgq"]),
        (returns_a_text, ["a str", "return pgq"]),
        (yields_nothing, ["nothing (None)", "yield pgq"]),
        (never_yields, ["without `yield pgq`"]),
        (lacks_its_decorator, ["@asynccontextmanager above it"]),
        (has_the_wrong_decorator, ["@asynccontextmanager above it"]),
        (is_not_async, ["a PgQueuer", "async def"]),
        (has_a_plain_handler, ["not async", "test_refusals.py, line", "pgq.entrypoint", "to_thread"]),
        (has_a_plain_schedule, ["'report' is not async"]),
        (has_a_name_twice, ["'fetch' is registered twice", "test_refusals.py, line", "(nothing)"]),
        (has_a_mistake, ["NameError: name 'proces' is not defined", "test_refusals.py, line", "(proces)"]),
        (has_a_mistake_that_shows_in_the_kit, ["TypeError", "test_refusals.py, line", "happens_within("]),
        (goes_to_a_closed_port, ["No Postgres could be reached", "kit.postgres()"]),
        (goes_to_no_database, ["refuses the connection", "there_is_no_such", "kit.postgres()"]),
        (None, ["takes a function", "None"]),
        (42, ["takes a function", "42"]),
        ("consumer", ["'consumer'", "module:name"]),
        ("no_such_module:main", ["There is no module 'no_such_module'"]),
        ("tests.consumer.queue:no_such_name", ["tests.consumer.queue", "no name 'no_such_name'"]),
        ("tests.consumer.queue:Handler.nothing", ["no name 'Handler.nothing'"]),
    ],
)
async def test_a_wrong_main_is_refused_at_once_in_plain_words(main: Any, said: list[str]) -> None:
    with pytest.raises(kit.KitError) as caught:
        kit.run(main)
    for words in said:
        assert words in str(caught.value)
    assert all(not consumer.alive for consumer in session.consumers.values())


async def test_a_call_instead_of_the_function_is_refused() -> None:
    for made in (returns_nothing(), main_with(fetch=nothing)()):
        with pytest.raises(kit.KitError, match=r"without \( \): kit\.run\(main\)"):
            kit.run(made)


async def test_a_connection_of_the_notebook_is_refused_and_stays_usable() -> None:
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))

    async def main() -> PgQueuer:
        return pgq

    with pytest.raises(kit.KitError, match="opened outside of it"):
        kit.run(main)
    with pytest.raises(kit.KitError, match="connection belongs to the notebook"):
        kit.run(pgq)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_missing_tables_are_told() -> None:
    connection = await asyncpg.connect()
    await Queries(AsyncpgDriver(connection)).uninstall()
    await connection.close()
    with pytest.raises(kit.KitError, match=r"tables are not in this database.*kit\.postgres\("):
        kit.run(main_with(fetch=nothing))


async def test_a_mistake_in_a_module_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_of_the_test.py").write_text("import asyncio\nasync def main(:\n    pass\n")
    (tmp_path / "raising_of_the_test.py").write_text("import asyncio\n\nnumber = int('x')\n")
    (tmp_path / "importing_of_the_test.py").write_text("import there_is_no_such_module\n")
    monkeypatch.chdir(tmp_path)
    for module, said in (
        ("broken_of_the_test", ["SyntaxError", "broken_of_the_test.py, line 2"]),
        ("raising_of_the_test", ["ValueError", "raising_of_the_test.py, line 3", "int('x')"]),
        ("importing_of_the_test", ["No module named 'there_is_no_such_module'", "line 1"]),
    ):
        with pytest.raises(kit.KitError) as caught:
            kit.run(f"{module}:main")
        for words in said:
            assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": ""}, "name=''"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": "10"}, "batch_size='10'"),
        ({"dequeue_timeout": 0}, "dequeue_timeout=0"),
        ({"heartbeat_timeout": "soon"}, "heartbeat_timeout='soon'"),
        ({"max_concurrent_tasks": 10}, "at least twice the batch_size, here 20"),
        ({"batchsize": 3}, r"kit\.run has no option batchsize=\. Did you mean batch_size=\?"),
        ({"mode": "drain"}, r"no option mode=\. It has: batch_size, dequeue_timeout"),
    ],
)
async def test_a_wrong_option_is_refused_and_the_running_consumer_stays(
    options: dict[str, Any], said: str
) -> None:
    before = kit.run(main_with(fetch=nothing))
    with pytest.raises(kit.KitError, match=said):
        kit.run(main_with(fetch=nothing), **options)
    assert before.state == "running"


async def test_a_main_that_hangs_is_given_up_in_bounded_time() -> None:
    @asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        await asyncio.sleep(3600)
        yield PgQueuer.in_memory()

    with pytest.raises(kit.KitError, match=r"did not come to its `yield` or `return` in 0\.3 s"):
        kit.run(main, start_timeout=0.3)
    assert not session.consumers["consumer"].alive


async def test_a_failed_start_leaves_no_connection_behind() -> None:
    with pytest.raises(kit.KitError):
        kit.run(has_a_mistake)
    await until("the connection is dropped", nobody_is_connected)


async def test_a_main_that_runs_its_pgqueuer_takes_no_job_away() -> None:
    (job,) = await enqueue("fetch")
    with pytest.raises(kit.KitError, match="runs its PgQueuer itself"):
        kit.run(runs_its_pgqueuer)
    assert (await logged(job))[-1] in ("queued", "successful")
    kit.run(main_with(fetch=nothing))
    await kit.wait()
    assert "successful" in await logged(job)


async def test_a_main_that_first_empties_another_queue_is_a_consumers_main() -> None:
    done = []

    @asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        before = PgQueuer.in_memory()

        @before.entrypoint("warm")
        async def warm(job: Job) -> None:
            await asyncio.sleep(0.1)
            done.append(job.id)

        await before.qm.queries.enqueue("warm", None)
        await before.qm.run(mode=QueueExecutionMode.drain)
        yield PgQueuer(AsyncpgDriver(await asyncpg.connect()))

    assert kit.run(main).state == "running"
    assert len(done) == 1


async def test_a_main_is_given_its_arguments_by_a_function_that_takes_none() -> None:
    @asynccontextmanager
    async def main(names: list[str]) -> AsyncIterator[PgQueuer]:
        pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))
        for name in names:
            pgq.entrypoint(name)(nothing)
        yield pgq

    assert kit.run(lambda: main(["one", "two"])).entrypoints == ("one", "two")


@asynccontextmanager
async def has_a_handler_below_its_yield() -> AsyncIterator[PgQueuer]:
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))
    pgq.entrypoint("other")(nothing)
    yield pgq

    @pgq.entrypoint("fetch")
    async def fetch(job: Job) -> None: ...


@asynccontextmanager
async def names_no_entrypoint() -> AsyncIterator[PgQueuer]:
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))

    @pgq.entrypoint  # type: ignore[arg-type]
    async def fetch(job: Job) -> None: ...

    yield pgq


@asynccontextmanager
async def cleans_up_below_its_yield() -> AsyncIterator[PgQueuer]:
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))

    @pgq.entrypoint("fetch")
    async def fetch(job: Job) -> None: ...

    yield pgq

    async def goodbye() -> None: ...

    await goodbye()


@pytest.mark.parametrize(
    ("main", "said"),
    [
        (
            has_a_handler_below_its_yield,
            "fetch stands below `yield pgq`, where main goes on when the consumer",
        ),
        (names_no_entrypoint, '@pgq.entrypoint above fetch needs a name: @pgq.entrypoint("fetch").'),
        (cleans_up_below_its_yield, ""),
    ],
)
async def test_a_handler_that_pgqueuer_never_hears_of_is_named(
    main: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert kit.run(main).state == "running"
        printed = "".join(capsys.readouterr())
        assert said in printed if said else "fetch" not in printed


async def test_only_a_main_that_returned_its_pgqueuer_is_told_of_the_newer_form(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(kit.KitError):
        kit.run(runs_its_pgqueuer)
    with pytest.raises(kit.KitError):
        kit.run(returns_a_text)
    assert "before PGQueuer 1.0" not in "".join(capsys.readouterr())
