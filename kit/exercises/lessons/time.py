"""Exercises of the lesson *Time*."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import zip_longest
from textwrap import indent
from typing import Any

from pgqueuer.core import sm

from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, NotYet, Wrong

NOTEBOOK = """
import asyncio
from contextlib import asynccontextmanager
from datetime import date, timedelta
import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries
from pgqueuer.models import Context, Schedule, ScheduleContext
"""


def _beating(handler: Any) -> Any:
    async def main() -> Any:
        import asyncpg
        from pgqueuer import AsyncpgDriver, PgQueuer, Queries

        driver = AsyncpgDriver(await asyncpg.connect())
        pgq = PgQueuer(driver, resources={"q": Queries(driver)})
        pgq.schedule("beat", "* * * * *")(handler)
        return pgq

    return main


async def a_job_comes_of_it(answer: Answer) -> None:
    await answer.run(_beating(answer["my_beat"]), schedule="beat")
    jobs = await answer.sql("SELECT entrypoint, status::text FROM pgqueuer")
    want, columns = [("beat", "queued")], ("entrypoint", "status")
    if not jobs:
        answer.same(jobs, want, "no-job", columns=columns)
    answer.same(jobs, want, "another-job" if len(jobs) == 1 else "several", columns=columns)


def _beat(body: str, context: str = "ScheduleContext") -> str:
    return f"async def my_beat(schedule: Schedule, context: {context}) -> None:\n    {body}\n"


BEAT = Exercise(
    id="beat",
    kind="complete",
    title="A schedule that enqueues",
    minutes=4,
    task="A schedule has no log, no retry and no limit; a job has them all. So let each run of this schedule do one "
    "small thing: write a job `beat`. It finds a `Queries` as `\"q\"` in `context.resources`.",
    given=NOTEBOOK + "conn = await asyncpg.connect()\nq = Queries(AsyncpgDriver(conn))\n",
    names=("my_beat",),
    stub="from pgqueuer.models import Schedule, ScheduleContext\n\n" + _beat('print("beat")').rstrip(),
    solution=_beat('await context.resources["q"].enqueue("beat", None)'),
    also=(
        _beat('await context.resources["q"].enqueue(["beat"], [schedule.expression.encode()], [5])'),
        'async def my_beat(schedule: Schedule) -> None:\n    connection = await asyncpg.connect()\n    await Queries(AsyncpgDriver(connection)).enqueue("beat", None)\n    await connection.close()\n',
    ),
    check=a_job_comes_of_it,
    hints=(
        "`context.resources` is what the factory gave as `resources`.",
        "`enqueue` has to be awaited, or it does nothing.",
        '`await context.resources["q"].enqueue("beat", None)`.',
    ),
    why="The schedule only says *when*. What is done is a job, with a row in the log, retries, and a worker that need "
    "not be the one with the schedule.",
    wrong=(
        Wrong("not awaited", _beat('context.resources["q"].enqueue("beat", None)'), "no-job"),
        Wrong("on the notebook's own connection", _beat('await q.enqueue("beat", None)'), "stays-here"),
        Wrong("the context of a job", _beat('await context.resources["q"].enqueue("beat", None)', "Context"), "no-start"),
        Wrong("another name", _beat('await context.resources["q"].enqueue("tick", None)'), "another-job"),
        Wrong("twice", _beat('await context.resources["q"].enqueue(["beat"] * 2, [None] * 2, [0] * 2)'), "several"),
    ),
    messages={
        "no-job": "The schedule ran, and no job is in the queue. A call of an `async def` without `await` only makes a "
        "coroutine.",
        "another-job": "There is a job, and its entrypoint is not `beat`.",
        "several": "Each run is to write one job.",
    },
)  # fmt: skip

cron: Any = sm.croniter  # type: ignore[attr-defined]  # PGQueuer's own
BEGIN = datetime(2025, 1, 30, 16, 55, tzinfo=UTC)  # a Thursday
MEANT = {"weekdays": "15 7 * * 1-5", "every_ten": "*/10 8-17 * * *", "first": "0 0 1 * *"}


def _runs(expression: str, number: int = 120) -> list[datetime]:
    coming, runs = cron.croniter(expression, BEGIN), list[datetime]()
    with suppress(cron.CroniterBadDateError):  # it never comes, or never again: 30 February
        while len(runs) < number:
            runs.append(coming.get_next(datetime))
    return runs


async def three_expressions(answer: Answer) -> None:
    for name, meant in MEANT.items():
        expression = answer[name]
        if not isinstance(expression, str) or not cron.croniter.is_valid(expression):
            raise NotYet("no-expression", name=name, expression=expression)
        mine, wanted = _runs(expression), _runs(meant)
        if mine == wanted:
            continue
        columns = ("the next runs (UTC)",)
        differs = next(at for at, (a, b) in enumerate(zip_longest(mine, wanted)) if a != b)
        near = slice(max(differs - 1, 0), differs + 3)  # the first runs may be the same
        shown = {"expected": [(run.strftime("%a %d %b %H:%M:%S"),) for run in wanted[near]]}
        shown["actual"] = [(run.strftime("%a %d %b %H:%M:%S"),) for run in mine[near]]
        fields = expression.split()
        key = "other-runs"
        if len(fields) == 6:
            key = "seconds"
        elif name == "weekdays" and {run.weekday() for run in mine} >= {5, 6}:
            key = "weekend"
        elif name == "weekdays" and {run.hour for run in mine} == {15}:
            key = "swapped"
        elif name == "every_ten" and len({run.minute for run in mine}) == 1:
            key = "once-an-hour"
        raise NotYet(key, name=name, columns=columns, **shown)


def _cron(
    weekdays: str = MEANT["weekdays"], every_ten: str = MEANT["every_ten"], first: str = MEANT["first"]
) -> str:
    return f'weekdays = "{weekdays}"\nevery_ten = "{every_ten}"\nfirst = "{first}"'


CRON = Exercise(
    id="cron",
    kind="complete",
    title="When is that?",
    minutes=4,
    processes=0,
    task="Write three expressions, times in UTC: `weekdays`, Monday to Friday at 7:15. `every_ten`, every ten minutes "
    "from 8:00 to 17:50, each day. `first`, midnight at the first of each month.",
    names=("weekdays", "every_ten", "first"),
    stub=_cron(*["* * * * *"] * 3).replace('weekdays = "* * * * *"', 'weekdays = "* * * * *"  # minute, hour, day, month, weekday'),
    solution=_cron(),
    also=(_cron("15 7 * * mon-fri", "0,10,20,30,40,50 8-17 * * *", "0 0 1 */1 *"), _cron("15 7 * * 1,2,3,4,5", first="@monthly")),
    check=three_expressions,
    hints=(
        "Five fields: minute, hour, day of the month, month, day of the week. `*` is every.",
        "`1-5` is a range, `*/10` is every tenth.",
        "`15 7 * * 1-5`, `*/10 8-17 * * *`, `0 0 1 * *`.",
    ),
    why="The smallest unit comes first, and the hour 17 has runs until 17:50. `kit.schedules()` shows the next run of "
    "each: look there before you wait for Monday.",
    wrong=(
        Wrong("hour before minute", _cron("7 15 * * 1-5"), "swapped"),
        Wrong("the weekend as well", _cron("15 7 * * 1-7"), "weekend"),
        Wrong("seconds first", _cron("0 15 7 * * 1-5"), "seconds"),
        Wrong("at minute ten", _cron(every_ten="10 8-17 * * *"), "once-an-hour"),
        Wrong("until 18:50", _cron(every_ten="*/10 8-18 * * *"), "other-runs"),
        Wrong("no expression", _cron(first="every month"), "no-expression"),
        Wrong("every minute of that day", _cron(first="* * 1 * *"), "other-runs"),
    ),
    messages={
        "swapped": "`{name}` runs in the afternoon: the minute comes before the hour.",
        "weekend": "`{name}` runs on Saturday and Sunday, too. Monday is 1, and 7 is Sunday.",
        "seconds": "`{name}` has six fields. PGQueuer takes seconds at the *end*, and here five are enough.",
        "once-an-hour": "`{name}` runs once an hour. Every tenth minute is `*/10`.",
        "other-runs": "`{name}` has other runs.",
        "no-expression": "`{name}` is {expression!r}, and that is no expression: five fields with spaces between them.",
    },
)  # fmt: skip


async def _caught_up(catch_up: Any, this_week: date, times: int) -> None:
    import asyncpg

    db = await asyncpg.connect()
    for _ in range(times):
        await catch_up(db, this_week)


async def no_week_is_missing(answer: Answer) -> None:
    monday = date(2025, 3, 3)
    there = [monday + timedelta(weeks=number) for number in (0, 1, 4)]
    await answer.sql("CREATE TABLE reports (week date)")
    await answer.sql("INSERT INTO reports SELECT unnest($1::date[])", there)
    await answer.run_function(_caught_up, answer["catch_up"], monday + timedelta(weeks=5), 2)
    weeks = [row[0] for row in await answer.sql("SELECT week FROM reports ORDER BY week")]
    want = [monday + timedelta(weeks=number) for number in range(6)]
    have = [(str(week),) for week in weeks]
    rows, columns = [(str(week),) for week in want], ("week",)
    if weeks and weeks[-1] > want[-1]:
        answer.same(have, rows, "the-future", columns=columns)
    if len(weeks) > len(set(weeks)):
        answer.same(have, rows, "twice", columns=columns)
    if set(weeks) < set(want):
        answer.same(have, rows, "gaps", columns=columns)
    answer.same(have, rows, "another-day", columns=columns)


def _catch_up(body: str) -> str:
    lines = indent(body, "    ")
    return f"async def catch_up(db, this_week):\n{lines}\n"


_SERIES = "SELECT w::date FROM generate_series((SELECT min(week) FROM reports), $1, interval '1 week') AS w"

MISSED = Exercise(
    id="missed",
    kind="complete",
    title="A report for each week",
    minutes=6,
    task="Missed runs become one, so this run has to ask the table which weeks are missing. `reports` has a row for each "
    "week, its Monday in the column `week`. Add those that are missing, from the first one there up to `this_week`, a "
    "date. The run may come twice.",
    given=NOTEBOOK,
    names=("catch_up",),
    stub=_catch_up('await db.execute("INSERT INTO reports VALUES ($1)", this_week)').rstrip(),
    solution=_catch_up(f'await db.execute("INSERT INTO reports {_SERIES}"\n                 " WHERE w::date NOT IN (SELECT week FROM reports)", this_week)'),
    also=(
        _catch_up(
            "there = {row[0] for row in await db.fetch('SELECT week FROM reports')}\nweek = min(there)\nwhile week <= this_week:\n"
            "    if week not in there:\n        await db.execute('INSERT INTO reports VALUES ($1)', week)\n    week += timedelta(weeks=1)"
        ),
        _catch_up(f'await db.execute("INSERT INTO reports {_SERIES} EXCEPT SELECT week FROM reports", this_week)'),
    ),
    check=no_week_is_missing,
    hints=(
        "Which weeks should be there? All Mondays from the first report to this week; `generate_series` makes them.",
        "Which of them are not? `WHERE … NOT IN (SELECT week FROM reports)`, or a loop in Python.",
        f"`INSERT INTO reports {_SERIES} WHERE w::date NOT IN (SELECT week FROM reports)`.",
    ),
    why="It asks what is missing instead of counting what was missed, so it makes up for any number of weeks, and does "
    "nothing when it comes again.",
    wrong=(
        Wrong("this week, unless it is there", _catch_up("if not await db.fetchval('SELECT 1 FROM reports WHERE week = $1', this_week):\n    await db.execute('INSERT INTO reports VALUES ($1)', this_week)"), "gaps"),
        Wrong("from the last one on", _catch_up(f'await db.execute("INSERT INTO reports {_SERIES.replace("min(", "max(")} WHERE w::date NOT IN (SELECT week FROM reports)", this_week)'), "gaps"),
        Wrong("all of them, each time", _catch_up(f'await db.execute("INSERT INTO reports {_SERIES}", this_week)'), "twice"),
        Wrong("up to now", _catch_up(f'await db.execute("INSERT INTO reports {_SERIES.replace("$1", "now()")} WHERE w::date NOT IN (SELECT week FROM reports)")'), "the-future"),
        Wrong("every day", _catch_up(f'await db.execute("INSERT INTO reports {_SERIES.replace("1 week", "1 day")} WHERE w::date NOT IN (SELECT week FROM reports)", this_week)'), "another-day"),
    ),
    messages={
        "gaps": "Weeks are still missing.",
        "twice": "A week is there twice: either it was there before, or the run came again.",
        "the-future": "There are reports of later weeks. A run that was missed belongs to its own week, not to now.",
        "another-day": "A report is of a day that is no Monday of the series.",
    },
)  # fmt: skip

EXERCISES = (CRON, MISSED, BEAT)
