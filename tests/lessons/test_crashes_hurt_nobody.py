"""A lesson that crashes Postgres crashes one of its own: whoever is on another server notices nothing."""

from __future__ import annotations

import asyncio
import re
import sys

import asyncpg
import pytest

from kit.sources import open_database
from tests.lessons.conftest import ON_DOCKER
from tests.lessons.learner import learner_of
from tests.lessons.notebook import Section


def run(name: str, title: str) -> Section:
    with learner_of(name) as learner:
        return learner.run_first(learner.lesson.section(title))


@pytest.mark.parametrize("source", ["embedded", ON_DOCKER, "external"])
@pytest.mark.parametrize(
    ("name", "title", "crashes", "passed_over"),
    [
        (
            "06_crashes",
            "3 · Postgres itself crashes",
            "PostgresConnectionError|ConnectionDoesNot",
            "No crash: this server",
        ),
        ("13_to_production", "5 · What a crash may cost", r"jobs +0 +5 +5", "Passed over"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="there the lessons crash no Postgres, and say so")
async def test_a_session_of_a_server_that_others_use_goes_on(
    source: str, name: str, title: str, crashes: str, passed_over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_database("embedded" if source == "external" else source, "somebodys") as somebodys:
        monkeypatch.setenv("KIT_POSTGRES", source)
        if source == "external":
            monkeypatch.setenv("KIT_DSN", somebodys.dsn)
        connection = await asyncpg.connect(somebodys.dsn)
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        section = await asyncio.to_thread(run, name, title)
        shown = "\n".join(section.shown(cell.id) for cell in section.code)
        assert bool(re.search(crashes, shown)) is (source != "external"), shown
        assert (passed_over in shown) is (source == "external"), shown
        assert await connection.fetchval("SELECT pg_backend_pid()") == pid
        await connection.close()
