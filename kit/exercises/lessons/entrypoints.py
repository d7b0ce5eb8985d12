"""Exercises of the lesson *Entrypoints*."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, NotYet, Wrong

NOTEBOOK = """
import asyncio
import time
from contextlib import asynccontextmanager
import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries
from pgqueuer.models import Context
"""


async def _nothing(job: Any) -> None: ...


async def one_name_is_known(answer: Answer) -> None:
    await answer.enqueue("welcome", [b"Ada"])
    await answer.enqueue("welcom", [b"Linus"])
    await answer.run(welcome=_nothing)
    log = {entrypoint: status for _, entrypoint, status, _ in await answer.log()}
    answer.guessed("known", log["welcome"], {}, "known")
    misled = {"exception": "no-exception", "failed": "no-exception", "lost": "lost", "deleted": "lost"}
    answer.guessed("unknown", log["welcom"], misled | {"refused": "at-enqueue"}, "unknown")


NAMES = Exercise(
    id="names",
    kind="predict",
    title="A name that nobody knows",
    minutes=2,
    after="01-a18168",
    task="**Predict.** Two jobs are enqueued, `welcome` and, by a typing error, `welcom`; the consumer knows only the "
    "first. With which status does the log of each end?",
    names=("known", "unknown"),
    stub='kit.predict("names", known=..., unknown=...)  # each a word, such as "canceled"',
    solution='kit.predict("names", known="successful", unknown="queued")',
    also=('kit.predict("names", known="Successful", unknown="queued ")',),
    check=one_name_is_known,
    hints=(
        "PGQueuer looks into the table for jobs whose name it has a handler for. What does it do with the others?",
        "Nothing. So what is the last thing that the log says of such a job?",
        "The first ends with `successful`; the second was only ever `queued`.",
    ),
    why="A consumer asks Postgres for jobs of the names that it knows, so it never even sees the others. They wait, "
    "without an error, until somebody knows their name: that is why a typing error is so quiet.",
    wrong=(
        Wrong("it fails", 'kit.predict("names", known="successful", unknown="exception")', "no-exception"),
        Wrong("it is lost", 'kit.predict("names", known="successful", unknown="lost")', "lost"),
        Wrong("it is refused", 'kit.predict("names", known="successful", unknown="refused")', "at-enqueue"),
        Wrong("another word", 'kit.predict("names", known="done", unknown="queued")', "known"),
        Wrong("it is picked", 'kit.predict("names", known="successful", unknown="picked")', "unknown"),
    ),
    messages={
        "no-exception": "No consumer touches a job whose name it does not know, so nothing can fail.",
        "lost": "It is not lost: its row stays in the queue, and whoever knows the name may take it tomorrow.",
        "at-enqueue": "`enqueue` does not know which names there are: the consumer may be a program that starts "
        "tomorrow.",
        "known": "The one with the known name is done, and the log has a word of its own for that.",
        "unknown": "Nobody takes that job: the log has only its first row.",
    },
)


async def _two_consumers(main: Callable[[], Any]) -> None:
    from datetime import timedelta

    import asyncpg
    from pgqueuer import AsyncpgDriver, Queries
    from pgqueuer.types import QueueExecutionMode

    q = Queries(AsyncpgDriver(await asyncpg.connect()))
    for numbers in (19, 23), (1, 2, 3):
        await q.enqueue(["add"] * len(numbers), [b"%d" % number for number in numbers], [0] * len(numbers))
        await q.enqueue("show", None, execute_after=timedelta(seconds=0.3))
        async with main() as pgq:
            await pgq.run(mode=QueueExecutionMode.drain, dequeue_timeout=timedelta(seconds=0.05))


async def adds_up(answer: Answer) -> None:
    ran = await answer.run_function(_two_consumers, answer["calculator"])
    await answer.no_exceptions()
    left = await answer.sql("SELECT entrypoint, count(*) FROM pgqueuer GROUP BY 1 ORDER BY 1")
    answer.same(left, [], "no-handler", columns=("entrypoint", "jobs left"))
    shown = [int(number) for number in re.findall(r"\d+", " ".join(ran.lines))]
    if shown == [42, 48]:
        answer.same(shown, [42, 6], "shared", columns=("shown",))
    if shown and shown[0] in (1923, 2319):
        answer.same(shown, [42, 6], "text", columns=("shown",))
    answer.same(shown, [42, 6], "another-sum", columns=("shown",))


def _calculator(body: str, resources: str = '{"total": []}', before: str = "") -> str:
    return f"""{before}@asynccontextmanager
async def calculator():
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection), resources={resources})

    @pgq.entrypoint("add")
    async def add(job: Job, context: Context) -> None:
        {body}

    @pgq.entrypoint("show")
    async def show(job: Job, context: Context) -> None:
        print(sum(context.resources["total"]))

    yield pgq
    await connection.close()
"""


_APPEND = 'context.resources["total"].append(int(job.payload))'

SUM = Exercise(
    id="sum",
    kind="complete",
    title="Two handlers share a list",
    minutes=5,
    cell="your-turn",
    task='Write two handlers, `add` and `show`. Both use `context.resources["total"]`, a list. `add` appends the '
    "number in its payload; `show` prints the sum. With 19 and 23 that is 42; and a consumer that is started anew "
    "begins at 0.",
    given=NOTEBOOK,
    names=("calculator",),
    stub="""from pgqueuer.models import Context

@asynccontextmanager
async def calculator():
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection), resources={"total": []})
    # Your two handlers go here.
    yield pgq
    await connection.close()""",
    solution=_calculator(_APPEND),
    also=(
        _calculator('context.resources["total"] += [int(job.payload.decode())]'),
        _calculator('context.resources["sum"] += int(job.payload)', '{"sum": 0}').replace(
            'sum(context.resources["total"])', "f\"The sum is {context.resources['sum']}.\""
        ),
    ),
    check=adds_up,
    hints=(
        "A handler that has a parameter annotated `Context` is given one, as `greet` in section 3.",
        'The payload is bytes, and `int(b"19")` is the number 19.',
        '`context.resources["total"].append(int(job.payload))` in `add`, `print(sum(context.resources["total"]))` '
        "in `show`.",
    ),
    why="`resources` is made with the consumer, and every handler of that consumer finds the same things in there. A "
    "list outside of the factory would be shared by all consumers that were ever started in this process.",
    wrong=(
        Wrong(
            "a list outside of the factory",
            _calculator(_APPEND, '{"total": total}', before="total = []\n\n"),
            "shared",
        ),
        Wrong("no annotation", _calculator(_APPEND).replace("context: Context", "context"), "raised"),
        Wrong(
            "text instead of numbers",
            _calculator('context.resources["total"].append(job.payload.decode())').replace(
                'sum(context.resources["total"])', '"".join(context.resources["total"])'
            ),
            "text",
        ),
        Wrong(
            "the last number only",
            _calculator(f'context.resources["total"].clear(); {_APPEND}'),
            "another-sum",
        ),
        Wrong("no handler for show", _calculator(_APPEND).replace('"show"', '"Show"'), "no-handler"),
    ),
    messages={
        "shared": "The first consumer shows 42. The second one, which got 1, 2 and 3, began where the first had ended: "
        "the list stands outside of the factory.",
        "text": "19 and 23 were put together as text. `int(job.payload)` makes a number.",
        "another-sum": "The sums are others. Every job of `add` counts, and `show` prints the sum of them all.",
        "no-handler": "Jobs are left in the queue: this consumer has no handler of that name.",
    },
)


def _watched(handler: Any) -> Any:
    async def watched(job: Any) -> None:
        import time

        print("begins", job.payload.decode(), flush=True)
        began = time.monotonic()
        await handler(job)
        print("ends" if time.monotonic() - began > 0.25 else "hurries", job.payload.decode(), flush=True)

    return watched


async def side_by_side(answer: Answer) -> None:
    names = getattr(getattr(answer["shrink"], "__code__", None), "co_names", ())
    if ("asyncio", "sleep") in pairwise(names):
        raise NotYet("not-kept")
    images = ["cat", "dog", "owl", "fox"]
    await answer.enqueue("shrink", [image.encode() for image in images])
    ran = await answer.run(shrink=_watched(answer["shrink"]))
    await answer.no_exceptions()
    lines = [line.strip() for line in ran.lines if line.strip()]
    for image in images:
        one = [f"begins {image}", f"{image} is small", f"ends {image}"]
        if one[-1] not in lines:
            answer.same(lines, one, "not-awaited", columns=("what happened",))
        answer.same([line for line in lines if line in one], one, "other-line", columns=("what happened",))
    first_end = next(number for number, line in enumerate(lines) if line.startswith("ends"))
    begun = [line for line in lines[:first_end] if line.startswith("begins")]
    answer.same(
        begun,
        [f"begins {image}" for image in images],
        "one-by-one",
        columns=("before the first ends",),
        in_order=False,
    )


SHRINK = Exercise(
    id="shrink",
    kind="mend",
    title="Side by side, though it blocks",
    minutes=4,
    task="This handler holds up all the others while it works. Change it so that four images are shrunk side by side, "
    "and each job ends only when its image *is* small. `time.sleep` stands for a library that blocks; keep it.",
    given=NOTEBOOK,
    names=("shrink",),
    stub="""async def shrink(job: Job) -> None:
    time.sleep(0.3)  # a library that blocks
    print(job.payload.decode(), "is small")""",
    solution="""async def shrink(job: Job) -> None:
    await asyncio.to_thread(time.sleep, 0.3)
    print(job.payload.decode(), "is small")
""",
    also=(
        """async def shrink(job: Job) -> None:
    await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.3)
    print(f"{job.payload.decode()} is small")
""",
        """async def shrink(job: Job) -> None:
    waiting = asyncio.create_task(asyncio.to_thread(time.sleep, 0.3))
    await waiting
    print(job.payload.decode() + " is small")
""",
    ),
    check=side_by_side,
    hints=(
        "What blocks belongs into a thread.",
        "`asyncio.to_thread(function, argument)` runs it there, and gives something that can be awaited.",
        "`await asyncio.to_thread(time.sleep, 0.3)`.",
    ),
    why="The thread blocks, and the event loop goes on with the other jobs. The `await` is what makes the job last as "
    "long as its work: without it PGQueuer would call it successful, and a crash would lose the image.",
    wrong=(
        Wrong(
            "an async function around the same call",
            """async def sleep(seconds):
    time.sleep(seconds)

async def shrink(job: Job) -> None:
    await sleep(0.3)
    print(job.payload.decode(), "is small")
""",
            "one-by-one",
        ),
        Wrong(
            "a sleep that does not block",
            """async def shrink(job: Job) -> None:
    await asyncio.sleep(0.3)
    print(job.payload.decode(), "is small")
""",
            "not-kept",
        ),
        Wrong(
            "a missing await",
            """async def shrink(job: Job) -> None:
    asyncio.to_thread(time.sleep, 0.3)
    print(job.payload.decode(), "is small")
""",
            "not-awaited",
        ),
        Wrong(
            "another line",
            """async def shrink(job: Job) -> None:
    print("See,", job.payload.decode(), "is small")
    await asyncio.to_thread(time.sleep, 0.3)
""",
            "other-line",
        ),
        Wrong(
            "a task that nobody awaits",
            """async def shrink(job: Job) -> None:
    async def work():
        await asyncio.to_thread(time.sleep, 0.3)
        print(job.payload.decode(), "is small")
    asyncio.create_task(work())
""",
            "not-awaited",
        ),
        Wrong(
            "a thread that nobody awaits",
            """def work(name):
    time.sleep(0.3)
    print(f"{name} is small\\n", end="")

async def shrink(job: Job) -> None:
    asyncio.get_running_loop().run_in_executor(None, work, job.payload.decode())
""",
            "not-awaited",
        ),
    ),
    messages={
        "one-by-one": "One image after the other: the call still blocks the event loop, and `async def` around it "
        "changes nothing.",
        "not-awaited": "A job ended before its image was small, so it counts as successful whatever happens then: "
        "nobody awaited the end of `time.sleep`.",
        "other-line": "Each job prints its line once, as before, and only when its image is small.",
        "not-kept": "`asyncio.sleep` does not block, so it is no stand-in for a library that does: keep `time.sleep`.",
    },
    equivalent={
        "0.3 is 1.3": "a longer sleep shrinks the image as well",
    },
)


async def both_names(answer: Answer) -> None:
    await answer.enqueue("mail", [b"ada", b"bob"])
    await answer.enqueue("email", [b"cleo", b"dora"])
    await answer.run(answer["renamed"])
    await answer.no_exceptions()
    want = [("email", 2), ("mail", 2)]
    done = await answer.sql(
        "SELECT CASE WHEN job_id <= 2 THEN 'mail' ELSE 'email' END, count(*) FROM pgqueuer_log"
        " WHERE status = 'successful' AND job_id <= 4 GROUP BY 1 ORDER BY 1"
    )
    columns = ("enqueued as", "successful")
    if ("email", 2) in done:
        answer.same(done, want, "stranded", columns=columns)
    answer.same(done, want, "not-the-new", columns=columns)


def _renamed(*lines: str) -> str:
    body = "\n    ".join(lines)
    return f"""async def deliver(job: Job) -> None: ...

@asynccontextmanager
async def renamed():
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))
    {body}
    yield pgq
    await connection.close()
"""


RENAME = Exercise(
    id="rename",
    kind="design",
    title="A new name for old work",
    minutes=4,
    task="The entrypoint `mail` is to be called `email` from today on. This is the new consumer. When it starts, jobs "
    "of *both* names wait in the queue, and all of them are to be done by `deliver`.",
    given=NOTEBOOK,
    names=("renamed",),
    stub=_renamed('pgq.entrypoint("email")(deliver)').rstrip(),
    solution=_renamed(
        'pgq.entrypoint("email")(deliver)', 'pgq.entrypoint("mail")(deliver)  # until none is left'
    ),
    also=(
        _renamed('for name in "mail", "email":', "    pgq.entrypoint(name)(deliver)"),
        _renamed(
            "await connection.execute(\"UPDATE pgqueuer SET entrypoint = 'email' WHERE entrypoint = 'mail'\")",
            'pgq.entrypoint("email")(deliver)',
        ),
        _renamed(
            'pgq.entrypoint("email")(deliver)',
            '@pgq.entrypoint("mail")',
            "async def forward(job: Job) -> None:",
            '    await Queries(pgq.connection).enqueue("email", job.payload)',
        ),
    ),
    check=both_names,
    hints=(
        "What happens to a job whose name no consumer knows?",
        "Two names may share a handler.",
        'One line more: `pgq.entrypoint("mail")(deliver)`.',
    ),
    why="A job in the queue keeps the name that it was enqueued with. So a name is given up in two steps: first both "
    "are known, and when no job has the old one any more, it goes.",
    wrong=(
        Wrong("only the old name", _renamed('pgq.entrypoint("mail")(deliver)'), "not-the-new"),
        Wrong("one name for both", _renamed('pgq.entrypoint("mail, email")(deliver)'), "not-the-new"),
        Wrong(
            "the same name twice",
            _renamed('pgq.entrypoint("email")(deliver)', 'pgq.entrypoint("email")(deliver)'),
            "no-start",
        ),
        Wrong(
            "renames what does not exist",
            _renamed(
                "await connection.execute(\"UPDATE pgqueuer SET entrypoint = 'email' WHERE entrypoint = 'Mail'\")",
                'pgq.entrypoint("email")(deliver)',
            ),
            "stranded",
        ),
    ),
    messages={
        "stranded": "The new jobs are done. Those that were enqueued as `mail` still wait, and no consumer knows that "
        "name any more.",
        "not-the-new": "From today on jobs are enqueued as `email`, and those were not done.",
    },
)

EXERCISES = (NAMES, SHRINK, RENAME, SUM)
