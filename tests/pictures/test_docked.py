"""The board beside the text, in a real JupyterLab: of the notebook in front, right after whatever happens."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from playwright.sync_api import Page, WebSocketRoute

from kit.sources import Postgres
from kit.threads import run_sync
from tests.jupyterlab import ARTIFACTS, JupyterLab, Notebook, barriers, browser_page, write_notebook
from tests.pictures.conftest import Hands
from tests.pictures.seen import CONSUMER, SETUP
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

ENQUEUE = """
from pgqueuer import Queries
connection = await asyncpg.connect()
await Queries(AsyncpgDriver(connection)).enqueue(["send_email"] * {jobs}, [b"x"] * {jobs}, [0] * {jobs})
await connection.close()
await kit.wait()
"""
BOARD = "#kit-docked-board .kit-board"
IN_THE_TEXT = ".jp-NotebookPanel .kit-board:visible, .jp-NotebookPanel figure.kit-still:visible"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, queue_server: Postgres) -> Iterator[JupyterLab]:
    assert queue_server.source  # it stays up meanwhile, so that no kernel has to start one
    root = tmp_path_factory.mktemp("docked")
    for name, jobs in (("one", 2), ("two", 3)):
        cells = [SETUP.format(name=f"docked_{name}"), "kit.board()", CONSUMER, ENQUEUE.format(jobs=jobs)]
        write_notebook(root / f"{name}.ipynb", *cells)
    with JupyterLab(root, docked=True) as lab:
        yield lab


async def enqueue(dsn: str, jobs: int) -> None:
    connection = await asyncpg.connect(dsn)
    await Hands(connection).enqueue(*[b"x"] * jobs, entrypoint="send_email")
    async with asyncio.timeout(60):
        while await connection.fetchval("SELECT count(*) FROM pgqueuer"):
            await asyncio.sleep(0.05)
    await asyncio.sleep(1)  # in which the kernel tells of it to nobody
    await connection.close()


def words(page: Page) -> str:
    shown = page.locator(f"{BOARD} .kb-words")
    return shown.inner_text() if shown.count() else ""


def says(page: Page, what: str, timeout: float = 60) -> None:
    try:
        wait_until(f"the docked board says {what!r}", lambda: what in words(page), timeout)
    except AssertionError as error:
        place = page.locator("#kit-docked-board")
        line, shown = place.locator("> p").text_content(), place.is_visible()
        page.screenshot(path=ARTIFACTS / "docked-late.png")
        raise AssertionError(f"{error}; {line!r}, visible: {shown}, words: {words(page)!r}") from None


def reload(notebook: Notebook) -> None:
    notebook.page.reload()
    notebook.wait_ready(120)


def test_one_board_stands_beside_the_text_and_follows_the_notebook_in_front(lab: JupyterLab) -> None:
    with browser_page(width=1280, height=720) as page:
        one = lab.open(page, "one.ipynb")
        line = page.locator("#kit-docked-board > p")
        wait_until("that it waits", lambda: "one.ipynb: run kit.postgres()" in line.inner_text())
        one.run_cell(0)
        says(page, "A sample")
        for cell in (1, 2, 3):
            one.run_cell(cell, timeout=120)
        says(page, "2 done")
        dsn = re.findall(r"dsn (postgresql://[^\s'\\]+)", str(one.outputs(0)))[0]
        assert line.inner_text() == "The queue of one.ipynb"
        assert page.locator(IN_THE_TEXT).count() == 0, "there is no second one in the text"
        assert "stands beside this text" in page.evaluate(
            "getComputedStyle([...document.querySelectorAll('.jp-OutputArea-child')]"
            ".find(c => c.querySelector('figure.kit-still')), '::before').content"
        )
        side_by_side(page)
        assert barriers(page, "#kit-docked-board") == []
        one.screenshot("docked-1280")

        # Right after F5, whether outputs were saved or not, and from the first moment.
        reload(one)
        says(page, "2 done")
        one.save()
        reload(one)
        says(page, "2 done")
        assert "Loading widget" not in page.locator("body").inner_text()

        # Another notebook has another database, and the one before is there again when it is in front.
        page.evaluate("jupyterapp.commands.execute('docmanager:open', { path: 'two.ipynb' })")
        two = Notebook(page, "two.ipynb")
        two.wait_ready(120)
        wait_until("that it follows", lambda: "two.ipynb" in line.inner_text())
        for cell in (0, 1, 2, 3):
            two.run_cell(cell, timeout=120)
        says(page, "3 done")
        page.evaluate("jupyterapp.commands.execute('docmanager:open', { path: 'one.ipynb' })")
        says(page, "2 done")

        # Offline, and back: what was told meanwhile is lost
        page.context.set_offline(True)
        page.evaluate("void jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.reconnect()")
        run_sync(enqueue(dsn, 2))
        assert "2 done" in words(page)
        page.context.set_offline(False)
        says(page, "4 done", 120)

        one.restart_kernel()
        wait_until("that it waits again", lambda: "run kit.postgres()" in line.inner_text())
        for cell in (0, 2, 3):
            one.run_cell(cell, timeout=120)
        says(page, "2 done")
        two.shutdown()
        one.shutdown()


def test_a_connection_that_breaks_while_the_page_asks_for_the_board_costs_nothing(lab: JupyterLab) -> None:
    lost: list[bytes] = []

    def lose_the_answer(connection: WebSocketRoute) -> None:
        server = connection.connect_to_server()

        def pass_on(message: str | bytes) -> None:
            data = message.encode() if isinstance(message, str) else message
            if lost or b"comm_info_reply" not in data or b"kit-docked-board" not in data:
                connection.send(message)
                return
            lost.append(data)
            connection.close(code=3001)
            server.close()

        server.on_message(pass_on)
        connection.on_message(server.send)

    with browser_page(width=1280, height=720) as page:
        one = lab.open(page, "one.ipynb")
        for cell in (0, 2, 3):
            one.run_cell(cell, timeout=120)
        says(page, "2 done")
        page.route_web_socket(re.compile("/channels"), lose_the_answer)
        page.reload()
        says(page, "2 done")
        assert lost
        one.shutdown()


def test_a_second_browser_has_a_live_board_too(lab: JupyterLab) -> None:
    with browser_page(width=1280, height=720) as page:
        one = lab.open(page, "one.ipynb")
        for cell in (0, 2, 3):
            one.run_cell(cell, timeout=120)
        says(page, "2 done")
        other = page.context.browser.new_page(viewport={"width": 1280, "height": 720})  # type: ignore[union-attr]
        second = Notebook(other, "one.ipynb")
        other.goto(f"{lab.url}/lab/workspaces/other/tree/one.ipynb?token={lab.token}", timeout=120_000)
        second.wait_ready(120)
        open_docked(other)
        says(other, "2 done")
        one.run_cell(3, timeout=120)
        says(other, "4 done")
        says(page, "4 done")
        one.shutdown()


def test_in_a_narrow_window_it_stands_in_the_text_once_and_the_text_has_the_room(lab: JupyterLab) -> None:
    with browser_page(width=1024, height=800) as page:
        one = lab.open(page, "one.ipynb")
        for cell in (0, 1, 2, 3):
            one.run_cell(cell, timeout=120)
        one.scroll_to(1)
        boards = page.locator(IN_THE_TEXT)
        wait_until("one board in the text", lambda: boards.count() == 1)
        assert not page.locator("#kit-docked-board").is_visible()
        wait_until("the jobs", lambda: "2 done" in boards.locator(".kb-words").inner_text())
        one.screenshot("not-docked-1024")
        one.shutdown()
        page.set_viewport_size({"width": 390, "height": 720})
        page.goto(f"{lab.url}/lab/tree/one.ipynb?token={lab.token}&reset")
        one.wait_ready(120)
        wait_until("that the text has the room", lambda: width(page, ".jp-NotebookPanel") > 250, 10)
        one.shutdown()


def test_a_notebook_without_code_starts_no_kernel_and_needs_no_board(lab: JupyterLab) -> None:
    path = Path(lab.root) / "words.ipynb"
    write_notebook(path, "x")
    path.write_text(path.read_text().replace('"cell_type": "code"', '"cell_type": "markdown"'))
    with browser_page(width=1280, height=720) as page:
        page.goto(f"{lab.url}/lab/tree/words.ipynb?token={lab.token}&reset")
        words_ = Notebook(page, "words.ipynb")
        wait_until("it is open", lambda: words_._ask("panel.context.isReady"), 60)
        wait_until("what it shows", lambda: "x" in page.locator(".jp-NotebookPanel").inner_text())
        wait_until("that no kernel comes", lambda: words_._ask("panel.sessionContext.isReady"), 60)
        assert words_._ask("panel.sessionContext.session === null")
        assert lab.api("sessions") == []
        assert not page.locator("#kit-docked-board").is_visible()


def open_docked(page: Page) -> None:
    page.evaluate("jupyterapp.shell.expandRight(), jupyterapp.shell.activateById('kit-docked-board')")


def width(page: Page, selector: str) -> float:
    box = page.locator(selector).first.bounding_box()
    return box["width"] if box else 0


def side_by_side(page: Page) -> None:
    text = page.locator(".jp-NotebookPanel").bounding_box()
    board = page.locator(BOARD).bounding_box()
    assert text is not None
    assert board is not None
    assert text["x"] + text["width"] <= board["x"]
    assert min(text["width"], board["width"]) > 480
    assert board["y"] + board["height"] <= 720, "all of it is in the window"
