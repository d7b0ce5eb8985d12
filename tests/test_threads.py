"""Plain calls over asyncpg, also where a loop is running, and what an interrupt does to them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from kit.sources import Postgres
from kit.threads import run_sync

WAITS = """
import sys, time, kit
try:
    print("asking", flush=True)
    kit.sql("SELECT pg_sleep(60)")
except KeyboardInterrupt:
    print("interrupted", kit.sql("SELECT 1 AS one")["one"].item(), flush=True)
"""


async def test_a_plain_call_works_while_a_loop_is_running() -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    assert run_sync(answer()) == 42


def test_an_error_of_the_coroutine_is_the_callers() -> None:
    async def fails() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        run_sync(fails())


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to another process on Windows")
def test_an_interrupt_ends_a_query_that_takes_long(queue_database: Postgres) -> None:
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asking\n"
        asyncio.run(wait_for_the_query(queue_database.dsn))
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert out == "interrupted 1\n"


async def wait_for_the_query(dsn: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(dsn)
    asleep = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> $1)"
    try:
        async with asyncio.timeout(20):
            while not await connection.fetchval(asleep, connection.get_server_pid()):
                await asyncio.sleep(0.05)
    finally:
        await connection.close()
