"""Exercises of the lesson *Watching*."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from textwrap import indent
from typing import Any

from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, Wrong

NOTEBOOK = """
import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries
from pgqueuer.models import Context
"""


async def longest_first(answer: Answer) -> None:
    await answer.write_log(
        (1, "import", "queued", 0), (1, "import", "picked", 1), (1, "import", "successful", 4),
        (2, "import", "queued", 0), (2, "import", "picked", 2), (2, "import", "exception", 9, "KeyError: 'x'"),
        (3, "import", "queued", 0), (3, "import", "picked", 3), (3, "import", "queued", 4, "RetryRequested: "),
        (3, "import", "picked", 20), (3, "import", "successful", 22),
        (4, "import", "queued", 0), (4, "import", "picked", 30),
        (5, "import", "queued", 0), (5, "import", "picked", 31), (5, "import", "canceled", 36),
    )  # fmt: skip
    rows = await answer.ask("my_question")
    columns = ("job_id", "seconds")
    want = [(2, 7.0), (5, 5.0), (1, 3.0), (3, 2.0)]
    have = [row[0] for row in rows]
    if set(have) < {1, 2, 3, 5}:
        answer.same(rows, want, "only-the-good", columns=columns, close=0.06)
    if 4 in have:
        answer.same(rows, want, "still-running", columns=columns, close=0.06)
    if have.count(3) > 1 or any(
        job == 3 and _seconds(value) > 10 for job, value in (row[:2] for row in rows)
    ):
        answer.same(rows, want, "retried", columns=columns, close=0.06)
    answer.same(rows, want, "times", columns=columns, close=0.06, in_order=False)
    answer.same(rows, want, "order", columns=columns, close=0.06)


def _seconds(value: object) -> float:
    """Return a length of time in seconds, and NaN for what is none, such as a moment."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    return float(seconds) if isinstance(seconds, int | float | Decimal) else math.nan


LONGEST = Exercise(
    id="longest",
    kind="query",
    title="Which jobs took longest?",
    minutes=5,
    processes=0,
    cell="my-question",
    task="Which jobs took longest? Change the query so that it shows, of each job that has ended, `job_id` and the "
    "seconds from when it was picked *last* to its end, the longest first. An exception is an end, too.",
    names=("my_question",),
    stub='''my_question = """SELECT p.job_id, p.created AS seconds
    FROM pgqueuer_log p JOIN pgqueuer_log e ON e.job_id = p.job_id
    WHERE p.status = 'picked' AND e.status = 'successful'
    ORDER BY p.job_id LIMIT 3"""''',
    solution='''my_question = """
    SELECT e.job_id, extract(epoch FROM e.created - max(p.created)) AS seconds
    FROM pgqueuer_log e JOIN pgqueuer_log p ON p.job_id = e.job_id AND p.status = 'picked'
    WHERE e.status IN ('successful', 'exception', 'canceled')
    GROUP BY e.id, e.job_id, e.created ORDER BY seconds DESC"""''',
    also=(
        '''my_question = """
    SELECT DISTINCT ON (seconds, job_id) job_id, e.created - p.created AS seconds
    FROM pgqueuer_log e JOIN LATERAL (
        SELECT created FROM pgqueuer_log WHERE job_id = e.job_id AND status = 'picked' ORDER BY id DESC LIMIT 1
    ) p ON true
    WHERE e.status NOT IN ('queued', 'picked') ORDER BY seconds DESC, job_id"""''',
        '''my_question = """
    WITH steps AS (SELECT *, created - lag(created) OVER (PARTITION BY job_id ORDER BY id) AS took,
                          lag(status) OVER (PARTITION BY job_id ORDER BY id) AS before FROM pgqueuer_log)
    SELECT job_id, round(extract(epoch FROM took), 1) FROM steps
    WHERE before = 'picked' AND status <> 'queued' ORDER BY took DESC"""''',
    ),
    check=longest_first,
    hints=(
        "A duration is a difference: the end's `created` less that of the row `picked`.",
        "Three statuses are an end: successful, exception and canceled. A job that was tried again has several rows "
        "`picked`; the last one counts.",
        "`extract(epoch FROM e.created - max(p.created)) … GROUP BY e.id, e.job_id, e.created ORDER BY seconds DESC`.",
    ),
    why="The log has a row a change, so every duration is a join of it with itself. Whoever forgets the jobs that "
    "failed looks at the wrong ones: those that run into a timeout take longest.",
    wrong=(
        Wrong(
            "successful only",
            '''my_question = """SELECT p.job_id, extract(epoch FROM e.created - p.created) AS seconds
    FROM pgqueuer_log p JOIN pgqueuer_log e ON e.job_id = p.job_id
    WHERE p.status = 'picked' AND e.status = 'successful' ORDER BY seconds DESC"""''',
            "only-the-good",
        ),
        Wrong(
            "the shortest first",
            '''my_question = """
    SELECT e.job_id, extract(epoch FROM e.created - max(p.created)) AS seconds
    FROM pgqueuer_log e JOIN pgqueuer_log p ON p.job_id = e.job_id AND p.status = 'picked'
    WHERE e.status IN ('successful', 'exception', 'canceled')
    GROUP BY e.id, e.job_id, e.created ORDER BY seconds"""''',
            "order",
        ),
        Wrong(
            "joins every pick with the end",
            '''my_question = """SELECT p.job_id, extract(epoch FROM e.created - p.created) AS seconds
    FROM pgqueuer_log p JOIN pgqueuer_log e ON e.job_id = p.job_id
    WHERE p.status = 'picked' AND e.status IN ('successful', 'exception', 'canceled') ORDER BY seconds DESC"""''',
            "retried",
        ),
        Wrong(
            "from enqueueing on",
            '''my_question = """
    SELECT job_id, extract(epoch FROM max(created) - min(created)) AS seconds FROM pgqueuer_log
    WHERE job_id <> 4 AND job_id <> 3 GROUP BY job_id UNION SELECT 3, 2.0 ORDER BY seconds DESC"""''',
            "times",
        ),
        Wrong(
            "counts what still runs",
            '''my_question = """
    SELECT job_id, extract(epoch FROM now() - max(created)) AS seconds FROM pgqueuer_log
    WHERE status = 'picked' GROUP BY job_id ORDER BY seconds DESC"""''',
            "still-running",
        ),
        Wrong(
            "moments, no seconds",
            '''my_question = """SELECT p.job_id, max(p.created) AS seconds
    FROM pgqueuer_log p JOIN pgqueuer_log e ON e.job_id = p.job_id
    WHERE p.status = 'picked' AND e.status IN ('successful', 'exception', 'canceled')
    GROUP BY p.job_id ORDER BY seconds DESC"""''',
            "times",
        ),
        Wrong("a misspelt column", 'my_question = "SELECT job, created FROM pgqueuer_log"', "refused"),
    ),
    messages={
        "only-the-good": "Jobs are missing that have ended all the same: one with an exception, one that was "
        "canceled.",
        "still-running": "Job 4 was picked and has not ended. It has no duration yet.",
        "retried": "Job 3 was tried twice. What counts is from the last time it was picked, so it took 2 seconds.",
        "times": "The jobs are right, the seconds are not: from `picked` to the end, without the time that a job "
        "waited.",
        "order": "The seconds are right. The longest comes first.",
    },
)


async def oldest_that_is_due(answer: Answer) -> None:
    await answer.enqueue("export", [b"1", b"2", b"7"])
    await answer.enqueue("import", [b"3", b"4"])
    await answer.enqueue("mail", [b"5", b"6"])
    await answer.sql(
        "UPDATE pgqueuer SET created = now() - make_interval(mins => m) FROM (VALUES"
        " (1, 10), (2, 3), (3, 7), (4, 1), (5, 90), (6, 120), (7, 200)) AS v (j, m) WHERE id = j;"
        "UPDATE pgqueuer SET status = 'picked' WHERE id = 6; UPDATE pgqueuer SET status = 'failed' WHERE id = 7;"
        "UPDATE pgqueuer SET execute_after = now() + interval '1 hour' WHERE id IN (3, 5);"
    )
    rows = [tuple(row[:2]) for row in await answer.ask("oldest_due")]
    want, columns = [("export", 600.0), ("import", 60.0)], ("entrypoint", "age")
    ages = {row[0]: _seconds(row[1]) for row in rows if len(row) > 1 and row[1] is not None}
    if ages.get("import", 0) > 300 or 5000 < ages.get("mail", 0) < 6000:
        answer.same(rows, want, "not-due", columns=columns)
    if "mail" in ages or ages.get("export", 0) > 5000:
        answer.same(rows, want, "not-waiting", columns=columns)
    if 100 < ages.get("export", 0) < 300:
        answer.same(rows, want, "youngest", columns=columns)
    answer.same(rows, want, "ages", columns=columns, close=20, in_order=False)


def _oldest(columns: str, condition: str) -> str:
    return f'oldest_due = """SELECT {columns}\n    FROM pgqueuer WHERE {condition} GROUP BY entrypoint"""'


_AGE, _DUE = "entrypoint, max(now() - created)", "status = 'queued' AND execute_after <= now()"

OLDEST = Exercise(
    id="oldest",
    kind="query",
    title="How old is the oldest?",
    minutes=3,
    processes=0,
    task="The best alarm there is: for each entrypoint, how long ago was the oldest job enqueued that *could* run by now "
    "and still waits? Two columns: the entrypoint, and the age.",
    given=NOTEBOOK,
    names=("oldest_due",),
    stub=_oldest("entrypoint, now() - max(created)", "true"),
    solution=_oldest(_AGE, _DUE),
    also=(
        _oldest("entrypoint, extract(epoch FROM clock_timestamp() - min(created)), count(*)", _DUE),
        'oldest_due = """SELECT DISTINCT ON (entrypoint) entrypoint, age(now(), created) FROM pgqueuer\n    WHERE status = \'queued\' AND NOT execute_after > now() ORDER BY entrypoint, created"""',
    ),
    check=oldest_that_is_due,
    hints=(
        "Which jobs could run by now? Not those that run already, are held, or whose time has not come.",
        "`status = 'queued'`, and `execute_after` lies in the past.",
        "`max(now() - created) … WHERE status = 'queued' AND execute_after <= now() GROUP BY entrypoint`.",
    ),
    why="Whatever is wrong (no worker, a wrong name, a slow bank), jobs that could run grow old. A job for tomorrow is not "
    "late, so it must not ring.",
    wrong=(
        Wrong("jobs for later", _oldest(_AGE, "status = 'queued'"), "not-due"),
        Wrong("jobs that run or are held", _oldest(_AGE, "execute_after <= now()"), "not-waiting"),
        Wrong("the youngest", _oldest("entrypoint, now() - max(created)", _DUE), "youngest"),
        Wrong("since it changed", _oldest("entrypoint, max(now() - updated)", _DUE), "ages"),
        Wrong("since when, not how long", _oldest("entrypoint, min(created)", _DUE), "ages"),
        Wrong("no grouping", _oldest("entrypoint, created", _DUE), "refused"),
    ),
    messages={
        "not-due": "A job counts whose time has not come: `execute_after` lies in the future.",
        "not-waiting": "A job counts that runs already, or is held.",
        "youngest": "That is the age of the *youngest* job of `export`. An alarm needs the oldest.",
        "ages": "The ages are others: how long ago was the oldest of each enqueued?",
    },
)  # fmt: skip


async def broken_off_and_tidied_up(answer: Answer) -> None:
    (job,) = await answer.enqueue("polite", [b""])
    process = await answer.begin(polite=answer["polite"])
    await process.until_printed(b"begins")
    await answer.q.mark_job_as_cancelled([job])
    await process.until("ended", "time_is_up", limit=10)
    await process.end()
    await answer.no_exceptions()
    lines = [line.strip() for line in process.printed.decode(errors="replace").splitlines() if line.strip()]
    want, columns = ["begins", "tidied up"], ("printed",)
    if "begins" not in lines:
        answer.same(lines, want, "begins", columns=columns)
    if "never" in lines:
        answer.same(lines, want, "went-on", columns=columns)
    answer.same(lines, want, "untidy", columns=columns)


def _polite(body: str) -> str:
    lines = indent(body, "    ")
    return f"async def polite(job: Job, context: Context) -> None:\n{lines}\n"


CANCEL = Exercise(
    id="cancel",
    kind="complete",
    title="A handler that can be stopped",
    minutes=3,
    task="Somebody cancels this job while it runs. Let it be broken off where it waits, so that `never` is not printed; "
    "`tidied up` is printed in any case.",
    given=NOTEBOOK,
    names=("polite",),
    stub=_polite('print("begins")\nawait asyncio.sleep(1.5)\nprint("never")\nprint("tidied up")').rstrip(),
    solution=_polite('with context.cancellation:\n    print("begins")\n    await asyncio.sleep(1.5)\n    print("never")\nprint("tidied up")'),
    also=(
        _polite('print("begins")\ntry:\n    with context.cancellation:\n        await asyncio.sleep(1.5)\n        print("never")\nfinally:\n    print("tidied up")'),
        _polite('print("begins")\nfor _ in range(15):\n    await asyncio.sleep(0.1)\n    if context.cancellation.cancel_called:\n        break\nelse:\n    print("never")\nprint("tidied up")'),
    ),
    check=broken_off_and_tidied_up,
    hints=(
        "Cancelling is a request. Where does a handler hear it?",
        "What stands under `with context.cancellation:` is broken off where it awaits.",
        "Begin, wait and `never` under the `with`; `tidied up` behind it.",
    ),
    why="Only what stands under `with context.cancellation` is broken off, and what stands behind it is still done. So a "
    "handler says itself which part of it may be cut short.",
    wrong=(
        Wrong("waits for a CancelledError", _polite('try:\n    print("begins")\n    await asyncio.sleep(1.5)\n    print("never")\nexcept asyncio.CancelledError:\n    pass\nprint("tidied up")'), "went-on"),
        Wrong("looks too late", _polite('print("begins")\nawait asyncio.sleep(1.5)\nprint("never")\nif context.cancellation.cancel_called:\n    print("tidied up")'), "went-on"),
        Wrong("tidies up under the with", _polite('with context.cancellation:\n    print("begins")\n    await asyncio.sleep(1.5)\n    print("never")\n    print("tidied up")'), "untidy"),
        Wrong("never begins", _polite('print("tidied up")'), "begins"),
    ),
    messages={
        "begins": "It has to print `begins`, and wait.",
        "went-on": "It was cancelled while it waited, and went on to the end: nothing stands under "
        "`with context.cancellation`.",
        "untidy": "It was broken off, and did not tidy up: what is under the `with` is left where it awaits.",
    },
    equivalent={
        "dropped `print('never')`": 'it is never printed',
        "'never' is ''": 'it is never printed',
"1.5 is 2.5": "a longer wait"},
)  # fmt: skip


async def _three_outcomes() -> list[Any]:
    import asyncio
    from datetime import timedelta

    import asyncpg
    from pgqueuer import AsyncpgDriver, PgQueuer, Queries
    from pgqueuer.core.completion import CompletionWatcher

    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))
    q = Queries(AsyncpgDriver(await asyncpg.connect()))

    async def import_row(job: Any) -> None:
        assert b"@" in job.payload, "no address"

    pgq.entrypoint("import")(import_row)
    pgq.entrypoint("careful", on_failure="hold")(import_row)
    running = asyncio.create_task(pgq.run(dequeue_timeout=timedelta(seconds=0.05)))
    jobs = await q.enqueue(["import", "import", "careful"], [b"ada@example.org", b"bob", b"bob"], [0] * 3)
    while not await q.list_failed_jobs():
        await asyncio.sleep(0.05)

    found: list[Any] = []
    for job in jobs:
        watcher = CompletionWatcher(q.driver, queries=q, refresh_interval=timedelta(seconds=0.1))
        limit = 0.5 if job == jobs[-1] else None  # the first two do end, also on a machine that is busy
        try:
            async with asyncio.timeout(limit), watcher:
                found.append(str(await watcher.wait_for(job)))
        except TimeoutError:
            found.append(None)
    pgq.shutdown.set()
    await running
    return found


async def what_a_watcher_hears(answer: Answer) -> None:
    ada, bob, careful = await answer.call(_three_outcomes)
    answer.guessed("ada", ada, {}, "first-two")
    answer.guessed("bob", bob, {"failed": "failed"}, "first-two")
    misled = {
        "failed": "failed-too",
        "held": "failed-too",
        "exception": "not-ended",
        "none": "a-word",
        "no answer": "a-word",
    }
    answer.guessed("careful", careful, misled, "not-ended")


OUTCOME = Exercise(
    id="outcome",
    kind="predict",
    title="Tell me when it is done",
    minutes=2,
    after="outcome",
    task="**Predict.** Three jobs are watched, each for a while: `ada` succeeds, `bob` raises, and `careful` raises in an "
    "entrypoint that *holds* what fails. What does a `CompletionWatcher` say of each? (`None`, if no answer comes.)",
    given=NOTEBOOK,
    names=("ada", "bob", "careful"),
    stub='kit.predict("outcome", ada=..., bob=..., careful=...)',
    solution='kit.predict("outcome", ada="successful", bob="exception", careful=None)',
    also=('kit.predict("outcome", ada="Successful", bob="exception ", careful=None)',),
    check=what_a_watcher_hears,
    hints=(
        "It says the status with which a job ended.",
        "A job that is held waits for somebody who mends the cause. Has it ended?",
        "`successful`, `exception`, and no answer.",
    ),
    why="A held job has not ended: somebody may let it go on tomorrow. So never wait for a job without a limit.",
    wrong=(
        Wrong("held is an exception", 'kit.predict("outcome", ada="successful", bob="exception", careful="exception")', "not-ended"),
        Wrong("held is failed", 'kit.predict("outcome", ada="successful", bob="exception", careful="failed")', "failed-too"),
        Wrong("raised is failed", 'kit.predict("outcome", ada="successful", bob="failed", careful=None)', "failed"),
        Wrong("None in quotes", 'kit.predict("outcome", ada="successful", bob="exception", careful="None")', "a-word"),
        Wrong("never an answer", 'kit.predict("outcome", ada=None, bob="exception", careful=None)', "first-two"),
    ),
    messages={
        "not-ended": "A job that is held has not ended, so the watcher goes on waiting.",
        "a-word": "That no answer comes is written `None`, without quotes.",
        "failed-too": "`failed` is what the queue calls it. But the watcher waits for an *end*, and a held job has none "
        "yet.",
        "failed": "Without `on_failure=\"hold\"` a job that raises ends, and the log has a word for that.",
        "first-two": "The first two jobs end, and the watcher says with which status.",
    },
)  # fmt: skip

EXERCISES = (OUTCOME, CANCEL, OLDEST, LONGEST)
