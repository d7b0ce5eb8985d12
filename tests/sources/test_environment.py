"""The kit's own server, whatever the environment says about another one."""

from __future__ import annotations

import ctypes
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from asyncpg import connect_utils
from pgqueuer.domain.settings import ConnectionSettings

import kit
from kit.database import dsn as dsns
from kit.sources import Postgres, binaries, docker, open_database
from tests.sources.processes import Program, ask

Sql = Callable[..., Any]
HOSTILE = dict.fromkeys(dsns.VARIABLES, "nonsense") | {
    "PGSSLMODE": "verify-full",
    "PGSSLROOTCERT": "/nowhere/root.crt",
    "PGSSLNEGOTIATION": "direct",
    "PGTARGETSESSIONATTRS": "read-only",
    "PGCONNECT_TIMEOUT": "soon",
    "PGPORT": "1",
    "PGHOST": "db.example.org",
    "PGOPTIONS": "-c no_such_setting=1",
    "PGSERVICEFILE": "/nowhere",
    "PGDSN": "postgresql://db.example.org/shop",
}
ONE_BY_ONE = """
import asyncio, json, os, sys
import asyncpg
import kit
from kit.sources import open_database
async def connect():
    await (await asyncpg.connect()).close()

for name, value in json.load(sys.stdin).items():
    os.environ[name] = value
    with kit.postgres("embedded", database="lesson", fresh=False):
        asyncio.run(connect())
        with open_database("embedded", "lesson"):
            kit.jobs()
    assert os.environ.pop(name) == value
print("all of them")
"""


class Option(ctypes.Structure):
    """What libpq's ``PQconndefaults`` tells of a setting."""

    _fields_ = (
        *((name, ctypes.c_char_p) for name in ("keyword", "envvar", "compiled", "val", "label", "dispchar")),
        ("dispsize", ctypes.c_int),
    )


def libpqs_variables() -> Iterator[str]:
    libraries = sorted(binaries.find().folder.parent.glob("lib/libpq.so.?"))
    if not libraries:
        pytest.skip("these binaries bring no libpq that can be asked")
    library = ctypes.CDLL(str(libraries[-1]))
    library.PQconndefaults.restype = ctypes.POINTER(Option)
    for option in iter(library.PQconndefaults()):  # a list that ends with an empty keyword
        if not option.keyword:
            return
        if option.envvar:
            yield option.envvar.decode()


def test_every_variable_that_libpq_asyncpg_or_pgqueuer_reads_is_known() -> None:
    assert set(libpqs_variables()) <= dsns.VARIABLES
    assert set(re.findall(r"""["'](PG[A-Z]+)["']""", inspect.getsource(connect_utils))) <= dsns.VARIABLES
    names = ConnectionSettings.model_fields["dsn"].validation_alias
    assert set(getattr(names, "choices", ())) == {"PGDSN", "PGQUEUER_DSN"}


def test_each_variable_alone_leads_nobody_away_and_is_there_again_afterwards(own_home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE],
        input=json.dumps(HOSTILE),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.endswith("all of them\n"), done.stdout[-500:] + done.stderr


@pytest.fixture
def hostile(server: Postgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Everything about connections set to something else, and a certificate that nobody can read."""
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / ".postgresql"
    folder.mkdir()
    for name in ("postgresql.crt", "postgresql.key", "root.crt", "root.crl"):
        (folder / name).write_text("nonsense")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KIT_DSN", raising=False)


async def test_asyncpg_and_the_kit_itself_connect_under_all_of_them(hostile: None) -> None:
    with kit.postgres("embedded", database="hostile") as opened:
        connection = await asyncpg.connect()
        assert await connection.fetchval("SELECT current_database()") == "hostile"
        await connection.close()
        assert kit.jobs().empty
        kit.reset()
        left = {variable for variable in dsns.VARIABLES if variable in os.environ}
        assert left == opened.target.variables().keys()
        opened.drop()
    assert {variable: os.environ.get(variable) for variable in HOSTILE} == HOSTILE


def test_pgq_and_libpq_connect_under_all_of_them(hostile: None) -> None:
    with kit.postgres("embedded", database="hostile") as opened:
        verify = [sys.executable, "-m", "pgqueuer", "verify", "--expect", "present"]
        done = subprocess.run(verify, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        psql = Path(binaries.program(binaries.find().folder, "psql"))
        if not psql.exists():
            pytest.skip("these binaries have no psql")
        asked = [str(psql), "--no-psqlrc", "--no-password", "-Atc", "SELECT current_database()"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "hostile", done.stderr
        opened.drop()


@pytest.mark.docker
def test_a_container_starts_under_all_of_them(own_home: Path) -> None:
    environment: dict[str, Any] = HOSTILE | {"KIT_POSTGRES_IMAGE": docker.image()}
    with Program(own_home, "docker", **environment) as program:
        assert program.says()["version"]


def test_ways_in_to_somebodys_server_stay_but_not_what_leads_pgq_elsewhere(
    server: Postgres, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGAPPNAME", "mine")
    monkeypatch.setenv("PGDSN", "postgresql://db.example.org/shop")
    monkeypatch.setenv("PGSSLMODE", "disable")
    with kit.postgres(dsn=dsns.beside(server.dsn, "postgres"), database=name) as opened:
        assert os.environ["PGAPPNAME"] == "mine"
        assert "PGDSN" not in os.environ
        assert opened.target.variables()["PGSSLMODE"] == "disable"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PGTARGETSESSIONATTRS", "read-only", "None of the hosts match"),
        ("PGSSLMODE", "require", "SSL"),
        ("PGSSLMODE", "sometimes", "sslmode"),
    ],
)
def test_what_keeps_the_kit_out_of_somebodys_server_is_a_plain_error(
    variable: str, value: str, said: str, server: Postgres, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(kit.KitError, match=f"dsn= names 127.*{said}"):
        kit.postgres(dsn=dsns.beside(server.dsn, "postgres"), database=name)


SMALL = {"max_connections": "60", "shared_buffers": "16MB", "max_wal_senders": "0"}


@pytest.mark.parametrize("source", ["embedded", pytest.param("docker", marks=pytest.mark.docker)])
def test_an_idle_server_is_small(source: str, own_home: Path) -> None:
    with open_database(source) as opened:
        wanted = SMALL | ({"io_method": "sync"} if opened.source == "embedded" else {})
        if int(opened.version.split(".")[0]) < 18:
            wanted.pop("io_method", None)
        assert {name: ask(opened.dsn, f"SHOW {name}") for name in wanted} == wanted
