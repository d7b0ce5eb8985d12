"""The panel in the cell that starts consumers: what it says, and that it stays."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

import kit
from kit.pictures import live
from kit.sources import Postgres
from tests.kernels import notebook_client

SETUP = """
import asyncpg, time
from contextlib import asynccontextmanager
from pgqueuer import AsyncpgDriver, PgQueuer, Queries

@asynccontextmanager
async def main():
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))

    @pgq.entrypoint("fetch")
    async def fetch(job):
        if job.payload == b"bad":
            raise ValueError("<b>no</b>")
        print("fetched", job.payload.decode())

    yield pgq
    await connection.close()

queries = Queries(AsyncpgDriver(await asyncpg.connect()))
"""


ITS_THREADS = """
import threading
for _ in range(500):
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("kit-panel")]
    if len(threads) == {0}: break
    time.sleep(0.01)
assert len(threads) == {0}, threads
"""


def executed(*sources: str, ends_in: str | None = None, folder: Path | None = None) -> list[Any]:
    """Run these cells in a kernel of their own, in a folder, and return them with their outputs."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook: Any = nbformat.v4.new_notebook(cells=cells)
    with pytest.raises(CellExecutionError, match=ends_in) if ends_in else nullcontext():
        notebook_client(notebook, resources={"metadata": {"path": folder and str(folder)}}).execute()
    return list(notebook.cells)


@pytest.fixture
def panel(home: object) -> Callable[..., dict[str, str]]:
    """Run cells after ``kit.run(main)`` in a notebook, and return its panel as it is saved."""

    def run(*cells: str, ends_in: str | None = None) -> dict[str, str]:
        sources = [
            "import kit\np = kit.postgres(database='panel')",
            SETUP.replace("    yield", "    print('begins')\n    yield"),
            "consumer = kit.run(main)",
            *cells,
        ]
        ran = executed(*sources, ends_in=ends_in)
        widget, still, *said = ran[2].outputs  # what is said at the start stands below the panel
        assert live.WIDGET in widget.data
        assert live.WIDGET not in still.data
        assert "".join(each.text for each in said) == "[consumer] begins\n"
        return dict(still.data)

    return run


def test_the_panel_counts_jobs_and_shows_the_last_lines_with_their_job_ids(panel) -> None:
    shown = panel("await queries.enqueue(['fetch'] * 3, [b'1', b'bad', b'3'], [0] * 3)\nawait kit.wait()")[
        "text/plain"
    ]
    assert "entrypoints: fetch · 2 done, 1 failed" in shown
    assert "[fetch #1] fetched 1" in shown
    assert "✗ [fetch #2] exception: ValueError: <b>no</b>" in shown


def test_what_handlers_print_is_text_in_the_panel_and_never_markup(panel) -> None:
    shown = panel("await queries.enqueue('fetch', b'bad')\nawait kit.wait()")["text/html"]
    assert "&lt;b&gt;no&lt;/b&gt;" in shown
    assert "<b>no" not in shown


def test_a_stopped_consumer_is_stopped_in_its_panel(panel) -> None:
    shown = panel("consumer.stop()")
    assert re.search(r"■ consumer: stopped at \d\d:\d\d:\d\d", shown["text/plain"])
    assert "the last lines" not in shown["text/html"], "of one that was stopped a line stays"


def test_the_panel_of_a_notebook_that_ends_in_an_exception_has_what_happened_before_it(panel) -> None:
    ends = "await queries.enqueue(['fetch'] * 2, [b'1', b'bad'], [0] * 2)\nawait kit.wait()\n1 / 0"
    assert "1 done, 1 failed" in panel(ends, ends_in="ZeroDivisionError")["text/plain"]


def test_a_repaint_that_fails_is_told_and_the_next_one_is_tried(panel) -> None:
    without = "works, kit.notebook.publish = kit.notebook.publish, None"
    job = "await queries.enqueue('fetch', b'1')\nawait kit.wait()"
    shown = panel(without, job, job, "kit.notebook.publish = works", ITS_THREADS.format(1))
    assert "2 done, 0 failed" in shown["text/plain"]
    assert "[consumer] its panel could not be repainted: TypeError" in shown["text/plain"]


def test_no_thread_is_left_when_a_consumer_is_stopped_or_replaced(panel) -> None:
    shown = panel(
        "kit.run(main)",
        ITS_THREADS.format(1),
        "kit.session.session.consumers['consumer'].stop()",
        ITS_THREADS.format(0),
    )
    assert "stopped" in shown["text/plain"]


def test_the_panel_is_bounded_however_much_handlers_print(panel) -> None:
    jobs = "await queries.enqueue(['fetch'] * 500, [b'x' * 5000] * 500, [0] * 500)\nawait kit.wait()"
    shown = panel(jobs)
    assert len(shown["text/plain"].splitlines()) <= 9
    assert len(shown["text/html"]) < 15_000


def test_outside_a_notebook_the_panel_is_silent(
    queue_database: Postgres, capsys: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: Any
) -> None:
    (tmp_path / "quiet_consumer.py").write_text(SETUP.rsplit("queries", 1)[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    kit.run("quiet_consumer:main").stop()
    assert capsys.readouterr().out == ""


def test_workers_have_one_panel_and_are_no_result_of_the_cell_that_starts_them(home, tmp_path) -> None:
    (tmp_path / "panel_office.py").write_text(SETUP.rsplit("queries", 1)[0])
    spawned = executed(
        "import kit\np = kit.postgres(database='panel')",
        SETUP,
        "workers = kit.spawn('panel_office:main', count=2, dequeue_timeout=0.1)\nworkers",
        "await queries.enqueue(['fetch'] * 3, [b'1', b'bad', b'3'], [0] * 3)\nawait kit.wait()",
        "workers[0].kill()\nworkers[0]",
        "workers.stop()",
        folder=tmp_path,
    )
    widget, still = spawned[2].outputs
    assert live.WIDGET in widget.data
    said = still.data["text/plain"].splitlines()
    killed, stopped = [line for line in said if re.match(r". worker \d: ", line)]
    assert re.match(r"✗ worker 1: killed at ", killed)
    assert re.match(r"■ worker 2: stopped at ", stopped)
    counts = [list(map(int, re.findall(r"(\d) (?:done|failed)", line))) for line in (killed, stopped)]
    assert [sum(each) for each in zip(*counts, strict=True)] == [2, 1]
    assert "exit code -9" in spawned[4].outputs[-1].data["text/plain"]
