"""The mistakes beginners make, each in a real kernel, and the one plain line that helps."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

from kit.cli import server
from tests.kernels import notebook_client
from tests.lessons.notebook import text_of

Cell = Callable[[str], str]

SETUP = "import kit\npostgres = kit.postgres('embedded', database='mistakes')"
IMPORTS = """
    import asyncio
    from contextlib import asynccontextmanager
    import asyncpg
    from pgqueuer import AsyncpgDriver, PgQueuer, Queries
    from pgqueuer.models import Job
"""
PRODUCER = "conn = await asyncpg.connect()\nq = Queries(AsyncpgDriver(conn))"
BLOGS_PRODUCER = """
    import asyncio
    import asyncpg
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.queries import Queries

    async def main(N: int) -> None:
        conn = await asyncpg.connect()
        queries = Queries(AsyncpgDriver(conn))
        await queries.enqueue(
            ["fetch"] * N,
            [f"this is from me: {n}".encode() for n in range(1, N + 1)],
            [0] * N,
        )

    if __name__ == "__main__":
        asyncio.run(main(3))
"""
COUNT = "print('jobs:', kit.sql('SELECT count(*) AS n FROM pgqueuer').n[0])"


@contextmanager
def notebook_in(folder: Path) -> Iterator[Cell]:
    """Start a kernel; what is yielded runs a cell in it and returns all that it shows."""
    client = notebook_client(
        nbformat.v4.new_notebook(),
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    )

    def run(code: str) -> str:
        cell = nbformat.v4.new_code_cell(textwrap.dedent(code).strip())
        client.nb.cells.append(cell)
        client.execute_cell(cell, len(client.nb.cells) - 1)
        return text_of(cell)

    with client.setup_kernel():
        yield run


@pytest.fixture(scope="module")
def kernel(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """One kernel for these tests, where the imports have run."""
    with notebook_in(tmp_path_factory.mktemp("mistakes")) as cell:
        shown = cell(SETUP + textwrap.dedent(IMPORTS))
        assert "Error" not in shown, shown
        yield cell


@pytest.fixture
def cell(kernel: Cell) -> Iterator[Cell]:
    """The kernel after the setup and the producer's cell; afterwards no consumer runs."""
    kernel(SETUP)
    kernel(PRODUCER)
    yield kernel
    kernel("for each in kit.session.session.consumers.values(): each.stop(timeout=0)")


def handler(body: str) -> str:
    """Return a cell that runs a consumer of ``fetch`` with this body."""
    return textwrap.dedent(f"""
        @asynccontextmanager
        async def main():
            pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))

            @pgq.entrypoint("fetch")
            async def fetch(job: Job) -> None:
                {body}

            yield pgq

        consumer = kit.run(main)
    """)


@pytest.mark.parametrize("call", ["q.enqueue('fetch', b'1')", "kit.wait()"])
def test_a_call_without_await_as_a_cells_value_says_that_nothing_has_happened(cell: Cell, call: str) -> None:
    name = call.partition("(")[0].rpartition(".")[2]
    assert cell(call).strip() == (
        f"Nothing has happened yet: {name}(…) waits for an await. Write `await` before it."
    )
    assert "jobs: 0" in cell(COUNT)


def test_a_call_without_await_inside_a_cell_is_told_once_below_it(cell: Cell) -> None:
    told = cell("for number in range(3):\n    q.enqueue('fetch', b'1')\nprint('enqueued')")
    first, second = told.strip().splitlines()
    assert first == "enqueued"
    assert re.fullmatch(
        r"Nothing has happened in Cell In\[\d+\], line 2: enqueue\(…\) was called without `await`\. "
        r"Write `await` before it\.",
        second,
    )
    assert "jobs: 0" in cell(COUNT)


def test_the_same_call_without_await_in_the_next_cell_is_told_again(cell: Cell) -> None:
    for _ in range(2):
        assert cell("kit.wait()\n1 + 1").count("wait(…) was called without `await`") == 1


def test_the_line_that_lacks_its_await_is_named_and_not_the_mended_one_that_takes_its_place(
    cell: Cell,
) -> None:
    cell("first = 1\nids = q.enqueue('fetch', b'1')")
    number = int(cell("print(len(In))"))
    told = cell("ids = await q.enqueue('fetch', b'1')")
    assert f"Nothing has happened in Cell In[{number - 2}], line 2: enqueue(…) was called without" in told
    assert "Nothing" not in cell("ids = await q.enqueue('fetch', b'1')")
    assert "jobs: 2" in cell(COUNT)


@pytest.mark.parametrize(
    "code",
    [
        "await asyncio.gather(q.enqueue('fetch', b'1'), 1 / 0)",
        "await asyncio.gather(\n    *[q.enqueue('fetch', b'1')],\n    q.enqueue('fetch', 1 / 0),\n)",
        "asyncio.create_task(q.enqueue('fetch', b'1'), nme='x')",
    ],
)
def test_a_call_whose_await_is_there_is_not_told_to_get_one_when_its_neighbour_fails(
    cell: Cell, code: str
) -> None:
    told = cell(code)
    assert "Error" in told
    assert "Nothing has happened" not in told + cell("import gc; gc.collect()")


def test_a_coroutine_that_is_kept_and_awaited_later_is_nothing_to_speak_of(cell: Cell) -> None:
    cell("later = [q.enqueue('fetch', b'1') for _ in range(3)]")
    assert "Nothing" not in cell("for each in later: await each\ndel later, each")
    assert "jobs: 3" in cell(COUNT)


def test_a_call_without_await_in_a_handler_is_told_with_its_job(cell: Cell) -> None:
    cell(handler("asyncio.sleep(1)"))
    waited = cell("await q.enqueue('fetch', b'1')\nawait kit.wait()")
    assert re.search(
        r"\[fetch #1\] Nothing has happened in Cell In\[\d+\], line \d+: sleep\(…\) was called without",
        waited,
    ), waited


def test_asyncio_run_is_told_to_become_an_await(cell: Cell) -> None:
    told = cell("async def go(number):\n    pass\nasyncio.run(go(1))")
    assert told.splitlines()[0] == (
        "A notebook has a loop that runs already, so a cell awaits by itself. Write `await go(1)` instead."
    )
    assert len(told.splitlines()) < 15
    assert told.splitlines()[-1].startswith("RuntimeError: asyncio.run() cannot be called")


def test_the_blogs_producer_as_printed_is_told_what_to_write_instead(cell: Cell) -> None:
    told = cell(BLOGS_PRODUCER)
    assert "Write `await main(3)` instead." in told.splitlines()[0]
    assert "never awaited" not in told + cell("1 / 0") + cell("import gc; gc.collect()")
    assert "Error" not in cell("await main(3)")
    assert "jobs: 3" in cell(COUNT)


def test_await_before_kit_run_says_that_the_consumer_runs(cell: Cell) -> None:
    cell(handler("pass"))
    told = cell("await kit.run(main)")
    assert "The consumer runs: kit.run is a plain call. Write kit.run(main), without await." in told
    assert len(told.splitlines()) < 15
    assert "running" in cell("print(kit.session.session.consumers['consumer'].state)")


def test_await_before_another_plain_call_says_that_it_has_done_its_work(cell: Cell) -> None:
    assert "This is a plain call, and it has done its work already." in cell("await kit.reset()")


def test_the_decorator_with_return_is_told_to_yield(cell: Cell) -> None:
    cell(
        "@asynccontextmanager\nasync def main():\n    return PgQueuer(AsyncpgDriver(await asyncpg.connect()))"
    )
    told = cell("kit.run(main)").strip()
    assert told == (
        "KitError: main is under @asynccontextmanager, so it has to end with `yield pgq`, and it has no "
        "yield. Write `yield pgq` instead of `return pgq`."
    )
    assert "await" not in cell("import gc; gc.collect()\nprint('done')")


def test_the_decorator_above_a_def_that_is_not_async_is_told_so(cell: Cell) -> None:
    cell("@asynccontextmanager\ndef main():\n    yield None")
    assert "main is not async. Write `async def main()`" in cell("kit.run(main)")


def test_a_handler_that_raises_names_its_cell_and_line_and_keeps_the_rest(cell: Cell) -> None:
    cell(handler("raise ValueError('no such page')"))
    waited = cell("await q.enqueue('fetch', b'1')\nawait kit.wait()")
    assert re.search(
        r"\[fetch #1\] exception: ValueError: no such page "
        r"\(Cell In\[\d+\], line 7: `raise ValueError\('no such page'\)`\)",
        waited,
    ), waited
    assert len(waited.strip().splitlines()) == 1
    assert "Traceback (most recent call last)" in cell("print(consumer.errors[-1].traceback)")


@pytest.mark.parametrize("use", ["await q.enqueue('inner', b'1')", "await conn.fetch('SELECT 1')"])
def test_the_notebooks_connection_in_a_handler_is_refused_before_anything_is_sent(
    cell: Cell, use: str
) -> None:
    cell(handler(use))
    waited = cell("await q.enqueue(['fetch'] * 5, [b'1'] * 5, [0] * 5)\nawait kit.wait()")
    told = [line for line in waited.splitlines() if "exception:" in line]
    assert len(told) == 5
    for line in told:
        assert "<Task" not in line
        assert "nothing was sent" in line
        assert "connect inside main(), not in a cell" in line
        assert re.search(rf"\(Cell In\[\d+\], line 7: `{re.escape(use)}`\)", line), line
    assert "inner" not in cell("print(kit.log().entrypoint.tolist())")
    assert cell("await conn.fetchval('SELECT 6')") == "6"  # and the connection is as it was


def test_after_a_restart_a_cell_out_of_order_says_which_cells_to_run(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONSTARTUP", raising=False)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    server._load_jupyter_server_extension(None)
    lesson = tmp_path / "lesson.ipynb"
    monkeypatch.setenv("JPY_SESSION_NAME", str(lesson))  # as a Jupyter server tells its kernels
    lesson.write_text("a notebook without the kit")
    with notebook_in(tmp_path) as cell:
        assert cell("print('kit' in __import__('sys').modules)") == "False"
    lesson.write_text("import kit")
    with notebook_in(tmp_path) as cell:
        assert cell("kit.jobs()").startswith("This notebook has no name 'kit' yet. Run the cells above first")
        assert cell("print('kit' in globals())") == "False"


def test_after_import_kit_a_cell_out_of_order_says_which_cells_to_run(home: Path, tmp_path: Path) -> None:
    with notebook_in(tmp_path) as cell:
        cell("import kit")
        told = cell("await q.enqueue('fetch', b'1')")
        assert told.splitlines()[0].startswith("This notebook has no name 'q' yet. Run the cells above first")
        assert len(told.splitlines()) < 12
        assert "NameError: name 'q' is not defined" in told.splitlines()[-1]


def test_the_setup_cell_run_again_begins_anew_without_a_word(cell: Cell) -> None:
    cell(handler("pass"))
    cell("await q.enqueue(['fetch', 'later'], [b'1', b'2'], [0, 0])\nawait kit.wait()")
    assert cell(SETUP).strip() == ""
    assert cell("print(consumer.state)").strip() == "stopped"
    assert "jobs: 0" in cell(COUNT)


def test_a_handler_that_never_ends_is_named_long_before_the_wait_is_over(cell: Cell) -> None:
    cell(handler("await asyncio.Event().wait()"))
    cell("await q.enqueue('fetch', b'1')")
    waited = cell(
        "import time\nbegan = time.monotonic()\n"
        "try:\n    await asyncio.wait_for(kit.wait(timeout=50), 8)\n"
        "except TimeoutError:\n    print('gave up')"
    )
    assert waited.strip().splitlines() == ["Still running after 2 s: fetch #1.", "gave up"]


def test_a_payload_of_text_has_its_hint_first_and_only_the_learners_own_line(cell: Cell) -> None:
    told = cell("async def order(what):\n    await q.enqueue('fetch', what)\n\nawait order('tea')")
    lines = told.splitlines()
    assert lines[0] == "A payload is bytes: write b'hello', or make bytes of a text with .encode()."
    assert len(lines) < 25
    assert "await order('tea')" in told
    assert "await q.enqueue('fetch', what)" in told
    assert "site-packages" not in told
    assert lines[-1].startswith("DataError: ")


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("priority='3'", "It takes a whole number, as a priority and a job's id are: write 3, not '3'."),
        ("priority=10**10", "It takes a whole number from -2147483648 to 2147483647, as a priority is."),
        ("execute_after=5", "It takes a length of time, as execute_after is: write timedelta(seconds=5)."),
    ],
)
def test_what_is_no_priority_or_no_time_has_its_hint(cell: Cell, given: str, hint: str) -> None:
    assert cell(f"await q.enqueue('fetch', b'1', {given})").splitlines()[0] == hint


def test_a_cause_that_a_learner_wrote_is_never_left_out(cell: Cell) -> None:
    told = cell("try:\n    {}['tea']\nexcept KeyError:\n    await q.enqueue('fetch', 'tea')")
    assert "A payload is bytes" in told.splitlines()[0]
    assert "{}['tea']" in told
    assert "KeyError" in told


def test_an_error_without_a_hint_is_shown_as_ever(cell: Cell) -> None:
    told = cell("def half(n):\n    return n / 0\n\nhalf(1)")
    assert "Traceback (most recent call last)" in told.splitlines()[1]
    assert "half(1)" in told
    assert told.splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_the_error_itself_is_left_as_it_was(cell: Cell) -> None:
    cell("await q.enqueue('fetch', 'tea')")
    kept = cell("import sys, traceback; print(''.join(traceback.format_exception(sys.last_value)))")
    assert "site-packages" in kept
    assert "direct cause" in kept
    assert "[]" in cell("print([name for name in vars(sys.last_value) if 'render' in name])")


def test_text_columns_can_be_asked_for_a_word_in_every_way_pandas_has(cell: Cell) -> None:
    cell("await q.enqueue(['greet', 'ship'], [b'1', b'2'], [0, 0])")
    for wanted in (
        """.query("entrypoint == 'greet'")""",
        """[kit.jobs().entrypoint.isin(["greet"])]""",
        """[kit.jobs().entrypoint == "greet"]""",
    ):
        assert "['1']" in cell(f"print(kit.jobs(){wanted}.text.tolist())"), wanted
