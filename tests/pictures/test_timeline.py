"""The timeline: each job's history from the log, drawn and said in numbers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import combinations

import asyncpg
import matplotlib
import matplotlib.pyplot as plt
import pytest
from pgqueuer import AsyncpgDriver, Job, PgQueuer
from pgqueuer.models import TracebackRecord

import kit
from kit.errors import KitError
from kit.pictures.timeline.histories import NOBODY, UNKNOWN, by_worker, histories_of_jobs
from kit.pictures.timeline.summary import summary
from tests.pictures.conftest import Hands


@pytest.fixture(autouse=True)
def no_window() -> Iterator[None]:
    matplotlib.use("agg")
    yield
    plt.close("all")


@asynccontextmanager
async def silent() -> AsyncIterator[PgQueuer]:
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))

    @pgq.entrypoint("work")
    async def work(job: Job) -> None:
        pass

    yield pgq
    await connection.close()


@asynccontextmanager
async def stuck() -> AsyncIterator[PgQueuer]:
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))

    @pgq.entrypoint("work")
    async def work(job: Job) -> None:
        time.sleep(0.5)  # noqa: ASYNC251 - it blocks its loop, and so its heartbeat
        await asyncio.sleep(60)

    yield pgq
    await connection.close()


async def until_picked(hands: Hands) -> None:
    for _ in range(500):
        if await hands.connection.fetchval("SELECT count(*) FROM pgqueuer WHERE status = 'picked'"):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("no job is picked")


async def lived(
    hands: Hands, job: int, *steps: tuple[float, str], entrypoint: str = "work", priority: int = 0
) -> None:
    """Write a job's transitions into the log, each so many seconds after noon of some day."""
    for second, status in steps:
        await hands.connection.execute(
            "INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority, created) VALUES"
            " ($1, $2, $3, $4, '2030-01-01 12:00Z'::timestamptz + $5 * interval '1 second')",
            *(job, status, entrypoint, priority, second),
        )


async def test_a_history_is_made_of_waits_and_runs(hands: Hands) -> None:
    await lived(hands, 7, (0, "queued"), (2, "picked"), (5, "successful"))
    [history] = histories_of_jobs(1000)
    assert (history.id, history.group, history.outcome) == (7, "work", "done")
    assert [(span.doing, span.end - span.begin) for span in history.spans] == [
        ("waiting", 2),
        ("running", 3),
    ]


async def test_every_attempt_is_a_bar_of_its_own_in_the_same_row(hands: Hands) -> None:
    steps = [(0, "queued"), (1, "picked"), (2, "queued"), (6, "picked"), (8, "exception")]
    await lived(hands, 1, *steps)
    [history] = histories_of_jobs(1000)
    assert [(span.doing, span.outcome) for span in history.spans] == [
        *(("waiting", ""), ("running", "retried"), ("waiting", ""), ("running", "failed"))
    ]
    assert history.waited() == 5, "all the time in the queue"
    assert history.seconds("running") == 3
    assert history.outcome == "failed"
    legend = kit.timeline().get_legend()
    assert legend is not None
    assert {"runs, retried", "runs, failed"} <= {text.get_text() for text in legend.get_texts()}


async def test_a_job_that_waits_for_its_next_attempt_has_waited_until_the_last_one(hands: Hands) -> None:
    await lived(hands, 1, (0, "queued"), (1, "picked"), (2, "queued"))
    [history] = histories_of_jobs(1000)
    assert history.waited() == 1


async def test_the_time_until_an_end_is_logged_is_no_work(hands: Hands) -> None:
    """PGQueuer writes ends up to a tenth of a second later, and all at once."""
    [job] = await hands.enqueue(b"x")
    picked = await hands.pick()
    error = ValueError("no")
    about = {"queue_manager_id": "3f2a91bc-0000-0000-0000-000000000000"}
    trace = TracebackRecord.from_exception(error, job, about)  # type: ignore[arg-type]
    await asyncio.sleep(0.3)
    await hands.queries.log_jobs([(picked[0], "exception", trace)])
    [history] = histories_of_jobs(1000)
    assert history.seconds("running") < 0.2  # type: ignore[operator]
    await hands.enqueue(b"x")
    kit.run(silent, name="second", batch_size=1)
    await kit.wait()
    _, history = histories_of_jobs(1000)
    assert history.ended is not None
    assert history.spans[-1].end < history.ended


async def test_a_held_job_that_was_requeued_has_not_ended(hands: Hands) -> None:
    await lived(hands, 1, (0, "queued"), (1, "picked"), (2, "failed"))
    assert histories_of_jobs(1000)[0].outcome == "held"
    await lived(hands, 1, (3, "queued"))
    assert histories_of_jobs(1000)[0].outcome == "waiting"


async def test_what_has_not_ended_reaches_up_to_now(hands: Hands) -> None:
    await hands.enqueue(b"x", b"y")
    await hands.pick(1)
    first, second = histories_of_jobs(1000)
    assert (first.outcome, second.outcome) == ("running", "waiting")
    assert first.spans[-1].end == second.spans[-1].end > first.spans[-1].begin


async def test_only_the_last_jobs_are_taken(hands: Hands) -> None:
    for job in range(1, 6):
        await lived(hands, job, (job, "queued"))
    assert [history.id for history in histories_of_jobs(2)] == [4, 5]


async def test_the_summary_has_median_and_95th_percentile_for_each_priority(hands: Hands) -> None:
    for job, wait in enumerate((1, 2, 9), start=1):
        await lived(hands, job, (0, "queued"), (wait, "picked"), (wait + 4, "successful"), priority=5)
    await lived(hands, 9, (0, "queued"), priority=1)
    table = summary(histories_of_jobs(1000))
    assert list(table.index) == [5, 1]
    assert table.loc[5].to_dict() == pytest.approx(
        {"jobs": 3, "wait median": 2, "wait p95": 8.3, "run median": 4, "run p95": 4}
    )
    assert table.loc[1, "jobs"] == 1
    assert table.loc[1].isna().sum() == 4


async def test_the_plot_has_a_row_for_each_job_and_its_numbers_in_words(
    hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    await lived(hands, 3, (0, "queued"), (1, "picked"), (2, "successful"), priority=5)
    await lived(hands, 4, (0, "queued"), (1, "picked"), (2, "exception"), entrypoint="other")
    ax = kit.timeline()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["#4  p0", "#3  p5"]
    assert {text.get_text() for text in ax.texts} == {"other", "work"}
    said = capsys.readouterr().out
    assert "2 jobs: 1 done, 1 failed." in said
    assert "wait p95" in said
    assert kit.timeline(last=1).get_title(loc="left") == "1 job: 1 failed"
    assert capsys.readouterr().out.startswith("1 job: 1 failed.")


async def test_bars_can_be_coloured_by_priority_and_the_legend_says_which(hands: Hands) -> None:
    await lived(hands, 1, (0, "queued"), (1, "picked"), (2, "successful"), priority=12)
    legend = kit.timeline(color="priority").get_legend()
    assert legend is not None
    assert "runs, priority 12" in [text.get_text() for text in legend.get_texts()]


async def test_rows_can_be_grouped_by_worker(hands: Hands) -> None:
    await hands.enqueue(b"x", b"y")
    await hands.pick(1)
    texts = {text.get_text() for text in kit.timeline("worker").texts}
    assert texts == {"worker 00000000", NOBODY}


async def test_a_job_that_was_taken_over_has_a_bar_with_each_of_its_workers(hands: Hands) -> None:
    await hands.enqueue(b"x")
    first = kit.run(stuck, name="first", heartbeat_timeout=1, dequeue_timeout=0.1)
    await until_picked(hands)
    owner = await hands.connection.fetchval("SELECT queue_manager_id FROM pgqueuer")
    kit.run(silent, name="second", heartbeat_timeout=5, dequeue_timeout=0.1)
    old = "UPDATE pgqueuer SET heartbeat = now() - interval '1 hour' WHERE queue_manager_id = $1"
    for _ in range(500):
        await hands.connection.execute(old, owner)
        if not await hands.connection.fetchval("SELECT count(*) FROM pgqueuer"):
            break
        await asyncio.sleep(0.02)
    await asyncio.to_thread(first.stop, 0)
    ax = kit.timeline("worker")
    assert {text.get_text() for text in ax.texts} >= {"second"}
    attempts = by_worker(histories_of_jobs(1000))
    assert attempts[0].outcome == "taken over"
    assert attempts[-1].outcome == "done"
    assert (attempts[0].group, attempts[-1].group) == ("first", "second")


async def test_a_job_that_raised_is_known_by_its_worker(hands: Hands) -> None:
    await hands.enqueue(b"x")
    worker = {"queue_manager_id": "3f2a91bc-0000-0000-0000-000000000000"}
    await hands.end(await hands.pick(1), "exception", ValueError("no"), worker)
    assert [text.get_text() for text in kit.timeline("worker").texts] == ["worker 3f2a91bc"]


async def test_jobs_of_this_process_are_known_by_their_consumers_name(hands: Hands) -> None:
    """Also of those that printed nothing, and after the consumer was replaced by another."""
    for _ in range(2):
        await hands.enqueue(*[b"x"] * 20)
        consumer = kit.run(silent, name="second")
        await kit.wait()
    assert [text.get_text() for text in kit.timeline("worker").texts] == ["second"]
    await asyncio.to_thread(consumer.stop)
    kit.reset()
    await hands.enqueue(b"x")
    await hands.end(await hands.pick(1))
    assert [text.get_text() for text in kit.timeline("worker").texts] == [UNKNOWN]


async def test_a_job_that_is_held_does_not_run_meanwhile(hands: Hands) -> None:
    await lived(
        hands,
        1,
        (0, "queued"),
        (1, "picked"),
        (2, "failed"),
        (60, "queued"),
        (61, "picked"),
        (62, "successful"),
    )
    [history] = histories_of_jobs(1000)
    assert history.seconds("running") == 2


async def test_a_hundred_thousand_jobs_are_told_in_seconds_and_what_is_not_drawn_is_said(
    hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    await hands.connection.execute(
        "INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority, created)"
        " SELECT job, status, 'work', 0,"
        " '2030-01-01 12:00Z'::timestamptz + (job / 100.0 + second) * interval '1 second'"
        " FROM generate_series(1, 100001) AS job,"
        " (VALUES ('queued'::pgqueuer_status, 0), ('picked', 1), ('successful', 3)) AS moved (status, second)"
        " ORDER BY job, second"
    )
    used = time.process_time()
    ax = kit.timeline(last=100_001)
    ax.figure.canvas.draw()
    # Of this process's own time: a machine that does other things meanwhile is not what is asked.
    assert time.process_time() - used < 10
    said = capsys.readouterr().out
    assert "There are more than 100,000" in said
    assert "100,000 jobs: 100000 done." in said
    assert "Drawn are the 2,000 that began last; the numbers are of 100,000." in said
    assert ax.get_title(loc="left").startswith("2,000 jobs")


@pytest.mark.parametrize("jobs", [20, 60, 1000])
async def test_no_text_of_twenty_entrypoints_covers_another(hands: Hands, jobs: int) -> None:
    await hands.connection.execute(
        "INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority, created)"
        " SELECT job, status::pgqueuer_status, 'entrypoint ' || job % 20, job % 15 - 2,"
        " now() + (job + second) * interval '1 second' FROM generate_series(1, $1) AS job,"
        " (VALUES ('queued', 0), ('picked', 1), ('successful', 3)) AS moved (status, second)",
        jobs,
    )
    ax = kit.timeline(last=None, color="priority")
    ax.figure.canvas.draw()
    legend = ax.get_legend()
    assert legend is not None
    texts = [*ax.texts, *ax.get_yticklabels(), *legend.get_texts()]
    assert len(ax.texts) == 20
    boxes = {text: text.get_window_extent() for text in texts}
    for one, other in combinations(texts, 2):
        assert not boxes[one].overlaps(boxes[other]), f"{one.get_text()!r} covers {other.get_text()!r}"
    whole = ax.figure.bbox
    assert all(box.x1 <= whole.x1 and box.y0 >= whole.y0 for box in boxes.values()), "a text is cut off"


async def test_an_empty_log_is_said_in_the_plot(hands: Hands, capsys: pytest.CaptureFixture[str]) -> None:
    assert hands.connection is not None
    assert [text.get_text() for text in kit.timeline().texts] == ["No job yet."]
    assert capsys.readouterr().out == "No job yet.\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"by": "lane"}, "by='lane'"),
        ({"color": "red"}, "color='red'"),
        ({"last": 0}, "last=0"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(KitError, match=words):
        kit.timeline(**arguments)  # type: ignore[arg-type]


def test_neither_picture_loads_the_other_ones_library() -> None:
    code = (
        "import sys; import kit.pictures.{0}; "
        "loaded = {{'anywidget', 'ipywidgets', 'matplotlib', 'IPython'}} & sys.modules.keys(); "
        "assert not loaded, loaded"
    )
    for module in ("board", "timeline"):
        subprocess.run([sys.executable, "-c", code.format(module)], check=True)
