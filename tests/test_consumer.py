"""`kit.run`: what it takes, what it refuses, and how a consumer lives, loses its connection, and ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, AsyncpgPoolDriver, PgQueuer, Queries, QueueManager, SchedulerManager
from pgqueuer.errors import RetryRequested
from pgqueuer.models import Job, Schedule

import kit
from kit import current
from tests.consumers import (
    Gate,
    connections,
    enqueue,
    fetch,
    logged,
    main_with,
    nothing,
    texts,
    until,
    worker,
)

pytestmark = pytest.mark.usefixtures("queue_database")


@pytest.fixture(autouse=True)
def stop_consumers() -> Iterator[None]:
    yield
    for consumer in current.consumers.values():
        consumer.stop(timeout=0)
    current.consumers.clear()


BLOG = '''
async def main() -> None:
    conn = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(conn))

    @pgq.entrypoint("fetch")
    async def process(job: Job) -> None:
        print(f"Processed: {job!r}")

    return pgq
'''  # fmt: skip


def blogs_main() -> Any:
    names: dict[str, Any] = {
        "asyncpg": asyncpg,
        "PgQueuer": PgQueuer,
        "AsyncpgDriver": AsyncpgDriver,
        "Job": Job,
    }
    exec(BLOG, names)
    return names["main"]


# What it takes


async def test_the_older_form_runs_word_for_word() -> None:
    consumer = kit.run(blogs_main())
    connection = await asyncpg.connect()
    q = Queries(AsyncpgDriver(connection))
    await q.enqueue(["fetch"], [b"hello world"], [0])
    await kit.wait()
    await connection.close()
    (line,) = [line for line in consumer.output if line.kind == "print"]
    assert line.text.startswith("Processed: Job(id=1,")
    assert "payload=b'hello world'" in line.text
    assert await logged(1) == ["queued", "picked", "successful"]


async def test_what_the_older_form_connected_is_closed_when_it_stops() -> None:
    consumer = kit.run(blogs_main())
    assert len(await connections()) == 1
    consumer.stop()
    await until("the connection is closed", lambda: _none(connections()))


async def test_a_pool_of_the_older_form_is_closed_when_it_stops() -> None:
    async def main() -> PgQueuer:
        pgq = PgQueuer(AsyncpgPoolDriver(await asyncpg.create_pool(min_size=2)))
        pgq.entrypoint("fetch")(nothing)
        return pgq

    consumer = kit.run(main)
    await enqueue("fetch")
    await kit.wait()
    consumer.stop()
    await until("the pool is closed", lambda: _none(connections()))


async def test_it_returns_when_the_consumer_listens() -> None:
    consumer = kit.run(main_with(fetch=nothing), dequeue_timeout=60)
    assert consumer.state == "running"
    assert consumer.entrypoints == ("fetch",)
    assert current.consumers["consumer"] is consumer
    await enqueue("fetch")
    await kit.wait(timeout=10)  # long before it would have looked for itself


async def test_a_queue_manager_and_a_scheduler_manager_run_too() -> None:
    @asynccontextmanager
    async def queue() -> AsyncIterator[QueueManager]:
        connection = await asyncpg.connect()
        manager = QueueManager(Queries(AsyncpgDriver(connection)))
        manager.entrypoint("fetch")(nothing)
        yield manager
        await connection.close()

    @asynccontextmanager
    async def scheduler() -> AsyncIterator[SchedulerManager]:
        connection = await asyncpg.connect()
        manager = SchedulerManager(Queries(AsyncpgDriver(connection)))

        @manager.schedule("tick", "* * * * * *")
        async def tick(schedule: Schedule) -> None:
            print("tick")

        yield manager
        await connection.close()

    first, second = kit.run(queue), kit.run(scheduler, name="clock")
    assert (first.entrypoints, second.schedules) == (("fetch",), ("tick",))
    await enqueue("fetch")
    await kit.wait()
    assert first.done == 1
    await until("the schedule has run", lambda: "[tick] tick" in texts(second))


async def test_a_file_in_the_working_folder_is_found_by_name_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "consumer_of_the_test.py"
    source = """
        import asyncpg
        from contextlib import asynccontextmanager
        from pgqueuer import AsyncpgDriver, PgQueuer

        @asynccontextmanager
        async def main():
            connection = await asyncpg.connect()
            pgq = PgQueuer(AsyncpgDriver(connection))

            @pgq.entrypoint("fetch")
            async def process(job):
                print("VERSION")

            yield pgq
            await connection.close()
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "dont_write_bytecode", True
    )  # it would be as old as the file: a second is its unit
    for version in ("first", "second"):
        file.write_text(textwrap.dedent(source).replace("VERSION", version))
        consumer = kit.run("consumer_of_the_test:main")
        (job,) = await enqueue("fetch")
        await kit.wait()
        assert texts(consumer) == [f"[fetch #{job}] {version}"]
    del sys.modules["consumer_of_the_test"]


async def test_durations_may_be_timedeltas() -> None:
    consumer = kit.run(main_with(fetch=nothing), dequeue_timeout=timedelta(seconds=1), heartbeat_timeout=2)
    assert consumer.state == "running"


# What it refuses


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
        (has_a_plain_handler, ["not async", "test_consumer.py, line", "pgq.entrypoint", "to_thread"]),
        (has_a_plain_schedule, ["'report' is not async"]),
        (has_a_name_twice, ["'fetch' is registered twice", "test_consumer.py, line", "(nothing)"]),
        (has_a_mistake, ["NameError: name 'proces' is not defined", "test_consumer.py, line", "(proces)"]),
        (goes_to_a_closed_port, ["No Postgres could be reached", "kit.postgres()"]),
        (goes_to_no_database, ["refuses the connection", "there_is_no_such", "kit.postgres()"]),
        (None, ["takes a function", "None"]),
        (42, ["takes a function", "42"]),
        ("consumer", ["'consumer'", "module:name"]),
        ("no_such_module:main", ["There is no module 'no_such_module'"]),
        ("tests.consumers:no_such_name", ["tests.consumers", "no name 'no_such_name'"]),
        ("tests.consumers:Handler.nothing", ["no name 'Handler.nothing'"]),
    ],
)
async def test_a_wrong_main_is_refused_at_once_in_plain_words(main: Any, said: list[str]) -> None:
    with pytest.raises(kit.KitError) as caught:
        kit.run(main)
    for words in said:
        assert words in str(caught.value)
    assert all(not consumer.alive for consumer in current.consumers.values())


async def test_a_call_instead_of_the_function_is_refused() -> None:
    for made in (blogs_main()(), main_with(fetch=nothing)()):
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
    with pytest.raises(kit.KitError, match=r"no PGQueuer tables.*kit\.postgres\(\)"):
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
        ({"mode": "once"}, "mode='once'"),
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
    assert not current.consumers["consumer"].alive


async def test_a_failed_start_leaves_no_connection_behind() -> None:
    with pytest.raises(kit.KitError):
        kit.run(has_a_mistake)
    await until("the connection is dropped", lambda: _none(connections()))


# Several


async def test_the_same_name_again_takes_the_place_of_the_one_before() -> None:
    async def old(job: Job) -> None:
        print("old")

    async def new(job: Job) -> None:
        print("new")

    first = kit.run(main_with(fetch=old))
    await enqueue("fetch")
    await kit.wait()
    second = kit.run(main_with(fetch=new))
    assert (first.state, second.state) == ("stopped", "running")
    await enqueue("fetch", *[b""] * 20)
    await kit.wait()
    assert (first.done, second.done) == (1, 20)
    assert len(await connections()) == 1


async def test_two_names_run_side_by_side_and_share_the_jobs() -> None:
    meeting = threading.Barrier(2)  # one consumer alone, with room for one job, waits in vain

    async def meet(job: Job) -> None:
        await asyncio.to_thread(meeting.wait, 10)

    main = main_with(meet=meet)
    first, second = kit.run(main, batch_size=1, name="first"), kit.run(main, batch_size=1, name="second")
    await enqueue("meet", *[b""] * 6)
    await kit.wait()
    assert first.done + second.done == 6
    assert not first.errors
    assert not second.errors


async def test_a_stranger_that_consumes_from_the_same_database_is_told_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with worker():
        kit.run(main_with(fetch=nothing))
    assert "Another consumer is connected to this database" in capsys.readouterr().out


async def test_ones_own_consumers_are_no_strangers(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("first", "second", "first"):
        kit.run(main_with(fetch=nothing), name=name)
    assert "Another consumer" not in capsys.readouterr().out


# Stopping


async def test_stop_waits_for_the_handlers_that_run() -> None:
    began, go_on = threading.Event(), threading.Event()

    async def slow(job: Job) -> None:
        began.set()
        await asyncio.to_thread(go_on.wait, 10)

    consumer = kit.run(main_with(slow=slow))
    (job,) = await enqueue("slow")
    await until("the handler runs", began.is_set)
    stopping = threading.Thread(target=consumer.stop)
    stopping.start()
    await until("it is stopping", lambda: consumer.state == "stopping")
    assert await logged(job) == ["queued", "picked"]
    go_on.set()
    stopping.join()
    assert await logged(job) == ["queued", "picked", "successful"]
    assert (consumer.state, consumer.alive) == ("stopped", False)
    consumer.stop()
    assert consumer.state == "stopped"


async def test_stop_names_what_it_cut_off_and_puts_it_back(capsys: pytest.CaptureFixture[str]) -> None:
    async def slow(job: Job) -> None:
        await asyncio.sleep(3600)

    consumer = kit.run(main_with(slow=slow))
    first, second = await enqueue("slow", b"", b"")
    await until("both run", lambda: len(consumer.handlers.running_now()) == 2)
    consumer.stop(timeout=0.1)
    assert not consumer.alive
    assert await connections() == []
    assert capsys.readouterr().out.splitlines() == [
        f"[slow #{first}] cut off, and back in the queue",
        f"[slow #{second}] cut off, and back in the queue",
        "Consumer 'consumer' was stopped after 0.1 s. "
        f"Cut off, and back in the queue: slow #{first}, slow #{second}.",
    ]
    assert await logged(first) == ["queued", "picked", "queued"]
    kit.run(main_with(slow=nothing))
    await kit.wait()
    assert await logged(first) == ["queued", "picked", "queued", "picked", "successful"]


async def test_a_handler_that_ends_well_when_it_is_cancelled_is_done() -> None:
    async def tidy(job: Job) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            print("tidied up")

    consumer = kit.run(main_with(tidy=tidy))
    (job,) = await enqueue("tidy")
    await until("it runs", lambda: consumer.handlers.running_now())
    consumer.stop(timeout=0)
    assert texts(consumer) == [f"[tidy #{job}] tidied up"]
    assert await logged(job) == ["queued", "picked", "successful"]


async def test_a_handler_that_blocks_the_thread_is_named_and_keeps_nobody_waiting(
    capsys: pytest.CaptureFixture[str],
) -> None:
    go_on = threading.Event()

    async def blocks(job: Job) -> None:
        go_on.wait(30)

    consumer = kit.run(main_with(blocks=blocks))
    await enqueue("blocks")
    await until("it runs", lambda: consumer.handlers.running_now())
    consumer.stop(timeout=0)
    assert "does not end: blocks #1 blocks its thread" in capsys.readouterr().out
    assert consumer.alive
    go_on.set()
    await until("it ends when the handler does", lambda: not consumer.alive)
    assert consumer.state == "stopped"


async def test_a_handler_can_stop_its_own_consumer() -> None:
    async def last(job: Job) -> None:
        current.consumers["consumer"].stop()

    consumer = kit.run(main_with(last=last))
    (job,) = await enqueue("last")
    await until("it has ended", lambda: consumer.state == "stopped" and not consumer.alive)
    assert await logged(job) == ["queued", "picked", "successful"]


async def test_drain_mode_ends_when_the_queue_is_empty() -> None:
    await enqueue("fetch", b"", b"", b"")
    consumer = kit.run(main_with(fetch=nothing), mode="drain")
    await until("it has ended", lambda: consumer.state == "stopped")
    assert consumer.done == 3
    assert texts(consumer)[-1] == "Consumer 'consumer' has ended: the queue is empty, and its mode is drain."


# Losing the connection, and dying


async def test_a_lost_connection_comes_back_and_both_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    consumer = kit.run(main_with(fetch=nothing))
    await _cut()
    await until(
        "it came back", lambda: any("connected to Postgres again" in line for line in texts(consumer))
    )
    await enqueue("fetch")
    await kit.wait()
    assert consumer.done == 1
    said = capsys.readouterr().err
    assert said.index("has lost its connection") < said.index("is connected to Postgres again")
    assert len(await connections()) == 1


async def test_it_waits_for_postgres_for_as_long_as_that_is_away() -> None:
    tries = 0
    async with Gate() as gate:

        @asynccontextmanager
        async def main() -> AsyncIterator[PgQueuer]:
            nonlocal tries
            tries += 1
            connection = await asyncpg.connect(host="127.0.0.1", port=gate.port)
            pgq = PgQueuer(AsyncpgDriver(connection))
            pgq.entrypoint("fetch")(nothing)
            yield pgq

        consumer = await asyncio.to_thread(kit.run, main, restart_delay=0.05)
        gate.close()
        await until("it tried again and again", lambda: tries > 3)
        assert consumer.state == "reconnecting"
        await gate.open()
        await until("it is back", lambda: consumer.state == "running")
        await enqueue("fetch")
        await kit.wait()
        assert consumer.done == 1
        await asyncio.to_thread(consumer.stop)
    assert sum("has lost its connection" in line for line in texts(consumer)) == 1


async def test_without_restart_a_lost_connection_is_its_end() -> None:
    consumer = kit.run(main_with(fetch=nothing), restart_on_failure=False)
    await _cut()
    await until("it has died", lambda: consumer.state == "failed")
    assert "has died" in texts(consumer)[-1]


async def test_a_mistake_is_the_end_and_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    @asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        connection = await asyncpg.connect()
        pgq = PgQueuer(AsyncpgDriver(connection))

        @pgq.entrypoint("greedy")
        async def greedy(job: Job) -> None:
            await asyncio.sleep(0.2)  # until PGQueuer has nothing to ask, on this connection of its own
            await connection.execute("SELECT pg_sleep(2)")

        yield pgq

    consumer = kit.run(main)
    await enqueue("greedy")
    await until("it has died", lambda: consumer.state == "failed")
    await asyncio.to_thread(consumer._thread.join)
    said = capsys.readouterr().err
    assert said.count("has died") == 1
    assert "connection (or a pool) of its own" in said
    assert consumer.problem is not None
    assert "failed" in repr(consumer)
    await until("its connection is dropped", lambda: _none(connections()))


async def test_a_handler_that_calls_exit_ends_the_consumer_and_not_the_process() -> None:
    async def leave(job: Job) -> None:
        sys.exit("bye")

    consumer = kit.run(main_with(leave=leave))
    await enqueue("leave")
    await until("it has died", lambda: consumer.state == "failed" and not consumer.alive)
    assert "SystemExit: bye" in texts(consumer)[-1]


async def test_a_main_that_does_not_come_to_its_end_is_cut_off_and_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def hangs() -> AsyncIterator[PgQueuer]:
        async with main_with(fetch=nothing)() as pgq:
            yield pgq
            await asyncio.sleep(3600)

    monkeypatch.setattr("kit.consumer.GRACE", 0.5)
    consumer = kit.run(hangs)
    consumer.stop(timeout=0)
    assert not consumer.alive
    assert "main() did not come to its end, and was cut off." in capsys.readouterr().out


async def test_a_mistake_after_the_yield_is_told_when_it_stops(capsys: pytest.CaptureFixture[str]) -> None:
    @asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        async with main_with(fetch=nothing)() as pgq:
            yield pgq
            raise ValueError("while cleaning up")

    consumer = kit.run(main)
    consumer.stop()
    assert consumer.state == "stopped"
    assert "ValueError: while cleaning up (test_consumer.py, line" in capsys.readouterr().out


# What it tells of itself


async def test_it_counts_what_is_done_and_what_failed_but_not_what_is_tried_again() -> None:
    async def sort(job: Job) -> None:
        if job.payload == b"fails":
            raise ValueError("boom")
        if job.payload == b"again" and not job.attempts:
            raise RetryRequested(delay=timedelta(), reason="not yet")

    consumer = kit.run(main_with(sort=sort))
    await enqueue("sort", b"works", b"fails", b"again")
    await kit.wait()
    assert (consumer.done, consumer.failed) == (2, 1)
    assert repr(consumer) == "<Consumer 'consumer': running; entrypoints: sort; 2 done, 1 failed>"
    assert "[sort #3] retry in 0 s: not yet" in texts(consumer)


async def test_whoever_subscribes_hears_of_every_change() -> None:
    consumer = kit.run(main_with(fetch=nothing))
    seen: list[tuple[int, int]] = []
    unsubscribe = consumer.subscribe(lambda: seen.append((consumer.version, consumer.done)))
    await enqueue("fetch")
    await kit.wait()
    assert seen[-1][1] == 1
    assert len({version for version, _ in seen}) == len(seen)
    unsubscribe()
    heard = len(seen)
    consumer.stop()
    assert len(seen) == heard


async def test_a_listener_that_raises_is_dropped_and_harms_no_job() -> None:
    def broken() -> None:
        raise ValueError("the listener's")

    consumer = kit.run(main_with(fetch=nothing))
    consumer.subscribe(broken)
    (job,) = await enqueue("fetch")
    await kit.wait()
    assert await logged(job) == ["queued", "picked", "successful"]
    assert any("ValueError: the listener's" in line for line in texts(consumer))


# The end of the process

SCRIPT = """
    import asyncio, sys, time
    import asyncpg, kit
    from contextlib import asynccontextmanager
    from pgqueuer import AsyncpgDriver, PgQueuer, Queries

    @asynccontextmanager
    async def main():
        connection = await asyncpg.connect()
        pgq = PgQueuer(AsyncpgDriver(connection))

        @pgq.entrypoint("fetch")
        async def fetch(job):
            await asyncio.to_thread(time.sleep, 0.3)
            print("done with", job.payload.decode())

        yield pgq
        await connection.close()

    async def produce():
        connection = await asyncpg.connect()
        payloads = [b"%d" % n for n in range(12)]
        await Queries(AsyncpgDriver(connection)).enqueue(["fetch"] * 12, payloads, [0] * 12)
        await connection.close()

    consumer = kit.run(main, batch_size=1, max_concurrent_tasks=2)
    asyncio.run(produce())
    while not consumer.handlers.running_now():
        time.sleep(0.01)
"""


async def test_a_script_that_ends_leaves_no_connection_no_warning_and_loses_no_job() -> None:
    script = textwrap.dedent(SCRIPT)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-X", "dev", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "[fetch #1] done with 0" in done.stdout.splitlines()
    statuses = {row["status"] for row in await fetch("SELECT status::text FROM pgqueuer_log")}
    assert "exception" not in statuses
    assert len(await fetch("SELECT FROM pgqueuer WHERE status = 'queued'")) >= 6
    await until("its connections are closed", lambda: _none(connections()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
async def test_a_forked_process_has_no_consumer_and_prints_by_itself() -> None:
    script = textwrap.dedent(SCRIPT) + textwrap.dedent("""
        import os
        if child := os.fork():
            os.waitpid(child, 0)
        else:
            print("child:", kit.current.consumers, type(sys.stdout).__name__, flush=True)
            os._exit(0)
    """)
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert "child: {} TextIOWrapper" in done.stdout
    assert "[fetch #1] done with 0" in done.stdout.splitlines()
    assert done.returncode == 0


# Helpers


async def _none(found: Any) -> bool:
    return not await found


async def _cut() -> None:
    await fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
