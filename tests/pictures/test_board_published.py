"""What stays of a board: in a notebook that was executed, on a page without widgets, and in the process."""

from __future__ import annotations

import asyncio
import copy
import itertools
import os
import re
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbconvert import HTMLExporter
from playwright.sync_api import Browser, Page, Request, sync_playwright

import kit
from kit.errors import KitError
from kit.pictures.board.history import History
from kit.pictures.publish import DropWidgets, without_widgets
from kit.session import session
from kit.sources import Postgres
from tests.conftest import chromium
from tests.jupyterlab import ARTIFACTS, CHROMIUM_ARGS, write_notebook
from tests.kernels import addresses, notebook_client
from tests.pictures.conftest import Hands
from tests.pictures.seen import MAIN, SETUP, names
from tests.waiting import until, wait_until

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
    "await queries.enqueue(['<script>'], [b'</script><script>alert(1)'], [3])\nconsumer.stop()\n"
    "await connection.close()",
]
WORDS = "1 waiting, 0 running, 5 done, 1 held."


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory, queue_server: Postgres) -> nbformat.NotebookNode:
    """The notebook as nbclient leaves it."""
    assert queue_server.source  # up meanwhile, so that the kernel has none to start
    path = write_notebook(tmp_path_factory.mktemp("published") / "published.ipynb", *CELLS)
    notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)
    notebook_client(notebook).execute()
    return notebook


def test_nothing_warns_of_the_docked_board_where_there_is_no_page(
    queue_server: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    assert queue_server.source
    cells = [nbformat.v4.new_code_cell(SETUP.format(name="no_page")), nbformat.v4.new_code_cell("kit.jobs()")]
    notebook_client(nbformat.v4.new_notebook(cells=cells)).execute()
    assert caplog.messages == []


def test_an_executed_notebook_keeps_the_last_state_beside_the_board(executed: Any) -> None:
    widget, kept = executed.cells[1].outputs
    assert "application/vnd.jupyter.widget-view+json" in widget.data
    assert kept.data["text/plain"] == WORDS
    assert WORDS in kept.data["text/html"], "where no script runs, it is said in words"
    assert len(kept.data["text/html"]) < 100_000


def test_what_is_kept_asks_for_nothing_from_elsewhere(executed: Any) -> None:
    page = executed.cells[1].outputs[1].data["text/html"]
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}
    assert set(re.findall(r"https?://[^\s\"']+", page)) <= namespaces
    assert not re.search(r"<link|\bsrc=\"(?!data:)|url\(|import ", page)


def test_the_published_notebook_has_no_widget_and_keeps_its_pictures(executed: nbformat.NotebookNode) -> None:
    published = without_widgets(copy.deepcopy(executed))
    kinds = [set(output.get("data", {})) for cell in published.cells for output in cell.outputs]
    assert not any("application/vnd.jupyter.widget-view+json" in kind for kind in kinds)
    assert {"text/html", "text/plain"} in kinds
    assert "widgets" not in published.metadata


@pytest.mark.browser
def test_a_page_opened_from_disk_with_the_network_cut_plays_the_board_again_in_its_theme(
    executed: nbformat.NotebookNode, tmp_path: Path
) -> None:
    nothing: Any = {"require_js_url": "", "jquery_url": "", "mathjax_url": "", "mermaid_js_url": ""}
    seen: dict[str, float] = {}
    asked: set[str] = set()

    def note(request: Request) -> None:
        asked.add(request.url.split(":")[0])

    ARTIFACTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGS)
        for name, theme, steps in (("light", "light", [DropWidgets]), ("dark", "dark", [])):
            exporter: Any = HTMLExporter(preprocessors=steps, theme=theme, **nothing)
            page_text, _ = exporter.from_notebook_node(executed)
            (tmp_path / f"{name}.html").write_text(page_text, encoding="utf-8")
            context = browser.new_context(viewport={"width": 1100, "height": 1500}, offline=True)
            page = context.new_page()
            page.on("request", note)
            page.goto((tmp_path / f"{name}.html").as_uri())
            words = page.locator(".kit-still .kb-words")
            words.wait_for()
            assert words.inner_text() == "1 waiting · 0 running · 5 done · 1 held"
            it_plays_again(page)
            alt = page.locator("img.kit-plot").get_attribute("alt") or ""
            assert alt.startswith("Timeline of "), alt
            light = "board => Number(getComputedStyle(board).backgroundColor.match(/\\d+/)[0])"
            seen[name] = page.locator(".kit-still .kit-board").evaluate(light)
            page.screenshot(path=ARTIFACTS / f"published-{name}.png", full_page=True)
            if steps:
                assert asked <= {"file", "data"}
        where_no_script_runs(browser, tmp_path / "light.html")
        browser.close()
    assert seen["dark"] < 80 < 200 < seen["light"]


def it_plays_again(page: Page) -> None:
    """Find the beginning, the order of the jobs, and the end, by the slider and by playing."""
    slider, words = page.locator(".kit-still .kb-slider"), page.locator(".kit-still .kb-words")
    slider.focus()
    page.keyboard.press("Home")
    waiting = page.locator(".kit-still .kb-queued")
    wait_until("all wait", lambda: "6 waiting · 0 running" in words.inner_text())

    def order() -> list[str]:
        return [re.findall(r"priority (-?\d+)", name)[0] for name in names(page, ".kit-still .kb-queued")]

    wait_until("the highest priority first", lambda: order() == ["12", "7", "5", "2", "0", "-1"], 5)
    assert waiting.first.get_attribute("aria-label").endswith("next")  # type: ignore[union-attr]
    page.get_by_role("button", name="Play again").click()
    wait_until(
        "a job runs", lambda: page.locator(".kit-still .kb-lane .kb-t").all_inner_texts() == ["consumer"]
    )
    wait_until("the end", lambda: "5 done · 1 held" in words.inner_text(), 30)
    assert page.evaluate("document.querySelectorAll('.kit-still script').length") == 0


def where_no_script_runs(browser: Browser, file: Path) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(file.as_uri())
    assert page.locator("figure.kit-still").inner_text() == WORDS


async def test_a_second_call_shows_the_same_board(queue_database: Postgres, hands: Hands) -> None:
    with closing(kit.board()) as board:
        assert kit.board() is board
        await hands.enqueue(b"x")
        await until("the board shows it", lambda: "1 waiting" in str(board))


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
            await until("the board shows it", lambda: "1 waiting" in str(first))
            assert "empty" in str(second)
        other.drop()


def test_a_board_can_be_asked_what_it_shows_while_that_changes() -> None:
    history, stop = History("asked"), threading.Event()

    def change() -> None:
        for number in itertools.count(1):
            with history.lock:
                history.put(number, "jobs", number, status="queued")
                history.drop(number, "jobs", number - 100)
            if stop.is_set():
                return

    thread = threading.Thread(target=change, name="kit board")
    thread.start()
    try:
        said = {history.words() for _ in range(2000)}
    finally:
        stop.set()
        thread.join()
    assert "100 waiting, 0 running." in said


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


def test_a_kernel_that_is_shut_down_while_its_board_moves_is_quiet(
    tmp_path: Path, queue_server: Postgres
) -> None:
    assert queue_server.source
    busy = """
import asyncio, os
board, running = kit.board(), kit.run(main)

async def enqueue():
    while True:
        await queries.enqueue(["send_email"] * 9, [os.urandom(20).hex().encode()] * 9, [0] * 9)
        await asyncio.sleep(0.05)

enqueuing = asyncio.create_task(enqueue())
while len(board.kept()["text/html"]) < 70_000:  # from about 65,000 on a kernel sends without a copy
    await asyncio.sleep(0.1)
"""
    manager = KernelManager(**addresses())
    with open(tmp_path / "log", "w+", encoding="utf-8") as log:
        manager.start_kernel(stdout=log, stderr=log)
        client = manager.blocking_client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=60)
            for cell in (CELLS[0], CELLS[2], busy):
                reply = client.execute(cell, reply=True, timeout=60)
                assert reply["content"]["status"] == "ok", reply["content"]
        finally:
            client.stop_channels()
            manager.shutdown_kernel()
    assert "Traceback" not in (tmp_path / "log").read_text("utf-8")


async def test_a_reset_empties_the_board(queue_database: Postgres, hands: Hands) -> None:
    with closing(kit.board()) as board:
        await hands.enqueue(b"x", b"y")
        await until("the board shows it", lambda: "2 waiting" in str(board))
        await asyncio.to_thread(kit.reset)
        await until("the board shows it", lambda: "empty" in str(board))
        await hands.enqueue(b"z")
        await until("the board shows it", lambda: "1 waiting" in str(board))


RESTART = """
import asyncio, time
import asyncpg, kit, psutil
from tests.pictures.conftest import Hands
from tests.pictures.seen import MAIN, SETUP, names

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
until("1 waiting")
deadline = time.monotonic() + 20
while not str(board).endswith("running."):  # and nothing is lost any more
    assert time.monotonic() < deadline, board
    time.sleep(0.05)
print(board)
board.close()
database.stop()
"""


def test_a_board_is_right_again_after_postgres_was_restarted(open_folder: Path) -> None:
    # In a process of its own, with a server of its own: the other tests need theirs.
    environment = {**os.environ, "KIT_HOME": str(open_folder), "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", RESTART]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("1 waiting, 0 running.\n")


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


def test_a_postgres_that_hangs_is_told_and_holds_neither_picture_up(open_folder: Path) -> None:
    environment = {**os.environ, "KIT_HOME": str(open_folder), "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", HUNG]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Cannot reach Postgres: it did not answer within 10 s." in done.stdout
