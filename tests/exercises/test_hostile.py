"""An answer that does harm: it is isolated, ends in bounded time, and is told what happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from kit.exercises.answers import Answer
from kit.exercises.authoring import proving
from kit.exercises.exercise import Exercise, NotYet
from kit.exercises.judging import Outcome
from kit.session import session
from kit.sources import Postgres
from tests.waiting import wait_until

GIVEN = """
import asyncio, os, signal, subprocess, sys, threading, time
import asyncpg
from pgqueuer import AsyncpgDriver, Queries
"""


async def two_jobs(answer: Answer) -> None:
    await answer.enqueue("work", [b"1", b"2"])
    await answer.run(work=answer["work"])
    await answer.no_exceptions()
    if await answer.sql("SELECT 1 FROM pgqueuer"):
        raise NotYet("left")


WORK = Exercise(
    id="work",
    kind="complete",
    title="Work",
    minutes=1,
    task="",
    given=GIVEN,
    names=("work",),
    stub="async def work(job):\n    raise NotImplementedError",
    solution="async def work(job): pass",
    check=two_jobs,
    hints=("", "", ""),
    why="It works.",
    wrong=(),
    messages={"left": "A job is left."},
)


def judged(body: str, *, before: str = "") -> Outcome:
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return proving.judged(WORK, f"{before}\nasync def work(job):\n{lines}\n")


def test_an_endless_loop_is_ended_and_its_line_is_named(lesson: Postgres) -> None:
    outcome = judged("while True:\n    pass")
    assert outcome.message == "endless"
    assert "line 3" in outcome.text or "line 4" in outcome.text, outcome.text


def test_a_call_that_blocks_is_ended_and_its_line_is_named(lesson: Postgres) -> None:
    outcome = judged("time.sleep(60)")
    assert outcome.message == "endless"
    assert "`time.sleep(60)`" in outcome.text


def test_waiting_for_what_never_comes_is_ended_and_its_line_is_named(lesson: Postgres) -> None:
    outcome = judged("await asyncio.Event().wait()")
    assert outcome.message == "endless"
    assert "`await asyncio.Event().wait()`" in outcome.text


def test_what_holds_pythons_lock_is_ended(lesson: Postgres) -> None:
    began = time.monotonic()
    outcome = judged("str(10 ** 10 ** 8)", before="sys.set_int_max_str_digits(0)")
    assert outcome.message in ("endless", "raised", "ended-itself"), outcome
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("call", ["os._exit(3)", "os.abort()", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_process_that_ends_itself_is_named(call: str, lesson: Postgres) -> None:
    outcome = judged(call)
    assert outcome.message == "ended-itself"
    assert ("exit code 3" if "_exit" in call else "signal") in outcome.text


@pytest.mark.parametrize("call", ["sys.exit(3)", "raise KeyboardInterrupt", "raise SystemExit"])
def test_what_ends_a_consumer_is_named(call: str, lesson: Postgres) -> None:
    outcome = judged(call)
    assert outcome.message == "no-start"
    assert ("KeyboardInterrupt" if "Keyboard" in call else "SystemExit") in outcome.text


def test_an_exception_is_named_with_its_line(lesson: Postgres) -> None:
    outcome = judged("orders = {}\norders['7']")
    assert outcome.message == "raised"
    assert "KeyError: '7'" in outcome.text
    assert "`orders['7']`" in outcome.text


def test_an_exception_that_postgres_cannot_store_is_bounded(lesson: Postgres) -> None:
    outcome = judged("raise ValueError('a \\0 in it')")
    assert outcome.state == "not yet", outcome


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_fork_leaves_no_process(lesson: Postgres) -> None:
    outcome = judged("if os.fork() == 0:\n    time.sleep(300)")
    assert outcome.state in ("passed", "not yet")


def test_another_program_that_it_starts_is_ended_with_it(lesson: Postgres) -> None:
    outcome = judged(f"subprocess.Popen([{sys.executable!r}, '-c', 'import time; time.sleep(300)'])")
    assert outcome.state == "passed", outcome


def test_prints_of_two_megabytes_are_no_harm(lesson: Postgres) -> None:
    assert judged("print('x' * 2_000_000)").state == "passed"


def test_a_large_global_goes_along(lesson: Postgres) -> None:
    assert judged("len(large)", before="large = bytes(96 * 2**20)").state == "passed"


def test_one_that_is_too_large_is_named(lesson: Postgres) -> None:
    outcome = judged("len(large)", before="large = bytes(700 * 2**20)")
    assert outcome.message == "too-large"


def test_a_list_without_an_end_ends_the_process_and_not_the_machine(lesson: Postgres) -> None:
    outcome = judged("piled = [b'x']\nwhile True:\n    piled.append(bytes(50_000_000))")
    assert outcome.message in ("raised", "endless", "ended-itself"), outcome


@pytest.mark.parametrize(
    ("what", "use"),
    [
        ("await asyncpg.connect()", "await theirs.fetchval('SELECT 1')"),
        ("Queries(AsyncpgDriver(await asyncpg.connect()))", "await theirs.enqueue('other', None)"),
        ("await asyncpg.create_pool(min_size=1)", "await theirs.fetchval('SELECT 1')"),
    ],
)
def test_the_notebooks_own_connection_is_named(what: str, use: str, lesson: Postgres) -> None:
    outcome = judged(use, before=f"theirs = {what}")
    assert outcome.message == "stays-here"
    assert "'theirs'" in outcome.text


@pytest.mark.parametrize("what", ["threading.Lock()", "open(os.devnull, 'w')", "(n for n in [1])"])
def test_a_global_that_cannot_go_along_is_named(what: str, lesson: Postgres) -> None:
    outcome = judged("print(theirs)", before=f"theirs = {what}")
    assert outcome.message == "stays-here"
    assert "'theirs'" in outcome.text


def test_asking_the_keyboard_is_an_error_and_not_a_wait(lesson: Postgres) -> None:
    outcome = judged("input('and now? ')")
    assert outcome.message == "raised"
    assert "EOFError" in outcome.text


def test_a_global_that_a_handler_changes_is_as_it_was(lesson: Postgres) -> None:
    with proving.answering(WORK, "seen = []\nasync def work(job):\n    seen.append(job.id)\n") as (names, _):
        from kit.exercises.judging import judge

        assert judge(WORK, names).state == "passed"
        assert names["seen"] == []


def test_the_lessons_queue_and_variables_are_as_before(lesson: Postgres) -> None:
    from kit.threads import run_sync

    async def jobs() -> int:
        async with lesson.target.connect() as inside:
            return int(await inside.fetchval("SELECT count(*) FROM pgqueuer"))

    before = dict(os.environ)
    there = run_sync(jobs())
    assert judged("pass").state == "passed"
    assert run_sync(jobs()) == there
    assert dict(os.environ) == before


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> object:
    """Fail the test after which a process or a thread of the check's is still there."""
    me = psutil.Process()
    before = {one.pid for one in me.children(recursive=True)}
    threads = threading.active_count()
    yield
    deadline = time.monotonic() + 5
    parent = session.parent.process.pid if session.parent else 0  # it stays for the next check
    while left := [
        one
        for one in psutil.process_iter(["pid", "cmdline"])
        if one.info["pid"] not in before | {parent}
        and any(str(part).endswith("exercises/child.py") for part in one.info["cmdline"] or ())
        and one.ppid() in (me.pid, 1, parent)
    ]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    while threading.active_count() > threads:
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.05)


def test_a_file_that_is_an_answer_is_read_from_the_working_folder(lesson: Postgres) -> None:
    assert Path.cwd() != Path(__file__).parent


FORKS = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")


@FORKS
def test_what_the_notebook_has_changed_since_the_check_before_is_so_in_an_answer(
    lesson: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judged("pass").state == "passed"
    folder = tmp_path / "another"
    folder.mkdir()
    (tmp_path / "mine_alone.py").write_text("WORD = 'mine'")
    monkeypatch.setenv("WORD", "new")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(folder)
    outcome = judged(
        f"import mine_alone\nassert (os.environ['WORD'], os.getcwd()) == ('new', {str(folder)!r})"
    )
    assert outcome.state == "passed", outcome
    monkeypatch.delenv("WORD")
    assert judged("assert 'WORD' not in os.environ").state == "passed"


@FORKS
def test_what_an_answer_draws_by_lot_is_another_each_time(lesson: Postgres, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn"
    for _ in range(2):
        assert (
            judged(f"import random\nprint(random.random(), file=open({str(drawn)!r}, 'a'))").state == "passed"
        )
    assert len(set(drawn.read_text().split())) == 4, "two jobs, twice"


@FORKS
@pytest.mark.parametrize("how", ["its process", "the process that waits for it", "the parent of all"])
def test_whichever_process_an_answer_kills_the_next_check_is_right(how: str, lesson: Postgres) -> None:
    assert judged("pass").state == "passed"
    its_own = "parent" if how == "the process that waits for it" else "me"
    find = "import psutil\nme = psutil.Process()\nparent = me.parent()\n"
    victim = {"the parent of all": "parent.parent()"}.get(how, its_own)
    assert judged(f"{find}{victim}.kill()\ntime.sleep(0.2)").state in ("passed", "not yet")
    assert judged("pass").state == "passed"
    assert judged("raise ValueError('no')").message == "raised"


@FORKS
def test_the_process_that_the_others_are_forked_from_ends_with_its_kernel_however_that_ends(
    lesson: Postgres,
) -> None:
    code = (
        "import asyncio, os, signal\n"
        "from kit.exercises.running import Process\n"
        "from kit.session import session\n"
        "async def main():\n"
        "    process = await Process.start()\n"
        "    print(session.parent.process.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    wait_until("that it is gone", lambda: not psutil.pid_exists(int(ran.stdout)))
