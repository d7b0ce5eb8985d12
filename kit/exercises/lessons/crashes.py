"""Exercises of the lesson *Crashes*."""

from __future__ import annotations

from contextlib import suppress
from textwrap import indent
from typing import Any

from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, NotYet, Wrong
from kit.exercises.lessons.accidents import trapped, traps
from kit.exercises.running import TooBusy


def _from_file(text: str) -> Any:
    """Return the handler `send` of a file's text, imported where it runs."""
    names: dict[str, Any] = {"__name__": "my_send"}

    async def send(job: Any) -> None:
        if "send" not in names:
            exec(compile(text, "programs/my_send.py", "exec"), names)
        await names["send"](job)

    return send


async def sent_once_per_job(answer: Answer) -> None:
    await answer.sql(
        "CREATE TABLE letters (id int PRIMARY KEY, sent int DEFAULT 0); CREATE TABLE posted (job_id bigint PRIMARY KEY);"
        "INSERT INTO letters (id) VALUES (1), (2), (3), (4);"
    )
    # Job 1 is killed at its mark, job 2 at its effect, job 3 after both. Job 4 comes later, for letter 3 again.
    await answer.enqueue("send", [b"1", b"2", b"3"])
    send = _from_file(answer.file)
    async with traps(answer, letters="NEW.id = 2", posted="NEW.job_id = 1"):
        process = await answer.begin(send=send)
        settled = (
            "SELECT (SELECT sent > 0 FROM letters WHERE id = 3) AND ({})"
            " OR EXISTS (SELECT FROM pgqueuer_log WHERE status IN ('successful', 'exception'))"
            " OR (SELECT count(*) > 2 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
        )
        with suppress(TimeoutError):  # the two that are trapped, and a third that does not end
            await answer.until(settled.format(trapped(2)))
        await process.end()
    await answer.no_exceptions()
    await answer.enqueue("send", [b"3"])
    await answer.sql("UPDATE pgqueuer SET heartbeat = heartbeat - interval '1 minute'")
    await answer.run(send=send)
    await answer.no_exceptions()
    rows = await answer.sql("SELECT id, sent FROM letters ORDER BY id")
    want, columns = [(1, 1), (2, 1), (3, 2), (4, 0)], ("letter", "sent")
    sent = dict(rows)
    if not await answer.sql("SELECT FROM posted"):
        raise NotYet("no-mark")
    if sent[4]:
        answer.same(rows, want, "all-letters", columns=columns)
    if sent[3] > 2:
        answer.same(rows, want, "sent-again", columns=columns)
    if not any(sent.values()):
        answer.same(rows, want, "not-sent", columns=columns)
    if sent[2] < 1:
        answer.same(rows, want, "marked-too-early", columns=columns)
    if sent[1] > 1:
        answer.same(rows, want, "marked-too-late", columns=columns)
    if sent[3] == 1 and sent[1] == sent[2] == 1:
        answer.same(rows, want, "by-letter", columns=columns)
    answer.same(rows, want, "not-sent", columns=columns)
    picks = await answer.sql(
        "SELECT count(*) FROM pgqueuer_log WHERE status = 'picked' GROUP BY job_id ORDER BY job_id"
    )
    if [number for (number,) in picks] != [2, 2, 2, 1]:  # no witness that each was killed in its midst
        raise TooBusy


def _send(body: str) -> str:
    lines = indent(body, "    ")
    return f"%%writefile programs/my_send.py\nimport asyncio\nimport asyncpg\n\nasync def send(job):\n    db = await asyncpg.connect()\n{lines}\n    await db.close()\n    await asyncio.sleep(0.8)\n"


_SENT = 'await db.execute("UPDATE letters SET sent = sent + 1 WHERE id = $1", int(job.payload))'
_POSTED = 'await db.execute("INSERT INTO posted VALUES ($1) ON CONFLICT DO NOTHING", job.id)'

POSTED = Exercise(
    id="posted",
    kind="complete",
    title="The job leaves a mark",
    minutes=7,
    processes=2,
    task="Some effects leave nothing to look at. Then the *job* can leave a mark: a row in the table `posted` with its "
    "`job.id`. Change the handler so that each job counts up `sent` of its letter once, however often it is delivered, "
    "and wherever its worker is killed. Do not ask for `sent`: another job may send the same letter again.",
    file="programs/my_send.py",
    stub=_send(_SENT).rstrip(),
    solution=_send(f'async with db.transaction():\n    if {_POSTED} == "INSERT 0 1":\n        {_SENT}'),
    also=(
        _send(
            """await db.execute(
    "WITH mark AS (INSERT INTO posted VALUES ($1) ON CONFLICT DO NOTHING RETURNING job_id)"
    " UPDATE letters SET sent = sent + 1 WHERE id = $2 AND EXISTS (SELECT FROM mark)", job.id, int(job.payload))"""
        ),
        _send(
            f"""try:
    async with db.transaction():
        {_SENT}
        await db.execute("INSERT INTO posted VALUES ($1)", job.id)
except asyncpg.UniqueViolationError:
    pass"""
        ),
    ),
    check=sent_once_per_job,
    hints=(
        "What must be true of the mark and the effect, wherever the worker dies?",
        "Both in one transaction. The mark comes first, and says whether it was there before.",
        '`async with db.transaction():` and in it `if await db.execute("INSERT INTO posted VALUES ($1) ON CONFLICT DO '
        'NOTHING", job.id) == "INSERT 0 1":` and then the UPDATE.',
    ),
    why="Mark and effect take effect together, or neither does. Then it does not matter where the worker dies: what is "
    "delivered again finds the mark, or finds nothing done at all.",
    wrong=(
        Wrong("no mark that counts", _send(f"{_POSTED}\n{_SENT}"), "sent-again"),
        Wrong(
            "first the effect, then the mark",
            _send(f'if not await db.fetchval("SELECT 1 FROM posted WHERE job_id = $1", job.id):\n    {_SENT}\n    {_POSTED}'),
            "marked-too-late",
        ),
        Wrong("first the mark, then the effect", _send(f'if {_POSTED} == "INSERT 0 1":\n    {_SENT}'), "marked-too-early"),
        Wrong(
            "the letter is the key",
            _send(f'async with db.transaction():\n    if {_POSTED.replace("job.id", "int(job.payload)")} == "INSERT 0 1":\n        {_SENT}'),
            "by-letter",
        ),
        Wrong("the number of its attempts", _send(f"if job.attempts == 0:\n    {_SENT}"), "no-mark"),
        Wrong(
            "two connections",
            _send(
                f"""other = await asyncpg.connect()
async with db.transaction():
    if {_POSTED} == "INSERT 0 1":
        {_SENT.replace("db.", "other.")}"""
            ),
            "marked-too-late",
        ),
        Wrong("every letter", _send(f'async with db.transaction():\n    if {_POSTED} == "INSERT 0 1":\n        await db.execute("UPDATE letters SET sent = sent + 1")'), "all-letters"),
        Wrong("no effect", _send(_POSTED), "not-sent"),
        Wrong("no such table", _send(_POSTED.replace("posted", "post")), "raised"),
    ),
    messages={
        "no-mark": "No row stands in `posted`. By what shall the second delivery know?",
        "sent-again": "Job 3 was done when its worker was killed, and its second delivery sent the letter once more.",
        "marked-too-late": "The worker was killed when letter 1 was sent and the mark was about to be written. The next "
        "delivery found no mark, and sent it again.",
        "marked-too-early": "The worker was killed when the mark of job 2 was written and its letter was not sent yet. "
        "The next delivery found the mark, and did nothing: letter 2 will never go out.",
        "by-letter": "Two jobs were to send letter 3, and the second found the mark of the first. The mark is the "
        "job's, not the letter's.",
        "all-letters": "Letter 4 was sent, and no job was to send it.",
        "not-sent": "A letter is missing that a job was to send.",
    },
    equivalent={
        "dropped `await asyncio.sleep(0.8)`": "the paperwork has no effect",
        "swapped `await db.close()` and the next": "the connection is used no more",
        "0.8 is 1.8": "the paperwork has no effect",
    },
)  # fmt: skip


def _watched(handler: Any) -> Any:
    """Return the handler, and say whether the loop goes on while the library blocks that it calls."""

    async def watched(job: Any) -> None:
        import asyncio
        import threading
        import time

        loop, asleep = asyncio.get_running_loop(), time.sleep

        def sleep(seconds: Any) -> None:
            print("called\n", end="")  # whole: another thread prints, too
            goes_on = threading.Event()
            loop.call_soon_threadsafe(goes_on.set)
            asleep(min(seconds, 0.3))
            here = threading.current_thread() is threading.main_thread()
            print("back\n" if not here and goes_on.wait(1) else "blocked\n", end="")

        # Where `from time import sleep` has put it, too.
        places = [
            (names, name)
            for names in (vars(time), handler.__globals__)
            for name, value in names.items()
            if value is asleep
        ]
        for names, name in places:
            names[name] = sleep
        try:
            await handler(job)
            print("ends\n", end="")
        finally:
            for names, name in places:
                names[name] = asleep

    return watched


async def the_heart_goes_on(answer: Answer) -> None:
    await answer.enqueue("post", [b"1"])
    ran = await answer.run(post=_watched(answer["post"]))
    await answer.no_exceptions()
    lines = [line.strip() for line in ran.lines if line.strip()]
    before_the_end = lines[: lines.index("ends")]
    if "blocked" in lines:
        raise NotYet("blocked")
    if "called" not in lines:
        raise NotYet("no-work")
    if "back" not in before_the_end:
        raise NotYet("not-awaited")
    if not any(line.startswith("posted") for line in before_the_end[before_the_end.index("back") :]):
        raise NotYet("not-printed")


BLOCKING = Exercise(
    id="blocking",
    kind="mend",
    title="Taken for dead",
    minutes=3,
    task="This handler's worker is taken for dead after a second, though it is well. Mend it. `time.sleep` stands for a "
    "library that blocks; keep it, and print `posted` when it has come back.",
    given="import asyncio\nimport time\nfrom pgqueuer import Job\n",
    names=("post",),
    stub="""import time

async def post(job):
    time.sleep(1.2)
    print("posted")""",
    solution="""import time

async def post(job):
    await asyncio.to_thread(time.sleep, 1.2)
    print("posted")
""",
    also=(
        """async def post(job):
    def work():
        time.sleep(1.2)
        print("posted\\n", end="")
    await asyncio.get_running_loop().run_in_executor(None, work)
""",
        """from time import sleep

async def post(job):
    await asyncio.to_thread(sleep, 1.2)
    print("posted")
""",
    ),
    check=the_heart_goes_on,
    hints=(
        "The heartbeat needs the event loop, and the handler has it to itself.",
        "What blocks goes into a thread.",
        "`await asyncio.to_thread(time.sleep, 1.2)`.",
    ),
    why="While the thread blocks, the event loop goes on, and with it the heartbeat. A longer `heartbeat_timeout` would "
    "only let the jobs of workers that *are* dead wait longer.",
    wrong=(
        Wrong("a pause before it", 'async def post(job):\n    await asyncio.sleep(0.1)\n    time.sleep(1.2)\n    print("posted")', "blocked"),
        Wrong("async around it", 'async def work():\n    time.sleep(1.2)\n\nasync def post(job):\n    await asyncio.create_task(work())\n    print("posted")', "blocked"),
        Wrong("a thread that is waited for on the loop", "import threading\n\nasync def post(job):\n    thread = threading.Thread(target=time.sleep, args=(1.2,))\n    thread.start()\n    thread.join()\n    print('posted')", "blocked"),
        Wrong("printed at once", "async def post(job):\n    work = asyncio.create_task(asyncio.to_thread(time.sleep, 1.2))\n    print('posted')\n    await work", "not-printed"),
        Wrong("nobody awaits it", 'def work():\n    time.sleep(1.2)\n    print("posted\\n", end="")\n\nasync def post(job):\n    asyncio.get_running_loop().run_in_executor(None, work)', "not-awaited"),
        Wrong("the call is gone", 'async def post(job):\n    await asyncio.sleep(0)\n    print("posted")', "no-work"),
        Wrong("not async", "def post(job):\n    time.sleep(1.2)", "raised"),
    ),
    messages={
        "blocked": "The event loop stood still until the call came back, and in that time no heartbeat is written.",
        "not-awaited": "The job ended, and its work had not: nobody awaits it.",
        "no-work": "The library was not called. (What `asyncio.to_thread` returns has to be awaited.)",
        "not-printed": "`posted` was not printed when the call had come back.",
    },
    equivalent={"1.2 is 2.2": "a longer call that does not block either"},
)  # fmt: skip


async def stale_since(answer: Answer) -> None:
    await answer.enqueue("send", [b"1", b"2", b"3", b"4", b"5"])
    await answer.sql(
        "UPDATE pgqueuer SET status = 'picked' WHERE id IN (1, 2, 3);"
        "UPDATE pgqueuer SET status = 'failed' WHERE id = 5;"
        "UPDATE pgqueuer SET heartbeat = now() - interval '90 s', updated = now() WHERE id = 1;"
        "UPDATE pgqueuer SET heartbeat = now() - interval '5 s', updated = now() - interval '10 min' WHERE id = 2;"
        "UPDATE pgqueuer SET heartbeat = now() - interval '200 s' WHERE id IN (3, 4, 5);"
    )
    rows = await answer.ask("stale")
    want, columns = [(1, 90.0), (3, 200.0)], ("id", "silent for")
    numbers = {row[0] for row in rows}
    if 4 in numbers or 5 in numbers:
        answer.same(rows, want, "not-picked", columns=columns)
    if 2 in numbers:
        answer.same(
            rows, want, "updated" if len(numbers) == 1 or 3 not in numbers else "young", columns=columns
        )
    answer.same(rows, want, "since", columns=columns, close=10, in_order=False)


def _stale(columns: str, condition: str) -> str:
    return f'stale = """SELECT {columns}\n    FROM pgqueuer WHERE {condition}"""'


WHO = Exercise(
    id="who",
    kind="query",
    title="Whose worker is silent?",
    minutes=3,
    processes=0,
    task="Which jobs have been picked by a worker that has not given a sign of life for 30 seconds, and for how long is "
    "it silent? Two columns: the job's id, and the time (an interval, or seconds).",
    names=("stale",),
    stub=_stale("id, now() - updated AS silent_for", "true"),
    solution=_stale("id, now() - heartbeat AS silent_for", "status = 'picked' AND heartbeat < now() - interval '30 s'"),
    also=(
        _stale("id, extract(epoch FROM clock_timestamp() - heartbeat)", "status = 'picked' AND age(now(), heartbeat) > '30 s'"),
        _stale("id, round(extract(epoch FROM now() - heartbeat)), queue_manager_id", "status = 'picked' AND now() - heartbeat > '00:00:30' ORDER BY 2"),
    ),
    check=stale_since,
    hints=(
        "The sign of life is the column `heartbeat`, and only a job that was picked has somebody who gives it.",
        "`now() - heartbeat` is how long it is silent.",
        "`WHERE status = 'picked' AND heartbeat < now() - interval '30 s'`.",
    ),
    why="A job that waits has a heartbeat too, from when it was written, so ask for `picked`. PGQueuer itself asks just "
    "that when it takes a job from a dead worker; `pgq stale` prints it.",
    wrong=(
        Wrong("the last change", _stale("id, now() - updated", "status = 'picked' AND updated < now() - interval '30 s'"), "updated"),
        Wrong("whatever is old", _stale("id, now() - heartbeat", "heartbeat < now() - interval '30 s'"), "not-picked"),
        Wrong("all that are picked", _stale("id, now() - heartbeat", "status = 'picked'"), "young"),
        Wrong("since it was picked", _stale("id, now() - created", "status = 'picked' AND heartbeat < now() - interval '30 s'"), "since"),
        Wrong("the living ones", _stale("id, now() - heartbeat", "status = 'picked' AND heartbeat > now() - interval '30 s'"), "updated"),
    ),
    messages={
        "not-picked": "A job that waits or is held has no worker that could be silent.",
        "updated": "The worker of job 2 is well: it gave a sign of life 5 seconds ago. `updated` is when the row was "
        "changed, and old is a heartbeat that lies *before* half a minute ago.",
        "young": "Job 2 is among them, and its worker gave a sign of life 5 seconds ago.",
        "since": "The jobs or the times are others: it is silent since its last heartbeat.",
    },

)  # fmt: skip

DELIVERIES_TABLE = """
| job | what the log says |
| --- | --- |
| 1 | queued · picked · successful |
| 2 | queued · picked · queued, RetryRequested · picked · successful |
| 3 | queued · picked · picked · successful |
| 4 | queued · picked · queued, RetryRequested · picked · picked · exception |"""


async def counted_deliveries(answer: Answer) -> None:
    delivered, crashes = answer["delivered"], answer["crashes"]
    if (
        not (isinstance(delivered, dict) and isinstance(crashes, dict))
        or len(delivered) < 4
        or len(crashes) < 4
    ):
        raise NotYet("four-jobs")
    want_delivered, want_crashes = {1: 1, 2: 2, 3: 2, 4: 3}, {1: 0, 2: 0, 3: 1, 4: 1}
    columns = ("job", "delivered", "after a crash")
    want = [(job, want_delivered[job], want_crashes[job]) for job in want_delivered]
    have = [(job, delivered.get(job), crashes.get(job)) for job in want_delivered]
    if delivered != want_delivered:
        raise NotYet("deliveries", expected=want, actual=have, columns=columns)
    if crashes == {1: 0, 2: 1, 3: 1, 4: 2}:
        raise NotYet("retries-are-not", expected=want, actual=have, columns=columns)
    if crashes != want_crashes:
        raise NotYet("crashes", expected=want, actual=have, columns=columns)


DELIVERIES = Exercise(
    id="deliveries",
    kind="read",
    title="Delivered how often, and why?",
    minutes=3,
    processes=0,
    task="How often was each of these jobs delivered, and how many came because its worker was taken "
    "for *dead*?\n" + DELIVERIES_TABLE,
    names=("delivered", "crashes"),
    stub="delivered = {1: 0, 2: 0, 3: 0, 4: 0}  # job: how often\ncrashes = {1: 0, 2: 0, 3: 0, 4: 0}",
    solution="delivered = {1: 1, 2: 2, 3: 2, 4: 3}\ncrashes = {1: 0, 2: 0, 3: 1, 4: 1}",
    also=("delivered = dict(zip(range(1, 5), (1, 2, 2, 3)))\ncrashes = {3: 1, 4: 1, 1: 0, 2: 0}",),
    check=counted_deliveries,
    hints=(
        "Each row `picked` is a delivery.",
        "Between a delivery and the next one after a crash stands nothing: nobody was left who could have written it.",
        "A retry writes `queued` in between. So job 2 saw no crash, and job 4 saw one.",
    ),
    why="Two rows `picked` in a row are a crash, a freeze or a blocked loop; a retry always writes `queued` between "
    "them. That is how a log tells bad code from bad luck.",
    wrong=(
        Wrong("each pick after the first", "delivered = {1: 1, 2: 2, 3: 2, 4: 3}\ncrashes = {1: 0, 2: 1, 3: 1, 4: 2}", "retries-are-not"),
        Wrong("rows divided by three", "delivered = {1: 1, 2: 1, 3: 1, 4: 2}\ncrashes = {1: 0, 2: 0, 3: 1, 4: 1}", "deliveries"),
        Wrong("exceptions", "delivered = {1: 1, 2: 2, 3: 2, 4: 3}\ncrashes = {1: 0, 2: 0, 3: 0, 4: 1}", "crashes"),
        Wrong("a list", "delivered = [1, 2, 2, 3]\ncrashes = [0, 0, 1, 1]", "four-jobs"),
    ),
    messages={
        "four-jobs": "Both are dictionaries with a number for each of the four jobs.",
        "deliveries": "A delivery is a row `picked`. How many has each job?",
        "retries-are-not": "The deliveries are right. A retry is no crash: it writes `queued` before the next `picked`.",
        "crashes": "The deliveries are right. A crash writes nothing, so two rows `picked` stand beside each other.",
    },
)  # fmt: skip

EXERCISES = (WHO, DELIVERIES, BLOCKING, POSTED)
