"""What an error means, its hint, and whose lines it came from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import nbformat
import pydantic
import pytest
import yaml  # type: ignore[import-untyped]
from pgqueuer import AsyncpgDriver, PgQueuer, Queries
from pgqueuer.models import Job

import kit
from kit.errors.hints import hint
from kit.errors.place import is_learners, place
from kit.errors.postgres import tables_are_missing, worth_another_try
from kit.errors.text import one_line
from kit.sources import Postgres
from tests.kernels import notebook_client
from tests.lessons.notebook import text_of


async def refused(query: str, *args: object) -> Exception:
    """Return the error that Postgres or asyncpg answers ``query`` with."""
    connection = await asyncpg.connect()
    try:
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)) as caught:
            await connection.execute(query, *args)
        return caught.value
    finally:
        await connection.close()


async def test_a_payload_of_text_is_told_to_become_bytes(queue_database: Postgres) -> None:
    connection = await asyncpg.connect()
    try:
        with pytest.raises(asyncpg.DataError) as caught:
            await Queries(AsyncpgDriver(connection)).enqueue("fetch", "hello")  # type: ignore[call-overload]
    finally:
        await connection.close()
    assert ".encode()" in (hint(caught.value) or "")


async def test_a_duplicate_job_names_its_dedupe_key(queue_database: Postgres) -> None:
    connection = await asyncpg.connect()
    try:
        queries = Queries(AsyncpgDriver(connection))
        await queries.enqueue("fetch", b"1", dedupe_key="only once")
        with pytest.raises(Exception) as caught:  # noqa: PT011
            await queries.enqueue("fetch", b"2", dedupe_key="only once")
    finally:
        await connection.close()
    assert str(caught.value) == ""
    assert "'only once'" in (hint(caught.value) or "")


async def test_missing_tables_name_the_call_that_makes_them_and_a_slip_of_the_pen_does_not(
    queue_database: Postgres,
) -> None:
    # An alias that is not used, or is used without being there, has the SQLSTATE of a missing table.
    for query in (
        "SELECT * FROM pgqueuer_logs",
        "SELECT pgqueuer.id FROM pgqueuer AS q",
        "SELECT pgqueuer.id",
        "DELETE FROM pgqueuer_log WHERE pgqueuer.id = 1",
    ):
        slip = await refused(query)
        assert getattr(slip, "sqlstate", "") == "42P01"
        assert hint(slip) is None
        assert not tables_are_missing(slip)
    connection = await asyncpg.connect()
    await Queries(AsyncpgDriver(connection)).uninstall()
    await connection.close()
    for table in ("pgqueuer", "public.pgqueuer_schedules", "pgqueuer_statistics"):
        error = await refused(f"SELECT * FROM {table}")
        assert "kit.postgres" in (hint(error) or "")
        assert tables_are_missing(error)


@pytest.mark.parametrize(
    "message", ["Relation »pgqueuer« existiert nicht", "la relation « pgqueuer_log » n'existe pas"]
)
def test_missing_tables_are_known_in_other_languages_too(message: str) -> None:
    """The words are those of PostgreSQL's translations, which the servers of the tests do not have."""
    error = asyncpg.UndefinedTableError(message)
    assert tables_are_missing(error)
    assert "kit.postgres" in (hint(error) or "")


async def test_a_closed_connection_is_told_to_be_made_again(queue_database: Postgres) -> None:
    connection = await asyncpg.connect()
    await connection.close()
    with pytest.raises(asyncpg.InterfaceError) as caught:
        await connection.execute("SELECT 1")
    assert "asyncpg.connect()" in (hint(caught.value) or "")


async def test_an_error_that_speaks_for_itself_has_no_hint(queue_database: Postgres) -> None:
    assert hint(await refused("SELECT * FROM orders")) is None


def test_in_a_notebook_the_hint_stands_above_the_error(queue_database: Postgres) -> None:
    cells = [
        "import kit\np = kit.postgres(database='hints')",
        "import asyncpg\nfrom pgqueuer import AsyncpgDriver, Queries\nconn = await asyncpg.connect()",
        "await Queries(AsyncpgDriver(conn)).enqueue('fetch', 'hello')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    notebook_client(notebook, allow_errors=True).execute()
    told = text_of(notebook.cells[-1])
    assert told.startswith("A payload is bytes: write b'hello'")
    assert "DataError" in told


async def test_an_error_from_inside_of_asyncpg_is_placed_at_the_line_that_called_it(
    queue_database: Postgres,
) -> None:
    connection = await asyncpg.connect()
    try:
        with pytest.raises(asyncpg.DataError) as caught:
            await connection.fetchval("SELECT $1::bytea", "text")
    finally:
        await connection.close()
    assert "test_errors.py, line " in place(caught.value)
    assert '`await connection.fetchval("SELECT $1::bytea", "text")`' in place(caught.value)
    assert place(caught.value, cells_only=True) == ""


def test_a_library_of_this_user_or_of_debian_is_not_what_a_learner_wrote() -> None:
    for folder in ("/home/ada/.local/lib/python3.12/site-packages", "/usr/lib/python3/dist-packages"):
        assert not is_learners(f"{folder}/asyncpg/connection.py")
    assert is_learners("/home/ada/packages/asyncpg/connection.py")


async def test_a_deadlock_is_worth_another_try_and_a_mistake_is_not(queue_database: Postgres) -> None:
    first, second = await asyncpg.connect(), await asyncpg.connect()
    try:
        async with first.transaction():
            await first.execute("SELECT pg_advisory_xact_lock(1)")
            with pytest.raises(asyncpg.DeadlockDetectedError) as caught:  # noqa: PT012
                async with second.transaction():
                    await second.execute(
                        "SET LOCAL deadlock_timeout = '50ms'; SELECT pg_advisory_xact_lock(2)"
                    )
                    waiting = asyncio.create_task(first.execute("SELECT pg_advisory_xact_lock(2)"))
                    await second.execute("SELECT pg_advisory_xact_lock(1)")
            await waiting
        assert worth_another_try(caught.value)
        await first.close()
        with pytest.raises(asyncpg.InterfaceError) as closed:
            await first.execute("SELECT 1")
        assert worth_another_try(closed.value)
    finally:
        await first.close()
        await second.close()
    assert worth_another_try(TimeoutError())
    assert not worth_another_try(await refused("SELECT 1 / 0"))
    assert not worth_another_try(ValueError("no such order"))


class Order(pydantic.BaseModel):
    item: str
    amount: int = 1

    @pydantic.model_validator(mode="after")
    def not_three(self) -> Order:
        if self.amount == 3:
            raise ValueError("three is too many")
        return self


@pytest.mark.parametrize(
    ("reading", "line"),
    [
        (
            lambda: Order.model_validate({"item": "tea", "amount": "six"}),
            "ValidationError: amount: Input should be a valid integer, un",
        ),
        (lambda: Order.model_validate({}), "ValidationError: item: Field required"),
        (lambda: Order.model_validate({"amount": "six"}), "ValidationError: item: Field required …"),
        (lambda: Order(item="tea", amount=3), "ValidationError: Value error, three is too many"),
        (
            lambda: Order.model_validate_json(b"{"),
            "ValidationError: Invalid JSON: EOF while parsing an object",
        ),
        (
            lambda: yaml.safe_load("a: [1\nb: 2"),
            "ParserError: expected ',' or ']', but got ':' (line 2, column 2)",
        ),
        (lambda: yaml.safe_load('a: "x'), "ScannerError: found unexpected end of stream (line 1, column 6)"),
        (lambda: yaml.safe_load("a: b: c"), "ScannerError: mapping values are not allowed here …"),
        (lambda: int("six\nseven"), "ValueError: invalid literal for int() with base 10: 'six\\nseven'"),
    ],
)
def test_an_error_is_shown_by_its_first_useful_line(reading: Callable[[], object], line: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        reading()
    assert one_line(caught.value).startswith(line)


@pytest.mark.parametrize("text", ["2 errors for Order\nitem\n  missing", "while cooking\n  soup\nit burned"])
def test_a_heading_of_another_kind_is_the_line_that_is_shown(text: str) -> None:
    assert one_line(ValueError(text)) == f"ValueError: {text.splitlines()[0]} …"


async def test_the_log_the_reason_and_the_wait_show_the_field_and_the_rule(
    queue_database: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    @asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))

        @pgq.entrypoint("order", on_failure="hold")
        async def order(job: Job) -> None:
            Order.model_validate_json(job.payload or b"")

        yield pgq

    connection = await asyncpg.connect()
    (job,) = await Queries(AsyncpgDriver(connection)).enqueue("order", b'{"amount": 1}')
    await connection.close()
    consumer = kit.run(main)
    await kit.wait()
    consumer.stop()
    line = "ValidationError: item: Field required"
    assert capsys.readouterr().out.strip() == f"[order #{job}] held: {line}"
    assert kit.log().iloc[-1]["error"] == line
    assert line in kit.why(job)
