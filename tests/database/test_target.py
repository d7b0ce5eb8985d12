"""What is connected to: limits when Postgres does not answer, what cannot be a DSN, and ``PG*`` both ways."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

import kit
from kit.database import dsn, target
from kit.database.target import LIMIT, Target, Unreachable
from kit.sources import Postgres
from tests.sources.conftest import own_home
from tests.sources.processes import ask, hung, keepers, servers, tree
from tests.waiting import wait_until

__all__ = ["own_home"]

SLACK = 5.0  # seconds more than a limit that a busy machine may take
CALLS: dict[str, Callable[[], object]] = {
    "jobs": kit.jobs,
    "log": kit.log,
    "schedules": kit.schedules,
    "statistics": kit.statistics,
    "sql": lambda: kit.sql("SELECT 1"),
    "sql with an argument": lambda: kit.sql("SELECT $1::int", 1),
    "reset": kit.reset,
}


@pytest.fixture
def own_server(own_home: Path) -> Iterator[Postgres]:
    """A server for this test alone."""
    with kit.postgres("embedded", database="alone") as opened:
        yield opened


def outcome(call: Callable[[], object]) -> tuple[object, float]:
    """Return what a call raised, or returned, and how many seconds that took."""
    began = time.monotonic()
    try:
        result: object = call()
    except Exception as error:
        result = error
    return result, time.monotonic() - began


def all_at_once() -> dict[str, tuple[Any, float]]:
    with ThreadPoolExecutor(len(CALLS)) as pool:
        return dict(zip(CALLS, pool.map(outcome, CALLS.values()), strict=True))


def test_while_postgres_hangs_every_call_says_so_within_its_limit(
    own_home: Path, own_server: Postgres
) -> None:
    with hung(own_home):
        for name, (result, seconds) in all_at_once().items():
            assert isinstance(result, kit.KitError), f"{name}: {result!r}"
            assert "did not answer within 10 s" in str(result), name
            assert seconds < LIMIT + SLACK, name
    assert kit.jobs().empty


def test_while_postgres_is_down_every_call_says_so_at_once(own_home: Path, own_server: Postgres) -> None:
    for process in [*keepers(own_home), *tree(own_home)]:  # the keeper would start it again
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    wait_until("the end of the server", lambda: not servers(own_home))
    for name, (result, seconds) in all_at_once().items():
        assert isinstance(result, kit.KitError), f"{name}: {result!r}"
        assert "kit.postgres()" in str(result), name
        assert seconds < SLACK, name


async def test_a_server_that_comes_to_hang_while_it_is_used_is_given_up(
    own_home: Path, own_server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "_PROBE", 1.0)
    began = time.monotonic()

    async def use() -> None:
        async with own_server.target.connect(limit=3, patient=True) as connection:
            with hung(own_home):
                await connection.fetch("SELECT 1")

    with pytest.raises(Unreachable, match="did not answer within 3 s"):
        await use()
    assert time.monotonic() - began < 3 + SLACK


async def test_a_query_that_takes_longer_than_the_limit_is_given_up(server: Postgres) -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable, match="did not answer within 1 s"):
        async with server.target.connect(limit=1) as connection:
            await connection.execute("SELECT pg_sleep(60)")
    assert time.monotonic() - began < 1 + SLACK


async def test_patience_lets_it_take_longer_while_the_server_answers_others(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "_PROBE", 0.5)
    async with server.target.connect(limit=3, patient=True) as connection:
        assert await connection.fetchval("SELECT 7 FROM pg_sleep(4)") == 7


@pytest.mark.parametrize("patient", [False, True])
async def test_a_server_that_refuses_is_told_at_once(patient: bool) -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable):
        async with Target("postgresql://a:b@127.0.0.1:1/x").connect(patient=patient):
            pass
    assert time.monotonic() - began < SLACK


async def test_a_database_that_is_not_there_is_told_by_its_name(server: Postgres) -> None:
    with pytest.raises(Unreachable, match='"nowhere" does not exist'):
        async with server.target.beside("nowhere").connect():
            pass


async def test_a_connection_that_breaks_while_it_is_used_is_no_raw_error(server: Postgres) -> None:
    async def use() -> None:
        async with server.target.connect() as connection:
            sleeping = asyncio.ensure_future(connection.execute("SELECT pg_sleep(60)"))
            await asyncio.to_thread(
                ask, server.dsn, "SELECT pg_terminate_backend($1)", connection.get_server_pid()
            )
            await sleeping

    with pytest.raises(Unreachable):
        await use()


async def test_what_the_server_refuses_is_its_own_sentence(server: Postgres) -> None:
    with pytest.raises(kit.KitError, match=r'PostgreSQL refused .*relation "nothing" does not exist'):
        async with server.target.connect() as connection:
            await connection.execute("SELECT * FROM nothing")


@pytest.mark.parametrize("how", ["left", "given up", "raised"])
async def test_the_connection_is_closed_however_the_block_ends(server: Postgres, how: str) -> None:
    with suppress(Unreachable, ZeroDivisionError):
        async with server.target.connect(limit=0.5 if how == "given up" else LIMIT) as connection:
            if how == "given up":
                await connection.execute("SELECT pg_sleep(60)")
            elif how == "raised":
                raise ZeroDivisionError
    assert connection.is_closed()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("postgresql://u:secret@host:99999/x", "the port '99999'"),
        ("postgresql://u:secret@host:0/x", "the port '0'"),
        ("postgresql://u:secret@host:tea/x", "the port 'tea'"),
        ("postgresql:///x?host=h&password=secret&port=tea", "the port 'tea'"),
        ("postgresql://u:secret@host:1,other:99999/x", "the port '99999'"),
        ("postgresql://u:secret@[::zz]:5432/x", "an address that cannot be one"),
        ("postgresql://u:secret@[::1/x", "an address that cannot be one"),
        ("u:secret@host:5432/x", "does not begin with 'postgresql://'"),
        ("secret", "does not begin with 'postgresql://'"),
        ("", "does not begin with 'postgresql://'"),
        ("mysql://u:secret@host/x", "it begins with 'mysql://'"),
        ("mysql+asyncmy://u:secret@host/x", "it begins with 'mysql+asyncmy://'"),
        ("postgresql+asyncpg://u:secret@host:99999/x", "the port '99999'"),
        ("secret@host://x", "is not the DSN of a PostgreSQL"),
        (5, "KIT_DSN is int"),
        (None, "KIT_DSN is NoneType"),
    ],
)
def test_what_cannot_be_a_dsn_is_refused_in_one_line_without_its_password(given: object, says: str) -> None:
    with pytest.raises(kit.KitError) as caught:
        dsn.check(given, "KIT_DSN")
    told = str(caught.value)
    assert says in told
    assert told.startswith("KIT_DSN ")
    assert told.endswith(f'Write it like "{dsn.EXAMPLE}".')
    assert "secret" not in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("postgresql+asyncpg://u:p@h:1/x", "postgresql://u:p@h:1/x"),
        ("postgresql+psycopg2://u:p%40@h/x?sslmode=require", "postgresql://u:p%40@h/x?sslmode=require"),
        (
            "postgresql+asyncpg://u@h/x?ssl=require&prepared_statement_cache_size=0",
            "postgresql://u@h/x?sslmode=require",
        ),
        ("postgres+psycopg:///x?host=/run&port=7", "postgres:///x?host=%2Frun&port=7"),
    ],
)
def test_an_address_of_sqlalchemys_is_taken_without_its_driver(given: str, taken: str) -> None:
    assert dsn.check(given, "KIT_DSN") == taken


@pytest.mark.parametrize(
    "given",
    [
        "postgresql://",
        "postgres://u@host/x",
        "postgresql://u:p%40ss@host:5432/x?sslmode=require",
        "postgresql://u@[::1]:5432/x",
        "postgresql://u@[fe80::1%25eth0]/x",
        "postgresql:///x?host=/var/run/postgresql",
        "postgresql://a:1,b:65535/x",
    ],
)
def test_what_can_be_a_dsn_is_taken_as_it_is(given: str) -> None:
    assert dsn.check(given, "KIT_DSN") == given


EVERYTHING = {
    "PGHOST": "db.example.org",
    "PGPORT": "6543",
    "PGUSER": "ann@work",
    "PGPASSWORD": "p@ss/w:rd?#%&=+ é'\"[]",
    "PGDATABASE": "a/b ?c#",
    "PGPASSFILE": "/home/ann/.pg pass",
    "PGSERVICE": "shop",
    "PGSSLMODE": "verify-full",
    "PGSSLCERT": "/c&d/cert.pem",
    "PGSSLKEY": "/c/key.pem",
    "PGSSLROOTCERT": "/c/root.pem",
    "PGSSLCRL": "/c/crl.pem",
    "PGSSLNEGOTIATION": "direct",
    "PGSSLMINPROTOCOLVERSION": "TLSv1.2",
    "PGSSLMAXPROTOCOLVERSION": "TLSv1.3",
    "PGKRBSRVNAME": "postgres",
    "PGGSSLIB": "gssapi",
    "PGTARGETSESSIONATTRS": "read-write",
}


@pytest.mark.parametrize(
    "environment",
    [
        EVERYTHING,
        *({name: value} for name, value in EVERYTHING.items()),
        EVERYTHING | {"PGHOST": "/var/run/postgresql"},
        EVERYTHING | {"PGHOST": "::1"},
        EVERYTHING | {"PGHOST": "a.example,b.example,::1", "PGPORT": "1,2,3"},
        {},
    ],
)
def test_what_the_variables_say_a_dsn_says_and_back(environment: dict[str, str]) -> None:
    made = dsn.from_variables(environment | {"HOME": "/root", "PGCLIENTENCODING": ""})
    assert dsn.check(made, "PG*") == made
    assert dsn.variables(made) == environment
    assert Target.of_variables(environment).variables() == environment


def test_every_variable_is_among_those_that_are_tried() -> None:
    assert set(EVERYTHING) == set(dsn._PARAMETERS.values())


@pytest.mark.parametrize("name", ["plain", "a/b ?c#", "ø", "5%"])
def test_a_database_beside_another_keeps_all_else(name: str) -> None:
    made = dsn.from_variables(EVERYTHING)
    assert dsn.variables(dsn.beside(made, name)) == EVERYTHING | {"PGDATABASE": name}
    for other in ("postgresql://u:p%40@h:1/x?sslmode=require", "postgresql:///x?host=/run&dbname=y"):
        assert dsn.variables(dsn.beside(other, name)) == dsn.variables(other) | {"PGDATABASE": name}


def test_what_is_shown_of_a_target_has_no_password() -> None:
    shown = Target.of_variables(EVERYTHING)
    assert shown.where == "db.example.org:6543"
    assert "rd?" not in repr(shown)
    assert "p%40" not in repr(shown)


async def test_the_second_of_several_hosts_is_connected_to_when_the_first_refuses(server: Postgres) -> None:
    named = server.target.variables()
    several = named | {"PGHOST": f"127.0.0.1,{named['PGHOST']}", "PGPORT": f"1,{named['PGPORT']}"}
    async with Target.of_variables(several).connect() as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_dsn_and_its_variables_lead_to_the_same_place(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.target.variables().items():
        monkeypatch.setenv(name, value)
    connection = await asyncpg.connect()
    try:
        there = await connection.fetchval("SELECT current_database() || inet_server_port()")
    finally:
        await connection.close()
    async with server.target.connect() as same:
        assert await same.fetchval("SELECT current_database() || inet_server_port()") == there


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ("postgresql://host/x", {"PGPORT": "9999", "PGUSER": "me"}, "postgresql://host:9999/x?user=me"),
        ("postgresql://host/x", {}, "postgresql://host:5432/x"),
        ("postgresql://a:b@h:1/x?sslmode=require", {"PGPORT": "7", "PGSSLMODE": "allow"}, None),
        ("postgresql:///x?host=%2Frun", {"PGUSER": "u p"}, "postgresql:///x?host=%2Frun&user=u%20p"),
        ("postgresql://h:1", {"PGDATABASE": "d"}, "postgresql://h:1/?dbname=d"),
        ("postgresql://[::1]/x", {}, "postgresql://[::1]:5432/x"),
        ("postgresql://[::1]:77/x", {}, None),
        ("postgresql://one,two:7/x", {"PGPORT": "6"}, "postgresql://one:6,two:7/x"),
    ],
)
def test_what_a_dsn_leaves_to_the_variables_is_written_out_in_it(
    given: str, environment: dict[str, str], expected: str | None
) -> None:
    assert dsn.complete(given, environment) == (expected or given)


def test_a_dsn_means_the_same_after_the_kit_has_set_the_variables(
    server: Postgres, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in server.target.variables().items():
        monkeypatch.setenv(variable, value)
    host = server.target.variables()["PGHOST"]
    monkeypatch.setenv("KIT_DSN", f"postgresql://{host}/postgres")  # the rest is in PG*
    with (
        kit.postgres("embedded", database=name),
        kit.postgres(database=name) as again,
    ):
        assert again.target.variables()["PGPORT"] == server.target.variables()["PGPORT"]
        assert again.name == f"pgqueuer_kit_{name}"


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_call_right_after_a_crash_waits_until_postgres_has_recovered(
    queue_database: Postgres, call: Callable[[], object]
) -> None:
    other, connection = [await asyncpg.connect(queue_database.dsn) for _ in range(2)]
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.execute("COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'")
    for _ in range(500):
        if other.is_closed():  # Postgres has noticed, and ended the others
            break
        await asyncio.sleep(0.01)
    assert other.is_closed(), "not within 5 s: the end of the other session"
    call()
