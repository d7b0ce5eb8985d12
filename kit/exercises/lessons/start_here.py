"""Exercises of the lesson *Start here*."""

from __future__ import annotations

from pgqueuer import Job

from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, Wrong

NOTEBOOK = """
from contextlib import asynccontextmanager
import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries
"""


async def _fetch(job: Job) -> None:
    print(f"Processed: {job.payload!r}")


async def one_job_goes_round(answer: Answer) -> None:
    await answer.enqueue("fetch", [b"hello world"])
    await answer.run(fetch=_fetch)
    ((rows,),) = await answer.sql("SELECT count(*) FROM pgqueuer")
    log = [status for _, _, status, _ in await answer.log()]
    answer.guessed("rows_in_queue", rows, {1: "still-in-the-queue", 3: "still-in-the-queue"}, "rows-in-queue")
    answer.guessed("log", log, {1: "no-step-between", 2: "no-step-between"}, "other-log")


STATUSES = Exercise(
    id="statuses",
    kind="predict",
    title="What is left of it?",
    minutes=2,
    after="00-b94769",
    task="**Predict.** One job is enqueued and done, without an accident. How many rows has the queue "
    "then, and which statuses has the log, from the first to the last? The log has one row for each change of a job. "
    "Choose from `queued`, `picked`, `running`, `successful`, `done`.",
    names=("rows_in_queue", "log"),
    stub="""# log is a list, such as ["new", "old"]
kit.predict("statuses", rows_in_queue=..., log=...)""",
    solution='kit.predict("statuses", rows_in_queue=0, log=["queued", "picked", "successful"])',
    also=(
        'kit.predict("statuses", rows_in_queue=0, log=("Queued", "Picked", "Successful"))',
        'kit.predict("statuses", rows_in_queue="0", log=["queued", "picked", "successful"])',
    ),
    check=one_job_goes_round,
    hints=(
        "A job is a row that waits or runs. Is a finished one either of the two?",
        "The log has a row for every change, and between waiting and being done there is one more.",
        "It is `0` rows; and a consumer *picks* a job before it can be successful.",
    ),
    why="A finished job leaves the queue, so the queue holds only what is still to be done. The story stays in the "
    "log: queued, picked, successful.",
    wrong=(
        Wrong(
            "the queue is a history",
            'kit.predict("statuses", rows_in_queue=1, log=["queued", "picked", "successful"])',
            "still-in-the-queue",
        ),
        Wrong(
            "nothing between waiting and done",
            'kit.predict("statuses", rows_in_queue=0, log=["queued", "successful"])',
            "no-step-between",
        ),
        Wrong(
            "words of another queue",
            'kit.predict("statuses", rows_in_queue=0, log=["queued", "running", "done"])',
            "other-log",
        ),
        Wrong(
            "a set, which has no order",
            'kit.predict("statuses", rows_in_queue=0, log={"queued", "picked", "successful"})',
            "other-log",
        ),
        Wrong(
            "the newest first",
            'kit.predict("statuses", rows_in_queue=0, log=["successful", "picked", "queued"])',
            "other-log",
        ),
        Wrong(
            "a row that is missing somewhere",
            'kit.predict("statuses", rows_in_queue=2, log=["queued", "picked", "successful"])',
            "rows-in-queue",
        ),
    ),
    messages={
        "still-in-the-queue": "A job that is done does not stay in the queue, marked as done: its row is deleted. "
        "The queue is no history; the log is.",
        "no-step-between": "A job does not go from waiting to done in one step: first a consumer has to take it, so "
        "that no other does. That is a row of the log, too.",
        "other-log": "The number of rows is right, the log is another one: the cells below show its words, in their order.",
        "rows-in-queue": "One job is one row in the queue as long as it waits or runs. How many are there when it "
        "is done?",
    },
)


async def greets(answer: Answer) -> None:
    await answer.enqueue("greet", [b"Ada", b"Grace", "Åsa".encode()])
    ran = await answer.run(answer["greeter"])
    await answer.no_exceptions()
    left = await answer.sql("SELECT entrypoint, count(*) FROM pgqueuer GROUP BY 1")
    answer.same(left, [], "still-queued", columns=("entrypoint", "jobs left"))
    want = ["Hello, Ada!", "Hello, Grace!", "Hello, Åsa!"]
    lines = sorted(line.strip() for line in ran.lines if line.strip())
    if any("b'" in line or "\\x" in line for line in lines):
        answer.same(lines, want, "bytes", columns=("printed",))
    answer.same(lines, want, "other-lines", columns=("printed",))


def _greeter(handler: str, decorator: str = "@asynccontextmanager\n", end: str = "yield pgq") -> str:
    return f"""{decorator}async def greeter():
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))
    {handler}
    {end}
"""


_GREET = """
    @pgq.entrypoint("greet")
    async def greet(job: Job) -> None:
        print(f"Hello, {job.payload.decode()}!")
"""

GREET = Exercise(
    id="greet",
    kind="complete",
    title="A consumer of your own",
    minutes=5,
    cell="your-turn",
    task='Write a consumer with an entrypoint `greet` that prints `Hello, Ada!` for the payload `b"Ada"`. (To see it '
    "at work, run `kit.run(greeter)`, enqueue your name, and wait.)",
    given=NOTEBOOK,
    names=("greeter",),
    stub="""@asynccontextmanager
async def greeter():
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))
    # Your handler goes here.
    yield pgq
    await connection.close()""",
    solution=_greeter(_GREET),
    also=(
        _greeter(_GREET, decorator="", end="return pgq"),
        """async def hello(job):
    print("Hello, " + str(job.payload, "utf-8") + "!")

@asynccontextmanager
async def greeter():
    connection = await asyncpg.connect()
    pgq = PgQueuer.from_asyncpg_connection(connection)
    pgq.entrypoint("greet")(hello)
    yield pgq
    await connection.close()""",
    ),
    check=greets,
    hints=(
        "The handler stands inside of `greeter`, above the `yield`, as `process` does in section 2.",
        'A payload is bytes: `b"Ada".decode()` is the text `"Ada"`.',
        '`@pgq.entrypoint("greet")`, below it `async def greet(job: Job) -> None:`, and in there '
        '`print(f"Hello, {job.payload.decode()}!")`.',
    ),
    why="That is all a consumer is: a factory that makes a `PgQueuer`, and a function for each name of work. The name "
    "in `enqueue` and the one in `entrypoint` have to be the same, letter by letter.",
    wrong=(
        Wrong("prints bytes", _greeter(_GREET.replace(".decode()", "")), "bytes"),
        Wrong("another name", _greeter(_GREET.replace('"greet"', '"Greet"')), "still-queued"),
        Wrong("no decorator, and yet a yield", _greeter(_GREET, decorator=""), "no-start"),
        Wrong(
            "the name is in the text",
            _greeter(_GREET.replace("{job.payload.decode()}", "Ada")),
            "other-lines",
        ),
        Wrong("not async", _greeter(_GREET.replace("async def greet", "def greet")), "no-start"),
    ),
    messages={
        "bytes": "A payload is bytes, and so it is printed as `b'Ada'`. `.decode()` makes text of it.",
        "still-queued": "The jobs are still queued: no handler has the name `greet`. Names match exactly, capitals too.",
        "other-lines": "The jobs were done, and the lines are others. They have to be `Hello, Ada!` and so on, each "
        "with the name that its payload has.",
    },
)


async def counts_the_enqueued(answer: Answer) -> None:
    await answer.enqueue("fetch", [b"1", b"2", b"3"])
    await answer.enqueue("page", [b"4"])
    await answer.sql("DELETE FROM pgqueuer WHERE id <> 3")
    await answer.write_log(
        (1, "fetch", "picked", 1), (1, "fetch", "successful", 2), (2, "fetch", "picked", 3),
        (2, "fetch", "queued", 4), (2, "fetch", "picked", 4), (2, "fetch", "queued", 4), (2, "fetch", "picked", 4),
        (2, "fetch", "successful", 4),
        (4, "page", "picked", 5), (4, "page", "exception", 6, "KeyError: 'url'"),
    )  # fmt: skip
    want, columns = [("fetch", 3), ("page", 1)], ("entrypoint", "jobs")
    rows = sorted(tuple(row[:2]) for row in await answer.ask("my_query"))
    known = {
        (("fetch", 1),): "only-waiting",
        (("fetch", 11), ("page", 3)): "rows",
        (("fetch", 5), ("page", 1)): "tried-again",
        (("fetch", 4), ("page", 1)): "picked",
        (("fetch", 2),): "only-good",
    }
    answer.same(rows, want, known.get(tuple(rows), "another-count"), columns=columns)


FETCHED = Exercise(
    id="fetched",
    kind="query",
    title="How many were there?",
    minutes=4,
    processes=0,
    task="How many jobs of each entrypoint have *ever* been enqueued? Write the SQL, with two columns: the entrypoint "
    "and the number. It is tried on other tables than yours: with jobs that are done, one that waits, one that "
    "raised, and one that was tried again.",
    names=("my_query",),
    stub='# Try it with kit.sql(my_query).\nmy_query = "SELECT entrypoint, 0 FROM pgqueuer_log GROUP BY entrypoint"',
    solution='my_query = "SELECT entrypoint, count(DISTINCT job_id) FROM pgqueuer_log GROUP BY entrypoint"',
    also=(
        """my_query = "SELECT entrypoint, count(*) FROM (SELECT job_id, entrypoint FROM pgqueuer_log GROUP BY 1, 2) j GROUP BY 1\"""",
        'my_query = "SELECT e, count(*) FROM (SELECT DISTINCT job_id, entrypoint AS e FROM pgqueuer_log) AS j GROUP BY e"',
    ),
    check=counts_the_enqueued,
    hints=(
        "Which of the tables still knows of a job that is done?",
        "The log has several rows for a job. `count(DISTINCT …)` counts each value once.",
        "`SELECT entrypoint, count(DISTINCT job_id) FROM pgqueuer_log GROUP BY entrypoint`.",
    ),
    why="The log is the only table that knows of every job, whatever became of it. Since it has a row a change, "
    "count jobs and not rows.",
    wrong=(
        Wrong(
            "the queue", 'my_query = "SELECT entrypoint, count(*) FROM pgqueuer GROUP BY 1"', "only-waiting"
        ),
        Wrong("rows", 'my_query = "SELECT entrypoint, count(*) FROM pgqueuer_log GROUP BY 1"', "rows"),
        Wrong(
            "each time that it was queued",
            "my_query = \"SELECT entrypoint, count(*) FROM pgqueuer_log WHERE status = 'queued' GROUP BY 1\"",
            "tried-again",
        ),
        Wrong(
            "each time that it was picked",
            "my_query = \"SELECT entrypoint, count(*) FROM pgqueuer_log WHERE status = 'picked' GROUP BY 1\"",
            "picked",
        ),
        Wrong(
            "only what went well",
            "my_query = \"SELECT entrypoint, count(*) FROM pgqueuer_log WHERE status = 'successful' GROUP BY 1\"",
            "only-good",
        ),
        Wrong(
            "the highest number",
            'my_query = "SELECT entrypoint, max(job_id) FROM pgqueuer_log GROUP BY 1"',
            "another-count",
        ),
        Wrong("no such column", 'my_query = "SELECT name, count(*) FROM pgqueuer_log GROUP BY 1"', "refused"),
    ),
    messages={
        "only-waiting": "The queue has only what still waits or runs. Which table remembers the others?",
        "rows": "Those are the rows of the log, and a job has one for every change. Count each job once.",
        "tried-again": "A job that is tried again is queued again. Count each job once.",
        "picked": "A job that still waits was never picked, and one that is tried again is picked again.",
        "only-good": "Jobs are missing: one that still waits, and the one that raised. They were enqueued, too.",
        "another-count": "The numbers are others: three jobs of `fetch` were enqueued, and one of `page`.",
    },
)

EXERCISES = (STATUSES, GREET, FETCHED)
