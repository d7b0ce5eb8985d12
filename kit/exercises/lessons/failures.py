"""Exercises of the lesson *Failures*."""

from __future__ import annotations

from itertools import pairwise
from textwrap import indent
from typing import Any

from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, NotYet, Wrong

NOTEBOOK = """
import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries, RetryRequested
from pgqueuer.executors import DatabaseRetryEntrypointExecutor
"""


async def _hurried(answer: Answer, handler: Any, options: Any) -> None:
    """Run a handler whose retries come at once; raise `NotYet` where it tries again without an end."""
    if not isinstance(options, dict):
        raise NotYet("no-options", type=type(options).__name__)
    try:
        await answer.run(charge=handler, how={"charge": options}, hurry=True, limit=2.5)
    except NotYet as error:
        ((tries,),) = await answer.sql("SELECT coalesce(max(attempts), 0) FROM pgqueuer")
        if error.message == "endless" and tries > 6:
            raise NotYet("never-gives-up", tries=tries) from None
        raise


async def tries_what_may_pass(answer: Answer) -> None:
    await answer.enqueue("charge", [b"expired", b"blue", b"green"])
    await _hurried(answer, answer["my_charge"], answer["my_options"])
    rows = await answer.sql(
        "SELECT convert_from(payload, 'UTF8'), status::text, attempts FROM pgqueuer ORDER BY id"
    )
    want, columns = [("expired", "failed", 0), ("blue", "failed", 3)], ("card", "status", "attempts")
    held = {card: attempts for card, _, attempts in rows}
    if "green" in held:
        answer.same(rows, want, "the-good", columns=columns)
    if not held:
        log = await answer.log("exception")
        answer.same(rows, want, "not-held" if log else "swallowed", columns=columns)
    if held.get("expired", 0) > 0:
        answer.same(rows, want, "expired-again", columns=columns)
    answer.same(rows, want, "another-number", columns=columns)


_BANK = """async def bank(card):
    if card == b"expired":
        raise ValueError("the card has expired")
    if card == b"blue":
        raise ConnectionError("the bank is down")

"""


def _charge(body: str, options: str = '{"on_failure": "hold"}', before: str = "") -> str:
    lines = indent(body, "    ")
    return f"{_BANK}{before}my_options = {options}\n\nasync def my_charge(job: Job) -> None:\n{lines}\n"


def _retry(condition: str, delay: str = "delay=timedelta(seconds=1), ") -> str:
    return f"""try:
    await bank(job.payload)
except ConnectionError as error:
    if {condition}:
        raise RetryRequested({delay}reason=str(error)) from error
    raise"""


RETRY = Exercise(
    id="retry",
    kind="complete",
    title="What may pass, and what will not",
    minutes=5,
    task="A card that has expired is to be held at its first failure: no try will help. A bank that is down gets three "
    "more tries, and is held after them. The executor cannot tell the two apart; a handler can, with `RetryRequested` "
    "and `job.attempts`.",
    given=NOTEBOOK,
    names=("my_charge", "my_options"),
    stub=_BANK
    + 'my_options = {"on_failure": "hold"}\n\nasync def my_charge(job: Job) -> None:\n    await bank(job.payload)',
    solution=_charge(_retry("job.attempts < 3")),
    also=(
        _charge(_retry("job.attempts <= 2", "")),
        _charge(
            "try:\n    await bank(job.payload)\nexcept ValueError:\n    raise\nexcept Exception:\n"
            "    if job.attempts == 3:\n        raise\n    raise RetryRequested()"
        ),
    ),
    check=tries_what_may_pass,
    hints=(
        "The two exceptions have different types, so `except` can tell them apart.",
        "`job.attempts` counts the tries before this one: 0, 1, 2. After the third retry it is 3, and the handler has "
        "to let the exception go.",
        "`except ConnectionError: if job.attempts < 3: raise RetryRequested(…)`, and then a bare `raise`.",
    ),
    why="Try again what may pass, hold what will not. The handler knows which is which, and it must give up some day: "
    "`RetryRequested` alone goes on for ever.",
    wrong=(
        Wrong(
            "the executor, for all",
            _charge(
                "await bank(job.payload)",
                '{"on_failure": "hold", "executor_factory": patient}',
                "def patient(parameters):\n    return DatabaseRetryEntrypointExecutor(parameters, max_attempts=3)\n\n",
            ),
            "expired-again",
        ),
        Wrong("for ever", _charge(_retry("True")), "never-gives-up"),
        Wrong(
            "caught", _charge("try:\n    await bank(job.payload)\nexcept Exception:\n    pass"), "swallowed"
        ),
        Wrong("three in all", _charge(_retry("job.attempts < 2")), "another-number"),
        Wrong("not held", _charge(_retry("job.attempts < 3"), "{}"), "not-held"),
        Wrong("never charges", _charge('raise ValueError("no")'), "the-good"),
        Wrong("options that are none", _charge("await bank(job.payload)", '"hold"'), "no-options"),
    ),
    messages={
        "expired-again": "The expired card was tried again. It stays expired.",
        "never-gives-up": "It never gives up: after {tries} retries the bank was still asked again.",
        "swallowed": "No job failed, so both cards count as charged. The exception was caught, and nobody hears of it.",
        "another-number": "The expired card is right. The blue one has to be tried three times more than the first, "
        "which is what `attempts` says in the end.",
        "not-held": "The jobs ended with an exception and are gone, with their payloads. The option `on_failure` keeps "
        "them.",
        "the-good": "The green card has nothing wrong with it, and was not charged.",
        "no-options": "`my_options` is a dictionary with the options of `pgq.entrypoint`, not {type}.",
    },
    equivalent={
        "'the card has expired' is ''": "only a text",
        "'the bank is down' is ''": "only a text",
        "without `reason=str(error)`": "only a text",
        "without `seconds=1`": "how long it waits is not asked",
        "1 is 2": "how long it waits is not asked",
        "without `delay=timedelta(seconds=1)`": "how long it waits is not asked",
    },
)


async def further_and_further(answer: Answer) -> None:
    await answer.enqueue("charge", [b"blue"])
    await _hurried(answer, answer["bank_is_down"], answer["backing_off"])
    rows = await answer.sql(
        "SELECT extract(epoch FROM (traceback->'additional_context'->>'retry_delay')::interval)::float8"
        " FROM pgqueuer_log WHERE status = 'queued' AND traceback IS NOT NULL ORDER BY id"
    )
    delays = [row[0] for row in rows]
    ((picks,),) = await answer.sql("SELECT count(*) FROM pgqueuer_log WHERE status = 'picked'")
    have, columns = [(f"pause {number}", delay) for number, delay in enumerate(delays, 1)], ("", "seconds")
    if picks == 1:
        raise NotYet("one-try")
    if picks != 4:
        raise NotYet("tries", expected=[(4,)], actual=[(picks,)], columns=("tries",))
    if any(later <= 1.5 * before for before, later in pairwise(delays)) or min(delays) <= 0:
        raise NotYet("constant", actual=have, columns=columns)
    if not await answer.log("exception", "failed"):
        raise NotYet("not-given-up")


def _backing(options: str, body: str = 'raise ConnectionError("the bank is down")', before: str = "") -> str:
    return f"{before}backing_off = {options}\n\nasync def bank_is_down(job: Job) -> None:\n    {body}\n"


def _executor(more: str) -> str:
    return f"""def patient(parameters):
    return DatabaseRetryEntrypointExecutor(parameters, {more})

"""


_PATIENT = '{"executor_factory": patient}'

BACKOFF = Exercise(
    id="backoff",
    kind="complete",
    title="Further and further apart",
    minutes=4,
    task="The bank is down for the whole night. Let the job be tried *four* times in all, with three pauses, each at "
    "least twice as long as the one before; then it fails. `backing_off` has the options of the entrypoint; the handler "
    "may change as well.",
    given=NOTEBOOK,
    names=("bank_is_down", "backing_off"),
    stub='backing_off = {}  # the options of pgq.entrypoint\n\nasync def bank_is_down(job: Job) -> None:\n    raise ConnectionError("the bank is down")',
    solution=_backing(
        _PATIENT,
        before=_executor("max_attempts=3, initial_delay=timedelta(seconds=1), backoff_multiplier=2"),
    ),
    also=(
        _backing(
            "{}",
            "if job.attempts == 3:\n        raise ConnectionError('down')\n"
            "    raise RetryRequested(delay=timedelta(seconds=10 * 2**job.attempts))",
        ),
        _backing('{"executor_factory": lambda parameters: DatabaseRetryEntrypointExecutor(parameters, max_attempts=3), "on_failure": "hold"}'),
    ),
    check=further_and_further,
    hints=(
        "Section 3 has an executor that does this.",
        "`max_attempts` counts how often the job is put *back*, so four tries are three of them.",
        "`DatabaseRetryEntrypointExecutor(parameters, max_attempts=3, initial_delay=…, backoff_multiplier=2)` in a "
        "function, and that function as `executor_factory`.",
    ),
    why="A thousand jobs that knock every second keep a bank down. Each pause twice as long as the one before lets it "
    "get up again, and costs a job little.",
    wrong=(
        Wrong("the same pause", _backing("{}", "if job.attempts == 3:\n        raise ConnectionError('down')\n    raise RetryRequested(delay=timedelta(seconds=1))"), "constant"),
        Wrong("a multiplier of 1", _backing(_PATIENT, before=_executor("max_attempts=3, backoff_multiplier=1")), "constant"),
        Wrong("sleeps in the handler", _backing("{}", "for pause in (0.1, 0.2, 0.4):\n        await asyncio.sleep(pause)\n    raise ConnectionError('down')"), "one-try"),
        Wrong("max_attempts read as tries", _backing(_PATIENT, before=_executor("max_attempts=4")), "tries"),
        Wrong("for ever", _backing("{}", "raise RetryRequested(delay=timedelta(seconds=2**min(job.attempts, 8)))"), "never-gives-up"),
        Wrong("gives up silently", _backing("{}", "if job.attempts < 3:\n        raise RetryRequested(delay=timedelta(seconds=2**job.attempts))"), "not-given-up"),
        Wrong("a list", _backing("[]"), "no-options"),
    ),
    messages={
        "one-try": "It was tried once. A handler that sleeps and tries by itself keeps its place, and the queue knows "
        "nothing of it.",
        "constant": "The pauses do not grow: each has to be at least twice the one before.",
        "tries": "The pauses grow. The number of tries is another one: one, and three more.",
        "never-gives-up": "It never gives up: after {tries} retries it was tried again.",
        "not-given-up": "After the fourth try the job counts as successful. It has to fail.",
        "no-options": "`backing_off` is a dictionary with the options of `pgq.entrypoint`, not {type}.",
    },
    equivalent={
        "1 is 2": "another first pause",
        "2 is 3": "the pauses grow faster",
        "without `initial_delay=timedelta(seconds=1)`": "a second is what the executor begins with",
        "without `backoff_multiplier=2`": "two is what the executor multiplies by",
        "'the bank is down' is ''": "only the text of the exception",
    },
)  # fmt: skip


async def reasons_counted(answer: Answer) -> None:
    await answer.write_log(
        (1, "charge", "picked", 1), (1, "charge", "exception", 2, "ConnectionError: the bank is down"),
        (2, "charge", "picked", 3), (2, "charge", "queued", 4, "RetryRequested: the bank is busy"),
        (2, "charge", "picked", 5), (2, "charge", "failed", 6, "ConnectionError: no answer"),
        (2, "charge", "queued", 7), (2, "charge", "picked", 8), (2, "charge", "failed", 9, "ConnectionError: reset by peer"),
        (3, "mail", "picked", 10), (3, "mail", "exception", 11, "ValueError: no ConnectionError, but a bad address"),
        (4, "mail", "picked", 12), (4, "mail", "successful", 13),
    )  # fmt: skip
    want = [
        ("ConnectionError", 3, "reset by peer"),
        ("ValueError", 1, "no ConnectionError, but a bad address"),
    ]
    rows = sorted(tuple(row[:3]) for row in await answer.ask("reasons"))
    columns = ("type", "failures", "newest message")
    kinds = {row[0]: row[1] for row in rows if len(row) > 1}
    if "RetryRequested" in kinds:
        answer.same(rows, want, "retries", columns=columns)
    if kinds == {"ConnectionError": 2, "ValueError": 1}:
        answer.same(rows, want, "jobs", columns=columns)
    if kinds == {"ConnectionError": 1, "ValueError": 1}:
        answer.same(rows, want, "held-too", columns=columns)
    if kinds == {"ConnectionError": 3, "ValueError": 1}:
        answer.same(rows, want, "newest", columns=columns)
    answer.same(rows, want, "types", columns=columns)


def _reasons(columns: str, condition: str, end: str = "GROUP BY 1") -> str:
    return f'reasons = """SELECT {columns}\n    FROM pgqueuer_log WHERE {condition} {end}"""'


_TYPE, _FAILED = "traceback->>'exception_type'", "status IN ('exception', 'failed')"
_NEWEST = "(array_agg(traceback->>'exception_message' ORDER BY id DESC))[1]"

REASONS = Exercise(
    id="reasons",
    kind="query",
    title="What goes wrong most?",
    minutes=5,
    processes=0,
    task="For each type of exception: its name, how many times a job *failed* with it, and the newest of its messages. "
    "The column `traceback` of the log is JSON, with `exception_type` and `exception_message`; `->>` reads it as text. "
    "A job that is held failed, too; one that is tried again has not failed.",
    names=("reasons",),
    stub="reasons = \"\"\"SELECT traceback->>'exception_type', 0, ''\n    FROM pgqueuer_log WHERE traceback IS NOT NULL GROUP BY 1\"\"\"",
    solution=_reasons(f"{_TYPE}, count(*), {_NEWEST}", _FAILED),
    also=(
        f'''reasons = """
    SELECT DISTINCT ON (1) {_TYPE}, count(*) OVER (PARTITION BY {_TYPE}), traceback->>'exception_message'
    FROM pgqueuer_log WHERE {_FAILED} ORDER BY 1, id DESC"""''',
        f'''reasons = """
    WITH f AS (SELECT *, {_TYPE} AS type FROM pgqueuer_log WHERE status = 'exception' OR status = 'failed')
    SELECT type, count(*), (SELECT n.traceback->>'exception_message' FROM f n WHERE n.type = f.type
                            ORDER BY n.created DESC LIMIT 1) FROM f GROUP BY type"""''',
    ),
    check=reasons_counted,
    hints=(
        "Which statuses of the log mean that a job has failed? A retry writes `queued`, with a traceback beside it.",
        "`count(*)` with `WHERE status IN ('exception', 'failed')`, grouped by the type.",
        "The newest message: `(array_agg(traceback->>'exception_message' ORDER BY id DESC))[1]`.",
    ),
    why="Count by type and look at the newest message: ten thousand lines of log become a list of three things to mend. "
    "Retries are in the same column, and they are not failures.",
    wrong=(
        Wrong("retries count", _reasons(f"{_TYPE}, count(*), {_NEWEST}", "traceback IS NOT NULL"), "retries"),
        Wrong("jobs, not failures", _reasons(f"{_TYPE}, count(DISTINCT job_id), {_NEWEST}", _FAILED), "jobs"),
        Wrong("held ones are forgotten", _reasons(f"{_TYPE}, count(*), {_NEWEST}", "status = 'exception'"), "held-too"),
        Wrong("the last in the alphabet", _reasons(f"{_TYPE}, count(*), max(traceback->>'exception_message')", _FAILED).replace("max(", "min("), "newest"),
        Wrong(
            "searches the text",
            _reasons(f"CASE WHEN traceback::text LIKE '%ConnectionError%' THEN 'ConnectionError' ELSE 'other' END, count(*), {_NEWEST}", _FAILED),
            "types",
        ),
    ),
    messages={
        "retries": "`RetryRequested` is no failure: the job was put back and tried again.",
        "jobs": "Job 2 failed twice, before and after somebody let it go on. Count failures, not jobs.",
        "held-too": "Failures are missing: a job that is held has the status `failed`.",
        "newest": "Types and numbers are right. Of the messages, the newest is asked for.",
        "types": "The types and numbers are others. `traceback->>'exception_type'` is the type alone; a message may "
        "speak of another one.",
    },
)  # fmt: skip

POISON_TABLE = """
| job | priority | what the log says |
| --- | --- | --- |
| 1 | 0 | picked · ConnectionError, queued again · picked · successful |
| 2 | 0 | picked · ValueError: '12,50', queued again · picked · ValueError: '12,50', queued again · picked · failed |
| 3 | 5 | picked · picked · picked · successful |
| 4 | 10 | picked · exception, ConnectionError |
| 5 | 0 | picked · successful |"""


async def one_is_poisonous(answer: Answer) -> None:
    named = answer["poisonous"]
    numbers = set(named) if isinstance(named, list | tuple | set) else {named}
    for job, key in ((3, "killed"), (4, "unlucky"), (1, "unlucky"), (5, "well")):
        if job in numbers:
            raise NotYet(key, job=job)
    if numbers != {2}:
        raise NotYet("which")


POISON = Exercise(
    id="poison",
    kind="read",
    title="Poisonous, or only unlucky?",
    minutes=2,
    processes=0,
    task="The bank was out of reach for a minute, and a worker was killed twice. One of these jobs would fail however "
    "often it is tried. Which?\n" + POISON_TABLE,
    names=("poisonous",),
    stub="poisonous = []  # the number of the job",
    solution="poisonous = [2]",
    also=("poisonous = 2", "poisonous = (2,)"),
    check=one_is_poisonous,
    hints=(
        "Several rows `picked` without anything between them: whose fault is that?",
        "A network that is away passes. What does not pass is in the job itself.",
        "Job 2 fails with the same text at every try, and the text speaks of its payload.",
    ),
    why="The same error at each try, and it speaks of the data: no retry will help. A job that was picked three times "
    "and is successful in the end only had workers that died.",
    wrong=(
        Wrong("the one with most picks", "poisonous = [3]", "killed"),
        Wrong("the one with an exception", "poisonous = [4]", "unlucky"),
        Wrong("the one that was tried again", "poisonous = [1, 2]", "unlucky"),
        Wrong("one that is well", "poisonous = [5]", "well"),
        Wrong("no such job", "poisonous = [6]", "which"),
    ),
    messages={
        "killed": "Job {job} was picked again because its worker was killed: no exception stands between the rows. In "
        "the end it was successful.",
        "unlucky": "Job {job} met a bank that was out of reach. That passes; it was only unlucky.",
        "well": "Job {job} was successful at its first try.",
        "which": "One number is asked for. Which job fails for a reason that is in the job itself?",
    },
)

EXERCISES = (REASONS, BACKOFF, POISON, RETRY)
