"""A queue that is followed, and hands to change it with."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import TracebackRecord
from pgqueuer.ports.repository import EntrypointExecutionParameter
from pgqueuer.queries import Queries
from pgqueuer.types import QueueEntrypoint, QueueManagerId
from playwright.sync_api import Page

from kit.pictures.board.feed import Feed
from kit.pictures.board.history import NAMES, History, Row, Tables, fold
from kit.sources import Postgres
from tests.conftest import processes_about
from tests.jupyterlab import JupyterLab, browser_page, write_notebook
from tests.pictures.seen import CONSUMER, SETUP, Seen
from tests.waiting import wait_until


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account can enter, as root's server needs it."""
    with tempfile.TemporaryDirectory(prefix="kit-home-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        wait_until("the end of its Postgres", lambda: not processes_about(folder))


class Hands:
    """A producer's and a consumer's moves, made one by one on a connection of their own."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.queries = Queries(AsyncpgDriver(connection))

    async def enqueue(self, *payloads: bytes, entrypoint: str = "work", priority: int = 0) -> list[int]:
        number = len(payloads)
        return list(await self.queries.enqueue([entrypoint] * number, list(payloads), [priority] * number))

    async def pick(self, number: int = 1, entrypoint: str = "work") -> list[Any]:
        return list(
            await self.queries.dequeue(
                batch_size=number,
                entrypoints={QueueEntrypoint(entrypoint): EntrypointExecutionParameter(0)},
                queue_manager_id=QueueManagerId(uuid.UUID(int=7)),
                global_concurrency_limit=None,
                heartbeat_timeout=timedelta(seconds=30),
            )
        )

    async def end(
        self, jobs: list[Any], status: Any = "successful", error: Exception | None = None, about: Any = None
    ) -> None:
        trace = [
            None if error is None else TracebackRecord.from_exception(error, job.id, about) for job in jobs
        ]
        await self.queries.log_jobs([(job, status, one) for job, one in zip(jobs, trace, strict=True)])


class Followed:
    """A picture that a feed keeps true."""

    def __init__(self, feed: Feed, history: History, told: list[dict[str, Any]]) -> None:
        self.feed = feed
        self.history = history
        self.told = told

    def card(self, job: int) -> Row:
        return self.history.tables["jobs"][job]

    def lanes(self) -> list[tuple[str, str]]:
        """Who works, by name, and in which state."""
        lanes = self.history.tables["lanes"].values()
        return sorted((lane.get("name", ""), lane.get("state", "")) for lane in lanes)

    def as_told(self) -> Tables:
        """What a page makes of all that it was told."""
        tables: Tables = {name: {} for name in NAMES}
        for message in self.told:
            for name, rows in message.get("base", {}).items():
                tables[name] = {key: dict(row) for key, row in rows}
            for at, table, key, change in message["changes"]:
                fold(tables, at, table, key, change)
        return tables

    async def until(self, what: str, holds: Callable[[], object], timeout: float = 10) -> None:
        """Wait for the picture to be so; fail naming what it did not show."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                if holds():
                    return
            except KeyError:  # a card that is not there yet
                pass
            if time.monotonic() > deadline:
                raise AssertionError(f"the board does not show {what}: {self.history.words()}")
            await asyncio.sleep(0.01)

    async def until_status(self, job: int, status: str) -> Row:
        await self.until(f"job {job} as {status}", lambda: self.card(job)["status"] == status)
        return self.card(job)


@pytest.fixture(autouse=True)
def each_test(no_consumer_stays: None) -> None:
    """Hold for every test of pictures."""


@pytest.fixture
async def hands(queue_database: Postgres) -> AsyncIterator[Hands]:
    connection = await asyncpg.connect(queue_database.dsn)
    yield Hands(connection)
    await connection.close()


@pytest.fixture
async def followed(queue_database: Postgres) -> AsyncIterator[Followed]:
    history = History(queue_database.name)
    told: list[dict[str, Any]] = []
    looked, known = asyncio.Event(), -1

    def changed() -> None:
        nonlocal known
        looked.set()
        if history.last != known:
            text, known = history.since(known)
            told.append(json.loads(text))

    feed = Feed(queue_database.target, history, changed)
    task = asyncio.create_task(feed.run())
    picture = Followed(feed, history, told)
    await asyncio.wait_for(looked.wait(), 10)
    yield picture
    feed.stop()
    await asyncio.wait_for(task, 10)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, queue_server: Postgres) -> Iterator[JupyterLab]:
    assert queue_server.source  # it stays up meanwhile, so that no kernel has to start one
    root = tmp_path_factory.mktemp("lab")
    with JupyterLab(root) as lab:
        yield lab


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser_page() as page:
        yield page


@pytest.fixture
def seen(lab: JupyterLab, page: Page, request: pytest.FixtureRequest) -> Iterator[Seen]:
    """A notebook of which two cells have run: setup, the board. Then come a consumer, and a sleep."""
    name = request.node.name.removeprefix("test_")[:40]
    cells = [SETUP.format(name=name), "board = kit.board()", CONSUMER, "time.sleep(4)"]
    write_notebook(Path(lab.root) / f"{name}.ipynb", *cells)
    page.set_viewport_size({"width": 1280, "height": 1400})
    notebook = lab.open(page, f"{name}.ipynb")
    notebook.run_cell(0)
    notebook.run_cell(1)
    assert notebook.errors() == []
    page.locator(".kit-board").first.wait_for()
    yield Seen(notebook)
    notebook.shutdown()
