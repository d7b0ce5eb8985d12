"""A queue that is followed, and hands to change it with."""

from __future__ import annotations

import asyncio
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
from kit.pictures.board.state import BoardState, Card
from kit.sources import Postgres
from tests.jupyterlab import JupyterLab, browser_page, write_notebook
from tests.pictures.seen import CONSUMER, SETUP, Seen


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

    def __init__(self, feed: Feed, state: BoardState, told: list[dict[str, Any]]) -> None:
        self.feed = feed
        self.state = state
        self.told = told

    def card(self, job: int) -> Card:
        return self.state.cards[job]

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
                raise AssertionError(f"the board does not show {what}: {self.state.summary()}")
            await asyncio.sleep(0.01)

    async def until_status(self, job: int, status: str) -> Card:
        await self.until(f"job {job} as {status}", lambda: self.card(job).status == status)
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
    state = BoardState(queue_database.name)
    told: list[dict[str, Any]] = []

    def changed() -> None:
        if (change := state.changes()) is not None:
            told.append(change)

    feed = Feed(queue_database.target, state, changed)
    task = asyncio.create_task(feed.run())
    picture = Followed(feed, state, told)
    await picture.until("the first look", lambda: told)
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
    """A notebook whose first cells have run: setup, the board; then a consumer, a sleep, a second board."""
    name = request.node.name.removeprefix("test_")[:40]
    cells = [SETUP.format(name=name), "board = kit.board()", CONSUMER, "time.sleep(4)", "kit.board()"]
    cells += ["consumer.stop()", "kit.board(slow=0.5)", "board.close()"]
    write_notebook(Path(lab.root) / f"{name}.ipynb", *cells)
    page.set_viewport_size({"width": 1280, "height": 1400})
    notebook = lab.open(page, f"{name}.ipynb")
    notebook.run_cell(0)
    notebook.run_cell(1)
    assert notebook.errors() == []
    page.locator(".kit-board").first.wait_for()
    yield Seen(notebook)
    notebook.shutdown()
