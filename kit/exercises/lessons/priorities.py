"""Exercises of the lesson *Priorities*."""

from __future__ import annotations

import re
from typing import Any

from kit.errors.text import headline
from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, NotYet, Wrong

NOTEBOOK = """
import asyncio
from contextlib import asynccontextmanager
import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries
from pgqueuer.models import Context
"""

ONE: dict[str, dict[str, Any]] = {"task": {"concurrency_limit": 1}, "": {"batch_size": 1}}


async def _name(job: Any) -> None:
    print(job.payload.decode())


async def five_jobs(answer: Answer) -> None:
    await answer.enqueue("task", [b"a", b"b", b"c", b"d", b"e"], [3, 0, 3, -1, 7])
    ran = await answer.run(task=_name, how=ONE)
    guess = "".join(re.findall("[a-z]", str(answer.guess["order"]).lower()))
    measured = "".join(ran.lines)
    misled = {
        "dbace": "counts-down",
        "dbcae": "counts-down",
        "ecabd": "newest-first",
        "abcde": "no-order",
    }
    if sorted(guess) != sorted(measured):
        raise NotYet("five-letters", expected=[(measured,)], actual=[(answer.guess["order"],)])
    if guess != measured:
        key = misled.get(guess, "another-order")
        raise NotYet(key, expected=[(measured,)], actual=[(guess,)])


ORDER = Exercise(
    id="order",
    kind="predict",
    title="Five jobs, one at a time",
    minutes=3,
    task="**Predict.** Five jobs are enqueued in the order of the alphabet, with these priorities: `a` 3, `b` 0, "
    "`c` 3, `d` −1, `e` 7. One runs at a time. In which order are they done?",
    names=("order",),
    stub='kit.predict("order", order=...)  # five letters, such as "abcde"',
    solution='kit.predict("order", order="eacbd")',
    also=(
        'kit.predict("order", order=["e", "a", "c", "b", "d"])',
        'kit.predict("order", order="E, A, C, B, D")',
        'kit.predict("order", order="e > a > c > b > d")',
    ),
    check=five_jobs,
    hints=(
        "Which number is more important, 7 or −1?",
        "Two have the same priority. The one that has waited longer goes first.",
        "`e` is first and `d` is last; `a` comes before `c`.",
    ),
    why="`ORDER BY priority DESC, id ASC`: the highest number first, and among equals the one that came first.",
    wrong=(
        Wrong("first priority means 1", 'kit.predict("order", order="dbace")', "counts-down"),
        Wrong("the newest of two equal ones", 'kit.predict("order", order="ecabd")', "newest-first"),
        Wrong("as they came", 'kit.predict("order", order="abcde")', "no-order"),
        Wrong("a letter is missing", 'kit.predict("order", order="eacd")', "five-letters"),
        Wrong("the priorities themselves", 'kit.predict("order", order=[7, 3, 3, 0, -1])', "five-letters"),
        Wrong("below zero is not last", 'kit.predict("order", order="eadcb")', "another-order"),
    ),
    messages={
        "counts-down": "PGQueuer counts up: the *highest* number runs first. (Some systems count down, as in *first "
        "priority*.)",
        "newest-first": "Among jobs of the same priority the one with the lower id goes first: first come, first "
        "served.",
        "no-order": "That is the order in which they came, and it decides only between equal priorities.",
        "five-letters": "Five letters, each once.",
        "another-order": "The highest number first, then the next lower one; below zero comes last of all.",
    },
)


async def three_levels(answer: Answer) -> None:
    kinds = ["report", "receipt", "reset"]
    called = await answer.calls([(answer["priority_of"], (kind,)) for kind in kinds])
    for kind, one in zip(kinds, called, strict=True):
        if "error" in one:
            raise NotYet(
                "for-all-three", kind=kind, error=headline(one["error"]["type"], one["error"]["message"])
            )
    levels = [one["value"] for one in called]
    have = ", ".join(f"{kind} {level}" for kind, level in zip(kinds, levels, strict=True))
    if not all(isinstance(level, int) and not isinstance(level, bool) for level in levels):
        raise NotYet("no-number", have=have)
    await answer.enqueue("task", [kind.encode() for kind in kinds], levels)
    order = await answer.sql("SELECT convert_from(payload, 'UTF8') FROM pgqueuer ORDER BY priority DESC, id")
    if len(set(levels)) < 3:
        raise NotYet("equal", have=have)
    answer.same(order, ["reset", "receipt", "report"], "upside-down", columns=("picked",))


LEVELS = Exercise(
    id="levels",
    kind="complete",
    title="Levels with names",
    minutes=3,
    task="Somebody waits in front of the screen for a `reset`, a `receipt` may take a minute, a `report` the night. Let "
    "`priority_of` give each kind its priority, so that resets come first and reports last.",
    given=NOTEBOOK,
    names=("priority_of",),
    stub="""def priority_of(kind):
    return 0  # for "reset", "receipt" and "report" """.rstrip(),
    solution="""def priority_of(kind):
    return {"reset": 10, "receipt": 0, "report": -10}[kind]
""",
    also=(
        """def priority_of(kind):
    return ["report", "receipt", "reset"].index(kind)
""",
        """URGENT, NORMAL, WHENEVER = 100, 50, 1

def priority_of(kind):
    if kind == "reset":
        return URGENT
    return WHENEVER if kind == "report" else NORMAL
""",
    ),
    check=three_levels,
    hints=(
        "Does PGQueuer count up or down?",
        "Three different whole numbers. 0 is ordinary, and negative ones are allowed.",
        '`{"reset": 10, "receipt": 0, "report": -10}[kind]`.',
    ),
    why="A few levels, with distance between them, and with names in one place: then nobody writes "
    "`priority=7` somewhere and wonders why it overtakes the resets.",
    wrong=(
        Wrong("first, second, third", 'def priority_of(kind):\n    return {"reset": 1, "receipt": 2, "report": 3}[kind]', "upside-down"),
        Wrong("all urgent", "def priority_of(kind):\n    return 10", "equal"),
        Wrong("words", 'def priority_of(kind):\n    return {"reset": "high", "receipt": "normal", "report": "low"}[kind]', "no-number"),
        Wrong("not a function", 'priority_of = {"reset": 10, "receipt": 0, "report": -10}', "for-all-three"),
        Wrong("one is forgotten", 'def priority_of(kind):\n    return {"reset": 10, "report": -10}[kind]', "for-all-three"),
    ),
    messages={
        "upside-down": "The order is another one: PGQueuer takes the *highest* number first.",
        "equal": "Kinds have the same priority ({have}), so the older job goes first, whatever it is. A priority only means "
        "something beside a lower one.",
        "no-number": "A priority is a whole number. These are: {have}.",
        "for-all-three": "It has no priority for {kind!r}: {error}.",
    },
    equivalent={
        "10 is 11": "only the order counts",
        "0 is 1": "only the order counts",
    },
)  # fmt: skip


def _brings_a_late_report(task: Any) -> Any:
    async def watched(job: Any, context: Any) -> None:
        if job.payload == b"urgent 12":
            await context.resources["q"].enqueue("task", b"late report", priority=0)
        print(job.payload.decode(), flush=True)
        await task(job, context)

    return watched


async def nobody_starves(answer: Answer) -> None:
    await answer.enqueue("task", [b"report", b"urgent 1"], [0, 10])
    how = {"task": {"concurrency_limit": 1, "accepts_context": True}, "": {"batch_size": 1}}
    ran = await answer.run(task=_brings_a_late_report(answer["fair_task"]), how=how)
    await answer.no_exceptions()
    names = [line.strip() for line in ran.lines]
    urgent = [int(name.split()[1]) for name in names if name.startswith("urgent ")]
    if urgent != list(range(1, 31)):
        raise NotYet("thirty", expected=[("urgent 1 to 30",)], actual=[(f"{len(urgent)} of them",)])
    last = names.index("urgent 30")
    if "report" not in names or names.index("report") > last:
        raise NotYet("starved", when="last of all")
    if "late report" not in names or names.index("late report") > last:
        raise NotYet("only-the-first")
    levels = await answer.sql(
        "SELECT DISTINCT priority FROM pgqueuer_log WHERE status = 'picked' AND job_id IN"
        " (SELECT job_id FROM pgqueuer_log WHERE status = 'queued' AND priority = 10) ORDER BY 1"
    )
    enqueued = await answer.sql(
        "SELECT priority, count(*) FROM pgqueuer_log WHERE status = 'queued' GROUP BY 1 ORDER BY 1"
    )
    answer.same(enqueued, [(0, 2), (10, 30)], "urgent-changed", columns=("enqueued with", "jobs"))
    answer.same(levels, [10], "urgent-changed", columns=("priority of urgent jobs",))


def _fair(inside: str, priority: str = "10") -> str:
    return f"""async def fair_task(job: Job, context: Context) -> None:
    name, _, number = job.payload.decode().partition(" ")
    if name == "urgent" and int(number) < 30:
        {inside}
        another = f"urgent {{int(number) + 1}}".encode()
        await context.resources["q"].enqueue("task", another, priority={priority})
"""


_AGE = 'await context.resources["q"].driver.execute("UPDATE pgqueuer SET priority = priority + 3 WHERE {}")'

STARVATION = Exercise(
    id="starvation",
    kind="mend",
    title="Everybody has a turn",
    minutes=6,
    task="Each urgent job brings another one, thirty in all, and a report waits; in the midst of it a second report "
    "comes. Change `fair_task` so that both reports run before the last urgent job. Urgent jobs are enqueued and "
    "picked with priority 10.",
    given=NOTEBOOK,
    names=("fair_task",),
    stub=_fair("").replace("        \n", "").rstrip(),
    solution=_fair(_AGE.format("status = 'queued'")),
    also=(
        _fair(
            'connection = await asyncpg.connect()\n        await connection.execute("UPDATE pgqueuer SET priority = '
            "priority + 5 WHERE entrypoint = 'task' AND status = 'queued' AND priority < 20\")\n"
            "        await connection.close()"
        ),
        """async def fair_task(job: Job, context: Context) -> None:
    q = context.resources["q"]
    name, _, number = job.payload.decode().partition(" ")
    if name == "urgent" and int(number) < 30:
        await q.enqueue("task", f"urgent {int(number) + 1}".encode(), priority=10)
        await q.driver.execute("UPDATE pgqueuer SET priority = priority + 1 WHERE priority <> 10 AND status = 'queued'")
""",
    ),
    check=nobody_starves,
    hints=(
        "Section 5 lets waiting count: every job that waits becomes a little more important.",
        "Do it before the next urgent job is enqueued, or that one grows, too.",
        '`await context.resources["q"].driver.execute("UPDATE pgqueuer SET priority = priority + 3 WHERE status = '
        "'queued'\")`, above `another = …`.",
    ),
    why="Whoever waits gains, and a new urgent job begins at 10 again, so one day each of the others is the most "
    "important. It has to hold for *every* job that waits, also for those that come later.",
    wrong=(
        Wrong("only the first job", _fair(_AGE.format("id = 1")), "only-the-first"),
        Wrong(
            "once, at the beginning",
            _fair(
                'if number == "1":\n            ' + _AGE.format("status = 'queued'").replace("+ 3", "+ 100")
            ),
            "only-the-first",
        ),
        Wrong(
            "after the next one is enqueued",
            """async def fair_task(job: Job, context: Context) -> None:
    q = context.resources["q"]
    name, _, number = job.payload.decode().partition(" ")
    if name == "urgent" and int(number) < 30:
        await q.enqueue("task", f"urgent {int(number) + 1}".encode(), priority=10)
        await q.driver.execute("UPDATE pgqueuer SET priority = priority + 3 WHERE status = 'queued'")
""",
            "urgent-changed",
        ),
        Wrong("urgent no more", _fair(_AGE.format("status = 'queued'"), priority="0"), "urgent-changed"),
        Wrong("too slowly", _fair(_AGE.format("status = 'queued'").replace("+ 3", "+ 0")), "starved"),
        Wrong("what is picked, not what waits", _fair(_AGE.format("status = 'picked'")), "starved"),
        Wrong(
            "no more urgent jobs", "async def fair_task(job: Job, context: Context) -> None: ...", "thirty"
        ),
    ),
    messages={
        "thirty": "All thirty urgent jobs have to be done, too.",
        "starved": "The report that waited from the beginning ran {when}. Every rule was followed, and it got no turn.",
        "only-the-first": "The first report has its turn. The second one, which came in the midst of it, ran last of "
        "all: the cure has to hold for every job that waits.",
        "urgent-changed": "Urgent jobs were enqueued or picked with another priority than 10. Where they grow as well, "
        "so does the distance that the others have to make up for.",
    },
    equivalent={
        "SQL: another word for `3`": "faster, and as fair",
    },
)


async def _work(job: Any) -> None: ...


async def kept_apart(answer: Answer) -> None:
    await answer.enqueue("urgent", [b"1"] * 30, [10] * 30)
    await answer.enqueue("report", [b"31"])

    async def done() -> list[tuple[Any, ...]]:
        return await answer.sql(
            "SELECT entrypoint, count(*) FROM pgqueuer_log WHERE status = 'successful' GROUP BY 1 ORDER BY 1"
        )

    columns = ("entrypoint", "done")
    await answer.run(answer["slow"])
    have = await done()
    if ("urgent", 30) in have:
        answer.same(
            have,
            [("report", 1)],
            "swapped" if ("report", 1) not in have else "slow-knows-both",
            columns=columns,
        )
    answer.same(have, [("report", 1)], "slow-does-not", columns=columns)
    await answer.enqueue("report", [b"32"])
    await answer.run(answer["fast"])
    have = await done()
    if ("report", 2) in have:
        answer.same(have, [("report", 1), ("urgent", 30)], "fast-knows-both", columns=columns)
    answer.same(have, [("report", 1), ("urgent", 30)], "fast-does-not", columns=columns)


_WORK = "async def work(job: Job) -> None: ...\n\n"


def _apart(fast: str, slow: str) -> str:
    made = """@asynccontextmanager
async def {}():
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))
    {}
    yield pgq
"""
    return _WORK + made.format("fast", fast) + "\n" + made.format("slow", slow)


_URGENT, _REPORT = 'pgq.entrypoint("urgent")(work)', 'pgq.entrypoint("report")(work)'
_BOTH = f"{_URGENT}; {_REPORT}"

SEPARATE = Exercise(
    id="separate",
    kind="design",
    title="Two consumers, so that nobody waits",
    minutes=4,
    processes=2,
    task="Another cure: give reports a consumer that nothing else can keep busy. Make two factories, `fast` for the "
    "entrypoint `urgent` and `slow` for `report`; both use the handler `work`. (Here both know both.)",
    given=NOTEBOOK,
    names=("fast", "slow"),
    stub="""async def work(job: Job) -> None: ...

@asynccontextmanager
async def fast():
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))
    pgq.entrypoint("urgent")(work)
    pgq.entrypoint("report")(work)
    yield pgq

slow = fast""",
    solution=_apart(_URGENT, _REPORT),
    also=(
        _WORK
        + """def only(name):
    @asynccontextmanager
    async def main():
        connection = await asyncpg.connect()
        pgq = PgQueuer(AsyncpgDriver(connection))
        pgq.entrypoint(name, concurrency_limit=2)(work)
        yield pgq
        await connection.close()
    return main

fast, slow = only("urgent"), only("report")
""",
    ),
    check=kept_apart,
    hints=(
        "A consumer takes only jobs whose names it knows.",
        "So a limit or a priority is not needed here: leave the other name out.",
        '`fast` has one line, `pgq.entrypoint("urgent")(work)`; `slow` has the other.',
    ),
    why="A consumer cannot be kept busy by work that it does not know. The price is that it idles when there are no "
    "reports, even with a thousand urgent jobs beside it.",
    wrong=(
        Wrong("slow knows both", _apart(_URGENT, _BOTH), "slow-knows-both"),
        Wrong("fast knows both", _apart(_BOTH, _REPORT), "fast-knows-both"),
        Wrong("the names are swapped", _apart(_REPORT, _URGENT), "swapped"),
        Wrong(
            "a limit of 0, as if it meant none",
            _apart(_URGENT, f'{_REPORT}; pgq.entrypoint("urgent", concurrency_limit=0)(work)'),
            "slow-knows-both",
        ),
        Wrong("slow has no report", _apart(_URGENT, 'pgq.entrypoint("reports")(work)'), "slow-does-not"),
        Wrong("fast has nothing urgent", _apart('pgq.entrypoint("fast")(work)', _REPORT), "fast-does-not"),
    ),
    messages={
        "slow-knows-both": "`slow` was alone, with thirty urgent jobs and a report, and did the urgent ones as well. A "
        "limit of 0 means no limit: what a consumer is not to do, it must not know.",
        "fast-knows-both": "`fast` did a report. A long one would keep it from the urgent jobs.",
        "swapped": "`slow` did the urgent jobs and left the report: the names are swapped.",
        "slow-does-not": "`slow` was alone, and did not do the report.",
        "fast-does-not": "`fast` did not do the urgent jobs.",
    },
)

EXERCISES = (LEVELS, ORDER, STARVATION, SEPARATE)
