"""A consumer in a real Jupyter kernel: cells, interrupts, and the end of the kernel."""

from __future__ import annotations

import asyncio
import json
import queue
import re
import textwrap
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager

from tests.consumer.queue import enqueue, fetch, is_logged, logged, nobody_is_connected
from tests.kernels import addresses, notebook_client
from tests.waiting import until

IMPORTS = """
    import asyncio, time
    import asyncpg, kit
    from pgqueuer import AsyncpgDriver, PgQueuer, Queries
    from pgqueuer.models import Job
"""
BLOGS_CONSUMER = """
    async def main() -> None:
        conn = await asyncpg.connect()
        pgq = PgQueuer(AsyncpgDriver(conn))

        @pgq.entrypoint("fetch")
        async def process(job: Job) -> None:
            print(f"Processed: {job!r}")

        return pgq
"""
BLOGS_PRODUCER = """
    conn = await asyncpg.connect()
    q = Queries(AsyncpgDriver(conn))
    await q.enqueue(["fetch"], [b"hello world"], [0])
"""
SLOW = """
    async def main():
        pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))

        @pgq.entrypoint("slow")
        async def slow(job: Job):
            print("begins")
            await asyncio.sleep(float(job.payload))
            print("ends")

        return pgq

    kit.run(main)
"""


@dataclass
class Shown:
    """What a cell showed."""

    text: str = ""
    errors: list[str] = field(default_factory=list)
    elsewhere: str = ""
    seconds: float = 0.0


class Kernel:
    """A kernel, and the cells run in it."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("w+b")
        self.manager = AsyncKernelManager(kernel_name="python3", **addresses())

    async def __aenter__(self) -> Kernel:
        await self.manager.start_kernel(stdout=self._log, stderr=self._log)
        self.client = self.manager.client()
        self.client.start_channels()
        await self.client.wait_for_ready(timeout=60)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.client.stop_channels()
        await self.manager.shutdown_kernel(now=True)  # also of a dead one: its files go
        self._log.close()

    async def run(self, code: str, *, interrupt_after: str | None = None, seconds: float = 60) -> Shown:
        """Run a cell; interrupt it once it has shown ``interrupt_after``."""
        cell = self.client.execute(textwrap.dedent(code).strip())
        shown, began = Shown(), time.monotonic()
        while True:
            assert time.monotonic() - began < seconds, f"the cell still runs after {seconds} s: {code}"
            try:
                message = await self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            kind, content = message["msg_type"], message["content"]
            mine = message["parent_header"].get("msg_id") == cell
            if kind == "stream" and mine:
                shown.text += content["text"]
            elif kind == "stream":
                shown.elsewhere += content["text"]
            elif kind == "execute_result":
                shown.text += content["data"]["text/plain"]
            elif kind == "error":
                shown.errors.append(re.sub(r"\x1b\[[\d;]*m", "", "\n".join(content["traceback"])))
            elif kind == "status" and mine and content["execution_state"] == "idle":
                shown.seconds = time.monotonic() - began
                return shown
            if interrupt_after is not None and interrupt_after in shown.text:
                interrupt_after, began = None, time.monotonic()
                await self.manager.interrupt_kernel()

    async def shut_down(self) -> str:
        """End the kernel as JupyterLab does, and return what it wrote to its terminal."""
        self.client.shutdown()
        await until("the kernel has ended", self._has_ended)
        self._log.seek(0)
        return self._log.read().decode()

    async def _has_ended(self) -> bool:
        return not await self.manager.is_alive()


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Kernel]:
    async with Kernel(tmp_path / "kernel.log") as kernel:
        assert not (await kernel.run(IMPORTS)).errors
        yield kernel


async def test_the_blogs_cells_run_as_they_are(kernel: Kernel) -> None:
    assert (await kernel.run(BLOGS_CONSUMER)).text == ""
    started = await kernel.run("print(kit.run(main))")
    assert "<Consumer 'consumer': running; entrypoints: fetch; 0 done, 0 failed>" in started.text
    assert not (await kernel.run(BLOGS_PRODUCER)).errors
    waited = await kernel.run("await kit.wait()")
    assert waited.text.startswith("[fetch #1] Processed: Job(id=1,")
    assert "payload=b'hello world'" in waited.text
    assert not waited.errors
    assert await logged(1) == ["queued", "picked", "successful"]


async def test_the_newer_form_is_explained_once_a_kernel(kernel: Kernel) -> None:
    await kernel.run(BLOGS_CONSUMER)
    first, second = await kernel.run("kit.run(main)"), await kernel.run("kit.run(main)")
    assert "@asynccontextmanager" in first.text
    assert len(first.text.splitlines()) == 1
    assert "@asynccontextmanager" not in second.text


async def test_every_cell_can_be_run_twice(kernel: Kernel) -> None:
    for _ in range(2):
        for cell in (BLOGS_CONSUMER, "kit.run(main)", BLOGS_PRODUCER, "await kit.wait()"):
            assert not (await kernel.run(cell)).errors
    assert [await logged(job) for job in (1, 2)] == [["queued", "picked", "successful"]] * 2


async def test_the_queue_goes_on_while_a_cell_blocks(kernel: Kernel) -> None:
    await kernel.run(BLOGS_CONSUMER + "    kit.run(main)")
    blocking = asyncio.create_task(kernel.run("time.sleep(3); print('slept')"))
    (job,) = await enqueue("fetch")
    await until("the job is done", lambda: is_logged(job, "successful"), seconds=10)
    assert not blocking.done()
    assert (await blocking).text == "slept\n"


async def test_nothing_a_handler_prints_appears_in_another_cell_or_is_lost(kernel: Kernel) -> None:
    await kernel.run(SLOW)
    (job,) = await enqueue("slow", b"0.5")
    await until("it is picked", lambda: is_logged(job, "picked"))
    await _complete(kernel)  # after a Tab, a thread's own prints are lost
    other = await kernel.run("print('another cell')")
    await until("it is done", lambda: is_logged(job, "successful"))
    waited = await kernel.run("await kit.wait()")
    assert other.text == "another cell\n"
    assert waited.text == f"[slow #{job}] begins\n[slow #{job}] ends\n"
    assert other.elsewhere + waited.elsewhere == ""


async def test_an_interrupt_ends_the_waiting_cell_and_not_the_consumer(kernel: Kernel) -> None:
    await kernel.run(SLOW)
    (job,) = await enqueue("slow", b"3")
    interrupted = await kernel.run("await kit.wait()", interrupt_after="begins")
    (error,) = interrupted.errors
    assert error.splitlines()[-1].startswith("KeyboardInterrupt")
    assert "CancelledError" not in error
    assert await logged(job) == ["queued", "picked"]  # not even the handler noticed
    assert "running" in (await kernel.run("kit.session.session.consumers['consumer'].state")).text
    assert f"[slow #{job}] ends\n" in (await kernel.run("await kit.wait()")).text
    assert await logged(job) == ["queued", "picked", "successful"]


async def test_an_interrupt_of_a_blocking_cell_leaves_the_consumer_alone(kernel: Kernel) -> None:
    await kernel.run(BLOGS_CONSUMER + "    kit.run(main)")
    interrupted = await kernel.run("print('asleep', flush=True); time.sleep(30)", interrupt_after="asleep")
    assert interrupted.errors
    (job,) = await enqueue("fetch")
    assert f"[fetch #{job}]" in (await kernel.run("await kit.wait()")).text


async def test_an_interrupt_reaches_wait_also_inside_of_gather(kernel: Kernel) -> None:
    await kernel.run(SLOW)
    await enqueue("slow", b"3")
    code = "await asyncio.gather(kit.wait(), asyncio.sleep(20))"
    assert (await kernel.run(code, interrupt_after="begins")).errors
    assert (await kernel.run("print('alive')")).text == "alive\n"


async def test_a_mistake_in_main_is_one_line_with_the_cells_own_line(kernel: Kernel) -> None:
    mistaken = BLOGS_CONSUMER.replace("asyncpg.connect()", "asyncpg.conect()")
    await kernel.run(mistaken)
    (error,) = (await kernel.run("kit.run(main)")).errors
    assert error.startswith(
        "KitError: main() raised AttributeError: module 'asyncpg' has no attribute 'conect'"
    )
    assert "(Cell In[2], line 2: `conn = await asyncpg.conect()`)" in error
    assert len(error.splitlines()) == 1


async def test_a_consumer_that_died_says_so_in_the_next_cell_once(kernel: Kernel) -> None:
    cancel_all = "[task.cancel() for task in __import__('asyncio').all_tasks()]"
    dying = BLOGS_CONSUMER.replace("""print(f"Processed: {job!r}")""", cancel_all)
    await kernel.run(dying + "    consumer = kit.run(main)")
    await enqueue("fetch")
    told = ""
    for _ in range(100):
        told = (await kernel.run("1 + 1")).text
        if "died" in told:
            break
    assert "Consumer 'consumer' has died. All tasks of its loop were cancelled" in told
    assert told.endswith("Run its cell again.\n")
    assert (await kernel.run("1 + 1")).text == "2"


async def test_an_exception_that_pgqueuer_cannot_log_is_told_in_the_next_cell_once(kernel: Kernel) -> None:
    hostile = BLOGS_CONSUMER.replace("""print(f"Processed: {job!r}")""", """raise ValueError("a\\0b")""")
    await kernel.run(hostile + "    consumer = kit.run(main)")
    (job,) = await enqueue("fetch")
    await until("it has failed", lambda: is_logged(job, "exception"))
    told = (await kernel.run("1 + 1")).text
    assert f"The exception of fetch #{job} is not one that PGQueuer can log" in told
    assert (await kernel.run("1 + 1")).text == "2"


async def test_a_lost_connection_is_told_in_the_next_cell_and_the_return_too(kernel: Kernel) -> None:
    await kernel.run(BLOGS_CONSUMER + "    consumer = kit.run(main)")
    await fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    told = ""
    for _ in range(100):
        told += (await kernel.run("await asyncio.sleep(0.05)")).text
        if "again" in told:
            break
    assert told.index("has lost its connection to Postgres") < told.index("is connected to Postgres again")


async def test_a_kernel_that_is_shut_down_leaves_nothing_behind(kernel: Kernel) -> None:
    await kernel.run(SLOW)
    (job,) = await enqueue("slow", b"30")
    await until("it is picked", lambda: is_logged(job, "picked"))
    log = await kernel.shut_down()
    assert await logged(job) == ["queued", "picked", "queued"]
    await until("the connections are closed", nobody_is_connected)
    for word in ("Traceback", "destroyed", "never retrieved", "ResourceWarning"):
        assert word not in log


async def test_a_kernel_that_is_shut_down_while_a_cell_waits_leaves_nothing_behind(kernel: Kernel) -> None:
    await kernel.run(SLOW)
    (job,) = await enqueue("slow", b"30")
    kernel.client.execute("await kit.wait()")
    await until("it is picked", lambda: is_logged(job, "picked"))
    log = await kernel.shut_down()
    await until("the connections are closed", nobody_is_connected)
    for word in ("Traceback", "destroyed", "never retrieved", "ResourceWarning"):
        assert word not in log


async def test_it_runs_under_nbclient_and_the_output_is_in_the_cell_that_waits(tmp_path: Path) -> None:
    cells = [IMPORTS, BLOGS_CONSUMER, "kit.run(main)", BLOGS_PRODUCER, "await kit.wait()", "1 + 1"]
    made: list[Any] = [
        {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "id": f"cell-{number}",
         "source": textwrap.dedent(cell).strip()} for number, cell in enumerate(cells)
    ]  # fmt: skip
    file = tmp_path / "cells.ipynb"
    file.write_text(json.dumps({"metadata": {}, "nbformat": 4, "nbformat_minor": 5, "cells": made}))
    notebook = nbformat.read(file, as_version=4)  # type: ignore[no-untyped-call, unused-ignore]
    await notebook_client(notebook).async_execute()
    waited = notebook.cells[-2].outputs
    assert "[fetch #1] Processed: Job(id=1," in "".join(output["text"] for output in waited)
    assert not any(output.get("name") == "stderr" for cell in notebook.cells for output in cell.outputs)
    await until("the connections are closed", nobody_is_connected)


async def _complete(kernel: Kernel) -> Any:
    kernel.client.complete("asyn", 4)
    return await kernel.client.get_shell_msg(timeout=30)
