"""What handlers print and raise: caught with its job, kept, and nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import multiprocessing.pool
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, DatabaseRetryEntrypointExecutor, PgQueuer, Queries
from pgqueuer.errors import DuplicateJobError, RetryRequested
from pgqueuer.executors import EntrypointExecutorParameters
from pgqueuer.models import Context, Job, JobId

import kit
from kit.consumer.capture import Capture
from kit.consumer.console import KEPT_LINES, LONGEST_LINE, Console
from kit.errors.text import one_line
from tests.consumer.queue import Handler, enqueue, main_with, nothing, texts
from tests.waiting import until

# Whose print it is


async def test_a_print_is_kept_with_its_job_and_time() -> None:
    async def speak(job: Job) -> None:
        print("one\ntwo", end="")
        print("!")

    before = datetime.now(UTC)
    consumer = kit.run(main_with(speak=speak))
    (job,) = await enqueue("speak")
    await kit.wait()
    first, second = consumer.output
    assert (first.text, second.text) == ("one", "two!")
    assert (first.entrypoint, first.job_id, first.kind, first.consumer) == ("speak", job, "print", "consumer")
    assert before <= first.time <= datetime.now(UTC)
    assert repr(consumer.output) == f"[speak #{job}] one\n[speak #{job}] two!"


async def test_prints_of_threads_tasks_and_stderr_belong_to_the_job() -> None:
    tasks = []

    async def later() -> None:
        await asyncio.sleep(0.05)
        print("from a task")

    async def speak(job: Job) -> None:
        await asyncio.to_thread(print, "from a thread")
        print("an aside", file=sys.stderr)
        tasks.append(asyncio.create_task(later()))  # it outlives the handler

    consumer = kit.run(main_with(speak=speak))
    await enqueue("speak")
    await kit.wait()
    await until("the task has spoken", lambda: "[speak #1] from a task" in texts(consumer))
    assert texts(consumer)[:2] == ["[speak #1] from a thread", "[speak #1] an aside"]


async def test_jobs_that_run_at_once_do_not_mix_their_lines() -> None:
    async def count(job: Job) -> None:
        for number in range(3):
            print(job.id, end=" ")
            await asyncio.sleep(0.01)
            print(number)

    consumer = kit.run(main_with(count=count))
    jobs = await enqueue("count", *[b""] * 5)
    await kit.wait()
    for job in jobs:
        own = [line.text for line in consumer.output if line.job_id == job]
        assert own == [f"{job} {number}" for number in range(3)]


async def by_a_thread(job: Job) -> None:
    for thread in (threading.Thread(target=print, args=("a",)), threading.Timer(0.01, print, ["b"])):
        thread.start()
        thread.join()


async def by_the_loops_executor(job: Job) -> None:
    await asyncio.get_running_loop().run_in_executor(None, print, "a\nb")


async def by_a_pool_of_its_own(job: Job) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(print, "ab"))


async def by_another_pool_of_its_own(job: Job) -> None:
    with multiprocessing.pool.ThreadPool(1) as pool:
        pool.map(print, "ab")


async def by_a_process(job: Job) -> None:
    subprocess.run(["sh", "-c", "echo a; printf b >&2"], check=True)


async def by_a_process_with_pythons_own_stream(job: Job) -> None:
    subprocess.run(["sh", "-c", "echo a; echo b"], stdout=sys.stdout, check=True)


async def by_a_process_that_is_awaited(job: Job) -> None:
    process = await asyncio.create_subprocess_exec("sh", "-c", "echo a; echo b")
    await process.wait()


async def by_a_fork(job: Job) -> None:
    child = multiprocessing.get_context("fork").Process(target=print, args=("a\nb",))
    child.start()
    child.join()


OWN = [by_a_thread, by_the_loops_executor, by_a_pool_of_its_own, by_another_pool_of_its_own, by_a_process]
OWN += [by_a_process_with_pythons_own_stream, by_a_process_that_is_awaited, by_a_fork]


@pytest.mark.skipif(sys.platform == "win32", reason="there, processes print as they do")
@pytest.mark.parametrize("speak", OWN, ids=lambda speak: speak.__name__)
async def test_prints_of_a_handlers_own_threads_pools_and_processes_belong_to_its_job(speak: Handler) -> None:
    consumer = kit.run(main_with(speak=speak))
    jobs = await enqueue("speak", b"", b"")
    await kit.wait()
    for job in jobs:
        assert sorted(line.text for line in consumer.output if line.job_id == job) == ["a", "b"]
    assert len(consumer.output) == 4


async def test_a_pool_that_jobs_and_cells_share_prints_for_whoever_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ThreadPoolExecutor(1) as pool:

        async def speak(job: Job) -> None:
            await asyncio.get_running_loop().run_in_executor(pool, print, f"of {job.id}")

        consumer = kit.run(main_with(speak=speak))
        first, second = await enqueue("speak", b"", b"")
        await until("both are done", lambda: consumer.done == 2)
        pool.submit(print, "of the cell").result()
    assert capsys.readouterr().out == "of the cell\n"
    assert sorted(texts(consumer)) == [f"[speak #{job}] of {job}" for job in (first, second)]


@pytest.mark.skipif(sys.platform == "win32", reason="there, processes print as they do")
async def test_a_process_may_print_much_and_longer_than_its_job() -> None:
    async def speak(job: Job) -> None:
        much = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done"
        subprocess.run(["sh", "-c", much], check=True)  # it blocks the loop, and the pipe would be full
        subprocess.Popen(["sh", "-c", "read line; echo late"], stdin=subprocess.PIPE)

    processes: list[subprocess.Popen[bytes]] = []
    init = subprocess.Popen.__init__

    def keep(popen: subprocess.Popen[bytes], *arguments: Any, **options: Any) -> None:
        init(popen, *arguments, **options)
        processes.append(popen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", keep)
        consumer = kit.run(main_with(speak=speak))
        await enqueue("speak")
        await kit.wait()
        assert consumer.output[-1].text == "19999"
        processes[-1].communicate(b"go on\n")
        await until("the last line is there", lambda: consumer.output[-1].text == "late")
        assert consumer.output[-1].job_id == 1
        consumer.stop()


async def test_what_a_handler_captures_itself_stays_its_own() -> None:
    async def speak(job: Job) -> None:
        print(
            subprocess.run(["sh", "-c", "echo a"], capture_output=True, text=True, check=True).stdout, end=""
        )

    consumer = kit.run(main_with(speak=speak))
    await enqueue("speak")
    await kit.wait()
    assert texts(consumer) == ["[speak #1] a"]


async def test_a_print_in_main_is_shown_by_the_call_that_runs_it(capsys: pytest.CaptureFixture[str]) -> None:
    inner = main_with(fetch=nothing)

    @contextlib.asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        print("connecting")
        async with inner() as pgq:
            yield pgq

    kit.run(main)
    assert capsys.readouterr().out == "[consumer] connecting\n"


async def test_prints_of_a_cell_stay_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    consumer = kit.run(main_with(fetch=nothing))
    print("mine")
    thread = threading.Thread(target=print, args=("of my thread",))
    thread.start()
    thread.join()
    await asyncio.to_thread(sys.stderr.write, "my error\n")
    out, err = capsys.readouterr()
    assert (out, err) == ("mine\nof my thread\n", "my error\n")
    assert not consumer.output


async def test_prints_are_caught_while_a_cell_redirects_its_own() -> None:
    began, go_on = threading.Event(), threading.Event()

    async def speak(job: Job) -> None:
        began.set()
        await asyncio.to_thread(go_on.wait, 10)
        print("the handler's")

    before = sys.stdout
    consumer = kit.run(main_with(speak=speak))
    with contextlib.redirect_stdout(io.StringIO()) as cell:
        print("the cell's")
        await enqueue("speak")
        await until("the handler runs", began.is_set)
        go_on.set()
        await until("it has spoken", lambda: texts(consumer))
    assert cell.getvalue() == "the cell's\n"
    assert texts(consumer) == ["[speak #1] the handler's"]
    consumer.stop()
    assert sys.stdout is before


async def test_the_streams_and_the_logger_are_as_before_when_the_last_consumer_has_ended() -> None:
    ways = threading.Thread.start, ThreadPoolExecutor.submit, subprocess.Popen.__init__
    streams = sys.stdout, sys.stderr
    handlers = list(logging.getLogger("pgqueuer").handlers)
    interval = sys.getswitchinterval()
    first, second = kit.run(main_with(a=nothing), name="a"), kit.run(main_with(b=nothing), name="b")
    assert sys.stdout is not streams[0]
    first.stop()
    assert sys.stdout is not streams[0]
    second.stop()
    assert (sys.stdout, sys.stderr) == streams
    assert (threading.Thread.start, ThreadPoolExecutor.submit, subprocess.Popen.__init__) == ways
    assert logging.getLogger("pgqueuer").handlers == handlers
    assert sys.getswitchinterval() == interval


async def test_a_stream_that_was_closed_meanwhile_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    async def speak(job: Job) -> None:
        print("still here")

    passing = io.StringIO()
    monkeypatch.setattr(sys, "stdout", passing)
    consumer = kit.run(main_with(speak=speak))
    passing.close()
    await enqueue("speak")
    await until("the handler has spoken", lambda: texts(consumer) == ["[speak #1] still here"])
    monkeypatch.undo()
    consumer.stop()
    assert consumer.done == 1


# What is told of exceptions


async def test_an_exception_is_kept_with_its_traceback_from_the_handler_on() -> None:
    async def fetch(job: Job) -> None:
        raise ValueError("no such page")

    consumer = kit.run(main_with(fetch=fetch))
    (job,) = await enqueue("fetch")
    await kit.wait()
    (failure,) = consumer.errors
    assert isinstance(failure.exception, ValueError)
    assert (failure.job_id, failure.entrypoint, failure.held) == (job, "fetch", False)
    assert failure.traceback.splitlines()[1].endswith("in fetch")
    assert failure.traceback.endswith("ValueError: no such page\n")
    assert repr(consumer.errors) == f"[fetch #{job}] ValueError: no such page"
    assert texts(consumer) == [
        f"[fetch #{job}] exception: ValueError: no such page"
    ]  # and not PGQueuer's log, too


async def test_a_held_job_is_told_apart_from_one_that_is_gone() -> None:
    async def fetch(job: Job) -> None:
        raise ValueError("no such page")

    consumer = kit.run(main_with("hold", fetch=fetch))
    await enqueue("fetch")
    await kit.wait()
    assert texts(consumer) == ["[fetch #1] held: ValueError: no such page"]
    assert consumer.errors[0].held


async def test_a_retry_is_told_as_one_with_what_led_to_it() -> None:
    async def flaky(job: Job) -> None:
        try:
            raise TimeoutError("upstream")
        except TimeoutError as error:
            raise RetryRequested(delay=timedelta(seconds=90)) from error

    consumer = kit.run(main_with(flaky=flaky))
    await enqueue("flaky")
    await kit.wait()
    assert texts(consumer) == ["[flaky #1] retry in 90 s: TimeoutError: upstream"]
    assert not consumer.errors


async def test_executors_of_pgqueuers_own_keep_working() -> None:
    @contextlib.asynccontextmanager
    async def main() -> AsyncIterator[PgQueuer]:
        async with main_with()() as pgq:

            def twice(parameters: EntrypointExecutorParameters) -> DatabaseRetryEntrypointExecutor:
                return DatabaseRetryEntrypointExecutor(parameters, 1, timedelta(0))

            async def flaky(job: Job) -> None:
                raise ValueError(f"attempt {job.attempts}")

            pgq.entrypoint("flaky", executor_factory=twice)(flaky)
            yield pgq

    consumer = kit.run(main)
    await enqueue("flaky")
    await kit.wait()
    assert texts(consumer) == [
        "[flaky #1] retry in 0 s: ValueError: attempt 0",
        "[flaky #1] exception: ValueError: attempt 1",
    ]


async def test_a_cancelled_job_is_told() -> None:
    async def slow(job: Job, context: Context) -> None:
        with context.cancellation:
            began.set()
            await asyncio.sleep(3600)

    began = threading.Event()
    consumer = kit.run(main_with(slow=slow))  # type: ignore[arg-type]
    (job,) = await enqueue("slow")
    await until("it runs", began.is_set)
    connection = await asyncpg.connect()
    await Queries(AsyncpgDriver(connection)).mark_job_as_cancelled([JobId(job)])
    await connection.close()
    await until("it is told", lambda: texts(consumer) == [f"[slow #{job}] canceled"])
    assert consumer.done == 0


async def test_the_exception_of_a_task_nobody_awaited_is_told() -> None:
    async def forgotten() -> None:
        raise ValueError("nobody looks")

    async def start(job: Job) -> None:
        asyncio.create_task(forgotten())  # noqa: RUF006

    consumer = kit.run(main_with(start=start))
    await enqueue("start")
    await until("it is told", lambda: any("ValueError: nobody looks" in line for line in texts(consumer)))
    assert consumer.failed == 0


async def test_what_pgqueuer_only_logs_is_told() -> None:
    async def fetch(job: Job) -> None:
        logging.getLogger("pgqueuer").warning("a flush failed")
        logging.getLogger("pgqueuer").info("all is well")

    consumer = kit.run(main_with(fetch=fetch))
    logging.getLogger("pgqueuer").warning("from a cell: not the consumer's")
    await enqueue("fetch")
    await kit.wait()
    assert texts(consumer) == ["[fetch #1] PGQueuer: a flush failed"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("boom"), "ValueError: boom"),
        (KeyError("subject"), "KeyError: 'subject'"),
        (ValueError(), "ValueError"),
        (ValueError("first\nsecond"), "ValueError: first …"),
        (DuplicateJobError(["order 7"]), "DuplicateJobError: dedupe_key=['order 7']"),
        (
            ExceptionGroup("two", [KeyError("a"), ValueError()]),
            "ExceptionGroup: two (2 sub-exceptions): KeyError: 'a'",
        ),
    ],
)
def test_an_exception_in_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line


def test_an_exception_whose_text_cannot_be_made_is_still_told() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert one_line(Broken()) == "Broken: (its own text cannot be made: RuntimeError)"


# How lines are made


def lines_of(*writes: str) -> list[str]:
    console = Console("consumer", lambda: None)
    capture = Capture(console, "fetch", 1)
    for text in writes:
        capture.write("stdout", text)
    capture.flush()
    return [line.text for line in console.lines]


def test_writes_become_whole_lines() -> None:
    assert lines_of("a", "", "b\nc", "\n\n", "d") == ["ab", "c", "", "d"]


def test_a_progress_bar_is_its_last_state() -> None:
    assert lines_of("\r 10 %", "\r 50 %", "\r100 %\n") == ["100 %"]
    assert lines_of("windows\r\n") == ["windows"]


def test_a_very_long_line_is_cut_and_says_so() -> None:
    (line,) = lines_of("x" * (LONGEST_LINE + 7) + "\n")
    assert line == "x" * LONGEST_LINE + " … (7 more characters)"


def test_a_chatterbox_does_not_fill_the_memory() -> None:
    console = Console("consumer", lambda: None)
    for number in range(KEPT_LINES + 5):
        console.add("print", str(number))
    assert [len(console.lines), len(console.take().lines)] == [KEPT_LINES, KEPT_LINES]
    assert console.lines[0].text == "5"


def test_writing_something_else_than_text_is_an_error_as_with_any_stream() -> None:
    with pytest.raises(TypeError, match="bytes"):
        Capture(Console("consumer", lambda: None)).write("stdout", b"bytes")  # type: ignore[arg-type]
