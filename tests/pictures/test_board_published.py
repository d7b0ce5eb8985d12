"""What stays of a board: in a notebook that was executed, on a page without widgets, and in the process."""

from __future__ import annotations

import asyncio
import base64
import copy
import os
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.dom import minidom

import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Page, sync_playwright

import kit
from kit.errors import KitError
from kit.pictures.board.state import BoardState, Card
from kit.pictures.board.still import still
from kit.pictures.publish import DropWidgets, without_widgets
from kit.session import session
from kit.sources import Postgres
from tests.conftest import chromium
from tests.jupyterlab import ARTIFACTS, CHROMIUM_ARGS, write_notebook
from tests.kernels import notebook_client
from tests.pictures.conftest import Hands
from tests.pictures.seen import MAIN, SETUP

CELLS = [
    SETUP.format(name="published"),
    "kit.board()",
    MAIN
    + """
from pgqueuer import Queries
connection = await asyncpg.connect()
queries = Queries(AsyncpgDriver(connection))
ids = await queries.enqueue(["send_email"] * 5 + ["charge_card"], [b"x"] * 6, [0, 5, 12, -1, 2, 7])
""",
    "consumer = kit.run(main)\nawait kit.wait()",
    "kit.timeline(color='priority');",
    "await queries.enqueue(['<script>'], [b'<script>'], [3])\nconsumer.stop()\nawait connection.close()",
]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory, queue_server: Postgres) -> nbformat.NotebookNode:
    """The notebook as nbclient leaves it."""
    assert queue_server.source  # up meanwhile, so that the kernel has none to start
    path = write_notebook(tmp_path_factory.mktemp("published") / "published.ipynb", *CELLS)
    notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)
    notebook_client(notebook).execute()
    return notebook


@pytest.fixture(scope="module")
def picture(executed: nbformat.NotebookNode) -> str:
    [svg] = [
        output.data["image/svg+xml"] for output in executed.cells[1].outputs if "image/svg+xml" in output.data
    ]
    assert isinstance(svg, str)
    return svg


def test_an_executed_notebook_keeps_the_last_state_beside_the_board(executed: Any, picture: str) -> None:
    minidom.parseString(picture)
    for words in ("1 queued, 0 picked, 1 held, 5 successful.", "Job 6, charge_card, priority 7, held", "#7"):
        assert words in picture
    assert executed.cells[1].outputs[1].data["text/plain"] == "1 queued, 0 picked, 1 held, 5 successful."


def test_what_came_out_of_the_queue_is_escaped_in_the_picture(picture: str) -> None:
    assert "&lt;script&gt;" in picture
    assert "<script" not in picture


def test_the_picture_asks_for_nothing_from_elsewhere(picture: str) -> None:
    assert "href" not in picture
    assert "url(" not in picture
    assert "http" not in picture.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_the_published_notebook_has_no_widget_and_keeps_its_pictures(executed: nbformat.NotebookNode) -> None:
    published = without_widgets(copy.deepcopy(executed))
    kinds = [set(output.get("data", {})) for cell in published.cells for output in cell.outputs]
    assert not any("application/vnd.jupyter.widget-view+json" in kind for kind in kinds)
    assert {"text/html", "image/svg+xml", "text/plain"} in kinds
    assert "widgets" not in published.metadata


@pytest.mark.browser
def test_a_rendered_page_shows_the_board_and_the_timeline_offline_in_its_theme(
    executed: nbformat.NotebookNode, tmp_path: Path
) -> None:
    nothing: Any = {"require_js_url": "", "jquery_url": "", "mathjax_url": "", "mermaid_js_url": ""}
    asked: list[str] = []
    seen: dict[str, Any] = {}
    ARTIFACTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGS)
        context = browser.new_context(viewport={"width": 1100, "height": 1500}, offline=True)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        for name, theme, steps in (("light", "light", [DropWidgets]), ("dark", "dark", [])):
            exporter: Any = HTMLExporter(preprocessors=steps, theme=theme, **nothing)
            page_text, _ = exporter.from_notebook_node(executed)
            file = tmp_path / f"{name}.html"
            file.write_text(page_text, encoding="utf-8")
            page.goto(file.as_uri())
            images = "images => images.map(i => [i.src.slice(5, 14), i.naturalWidth, i.height > 150])"
            shown = page.locator("img").evaluate_all(images)
            assert [kind for kind, _, _ in shown] == ["image/svg", "image/svg"]
            assert all(width > 600 and tall for _, width, tall in shown)
            still = page.locator("figure.kit-still:visible")
            assert still.count() == 1
            assert still.locator("img").get_attribute("alt") == "1 queued, 0 picked, 1 held, 5 successful."
            alt = page.locator("img.kit-timeline").get_attribute("alt") or ""
            assert alt.startswith("Timeline of "), alt
            assert "As it was at" in still.inner_text()
            seen[name] = light_of(page, still.locator("img").screenshot())
            page.screenshot(path=ARTIFACTS / f"published-{name}.png", full_page=True)
            if steps:
                assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
            # Beside a live board, in whatever output area, the still picture is not shown.
            page.evaluate(BOARD_BEFORE_STILL)
            assert page.locator("figure.kit-still:visible").count() == 0
        browser.close()
    assert seen["dark"] < 80 < 200 < seen["light"]


# Whoever draws the live board, it stands in the output before that of the still picture.
BOARD_BEFORE_STILL = """
() => {
  let output = document.querySelector('figure.kit-still').parentElement;
  const board = document.createElement('div');
  board.className = 'kit-live';
  while (output.parentElement.children.length < 2) output = output.parentElement;
  output.before(document.createElement('div'));
  output.previousElementSibling.append(board);
}
"""


def light_of(page: Page, picture: bytes) -> float:
    """How light a picture is in its corner, where there is nothing but ground: from 0 to 255."""
    data = base64.b64encode(picture).decode()
    light: float = page.evaluate(
        """async (data) => {
            const image = new Image();
            image.src = `data:image/png;base64,${data}`;
            await image.decode();
            const context = new OffscreenCanvas(image.width, image.height).getContext('2d');
            context.drawImage(image, 0, 0);
            return context.getImageData(image.width - 20, 14, 1, 1).data[0];
        }""",
        data,
    )
    return light


def test_the_still_picture_of_many_jobs_stays_small() -> None:
    state = BoardState("many")
    for job in range(1, 2001):
        state.put(Card(job, f"entrypoint {job % 5}", job % 9, "queued"))
    state.settle()
    picture = still(state)
    minidom.parseString(picture)
    assert len(picture) < 150_000
    assert "more" in picture


async def test_a_second_call_shows_the_same_board(queue_database: Postgres, hands: Hands) -> None:
    with closing(kit.board()) as board:
        assert kit.board() is board
        await hands.enqueue(b"x")
        await until(lambda: "1 queued" in str(board))


async def test_a_closed_board_leaves_no_thread_and_no_connection(
    queue_database: Postgres, hands: Hands
) -> None:
    board = kit.board()
    assert board.running
    board.close()
    board.close()
    assert not board.running
    assert [thread for thread in threading.enumerate() if thread.name == "kit board"] == []
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kit board' AND datname = $1"
    for _ in range(100):  # the server notices a moment later
        if not (left := await hands.connection.fetchval(count, queue_database.name)):
            break
        await asyncio.sleep(0.05)
    assert left == 0
    with closing(kit.board()) as again:
        assert again is not board


async def test_a_board_stays_with_its_database_when_the_process_turns_to_another(
    queue_database: Postgres, hands: Hands
) -> None:
    with closing(kit.board()) as first, queue_database.database(f"{queue_database.name}_other") as other:
        with closing(kit.board()) as second:
            assert second is not first
            await hands.enqueue(b"x")
            await until(lambda: "1 queued" in str(first))
            assert "empty" in str(second)
        other.drop()


def test_a_board_can_be_asked_what_it_shows_while_that_changes() -> None:
    state, stop = BoardState("asked"), threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with state.lock:
                state.put(Card(number, "work", 0, "queued"))
                state.drop(number - 100)
                state.settle()

    thread = threading.Thread(target=change, name="kit board")
    thread.start()
    try:
        said = {state.summary() for _ in range(2000)}
    finally:
        stop.set()
        thread.join()
    assert "100 queued, 0 picked." in said


def test_outside_a_notebook_nothing_is_shown(
    queue_database: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(kit.board()) as board:
        board.show()
        assert str(board) == "The queue is empty and no job has run yet."
    assert capsys.readouterr().out == ""


def test_without_a_database_the_next_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_opened", [])
    monkeypatch.delenv("PGHOST", raising=False)
    with pytest.raises(KitError, match=r"Run kit\.postgres\(\) first"):
        kit.board()


def test_a_process_that_ends_with_a_board_ends_at_once_and_quietly(queue_database: Postgres) -> None:
    code = "import kit; board = kit.board(); print(board)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "The queue is empty and no job has run yet.\n"
    assert done.stderr == ""


async def test_a_reset_empties_the_board(queue_database: Postgres, hands: Hands) -> None:
    with closing(kit.board()) as board:
        await hands.enqueue(b"x", b"y")
        await until(lambda: "2 queued" in str(board))
        await asyncio.to_thread(kit.reset)
        await until(lambda: "empty" in str(board))
        await hands.enqueue(b"z")
        await until(lambda: "1 queued" in str(board))


RESTART = """
import asyncio, time
import asyncpg, kit, psutil
from tests.pictures.conftest import Hands
from tests.pictures.seen import MAIN, SETUP

def until(words):
    deadline = time.monotonic() + 20
    while words not in str(board):
        assert time.monotonic() < deadline, f"no {words!r} in {board}"
        time.sleep(0.05)

async def enqueue():
    connection = await asyncpg.connect()
    await Hands(connection).enqueue(b"x")
    await connection.close()

database = kit.postgres("embedded", database="restarted")
board = kit.board()
backend = int(kit.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'kit board'")["pid"][0])
psutil.Process(backend).parent().kill()
until("has lost Postgres")
database = kit.postgres("embedded", database="restarted")
asyncio.run(enqueue())
until("1 queued")
until("picked.")
print(board)
board.close()
database.stop()
"""


def test_a_board_is_right_again_after_postgres_was_restarted(tmp_path: Path) -> None:
    # In a process of its own, with a server of its own: the other tests need theirs.
    environment = {**os.environ, "KIT_HOME": str(tmp_path), "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", RESTART]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("1 queued, 0 picked.\n")


async def until(holds: Any, timeout: float = 10) -> None:
    for _ in range(int(timeout / 0.05)):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the board does not come to show it")


HUNG = """
import contextlib, time
import kit, psutil
from kit.errors import KitError

def within(seconds, what, holds):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"no {what}: {board}"
        time.sleep(0.05)

def suspend():
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):  # a backend may end by itself meanwhile
            process.suspend()

def resume():
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()

database = kit.postgres("embedded", database="hung")
board = kit.board()
backend = int(kit.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'kit board'")["pid"][0])
server = psutil.Process(backend).parent()
tree = [server, *server.children(recursive=True)]
suspend()
try:
    within(15, "trouble", lambda: "did not answer within" in str(board))
    began = time.monotonic()
    try:
        kit.timeline()
    except KitError as error:
        print(error)
    assert time.monotonic() - began < 13
    resume()
    within(15, "picture", lambda: str(board) == "The queue is empty and no job has run yet.")
    tree = [server, *server.children(recursive=True)]
    suspend()
    time.sleep(2.5)  # until it is amid a look
    began = time.monotonic()
    board.close()
    assert time.monotonic() - began < 8
    assert not board.running
finally:
    resume()
database.stop()
"""


def test_a_postgres_that_hangs_is_told_and_holds_neither_picture_up(tmp_path: Path) -> None:
    environment = {**os.environ, "KIT_HOME": str(tmp_path), "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", HUNG]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Cannot reach Postgres: it did not answer within 10 s." in done.stdout
