"""Exercises of the lesson *Watching*."""

from __future__ import annotations

from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, Wrong


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
    return float(getattr(value, "total_seconds", lambda: value)())  # type: ignore[arg-type]


LONGEST = Exercise(
    id="longest",
    kind="query",
    title="Which jobs took longest?",
    minutes=5,
    processes=0,
    after="Your turn",
    task="Which jobs took longest? Change the query so that it shows, of each job that has ended, `job_id` and the "
    "seconds from when it was picked *last* to its end, the longest first. An exception is an end, too.",
    names=("my_question",),
    stub='''my_question = """SELECT p.job_id, p.created AS seconds
                 FROM pgqueuer_log p JOIN pgqueuer_log e ON e.job_id = p.job_id
                 WHERE p.status = 'picked' AND e.status = 'successful' ORDER BY p.job_id LIMIT 3"""''',
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

EXERCISES = (LONGEST,)
