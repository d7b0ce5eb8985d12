"""Exercises of the lesson *Payloads*."""

from __future__ import annotations

from typing import Any

from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, NotYet, Wrong

NOTEBOOK = """
import json
from contextlib import asynccontextmanager
import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries
from pgqueuer.models import Context
from pydantic import BaseModel, Field, PositiveInt, ValidationError
"""


async def good_and_bad_payloads(answer: Answer) -> None:
    good, bad = [b'{"file": "cat.png", "width": 120}', b'{"file": "dog.png", "width": 1}'], {
        "width -5": b'{"file": "cat.png", "width": -5}',
        "width 0": b'{"file": "cat.png", "width": 0}',
        "width 1.5": b'{"file": "cat.png", "width": 1.5}',
        "no file": b'{"width": 120}',
        "no JSON": b"\xff\x00junk",
        "nothing": None,
    }  # fmt: skip
    await answer.enqueue("resize", [*good, *bad.values()])
    await answer.run(resize=answer["resize"])
    log = await answer.log("successful", "exception")
    ended = [status for _, _, status, _ in sorted(log)]
    columns = ("payload", "status")
    names = ["width 120", "width 1", *bad]
    want = list(zip(names, ["successful"] * 2 + ["exception"] * len(bad), strict=True))
    have = list(zip(names, ended, strict=True))
    if ended[:2] != ["successful"] * 2:
        answer.same(have, want, "good-refused", columns=columns)
    if ended == ["successful"] * len(names):
        answer.same(have, want, "swallowed", columns=columns)
    if "successful" in ended[5:]:
        answer.same(have, want, "not-checked", columns=columns)
    answer.same(have, want, "widths", columns=columns)


def _resize(model: str, body: str) -> str:
    return f"""class Resize(BaseModel):
    file: str
    {model}

async def resize(job: Job) -> None:
    {body}
"""


_CHECKED = """resize = Resize.model_validate_json(job.payload)
    print(resize.file, "is now", resize.width, "wide")"""

RESIZE = Exercise(
    id="resize",
    kind="complete",
    title="A payload that checks itself",
    minutes=4,
    cell="your-turn",
    task="Describe a payload `Resize` with a `file` (text) and a `width` (a whole number above 0), and write the "
    "handler `resize` that reads one from the job's JSON and prints it. A job with a good payload is successful, any "
    "other ends as an exception in the log.",
    given=NOTEBOOK,
    names=("Resize", "resize"),
    stub="""from pydantic import BaseModel, Field, PositiveInt

class Resize(BaseModel):
    file: str
    # width: a whole number above 0 (Field(gt=...) or PositiveInt)

async def resize(job: Job) -> None:
    print(job.payload)""",
    solution=_resize("width: PositiveInt", _CHECKED),
    also=(
        _resize("width: int = Field(gt=0)", "print(Resize(**json.loads(job.payload)))"),
        _resize("width: int = Field(ge=1, strict=True)", "print(Resize.model_validate_json(job.payload.decode()))"),
    ),
    check=good_and_bad_payloads,
    hints=(
        "A pydantic model checks when it is made. Whoever never makes one, never checks.",
        "`width: PositiveInt` in the model, and the handler begins with `Resize.model_validate_json(job.payload)`.",
        "Let the exception leave the handler: that is how the log hears of it.",
    ),
    why="The model says once what both programs expect. In the handler it turns a strange payload into an exception "
    "with a clear text, on its first line, before anything is half done.",
    wrong=(
        Wrong("any number", _resize("width: int", _CHECKED), "widths"),
        Wrong("any number above zero", _resize("width: float = Field(gt=0)", _CHECKED), "widths"),
        Wrong("a model that nobody uses", _resize("width: PositiveInt", "print(json.loads(job.payload))"), "not-checked"),
        Wrong("zero is not above zero", _resize("width: int = Field(ge=0)", _CHECKED), "widths"),
        Wrong(
            "the error is printed away",
            _resize("width: PositiveInt", "try:\n        print(Resize.model_validate_json(job.payload))\n    except Exception as error:\n        print(error)"),
            "swallowed",
        ),
        Wrong(
            "only the width is checked",
            _resize("width: PositiveInt", 'Resize(file="", width=json.loads(job.payload)["width"])'),
            "not-checked",
        ),
        Wrong("a default hides what is missing", _resize('width: PositiveInt', _CHECKED).replace("file: str", 'file: str = "none"'), "not-checked"),
        Wrong("too strict", _resize("width: int = Field(gt=1)", _CHECKED), "good-refused"),
    ),
    messages={
        "widths": "A width of −5, of 0 or of 1.5 was taken as a good one. It is to be a *whole* number, and *above 0*.",
        "swallowed": "Every job is successful, the bad ones too: nothing was checked, or the error was caught and went "
        "no further. The log can only tell what leaves the handler.",
        "not-checked": "A job without a `file`, or one that is no JSON at all, must end as an exception.",
        "good-refused": "A good payload was refused.",
    },
    equivalent={
        "dropped `print(resize.file, 'is now', resize.width, 'wide')`": 'what is printed is not asked',
        "swapped arguments of `print(resize.file, 'is now', resize.width, 'wide')`": 'what is printed is not asked',
        "'is now' is ''": 'what is printed is not asked',
        "'wide' is ''": 'what is printed is not asked',
    },
)  # fmt: skip


async def _hand_over(function: Any, number: int, text: str) -> None:
    import asyncpg

    db = await asyncpg.connect()
    await function(db, number, text)
    await db.close()


_AT_THE_COMMIT = """
CREATE TABLE documents (id int PRIMARY KEY, body text, words int);
CREATE FUNCTION accident_of_haste() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF encode(NEW.payload, 'escape') ~ '^[0-9]+$' AND NOT EXISTS (SELECT FROM documents WHERE id = 7) THEN
        RAISE EXCEPTION 'a consumer is faster than the document';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER accident_of_haste AFTER INSERT ON pgqueuer DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION accident_of_haste();
"""


async def only_a_reference(answer: Answer) -> None:
    await answer.sql(_AT_THE_COMMIT)
    text = "to be or not " * 1000 + "to be"
    (called,) = await answer.calls([(_hand_over, (answer["hand_over"], 7, text))])
    if (error := called.get("error")) is not None:
        raise NotYet(
            "job-first" if "faster" in error["message"] else "raised", error=error["message"], place=""
        )
    jobs = await answer.sql("SELECT entrypoint, octet_length(payload) FROM pgqueuer")
    columns = ("entrypoint", "bytes")
    answer.same([job[:1] for job in jobs], [("count",)], "no-job", columns=columns[:1])
    if jobs[0][1] is None or jobs[0][1] > 100:
        answer.same(jobs, [("count", 1)], "too-big", columns=columns)
    early = await answer.sql("SELECT id, words FROM documents WHERE words IS NOT NULL")
    answer.same(early, [], "words", columns=("id", "words before the job"))
    await answer.run(count=answer["count_words_of"])
    await answer.no_exceptions()
    rows = await answer.sql("SELECT id, octet_length(body), words FROM documents")
    names = ("id", "length of the body", "words")
    want = [(7, len(text), 4002)]
    if not rows or rows[0][1] != len(text):
        answer.same(rows, want, "no-body", columns=names)
    answer.same(rows, want, "words", columns=names)


def _documents(hand_over: str, count: str) -> str:
    return f"""async def hand_over(db, number, text):
    {hand_over}

async def count_words_of(job: Job) -> None:
    db = await asyncpg.connect()
    {count}
    await db.close()
"""


_INSERT = 'await db.execute("INSERT INTO documents (id, body) VALUES ($1, $2)", number, text)'
_ENQUEUE = 'await Queries(AsyncpgDriver(db)).enqueue("count", str(number).encode())'
_COUNT = """body = await db.fetchval("SELECT body FROM documents WHERE id = $1", int(job.payload))
    await db.execute("UPDATE documents SET words = $1 WHERE id = $2", len(body.split()), int(job.payload))"""

REFERENCE = Exercise(
    id="reference",
    kind="mend",
    title="Which document, not the document",
    minutes=5,
    processes=2,
    task="The payload carries the whole document, and how many words it has is only printed. Change both functions, so "
    "that the text is in the table `documents` (columns `id`, `body`, `words`) before the job is enqueued, the payload only "
    "says which one it is, and the job counts the words and writes their number there.",
    given=NOTEBOOK,
    names=("hand_over", "count_words_of"),
    stub="""async def hand_over(db, number, text):
    payload = f"{number} {text}".encode()
    await Queries(AsyncpgDriver(db)).enqueue("count", payload)

async def count_words_of(job: Job) -> None:
    number, _, body = job.payload.decode().partition(" ")
    print("document", number, "has", len(body.split()), "words")""",
    solution=_documents(f"{_INSERT}\n    {_ENQUEUE}", _COUNT),
    also=(
        _documents(
            f"async with db.transaction():\n        {_ENQUEUE}\n        {_INSERT}",
            """number = json.loads(job.payload)
    count = "cardinality(regexp_split_to_array(trim(body), '\\\\s+'))"
    await db.execute(f"UPDATE documents SET words = {count} WHERE id = $1", number)""",
        ),
        _documents(
            f"{_INSERT}\n    {_ENQUEUE}".replace("str(number).encode()", 'number.to_bytes(4, "big")'),
            _COUNT.replace("int(job.payload)", 'int.from_bytes(job.payload, "big")'),
        ),
    ),
    check=only_a_reference,
    hints=(
        "Which of the two functions has to write the text into the table now?",
        "`hand_over` inserts `id` and `body`, and enqueues the number; `count_words_of` reads the body with that number.",
        "In `count_words_of`: `SELECT body FROM documents WHERE id = $1`, then `UPDATE documents SET words = $1 WHERE id = $2`.",
    ),
    why="The queue stays small and quick, and the result has a home when the job is gone. A dictionary of the program "
    "would do the first, too, and only as long as producer and consumer are one program.",
    wrong=(
        Wrong(
            "a shorter text",
            _documents(
                'await Queries(AsyncpgDriver(db)).enqueue("count", f"{number} {text[:80]}".encode())',
                """number, _, body = job.payload.decode().partition(" ")
    await db.execute("INSERT INTO documents VALUES ($1, $2, $3)", int(number), body, len(body.split()))""",
            ),
            "no-body",
        ),
        Wrong(
            "a dictionary of the program",
            "texts = {}\n\n"
            + _documents(f"texts[number] = text\n    {_ENQUEUE}", "texts[int(job.payload)].split()"),
            "job-first",
        ),
        Wrong(
            "the result in the payload",
            _documents(
                f'{_INSERT}\n    await Queries(AsyncpgDriver(db)).enqueue("count", text.encode())',
                _COUNT,
            ),
            "too-big",
        ),
        Wrong(
            "the text is there, and not counted", _documents(f"{_INSERT}\n    {_ENQUEUE}", "pass"), "words"
        ),
        Wrong(
            "counted by the producer",
            _documents(
                'await db.execute("INSERT INTO documents VALUES ($1, $2, $3)", number, text, len(text.split()))'
                f"\n    {_ENQUEUE}",
                "pass",
            ),
            "words",
        ),
        Wrong("no job", _documents(_INSERT, _COUNT), "no-job"),
        Wrong("the job first", _documents(f"{_ENQUEUE}\n    {_INSERT}", _COUNT), "job-first"),
    ),
    messages={
        "no-job": "`hand_over` has to enqueue one job for `count`.",
        "job-first": "The job is in the queue, and the document is not in its table yet: a consumer that is quick finds "
        "nothing.",
        "too-big": "The payload is still larger than a hundred bytes, or empty. A number is enough.",
        "no-body": "The whole text has to be in the column `body`.",
        "words": "The words are to be counted by the job, and written into `words`.",
    },
)


async def says_what_is_missing(answer: Answer) -> None:
    await answer.sql(
        "CREATE TABLE documents (id int PRIMARY KEY, body text, words int);"
        "INSERT INTO documents VALUES (7, 'to be or not', NULL), (9, 'that is the question now', NULL);"
    )
    await answer.enqueue("count", [b"7", b"8", b"9"])
    await answer.run(count=answer["count_words"])
    log = await answer.sql(
        "SELECT job_id, status::text, traceback->>'exception_type', traceback->>'exception_message'"
        " FROM pgqueuer_log WHERE status NOT IN ('queued', 'picked') ORDER BY job_id"
    )
    rows = await answer.sql("SELECT id, words FROM documents ORDER BY id")
    answer.same(rows, [(7, 4), (9, 5)], "the-others", columns=("id", "words"))
    columns = ("document", "status", "exception", "its text")
    have = [(7 + number, *row[1:]) for number, row in enumerate(log)]
    want = [(8, "exception", "LookupError", "there is no document 8")]
    missing = [row for row in have if row[0] == 8]
    if not missing or missing[0][1] != "exception":
        answer.same(missing, want, "silent", columns=columns)
    if "8" not in str(missing[0][3]):
        answer.same(missing, want, "unclear", columns=columns)


def _count_words(middle: str) -> str:
    return f"""async def count_words(job: Job) -> None:
    db = await asyncpg.connect()
    body = await db.fetchval("SELECT body FROM documents WHERE id = $1", int(job.payload))
    {middle}
    await db.execute("UPDATE documents SET words = $1 WHERE id = $2", len(body.split()), int(job.payload))
    await db.close()
"""


DANGLING = Exercise(
    id="dangling",
    kind="complete",
    title="What it did not find",
    minutes=3,
    task="A document may be deleted while its job waits. Let the handler then end with an exception that says *which* "
    "document was not there. The other jobs go on.",
    given=NOTEBOOK,
    names=("count_words",),
    stub=_count_words("").replace("    \n", "").rstrip(),
    solution=_count_words('if body is None:\n        raise LookupError(f"there is no document {int(job.payload)}")'),
    also=(
        _count_words('assert body is not None, job.payload.decode() + " is not there"'),
        _count_words('if not body:\n        await db.close()\n        raise KeyError(int(job.payload))'),
    ),
    check=says_what_is_missing,
    hints=(
        "What does `fetchval` give where there is no row?",
        "Ask for `None` right after it, and raise something of your own.",
        '`if body is None: raise LookupError(f"there is no document {int(job.payload)}")`.',
    ),
    why="The exception ends in the log, and whoever reads it there has nothing else: the payload is gone. "
    "`'NoneType' object has no attribute 'split'` would tell them nothing.",
    wrong=(
        Wrong("returns silently", _count_words("if body is None:\n        return"), "silent"),
        Wrong("says so to nobody", _count_words('if body is None:\n        return print("there is no document", job.payload)'), "silent"),
        Wrong("does not say which", _count_words('if body is None:\n        raise LookupError("there is no such document")'), "unclear"),
        Wrong("an empty document instead", _count_words('body = body or ""'), "silent"),
        Wrong("skips them all", _count_words('raise LookupError(f"there is no document {int(job.payload)}")'), "the-others"),
    ),
    messages={
        "silent": "The job of document 8, which is not there, counts as successful. Nobody will ever hear of it.",
        "unclear": "The job ends with an exception, and its text does not say which document was not there.",
        "the-others": "The other two documents are there, and their words have to be counted.",
    },
    equivalent={
        "'there is no document ' is ''": 'the number alone says which',
    },
)  # fmt: skip


async def headers_travel(answer: Answer) -> None:
    headers = [{"request": "r-1"}, {"request": "r-2", "user": "ada"}, None, {"request": "r-4"}]
    await answer.enqueue("order", [b"1", b"2", b"3", b"4"], headers=headers)
    await answer.run(order=answer["order"])
    await answer.no_exceptions()
    jobs = await answer.sql(
        "SELECT convert_from(payload, 'UTF8'), headers->>'request' FROM pgqueuer WHERE entrypoint = 'mail' ORDER BY 1"
    )
    want = [("1", "r-1"), ("2", "r-2"), ("3", None), ("4", "r-4")]
    columns = ("payload", "request")
    if [row[0] for row in jobs] != ["1", "2", "3", "4"]:
        answer.same(jobs, want, "payload", columns=columns)
    if all(request is None for _, request in jobs):
        answer.same(jobs, want, "no-headers", columns=columns)
    answer.same(jobs, want, "another-jobs", columns=columns)


def _order(line: str, before: str = "") -> str:
    return f"""{before}async def order(job: Job, context: Context) -> None:
    {line}
"""


HEADERS = Exercise(
    id="headers",
    kind="complete",
    title="The request goes on",
    minutes=4,
    task='A job of `order` enqueues one of `mail`, with the same payload. Let the header `"request"` go along, so that '
    "both can be found by it. Some jobs have no headers. (`resources[\"q\"]` is a `Queries`.)",
    given=NOTEBOOK,
    names=("order",),
    stub="from pgqueuer.models import Context\n\n" + _order('await context.resources["q"].enqueue("mail", job.payload)').rstrip(),
    solution=_order('await context.resources["q"].enqueue("mail", job.payload, headers=job.headers)'),
    also=(
        _order(
            'about = {"request": job.headers["request"]} if job.headers else None\n'
            '    await context.resources["q"].enqueue(["mail"], [job.payload], [0], headers=[about])'
        ),
    ),
    check=headers_travel,
    hints=(
        "The job has its headers as an attribute, a dictionary or None.",
        "`enqueue` takes `headers=`, as section 3 shows.",
        '`enqueue("mail", job.payload, headers=job.headers)`.',
    ),
    why="Headers are about the job, so they go from job to job without anybody having to change a payload. That is how "
    "tracing tools follow one click through ten jobs.",
    wrong=(
        Wrong(
            "into the payload",
            _order('await context.resources["q"].enqueue("mail", job.payload + b" " + str(job.headers).encode())'),
            "payload",
        ),
        Wrong(
            "a global that the jobs share",
            _order(
                'about.update(job.headers or {})\n    await context.resources["q"].enqueue("mail", job.payload, headers=about)',
                "about = {}\n\n",
            ),
            "another-jobs",
        ),
        Wrong(
            "all headers in one",
            _order('await context.resources["q"].enqueue("mail", job.payload, headers={"request": job.headers})'),
            "another-jobs",
        ),
        Wrong(
            "only with headers",
            _order('if job.headers:\n        await context.resources["q"].enqueue("mail", job.payload, headers=job.headers)'),
            "payload",
        ),
        Wrong("a missing await", _order('context.resources["q"].enqueue("mail", job.payload, headers=job.headers)'), "payload"),
        Wrong(
            "no thought of None",
            _order('await context.resources["q"].enqueue("mail", job.payload, headers={"request": job.headers["request"]})'),
            "raised",
        ),
        Wrong(
            "another name",
            _order('await context.resources["q"].enqueue("mail", job.payload, headers={"about": str(job.headers)})'),
            "no-headers",
        ),
    ),
    messages={
        "payload": "Each job of `order` has to enqueue one of `mail`, with the same payload.",
        "no-headers": "No job of `mail` has the header `request`.",
        "another-jobs": "A job of `mail` has another request than its `order`, which may have none.",
    },
)  # fmt: skip

EXERCISES = (HEADERS, REFERENCE, DANGLING, RESIZE)
