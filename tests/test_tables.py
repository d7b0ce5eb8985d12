"""PGQueuer's tables as a learner reads them: what is in them, at any moment, and why a call fails."""

from __future__ import annotations

import asyncio
import re
import threading
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pandas as pd
import pytest
import pytest_asyncio
from pgqueuer import AsyncpgDriver, Queries
from pgqueuer.domain.settings import db_settings
from pgqueuer.domain.types import CronEntrypoint, CronExpression, QueueEntrypoint, QueueManagerId
from pgqueuer.models import CronExpressionEntrypoint, Job, TracebackRecord
from pgqueuer.ports.repository import EntrypointExecutionParameter

import kit
from kit import tables
from kit.database.target import Target
from kit.session import session
from kit.sources import Postgres

TIME = "datetime64[us, UTC]"
JOBS = {
    "id": "Int64", "status": "category", "entrypoint": "string", "priority": "Int64", "text": "string",
    "attempts": "Int64", "created": TIME, "payload": "object", "execute_after": TIME, "updated": TIME,
    "heartbeat": TIME, "queue_manager_id": "string", "headers": "object", "dedupe_key": "string",
    "slot": "Int64",
}  # fmt: skip
LOG = {
    "job_id": "Int64", "status": "category", "entrypoint": "string", "priority": "Int64", "created": TIME,
    "error": "string", "traceback": "object", "aggregated": "boolean", "id": "Int64",
}  # fmt: skip
SCHEDULES = {
    "id": "Int64", "entrypoint": "string", "expression": "string", "status": "category", "next_run": TIME,
    "last_run": TIME, "created": TIME, "updated": TIME, "heartbeat": TIME,
}  # fmt: skip
STATISTICS = {
    "created": TIME, "entrypoint": "string", "priority": "Int64", "status": "category", "count": "Int64",
}  # fmt: skip
STATUSES = ["queued", "picked", "successful", "exception", "canceled", "deleted", "failed"]
EACH: dict[str, dict[str, str]] = {"jobs": JOBS, "log": LOG, "schedules": SCHEDULES, "statistics": STATISTICS}


@pytest_asyncio.fixture
async def connection(queue_database: Postgres) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect()
    yield opened
    await opened.close()


@pytest.fixture
def queries(connection: asyncpg.Connection) -> Queries:
    return Queries(AsyncpgDriver(connection))


async def take(queries: Queries, *entrypoints: str) -> list[Job]:
    """Take all jobs that are due, as a consumer does."""
    return await queries.dequeue(
        batch_size=10,
        entrypoints={
            QueueEntrypoint(name): EntrypointExecutionParameter(concurrency_limit=0) for name in entrypoints
        },
        queue_manager_id=QueueManagerId(uuid.uuid4()),
        global_concurrency_limit=None,
        heartbeat_timeout=timedelta(seconds=30),
    )


async def schedule(queries: Queries, name: str, expression: str) -> None:
    """Register a recurring task that is due in five minutes."""
    key = CronExpressionEntrypoint(CronEntrypoint(name), CronExpression(expression))
    await queries.insert_schedule({key: timedelta(minutes=5)})


@pytest.mark.parametrize("name", EACH)
def test_an_empty_table_has_all_its_columns_and_dtypes(name: str, queue_database: Postgres) -> None:
    table = getattr(kit, name)()
    assert len(table) == 0
    assert {column: str(dtype) for column, dtype in table.dtypes.items()} == EACH[name]
    assert table.columns.tolist() == list(EACH[name])
    assert table["status"].cat.categories.tolist() == STATUSES


async def test_every_table_has_the_same_dtypes_with_rows(queries: Queries) -> None:
    await queries.enqueue(
        ["a", "b"], [b"x", None], [0, 1], headers=[{"k": "v"}, None], dedupe_key=["d", None]
    )
    (first, *_) = await take(queries, "a")
    await queries.log_jobs([(first, "exception", TracebackRecord.from_exception(ValueError("no"), first.id))])
    await schedule(queries, "tick", "*/5 * * * *")
    for name, dtypes in EACH.items():
        table = getattr(kit, name)()
        assert len(table) > 0, name
        assert {column: str(dtype) for column, dtype in table.dtypes.items()} == dtypes


async def test_a_job_is_shown_as_it_was_enqueued(queries: Queries) -> None:
    await queries.enqueue(
        "fetch", b"hello", 5, timedelta(hours=1), dedupe_key="once", headers={"trace": "abc"}
    )
    (job,) = kit.jobs().to_dict("records")
    shown = {name: job[name] for name in (*list(JOBS)[:6], "payload")}
    assert shown == {
        "id": 1, "status": "queued", "entrypoint": "fetch", "priority": 5, "payload": b"hello",
        "text": "hello", "attempts": 0,
    }  # fmt: skip
    assert job["headers"] == {"trace": "abc"}
    assert job["dedupe_key"] == "once"
    assert kit.jobs()["queue_manager_id"].isna().all()
    assert job["execute_after"] - job["created"] == pd.Timedelta(hours=1)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ("smørrebrød".encode(), "smørrebrød"),
        (b"two\nlines\tand a tab", "two\nlines\tand a tab"),
        (b"", ""),
        (b"\xff\xfe", "(2 bytes, not text)"),
        (b"\x00\x00\x00\x07", "(4 bytes, not text)"),
        (None, pd.NA),
    ],
)
async def test_the_text_of_a_payload_stands_beside_its_bytes(
    queries: Queries, payload: bytes | None, text: Any
) -> None:
    await queries.enqueue("fetch", payload)
    table = kit.jobs()
    assert table["payload"].tolist() == [payload]
    assert table["text"].tolist() == [text]


async def test_jobs_are_in_the_order_in_which_they_were_enqueued(queries: Queries) -> None:
    await queries.enqueue(["a"] * 3, [None] * 3, [0, 10, -5])
    assert kit.jobs()["priority"].tolist() == [0, 10, -5]


async def test_a_picked_job_shows_its_consumer(queries: Queries) -> None:
    await queries.enqueue("fetch", None)
    (job,) = await take(queries, "fetch")
    table = kit.jobs()
    assert table["status"].tolist() == ["picked"]
    assert table["queue_manager_id"].tolist() == [str(job.queue_manager_id)]


async def test_the_log_tells_a_job_from_beginning_to_end(queries: Queries) -> None:
    await queries.enqueue(["fetch", "other"], [None, None], [3, 0])
    (job,) = await take(queries, "fetch")
    await queries.log_jobs([(job, "successful", None)])
    table = kit.log(job.id)
    assert table["status"].tolist() == ["queued", "picked", "successful"]
    assert table["job_id"].tolist() == [job.id] * 3
    assert table["priority"].tolist() == [3, 3, 3]
    assert table["error"].isna().all()
    assert len(kit.log()) == 4


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyError("subject"), "KeyError: 'subject'"),
        (ValueError("first line\nsecond line"), "ValueError: first line"),
        (ValueError("\n  after a blank line"), "ValueError: after a blank line"),
        (TimeoutError(), "TimeoutError"),
    ],
)
async def test_the_log_shows_an_exception_in_one_line_and_keeps_its_traceback(
    queries: Queries, error: Exception, line: str
) -> None:
    await queries.enqueue("fetch", None)
    (job,) = await take(queries, "fetch")
    await queries.log_jobs([(job, "exception", TracebackRecord.from_exception(error, job.id))])
    last = kit.log().iloc[-1]
    assert last["status"] == "exception"
    assert last["error"] == line
    assert last["traceback"]["exception_type"] == type(error).__name__
    assert last["traceback"]["job_id"] == job.id


async def test_schedules_show_when_they_are_due(queries: Queries) -> None:
    await schedule(queries, "tick", "*/5 * * * *")
    (tick,) = kit.schedules().to_dict("records")
    assert [tick["entrypoint"], tick["expression"], tick["status"]] == ["tick", "*/5 * * * *", "queued"]
    early = pd.Timedelta(minutes=5) - (tick["next_run"] - tick["created"])
    assert pd.Timedelta(0) <= early < pd.Timedelta(seconds=1)  # PGQueuer rounds down to a second
    assert tick["last_run"] is pd.NaT


async def test_statistics_count_up_to_this_moment_and_write_nothing(queries: Queries) -> None:
    await queries.enqueue(["a"] * 5, [None] * 5, [0] * 5)
    await queries.aggregate_logs()
    await queries.enqueue(["a"] * 3, [None] * 3, [0] * 3)
    await take(queries, "a")
    counts = kit.statistics().groupby("status", observed=True)["count"].sum()
    assert counts.to_dict() == {"queued": 8, "picked": 8}
    assert kit.log()["aggregated"].tolist() == [True] * 5 + [False] * 11
    await queries.aggregate_logs()
    assert kit.statistics().groupby("status", observed=True)["count"].sum().to_dict() == counts.to_dict()
    assert len(kit.statistics()) == len(kit.sql("SELECT * FROM pgqueuer_statistics"))


async def test_tables_can_be_read_while_a_loop_runs_and_a_transaction_is_open(
    queries: Queries, connection: asyncpg.Connection
) -> None:
    async with connection.transaction():
        await queries.enqueue("fetch", None)
        assert len(kit.jobs()) == 0  # not committed yet
        waiting = asyncio.create_task(connection.fetchval("SELECT pg_sleep(0.2)"))
        await asyncio.sleep(0)
        assert len(kit.log()) == 0
        await waiting
    assert len(kit.jobs()) == 1


async def test_nothing_is_left_after_a_call(connection: asyncpg.Connection) -> None:
    before = threading.active_count()
    for name in EACH:
        getattr(kit, name)()
    with pytest.raises(kit.KitError):
        kit.sql("SELECT nonsense")
    others = "SELECT application_name FROM pg_stat_activity WHERE datname = current_database() AND pid <> $1"
    assert await connection.fetch(others, connection.get_server_pid()) == []
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT nonsense + 1", 'column "nonsense" does not exist (at \'nonsense + 1\').'),
        ("SELECT 1,\n  nonsense\nLIMIT 1", 'column "nonsense" does not exist (in line 2, at \'nonsense\').'),
        ("SELEC 1", 'syntax error at or near "SELEC" (at \'SELEC 1\').'),
        ("SELECT (1", "syntax error at end of input (at the end)."),
        ("SELECT 'smørrebrød', nonsense", 'column "nonsense" does not exist (at \'nonsense\').'),
        ("SELECT 1 / 0", "division by zero."),
        ("SELECT 1; SELECT 2", "cannot insert multiple commands into a prepared statement."),
        ("SELECT * FROM pgqueur", 'relation "pgqueur" does not exist (at \'pgqueur\').'),
    ],
)  # fmt: skip
def test_a_mistake_in_sql_is_told_with_its_place(queue_database: Postgres, query: str, said: str) -> None:
    with pytest.raises(kit.KitError) as caught:
        kit.sql(query)
    assert str(caught.value) == f"This SQL does not work: {said}"


def test_the_hint_and_the_detail_of_postgres_are_told_too(queue_database: Postgres) -> None:
    kit.sql("CREATE TABLE notes (id int PRIMARY KEY)")
    kit.sql("INSERT INTO notes VALUES (7)")
    with pytest.raises(kit.KitError, match=r"Key \(id\)=\(7\) already exists"):
        kit.sql("INSERT INTO notes VALUES (7)")
    with pytest.raises(kit.KitError, match=r"Perhaps you meant to reference the column"):
        kit.sql("SELECT entrypint FROM pgqueuer")


def test_arguments_go_beside_the_query(queue_database: Postgres) -> None:
    table = kit.sql("SELECT $1::int + 1 AS n, $2 || '$1' AS text", 41, "it's ")
    assert table.iloc[0].tolist() == [42, "it's $1"]
    with pytest.raises(kit.KitError, match="the server expects 1 argument for this query, 2 were passed"):
        kit.sql("SELECT $1::int", 1, 2)
    with pytest.raises(kit.KitError, match=r"\$1: 'one'"):
        kit.sql("SELECT $1::int", "one")
    with pytest.raises(kit.KitError, match="not 7"):
        kit.sql(7)  # type: ignore[arg-type]


async def test_a_lock_that_somebody_keeps_is_waited_for_only_so_long(
    connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "LOCK_TIMEOUT", 1)
    async with connection.transaction():
        await connection.execute("LOCK TABLE pgqueuer")
        with pytest.raises(kit.KitError, match="holds a lock"):
            kit.jobs()
    assert len(kit.jobs()) == 0


async def test_missing_tables_are_told_with_the_mend(queries: Queries) -> None:
    await queries.uninstall()
    for name in EACH:
        with pytest.raises(kit.KitError, match="pgq install"):
            getattr(kit, name)()


def test_no_postgres_yet_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_opened", [])
    monkeypatch.delenv("PGHOST", raising=False)
    with pytest.raises(kit.KitError, match=re.escape("Run kit.postgres() first")):
        kit.jobs()


def test_a_server_that_is_gone_is_told(queue_database: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_database, "target", Target("postgresql://nobody:x@127.0.0.1:1/nowhere"))
    with pytest.raises(kit.KitError, match=r"Cannot reach Postgres: .*kit\.postgres\(\) brings it back"):
        kit.jobs()


def test_a_connection_that_is_cut_is_told(queue_database: Postgres) -> None:
    with pytest.raises(kit.KitError, match=r"Cannot reach Postgres: .*brings it back"):
        kit.sql("SELECT pg_terminate_backend(pg_backend_pid())")
    assert len(kit.jobs()) == 0


async def test_a_terminal_that_has_only_variables_is_enough(
    queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queries.enqueue("fetch", None)
    monkeypatch.setattr(session, "_opened", [])  # as in a process after eval "$(kit env)"
    assert kit.jobs()["entrypoint"].tolist() == ["fetch"]


async def test_tables_with_a_prefix_are_found(
    connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGQUEUER_PREFIX", "mine_")
    db_settings.cache_clear()
    try:
        queries = Queries(AsyncpgDriver(connection))
        await queries.install()
        await queries.enqueue("fetch", b"mine")
        assert kit.jobs()["text"].tolist() == ["mine"]
        assert kit.log()["status"].tolist() == ["queued"]
    finally:
        monkeypatch.undo()
        db_settings.cache_clear()
    assert len(kit.jobs()) == 0


def test_columns_of_another_version_of_pgqueuer_are_shown_last(queue_database: Postgres) -> None:
    kit.sql("ALTER TABLE pgqueuer ADD COLUMN tenant text")
    kit.sql("ALTER TABLE pgqueuer DROP COLUMN slot")
    assert kit.jobs().columns.tolist() == [name for name in JOBS if name != "slot"] + ["tenant"]


async def test_a_table_is_drawn_with_what_matters_first_and_the_rest_in_a_fold(queries: Queries) -> None:
    await queries.enqueue("fetch", b"hello", headers={"trace": "abc"})

    def drawn(table: Any) -> list[list[str]]:
        return [re.findall(r"<th>(\w+)</th>", part) for part in table._repr_html_().split("<details")]

    first = ["id", "status", "entrypoint", "priority", "text", "attempts", "created"]
    rest = [name for name in JOBS if name not in first]
    assert drawn(kit.jobs()) == [first, ["id", *rest]]
    waiting = kit.jobs().query("status == 'queued'").assign(tenant="a")
    assert drawn(waiting) == [[*first, "tenant"], ["id", *rest]]
    assert f"8 more columns: {', '.join(rest)}" in str(waiting._repr_html_())  # type: ignore[operator]
    # What was asked for by name is drawn as it was asked for.
    assert drawn(kit.jobs()[["id", "slot", "headers"]]) == [["id", "slot", "headers"]]
    assert drawn(kit.log()) == [list(LOG)[:6], ["job_id", *list(LOG)[6:]]]
    assert drawn(kit.schedules()) == [list(SCHEDULES)[:6], ["id", *list(SCHEDULES)[6:]]]
    assert drawn(kit.sql("SELECT * FROM pgqueuer"))[1:] == []
