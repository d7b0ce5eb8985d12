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
import pytest
from pgqueuer import AsyncpgDriver, PgQueuer, Queries
from pgqueuer.models import Job, Schedule

import kit
from kit.session import session
from kit.threads import happens_within
from tests.consumer.queue import main_with, nobody_is_connected, nothing, until


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


@pytest.mark.parametrize(
    ("main", "said"),
    [
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
