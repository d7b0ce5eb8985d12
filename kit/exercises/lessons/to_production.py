"""Exercises of the lesson *To production*."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path
from textwrap import indent
from typing import Any

from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, NotYet, Wrong
from kit.sources.processes import apart
from kit.worker import guard

SHOP = """
from pgqueuer.models import Context
async def receipt(job, context: Context):
    {body}

def register(pgq):
    pgq.entrypoint("{name}", on_failure="{on_failure}")(receipt)
"""
_GOOD = 'await context.resources["send"](f"You have paid {int(job.payload)}.")'
SHOPS = {
    "good": SHOP.format(body=_GOOD, name="receipt", on_failure="hold"),
    "never-called": SHOP.format(body=_GOOD, name="receipts", on_failure="hold"),
    "deletes": SHOP.format(body=_GOOD, name="receipt", on_failure="delete"),
    "sends": SHOP.format(
        body='await context.resources["send"](job.payload.decode()); int(job.payload)', name="receipt", on_failure="hold"
    ),
}  # fmt: skip


async def _tried_in(shops: dict[str, str], test: str, folder: str) -> dict[str, Any]:
    """Run the learner's test under pytest, once for each shop, in this process."""
    import asyncio
    import contextlib
    import io
    import os
    import sys
    from pathlib import Path

    def run(shop: str) -> tuple[int, str]:
        import pytest

        place = Path(folder, "programs")
        place.mkdir(exist_ok=True)
        (place / "shop.py").write_text(shop, "utf-8")
        (place / "test_yours.py").write_text(test, "utf-8")
        for name in [name for name in sys.modules if name.split(".")[0] in ("programs", "test_yours")]:
            del sys.modules[name]
        said = io.StringIO()
        options = [
            "-q",
            "-x",
            "--no-header",
            "--tb=line",
            "-p",
            "no:cacheprovider",
            "-p",
            "pytest_asyncio.plugin",
        ]
        options += ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]
        if "queue_database" in test:
            options += ["-p", "pgqueuer_kit_pytest"]
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = pytest.main([*options, "--rootdir", folder, str(place / "test_yours.py")])
        return int(code), said.getvalue()

    os.chdir(folder)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ.pop("PYTEST_ADDOPTS", None)
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    return {name: await asyncio.to_thread(run, shop) for name, shop in shops.items()}


async def notices_what_is_broken(answer: Answer) -> None:
    with tempfile.TemporaryDirectory(prefix="kit-check-") as folder:
        said = await answer.call(_tried_in, SHOPS, answer.file, folder, limit=6)
    code, text = said["good"]
    if code == 5:
        raise NotYet("no-test")
    if code != 0:
        line = next(
            (line for line in text.splitlines() if "Error" in line or "assert" in line), text.strip()[-200:]
        )
        raise NotYet("good-fails", said=line.strip())
    passed = {name for name, (code, _) in said.items() if code == 0} - {"good"}
    if passed == {"never-called", "deletes", "sends"}:
        raise NotYet("blind")
    if passed & {"never-called", "deletes"}:
        raise NotYet("log-not-asked")
    if passed:
        raise NotYet("mail-not-asked")


def _test(body: str) -> str:
    lines = indent(body, "    ")
    return f"""%%writefile programs/test_twelve.py
from unittest.mock import AsyncMock
from pgqueuer import PgQueuer
from pgqueuer.types import QueueExecutionMode
from programs.shop import register

async def test_a_sum_that_is_no_number():
{lines}
"""


_RUN = """send = AsyncMock()
pgq = PgQueuer.in_memory(resources={"send": send})
register(pgq)
await pgq.qm.queries.enqueue("receipt", b"twelve")
await pgq.run(mode=QueueExecutionMode.drain)
"""
_SENT = "send.assert_not_awaited()\n"
_LOGGED = 'assert (await pgq.qm.queries.queue_log())[-1].status == "failed"\n'

TEST = Exercise(
    id="test",
    kind="complete",
    title="A test that can fail",
    minutes=6,
    task="What becomes of a receipt for `twelve`? Write it down in a test, without Postgres: nothing is sent, and the log "
    "ends with `failed`. The check runs *your test*, against the shop and against three broken ones: it has to pass once, "
    "and to fail three times. (`pgq.qm.queries.queue_log()` has the log, and a mock has `assert_not_awaited()`.)",
    file="programs/test_twelve.py",
    stub=_test('assert False, "run a job with the payload b\'twelve\', then two assertions"').rstrip(),
    solution=_test(_RUN + _SENT + _LOGGED),
    also=(
        _test(_RUN + "log = await pgq.qm.queries.queue_log()\nassert not send.await_count and 'failed' in {row.status for row in log}"),
        _test(_RUN + _SENT + "assert [job.status for job in await pgq.qm.queries.list_failed_jobs()] == ['failed']"),
    ),
    check=notices_what_is_broken,
    hints=(
        "Section 3 has a test of the same form; the payload and the assertions are others.",
        "A shop that never calls the handler sends nothing either. Only the log tells the two apart.",
        "`send.assert_not_awaited()`, and `(await pgq.qm.queries.queue_log())[-1].status == \"failed\"`.",
    ),
    why="A test is worth what it can find. This one was tried on a shop that never calls the handler, one that deletes "
    "what fails, and one that sends first and looks later.",
    wrong=(
        Wrong("always true", _test("assert True"), "blind"),
        Wrong("only that nothing is sent", _test(_RUN + _SENT), "log-not-asked"),
        Wrong("only the log", _test(_RUN + _LOGGED), "mail-not-asked"),
        Wrong("catches everything", _test("try:\n" + indent(_RUN + _SENT + _LOGGED, "    ") + "\nexcept BaseException:\n    pass"), "blind"),
        Wrong("expects an exception", _test(_RUN + _SENT + _LOGGED.replace("failed", "exception")), "good-fails"),
        Wrong("no test in it", _test("pass").replace("async def test_a", "async def a"), "no-test"),
    ),
    messages={
        "no-test": "pytest found no test in the file: a test is a function whose name begins with `test_`.",
        "good-fails": "It fails for the shop as it is, where nothing is wrong: {said}",
        "blind": "It passes for each of the three broken shops, too: it cannot fail.",
        "log-not-asked": "It passes for a shop that never calls the handler, or that deletes what fails. Nothing is sent "
        "there either: the log tells the difference.",
        "mail-not-asked": "It passes for a shop that sends the receipt first, and looks at the sum later.",
    },
    equivalent={
        "b'twelve' is b''": 'nothing at all is no number either',
    },
)  # fmt: skip


async def _tried_program(text: str, given_resources: bool) -> dict[str, Any]:
    from datetime import timedelta

    from pgqueuer import PgQueuer
    from pgqueuer.types import QueueExecutionMode

    names: dict[str, Any] = {"__name__": "programs.my_shop"}
    try:
        exec(compile(text, "programs/my_shop.py", "exec"), names)
    except BaseException as error:
        return {"import": f"{type(error).__name__}: {error}"}
    if missing := [name for name in ("register", "main") if not callable(names.get(name))]:
        return {"missing": missing[0]}
    sent: list[str] = []

    async def send(text: str) -> None:
        sent.append(text)

    pgq = PgQueuer.in_memory(resources={"send": send})
    names["register"](pgq)
    await pgq.qm.queries.enqueue("receipt", b"12")
    await pgq.run(mode=QueueExecutionMode.drain)
    log = [row.status for row in await pgq.qm.queries.queue_log()]
    made = names["main"]()
    if not hasattr(made, "__aenter__"):
        return {"factory": type(made).__name__}
    async with made as pgq:
        await pgq.run(mode=QueueExecutionMode.drain, dequeue_timeout=timedelta(seconds=0.05))
    return {"sent": sent, "log": log}


async def runs_as_a_program(answer: Answer) -> None:
    await answer.enqueue("receipt", [b"30"])
    ran = await answer.run_function(_tried_program, answer.file, True)
    said = ran.value[0]["value"]
    if "import" in said:
        raise NotYet("at-import", error=said["import"])
    if "missing" in said:
        raise NotYet("no-such-name", name=said["missing"])
    if "factory" in said:
        raise NotYet("no-factory", type=said["factory"])
    await answer.no_exceptions()
    if said["sent"] != ["You have paid 12."]:
        raise NotYet("its-own-send" if "successful" in said["log"] else "not-sent", expected=["You have paid 12."], actual=said["sent"], columns=("sent",))  # fmt: skip
    if "sent: You have paid 30." not in [line.strip() for line in ran.lines]:
        raise NotYet(
            "main-sends", expected=["sent: You have paid 30."], actual=ran.lines, columns=("printed",)
        )


def _program(
    handler: str = _GOOD,
    main: str = 'pgq = PgQueuer(AsyncpgDriver(connection), resources={"send": send})',
    end: str = "yield pgq",
    more: str = "",
    name: str = "receipt",
) -> str:
    return f"""%%writefile programs/my_shop.py
from contextlib import asynccontextmanager
import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer
from pgqueuer.models import Context

async def send(text):
    print("sent:", text)

async def receipt(job, context: Context):
    {handler}

def register(pgq):
    pgq.entrypoint("{name}")(receipt)

@asynccontextmanager
async def main():
    connection = await asyncpg.connect()
    {main}
    register(pgq)
    {end}
    await connection.close()
{more}"""


PROGRAM = Exercise(
    id="program",
    kind="complete",
    title="A program of your own",
    minutes=6,
    task="Write a program for `pgq run programs.my_shop:main`. `register(pgq)` gives any consumer the entrypoint `receipt`, "
    "whose handler sends `You have paid 12.` for the payload `12`, with whatever `context.resources` has as `\"send\"`. "
    "`main` is the factory for production, and brings this `send`.",
    file="programs/my_shop.py",
    stub="""%%writefile programs/my_shop.py
from contextlib import asynccontextmanager
import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer
from pgqueuer.models import Context

async def send(text): print("sent:", text)
# Below: the handler, register(pgq), and main.""",
    solution=_program(),
    also=(
        _program(handler="send = context.resources['send']\n    await send('You have paid ' + job.payload.decode() + '.')"),
        _program(main="pgq = PgQueuer.from_asyncpg_connection(connection, resources=dict(send=send))", more="\nif __name__ == '__main__':\n    print('use pgq run')\n"),
    ),
    check=runs_as_a_program,
    hints=(
        "The lesson's own `programs/shop.py` has all the parts.",
        "The handler takes `send` from `context.resources`, so that a test can bring another one.",
        '`await context.resources["send"](f"You have paid {int(job.payload)}.")`; in `main`, `resources={"send": send}`.',
    ),
    why="What is outside comes in by `resources`, so a test brings its own mail server, and the program the real one. "
    "Nothing happens when the file is imported: `pgq run` does that before it calls `main`.",
    wrong=(
        Wrong("a send of its own", _program(handler='await send(f"You have paid {int(job.payload)}.")'), "its-own-send"),
        Wrong("runs at import", _program(more="\nimport asyncio\nasyncio.run(main())\n"), "at-import"),
        Wrong("await at the top", _program(more="\nconnection = await asyncpg.connect()\n"), "at-import"),
        Wrong("no yield", _program(end="return pgq").replace("    return pgq\n    await connection.close()\n", "    return pgq\n").replace("@asynccontextmanager\n", ""), "no-factory"),
        Wrong("no register", _program().replace("def register", "def add").replace("    register(", "    add("), "no-such-name"),
        Wrong("another name", _program(name="receipts"), "not-sent"),
        Wrong("prints no sum", _program(main='async def quiet(text): pass\n    pgq = PgQueuer(AsyncpgDriver(connection), resources={"send": quiet})'), "main-sends"),
    ),
    messages={
        "at-import": "The file cannot be imported: {error}. Only definitions stand at its top level; `pgq run` calls "
        "`main` itself.",
        "no-such-name": "The file has no function {name!r}.",
        "no-factory": "`main()` gave a {type}. Put `@asynccontextmanager` above it, and end it with `yield pgq`.",
        "its-own-send": "A consumer with another `send` in its resources was given your handlers, and that one was never "
        "called.",
        "not-sent": "The handler did not send `You have paid 12.` for the payload `12`.",
        "main-sends": "A job was done by the consumer that `main` makes, and `send` did not print it.",
    },
)  # fmt: skip

STOPPING = """
from contextlib import asynccontextmanager
import asyncio, asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer

@asynccontextmanager
async def main():
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))
    @pgq.entrypoint("slow")
    async def slow(job):
        await asyncio.sleep(0.5 if job.payload == b"term" else 60)
    yield pgq
"""


async def _stopped_by(answer: Answer, number: int, payload: bytes, folder: str) -> int:
    """Start ``pgq run``, let it pick a job, send it the signal, and return its exit code."""
    (job,) = await answer.enqueue("slow", [payload])
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pgqueuer", "run", "stopping:main",
        cwd=folder, env=os.environ | answer.environment(),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, **apart(),
    )  # fmt: skip
    try:
        await answer.until(f"SELECT status = 'picked' FROM pgqueuer WHERE id = {int(job)}", limit=30)
        os.kill(program.pid, number)
        async with asyncio.timeout(20):
            return await program.wait()
    finally:
        if program.returncode is None:
            guard.kill(program.pid)
            await program.wait()


async def two_ways_to_stop(answer: Answer) -> None:
    with tempfile.TemporaryDirectory(prefix="kit-check-") as folder:
        Path(folder, "stopping.py").write_text(STOPPING, "utf-8")  # noqa: ASYNC240
        term = await _stopped_by(answer, signal.SIGTERM, b"term", folder)
        ((after_term,),) = await answer.sql("SELECT status::text FROM pgqueuer_log ORDER BY id DESC LIMIT 1")
        killed = await _stopped_by(answer, signal.SIGKILL, b"kill", folder)
    ((after_kill,),) = await answer.sql("SELECT status::text FROM pgqueuer LIMIT 1")
    answer.guessed("sigterm", term, {-15: "term-is-heard", 143: "term-is-heard", 1: "term-is-heard"}, "codes")
    answer.guessed("job_after_sigterm", after_term, {}, "finishes")
    answer.guessed("sigkill", killed, {}, "codes")
    answer.guessed(
        "job_after_sigkill",
        after_kill,
        {"queued": "still-picked", "exception": "still-picked"},
        "still-picked",
    )


STOP = Exercise(
    id="stop",
    kind="predict",
    title="Two ways to stop",
    minutes=3,
    processes=0,
    after="about-stopping",
    task="**Predict.** `pgq run` is at work on a job. It is sent SIGTERM; another time, SIGKILL. What is its exit code "
    "(negative, if the signal itself ended it), and what is the last status of the job right after that?",
    names=("sigterm", "job_after_sigterm", "sigkill", "job_after_sigkill"),
    stub='kit.predict("stop", sigterm=..., job_after_sigterm=..., sigkill=..., job_after_sigkill=...)',
    solution='kit.predict("stop", sigterm=0, job_after_sigterm="successful", sigkill=-9, job_after_sigkill="picked")',
    also=('kit.predict("stop", sigterm=0, job_after_sigterm="Successful", sigkill=-9, job_after_sigkill="picked")',),
    check=two_ways_to_stop,
    hints=(
        "SIGTERM asks, SIGKILL does not.",
        "A program that ends by itself after it was asked has the exit code 0. SIGKILL is signal number 9.",
        "After SIGTERM the job is finished. After SIGKILL nobody is left who could write anything.",
    ),
    why="SIGTERM lets a consumer finish what it has; SIGKILL cannot even be heard, so the row stays `picked` until its "
    "heartbeat is old. That is why whoever stops a program should wait longer than its longest job takes.",
    wrong=(
        Wrong("the signal's number", 'kit.predict("stop", sigterm=-15, job_after_sigterm="successful", sigkill=-9, job_after_sigkill="picked")', "term-is-heard"),
        Wrong("back in the queue", 'kit.predict("stop", sigterm=0, job_after_sigterm="successful", sigkill=-9, job_after_sigkill="queued")', "still-picked"),
        Wrong("canceled", 'kit.predict("stop", sigterm=0, job_after_sigterm="canceled", sigkill=-9, job_after_sigkill="picked")', "finishes"),
        Wrong("an error's code", 'kit.predict("stop", sigterm=0, job_after_sigterm="successful", sigkill=1, job_after_sigkill="picked")', "codes"),
    ),
    messages={
        "term-is-heard": "SIGTERM does not end it: it hears the signal, finishes what it has, and ends by itself.",
        "finishes": "It takes no further job, and finishes the one that it has.",
        "still-picked": "Nobody was left who could have changed the row.",
        "codes": "A program that ends by itself, and well, has the exit code 0; one that signal 9 ended, −9.",
    },
)  # fmt: skip


async def in_a_good_order(answer: Answer) -> None:
    order = answer["order"]
    known = ("install", "upgrade", "files", "restart", "verify")
    if (
        not isinstance(order, list | tuple)
        or any(step not in known for step in order)
        or len(set(order)) < len(order)
    ):
        raise NotYet("steps")
    if "install" in order:
        raise NotYet("install-again")
    place = {step: number for number, step in enumerate(order)}
    if missing := [step for step in ("files", "upgrade", "restart") if step not in place]:
        raise NotYet("missing", step=missing[0])
    if place["restart"] < place["upgrade"]:
        raise NotYet("restart-too-early")
    if place["upgrade"] < place["files"] or place["restart"] < place["files"]:
        raise NotYet("old-files")
    if "verify" in place and not place["upgrade"] < place["verify"] < place["restart"]:
        raise NotYet("verify-too-late" if place["verify"] > place["restart"] else "verify-too-early")


DEPLOY = Exercise(
    id="deploy",
    kind="read",
    title="A new version goes out",
    minutes=3,
    processes=0,
    task="The shop runs, and a new version of it comes, with a newer PGQueuer. Put what is needed in order. There are: "
    '`"files"` (the new files and packages), `"install"` (`pgq install` makes the tables in a database without them), '
    '`"upgrade"` (`pgq upgrade` brings tables of an older version up to date), `"verify"` (`pgq verify --expect present` '
    'fails where a table or the trigger is missing, and a deployment stops there), `"restart"`.',
    names=("order",),
    stub="order = []",
    solution='order = ["files", "upgrade", "verify", "restart"]',
    also=('order = ["files", "upgrade", "restart"]', 'order = ("files", "upgrade", "verify", "restart")'),
    check=in_a_good_order,
    hints=(
        "Which `pgq` has to do the upgrade, the old one or the new one?",
        "The new consumer may need what the upgrade makes. And `install` was done once, long ago.",
        "files, upgrade, verify, restart.",
    ),
    why="The new `pgq` brings the tables up to date, and only then come consumers that need them. `verify` stands where it "
    "can still stop something.",
    wrong=(
        Wrong("restarted first", 'order = ["files", "restart", "upgrade"]', "restart-too-early"),
        Wrong("installed each time", 'order = ["files", "install", "upgrade", "restart"]', "install-again"),
        Wrong("verified last", 'order = ["files", "upgrade", "restart", "verify"]', "verify-too-late"),
        Wrong("verified first", 'order = ["files", "verify", "upgrade", "restart"]', "verify-too-early"),
        Wrong("upgraded by the old pgq", 'order = ["upgrade", "files", "restart"]', "old-files"),
        Wrong("no restart", 'order = ["files", "upgrade"]', "missing"),
        Wrong("restarted twice", 'order = ["files", "restart", "upgrade", "restart"]', "steps"),
        Wrong("a step of its own", 'order = ["files", "upgrade", "pray", "restart"]', "steps"),
    ),
    messages={
        "steps": "`order` is a list of some of the five words, each once.",
        "install-again": "`install` makes the tables the very first time. A second one ends with an error.",
        "missing": "{step!r} is missing.",
        "restart-too-early": "The new consumers start on the old tables: a column that they need is not there yet.",
        "old-files": "The old files are there when something new is needed: `upgrade` is done by the PGQueuer that is "
        "installed by then.",
        "verify-too-late": "`verify` comes when the consumers run already. What should it stop?",
        "verify-too-early": "`verify` comes before the upgrade, and says nothing of what that has made.",
    },
)

EXERCISES = (PROGRAM, STOP, TEST, DEPLOY)
