"""Exercises of the lesson *Concurrency*."""

from __future__ import annotations

import asyncio
from typing import Any

from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, NotYet, Wrong

NOTEBOOK = """
import asyncio
from contextlib import asynccontextmanager
import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries
"""

MOST = """SELECT coalesce(max(running), 0) FROM (
    SELECT sum(CASE status WHEN 'picked' THEN 1 ELSE -1 END) OVER (ORDER BY id) AS running
    FROM pgqueuer_log WHERE status <> 'queued') AS steps"""


async def five_at_once(answer: Answer) -> None:
    if not isinstance(answer["bank_options"], dict):
        raise NotYet("no-options", type=type(answer["bank_options"]).__name__)
    await answer.enqueue("charge", [b"%d" % number for number in range(12)])
    one = answer.run(charge=answer["call_bank"], how={"charge": answer["bank_options"]})
    other = answer.run(charge=answer["call_bank"], how={"charge": answer["bank_options"]})
    await asyncio.gather(one, other)
    await answer.no_exceptions()
    ((most,),) = await answer.sql(MOST)
    columns = ("most at once",)
    if most > 5:
        answer.same([most], [5], "too-many", columns=columns)
    answer.same([most], [5], "too-few", columns=columns)


def _bank(options: str, body: str = "await asyncio.sleep(0.15)", before: str = "") -> str:
    return f"{before}bank_options = {options}\n\nasync def call_bank(job: Job) -> None:\n    {body}\n"


LIMIT = Exercise(
    id="limit",
    kind="complete",
    title="A bank that takes five calls",
    minutes=3,
    processes=2,
    task="The bank takes five calls at once, from all of your workers together. Say so in the options of the "
    "entrypoint. (The check runs two workers.)",
    given=NOTEBOOK,
    names=("bank_options", "call_bank"),
    stub=_bank("{}  # options of pgq.entrypoint").rstrip(),
    solution=_bank('{"concurrency_limit": 5}'),
    also=(_bank('dict(concurrency_limit=5, on_failure="hold")', "await asyncio.sleep(0.1)"),),
    check=five_at_once,
    hints=(
        "One of the two limits counts in all consumers together.",
        "It belongs to the entrypoint, and is counted in the table: it needs no dividing.",
        '`bank_options = {"concurrency_limit": 5}`.',
    ),
    why="`concurrency_limit` counts an entrypoint's jobs in the table, so it holds for two workers or for twenty, and "
    "nobody has to divide anything when another one is started.",
    wrong=(
        Wrong("divided by the workers", _bank('{"concurrency_limit": 5 // 3}'), "too-few"),
        Wrong("a batch size", _bank('{"batch_size": 5}'), "no-start"),
        Wrong(
            "a semaphore",
            _bank(
                "{}",
                "async with places:\n        await asyncio.sleep(0.15)",
                "places = asyncio.Semaphore(5)\n",
            ),
            "too-many",
        ),
        Wrong("five for each worker", _bank('{"concurrency_limit": 10}'), "too-many"),
        Wrong("a number", _bank("5"), "no-options"),
    ),
    messages={
        "too-many": "More than five jobs were picked at once. A semaphore belongs to one process; and a job that waits "
        "at one is picked, so no other worker can take it.",
        "too-few": "The bank would take five, and not all of its places were used. The limit counts over all workers.",
        "no-options": "`bank_options` is a dictionary with the options of `pgq.entrypoint`, not {type}.",
    },
    equivalent={
        "dropped `await asyncio.sleep(0.15)`": "a bank that answers at once",
        "0.15 is 1.15": "a slower bank",
    },
)


async def _nap(job: Any) -> None:
    import asyncio

    await asyncio.sleep(0.2)


async def who_wins(answer: Answer) -> None:
    await answer.enqueue("nap", [b""] * 60)
    how = {"nap": {"concurrency_limit": 50}, "": {"max_concurrent_tasks": 20, "batch_size": 10}}
    await answer.run(nap=_nap, how=how)
    ((most,),) = await answer.sql(MOST)
    answer.guessed(
        "most", int(most), {50: "entrypoint", 70: "added", 200: "times", 10: "batch"}, "another-number"
    )


WINS = Exercise(
    id="wins",
    kind="predict",
    title="Two limits, and who wins",
    minutes=2,
    after="limited-look",
    task="**Predict.** The entrypoint has `concurrency_limit=50`, its consumer `max_concurrent_tasks=20`, and "
    "fetches ten at a time (`batch_size=10`). How many of sixty naps run at once, at most?",
    names=("most",),
    stub='kit.predict("wins", most=...)',
    solution='kit.predict("wins", most=20)',
    also=('kit.predict("wins", most=20.0)',),
    check=who_wins,
    hints=(
        "Both limits hold at the same time.",
        "A batch is how many are fetched by one question; how many run, the limits say.",
        "The smaller of 50 and 20.",
    ),
    why="Each limit holds, so the smaller one wins. Protect what a handler uses with the entrypoint's, the process's own "
    "memory with the consumer's.",
    wrong=(
        Wrong("the entrypoint's", 'kit.predict("wins", most=50)', "entrypoint"),
        Wrong("both together", 'kit.predict("wins", most=70)', "added"),
        Wrong("twenty batches", 'kit.predict("wins", most=200)', "times"),
        Wrong("a batch", 'kit.predict("wins", most=10)', "batch"),
        Wrong("all", 'kit.predict("wins", most=60)', "another-number"),
    ),
    messages={
        "entrypoint": "Fifty would be allowed by the entrypoint. Its consumer takes fewer.",
        "added": "Limits do not add up: each of them has to be kept.",
        "times": "`max_concurrent_tasks` counts jobs, not batches.",
        "batch": "A batch is how many one question to Postgres brings. Several batches run at once.",
        "another-number": "Each of the two limits holds. Which is the smaller one?",
    },
)


async def most_at_once(answer: Answer) -> None:
    await answer.write_log(
        *[(job, "nap", "queued", 0) for job in range(1, 7)],
        (1, "nap", "picked", 1), (2, "nap", "picked", 2), (1, "nap", "exception", 3, "KeyError: 1"),
        (3, "nap", "picked", 4), (3, "nap", "canceled", 5), (4, "nap", "picked", 6),
        (5, "nap", "picked", 7), (2, "nap", "successful", 7), (4, "nap", "successful", 8), (6, "nap", "picked", 9),
        (5, "nap", "successful", 10),  # so that the sum of all is not the sum by time
    )  # fmt: skip
    rows = [tuple(row[:1]) for row in await answer.ask("most")]
    known = {"6": "every-pick", "5": "no-end", "4": "no-end", "2": "ties", "-1": "queued-too"}
    value = rows[0][0] if len(rows) == 1 else None
    if len(rows) != 1:
        raise NotYet("one-row", actual=rows, columns=("running",))
    answer.same(rows, [(3,)], known.get(str(value), "another-number"), columns=("most at once",))


def _most(case: str, end: str = "ORDER BY id", where: str = "status <> 'queued'") -> str:
    return f'most = """SELECT max(running) FROM (\n    SELECT sum({case}) OVER ({end}) AS running\n    FROM pgqueuer_log WHERE {where}) AS steps"""'


_CASE = "CASE status WHEN 'picked' THEN 1 ELSE -1 END"

MOST_AT_ONCE = Exercise(
    id="most",
    kind="query",
    title="How many ran at once?",
    minutes=5,
    processes=0,
    task="How many jobs ran at once, at most? Go through the log: a row `picked` is one more, a row that ends a job one "
    "less. (No job of this log is tried again.) The answer is one number.",
    names=("most",),
    stub="most = \"\"\"SELECT count(*) FROM pgqueuer_log WHERE status = 'picked'\"\"\"",
    solution=_most(_CASE),
    also=(
        _most("(status = 'picked')::int - (status IN ('successful', 'exception', 'canceled'))::int", where="true"),
        '''most = """WITH steps AS (SELECT id, CASE WHEN status = 'picked' THEN 1 ELSE -1 END AS step FROM pgqueuer_log
                          WHERE status != 'queued')
    SELECT (SELECT sum(step) FROM steps s WHERE s.id <= steps.id) FROM steps ORDER BY 1 DESC LIMIT 1"""''',
    ),
    check=most_at_once,
    hints=(
        "`sum(…) OVER (ORDER BY id)` is a running sum: after each row, what has come together so far.",
        "Add 1 for `picked`, and take 1 away for each way in which a job can end; the highest of the sums is the answer.",
        "`sum(CASE status WHEN 'picked' THEN 1 ELSE -1 END) OVER (ORDER BY id)`, without the rows `queued`.",
    ),
    why="A running sum over the log answers it, and needs nothing but the log. Order by `id`: two rows may have the same "
    "time, and then a sum by time takes both at once.",
    wrong=(
        Wrong("every pick", "most = \"SELECT count(*) FROM pgqueuer_log WHERE status = 'picked'  -- as it was\"", "every-pick"),
        Wrong("only success is an end", _most("CASE status WHEN 'picked' THEN 1 WHEN 'successful' THEN -1 ELSE 0 END"), "no-end"),
        Wrong("by the time", _most(_CASE, "ORDER BY created"), "ties"),
        Wrong("queued is an end", _most(_CASE, where="true"), "queued-too"),
        Wrong("all the sums", _most(_CASE).replace("max(running)", "running"), "one-row"),
        Wrong("the sum of all", _most(_CASE, ""), "another-number"),
        Wrong("a word", "most = \"SELECT 'three'\"", "another-number"),
        Wrong("the lowest", _most(_CASE).replace("max(", "min("), "another-number"),
    ),
    messages={
        "every-pick": "Six jobs were picked, one after the other; not all of them ran at the same time.",
        "no-end": "A job that ends with an exception, or is canceled, has ended as well.",
        "ties": "Two rows have the same time: a job was picked just before another one ended. By `id` each has its turn.",
        "queued-too": "A row `queued` neither begins nor ends anything.",
        "one-row": "One number is asked for: the highest.",
        "another-number": "The highest of the running sums is another one.",
    },
)  # fmt: skip

NARROW_TABLE = """
| jobs a second with | 1 worker | 2 workers | 4 workers |
| --- | --- | --- | --- |
| a | 50 | 98 | 193 |
| b | 50 | 50 | 50 |
| c | 12 | 23 | 24 |"""


async def three_curves(answer: Answer) -> None:
    named = answer["narrow"]
    if not isinstance(named, dict) or set(named) != set("abc"):
        raise NotYet("three-curves")
    words = {key: str(value).strip().lower() for key, value in named.items()}
    want = {"a": "blocking", "b": "limit", "c": "cores"}
    for curve, key in (("a", "grows"), ("b", "flat"), ("c", "bends")):
        if words[curve] != want[curve]:
            raise NotYet(key, word=words[curve])


NARROW = Exercise(
    id="narrow",
    kind="read",
    title="Where is it narrow?",
    minutes=3,
    processes=0,
    task="Three kinds of jobs were measured on a machine with two cores. In one, the handler *blocks* in a call to "
    "somewhere else; one has a concurrency *limit*; one computes, and needs the machine's *cores*. Which is which?\n"
    + NARROW_TABLE,
    names=("narrow",),
    stub='narrow = {"a": "", "b": "", "c": ""}  # each "blocking", "limit" or "cores"',
    solution='narrow = {"a": "blocking", "b": "limit", "c": "cores"}',
    also=('narrow = dict(c="Cores", b="limit", a=" blocking")',),
    check=three_curves,
    hints=(
        "Which curve would go on if there were eight workers?",
        "A limit counts in all workers together. So what do two workers change?",
        "`a` grows with every worker, `b` not at all, `c` as long as there are cores.",
    ),
    why="More workers help as long as the workers are the narrowest place. If something else is, they only cost "
    "connections and memory: so measure before you add one.",
    wrong=(
        Wrong("limit and cores", 'narrow = {"a": "blocking", "b": "cores", "c": "limit"}', "flat"),
        Wrong("limit and blocking", 'narrow = {"a": "limit", "b": "blocking", "c": "cores"}', "grows"),
        Wrong("twice the same", 'narrow = {"a": "blocking", "b": "limit", "c": "limit"}', "bends"),
        Wrong("a list", 'narrow = ["blocking", "limit", "cores"]', "three-curves"),
    ),
    messages={
        "three-curves": "`narrow` is a dictionary with a word for each of `a`, `b` and `c`.",
        "grows": "`a` grows with every worker, so nothing but the workers themselves is narrow. {word!r} would stop it "
        "somewhere.",
        "flat": "`b` is the same with one worker and with four: something holds for all of them together, and that "
        "from the first on.",
        "bends": "`c` grows up to two workers, and then no more. What are there two of?",
    },
)

EXERCISES = (WINS, LIMIT, MOST_AT_ONCE, NARROW)
