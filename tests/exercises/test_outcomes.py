"""Four outcomes that are never confused: not attempted, passed, not yet, broke."""

from __future__ import annotations

import ast
import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from kit.errors import KitError
from kit.exercises import card
from kit.exercises.answers import Answer
from kit.exercises.authoring import proving
from kit.exercises.exercise import Exercise, NotYet
from kit.exercises.judging import Outcome, judge
from kit.exercises.untouched import why_not_attempted
from kit.sources import Postgres
from tests.exercises.test_hostile import WORK


async def _never(answer: Answer) -> None:
    raise RuntimeError("a stub was checked")


def changed(**what: Any) -> Exercise:
    new: dict[str, Any] = {"given": "", "processes": 0} | what
    return dataclasses.replace(WORK, **new)


MANAGER = "from contextlib import asynccontextmanager\n@asynccontextmanager\n"


@pytest.mark.parametrize(
    ("stub", "same", "other"),
    [
        (
            "async def work(job): ...",
            "async def work(job):\n    # mine\n\n    ...",
            "async def work(job): return 1",
        ),
        ("work = []", "work = []  # mine", "work = [1]"),
        ("work = 'SELECT 1'", 'work = "SELECT 1"', "work = 'SELECT  1'"),
        (
            "class work:\n    file: str",
            "class work:\n    file: str  # mine",
            "class work:\n    file: str\n    to: int",
        ),
        (
            "class work:\n    file: str",
            "class work:\n    '''Doc.'''\n    file: str",
            "class work:\n    file: bytes",
        ),
        (
            MANAGER + "async def work():\n    yield 1",
            MANAGER + "async def work():\n\n    yield 1",
            MANAGER + "async def work():\n    yield 2",
        ),
    ],
)
def test_comments_and_blank_lines_are_no_attempt_and_anything_else_is(
    stub: str, same: str, other: str
) -> None:
    exercise = changed(stub=stub)
    for source, attempted in ((stub, False), (same, False), (other, True)):
        with proving.answering(exercise, source) as (names, guess):
            assert (why_not_attempted(exercise, names, guess) is None) is attempted, source


def test_a_stub_is_no_attempt_also_where_a_notebook_compiles_each_statement_by_itself() -> None:
    """Then Python does not know that `time` is a module, and compiles the call another way."""
    stub = "import time\n\nasync def work(job):\n    time.sleep(1)"
    names: dict[str, Any] = {}
    for node in ast.parse(stub).body:
        exec(compile(ast.Module([node], []), "<cell>", "exec"), names)
    assert why_not_attempted(changed(stub=stub), names, None) is not None


def test_a_name_that_is_not_there_yet_is_no_attempt(lesson: Postgres) -> None:
    outcome = judge(changed(check=_never), {})
    assert outcome.state == "not attempted"
    assert "'work'" in outcome.text


def test_a_stub_is_not_checked_and_needs_no_postgres() -> None:
    with proving.answering(changed(check=_never), WORK.stub) as (names, _):
        assert judge(changed(check=_never), names).state == "not attempted"


def test_an_answer_without_a_postgres_is_told_what_to_run_first() -> None:
    with (
        proving.answering(changed(), WORK.solution) as (names, _),
        pytest.raises(KitError, match=r"Run kit\.postgres\(\) first"),
    ):
        judge(changed(), names)


@pytest.mark.parametrize("error", [AssertionError("mine"), KeyError("x"), TypeError("no")])
def test_what_a_check_raises_is_its_own_fault(error: Exception, lesson: Postgres) -> None:
    async def breaks(answer: Answer) -> None:
        raise error

    outcome = proving.judged(changed(check=breaks), WORK.solution)
    assert outcome.state == "broke"
    assert "not your fault" in outcome.text
    assert "in breaks" in outcome.trace


def test_a_row_that_is_given_bare_is_shown_whole(lesson: Postgres) -> None:
    async def bare(answer: Answer) -> None:
        raise NotYet("raised", expected=["sent: 12"], actual=[("sent: 13",)], error="", place="")

    outcome = proving.judged(changed(check=bare), WORK.solution)
    assert (outcome.expected, outcome.actual) == ([("sent: 12",)], [("sent: 13",)])


def test_a_moment_in_a_row_is_shown_as_one_reads_it() -> None:
    moment = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
    html, text = card.outcome(
        WORK, Outcome("not yet", "Look.", actual=[(moment, None)], expected=[(1, "one")])
    )
    for shown in (html, text):
        assert "2026-12-01 09:30:00+00:00" in shown
        assert "datetime" not in shown


def test_a_message_that_is_not_there_is_the_checks_fault(lesson: Postgres) -> None:
    async def misspelt(answer: Answer) -> None:
        raise NotYet("no such key")

    assert proving.judged(changed(check=misspelt), WORK.solution).state == "broke"


def test_a_postgres_that_is_lost_during_a_check_is_the_checks_fault(lesson: Postgres) -> None:
    async def cut(answer: Answer) -> None:
        await answer.sql("SELECT pg_terminate_backend(pg_backend_pid())")

    assert proving.judged(changed(check=cut), WORK.solution).state == "broke"
    assert proving.judged(changed(check=_passes), WORK.solution).state == "passed", "the next one works"


async def _passes(answer: Answer) -> None:
    await answer.sql("CREATE TABLE orders (id int)")


def test_each_check_begins_with_an_empty_database(lesson: Postgres) -> None:
    for _ in range(3):
        outcome = proving.judged(changed(check=_passes), WORK.solution)
        assert outcome.state == "passed", outcome


def test_a_table_that_an_earlier_answer_has_locked_is_no_harm(lesson: Postgres) -> None:
    locks = """
async def work(job):
    connection = await asyncpg.connect()
    await connection.execute("BEGIN; LOCK TABLE pgqueuer")
    await connection.execute("SELECT pg_sleep(60)")
"""
    assert proving.judged(WORK, locks).message == "endless"
    assert proving.judged(WORK, WORK.solution).state == "passed"


QUERY = changed(names=("work",), stub="work = ''", solution="work = 'SELECT 1'", kind="query")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("'SELEC 1'", "refused"),
        ("'SELECT 1; SELECT 2'", "refused"),
        ("'SELECT pg_sleep(30)'", "slow-query"),
        ("['SELECT 1']", "no-text"),
        ("'SELECT generate_series(1, 1000000000)'", None),
        ("'CREATE TABLE mine (id int)'", None),
        ("'SELECT 1;'", None),
    ],
)
def test_a_query_of_the_learners_is_bounded_and_its_error_named(
    query: str, message: str | None, lesson: Postgres
) -> None:
    async def asks(answer: Answer) -> None:
        rows = await answer.ask("work")
        assert len(rows) <= 200

    outcome = proving.judged(dataclasses.replace(QUERY, check=asks), f"work = {query}")
    assert outcome.message == message, outcome
    assert outcome.state == ("passed" if message is None else "not yet")
