"""Hints: what to do about an error, in one line above it.

The lessons call asyncpg, psycopg and PGQueuer directly, so learners meet their errors and Python's own. A
hint is a row of `HINTS`. It says only what its row proves: after one wrong hint no hint is believed.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import difflib
import inspect
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit import notebook
from kit.errors import unawaited
from kit.errors.place import failing_code, is_learners, learners_frames, place
from kit.errors.postgres import NO_TABLES, TABLES, kind, sqlstate
from kit.errors.text import one_line
from kit.internals import connection_of


@dataclass(frozen=True)
class Hint:
    """The hint for one mistake.

    Attributes:
        error: a regular expression, searched for in the error as one line with its package and SQLSTATE:
            ``asyncpg.DataError 22000: invalid input …``.
        text: the hint, in which ``{name}`` stands for the group of that name; or a function that returns it,
            or None.
        through: a regular expression, searched for in the functions that the error came through, outermost
            first: ``own:<module> / pgqueuer.queries:enqueue / …``. A module that a learner wrote is ``own``.
    """

    error: str
    text: str | Callable[[Any, re.Match[str]], str | None]
    through: str = ""


OWN = r"own:[^/]*$"  # raised by a line that a learner wrote
ENQUEUE = r"queries:enqueue\b"
DRIVER = r"\b(asyncpg|psycopg)\."
MAGIC = (
    "%%time, %%capture and others that begin with % run code by themselves, where `await` does not work. "
    "Leave that out."
)


def show() -> None:
    """Show hints in this notebook. A second call, or one outside a notebook, does nothing."""
    if unawaited.show():
        notebook.explain_errors(_for_a_cell, learners_frames)


def in_one_line(error: BaseException) -> str:
    """Return an exception with the cell and line it came from, and with its hint if there is one."""
    line = f"{one_line(error)}{place(error, cells_only=True)}"
    helps = hint(error)
    return f"{line}. {helps}" if helps is not None else line


def hint(error: BaseException) -> str | None:
    """Return what to do about ``error``, in one line; None when its own text says enough."""
    try:
        line = f"{kind(type(error)).removeprefix('builtins.')} {sqlstate(error)}".rstrip() + f": {error}"
    except Exception:
        return None
    way = " / ".join(
        f"{'own' if is_learners(code.co_filename) else frame.f_globals.get('__name__')}:{code.co_name}"
        for frame, _ in traceback.walk_tb(error.__traceback__)
        for code in [frame.f_code]
    )
    for row in HINTS:
        found = re.search(row.error, line)
        if found is None or not re.search(row.through, way):
            continue
        text = row.text.format(**found.groupdict()) if isinstance(row.text, str) else row.text(error, found)
        if text is not None:
            return text
    return None


# Hints that depend on more than the error's text


def _unknown_name(error: NameError, found: re.Match[str]) -> str:
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    name, file = found["name"], frame.f_code.co_filename
    if notebook.cell_name(file) is None:
        return f"{Path(file).name} has no name {name!r}: a file knows only what it imports or makes itself."
    functions = map(inspect.unwrap, filter(inspect.isfunction, [*frame.f_globals.values()]))
    for code in (made.__code__ for made in functions if inspect.isfunction(made)):
        if name in code.co_varnames + code.co_cellvars:
            inside = (
                f"{name!r} is known only inside of {code.co_name}(), which makes it: write this line there"
            )
            return f"{inside}, indented; or run the cell above that makes another one."
    # A short name is near too many of Python's own: `main` is not `min`, nor `age` a `range`.
    known = [*frame.f_locals, *frame.f_globals, *(dir(builtins) if len(name) > 4 else ())]
    if alike := difflib.get_close_matches(name, known, 1, 0.75):
        return (
            f"This notebook has no name {name!r}. Is {alike[0]!r} meant? If not, first run the cells above."
        )
    return (
        f"This notebook has no name {name!r} yet. Run the cells above first, from the top: a "
        "restarted kernel has forgotten all that they made. If it is a text, put it in quotes."
    )


def _second_loop(error: RuntimeError, _found: re.Match[str]) -> str | None:
    frames = learners_frames(error.__traceback__)
    if not frames:
        return MAGIC
    frame = frames[-1].tb_frame
    code, file = frame.f_code, Path(frame.f_code.co_filename).name
    in_cell, top = notebook.cell_name(code.co_filename) is not None, code.co_name.startswith("<")
    if top and not in_cell:
        return (
            f"A notebook has a loop that runs already, and {file} starts one. Run it as a program: "
            f"!python {file}"
        )
    if not top and not code.co_flags & inspect.CO_COROUTINE:
        return (
            f"A notebook's loop runs already, and {code.co_name} starts one. In another thread it can: "
            f"`await asyncio.to_thread({code.co_name})`."
        )
    match failing_code(error):
        case ast.Call(args=[ast.Call() as call, *_]):
            awaited = ast.unparse(call)
        case ast.Call(args=[ast.Name(name)]) if asyncio.iscoroutine(_known(frame, name)):
            awaited = name
        case ast.Call(args=[ast.Name() | ast.Attribute() as function, *more]):
            awaited = f"{ast.unparse(function)}({', '.join(map(ast.unparse, more))})"
        case _:
            awaited = "main()"
    name = awaited.partition("(")[0]
    if _runs_a_consumer(_known(frame, name)):
        return (
            f"`await {awaited}` would not come back, because {name} runs a consumer. Let {name} end with "
            f"`yield pgq` under @asynccontextmanager, and write kit.run({name})."
        )
    why = "A notebook has a loop that runs already, so a cell awaits by itself."
    if not top:
        why = "A loop runs in here already."
    return f"{why} Write `await {awaited}` instead."


def _for_a_cell(error: BaseException) -> str | None:
    line = hint(error)
    if line is not None and isinstance(error, RuntimeError):
        # Or Python also warns of the coroutine that asyncio.run refused, in the cell that drops the error.
        for frame, _ in traceback.walk_tb(error.__traceback__):
            for value in [] if is_learners(frame.f_code.co_filename) else frame.f_locals.values():
                if inspect.iscoroutine(value) and inspect.getcoroutinestate(value) == inspect.CORO_CREATED:
                    value.close()
    return line


def _known(frame: Any, name: str) -> Any:
    return frame.f_locals.get(name, frame.f_globals.get(name))


def _runs_a_consumer(function: Any) -> bool:
    names = set(getattr(getattr(function, "__code__", None), "co_names", ()))
    ends = {"drain", "wait_for", "timeout", "shutdown", "create_task"}
    return {"entrypoint", "run"} <= names and not names & ends


_CALLED = "This is a plain call, and it has done its work already. Write it without await."
# By the type of the value after `await`: what to do about it.
_NOT_AWAITABLE = {
    r"function|method|builtin_function_or_method": "Nothing was called: `{code}` lacks its ( ).",
    r"Transaction|CompletionWatcher|Timeout|TaskGroup|\w*AsyncGeneratorContextManager": (
        "Nothing was done: it is for a block. Write `async with {code}:`, and indented below it what is done."
    ),
    r"async_generator": "Nothing was done: its values come one by one, with `async for … in {code}:`.",
    r"list|tuple|set|generator": "`await` takes one call; `await asyncio.gather(*{code})` takes several.",
    r"\w+": "There is nothing to wait for: {code} is of type {kind}. Write it without await.",
}


def _not_awaitable(error: TypeError, found: re.Match[str]) -> str:
    given = found[1] or found[2]
    code = failing_code(error)
    value = code.value if isinstance(code, ast.Await) else None
    text = next(text for pattern, text in _NOT_AWAITABLE.items() if re.fullmatch(pattern, given))
    if given == "Runner":
        return "The consumer runs: kit.run is a plain call. Write kit.run(main), without await."
    if isinstance(value, ast.Call) and not text.startswith("Nothing was done"):
        return _CALLED
    return text.format(code="it" if value is None else ast.unparse(value), kind=given)


def _duplicate(error: Any, _found: re.Match[str]) -> str:
    cause = error.__cause__
    diagnosis = getattr(cause, "diag", cause)  # psycopg's, or asyncpg's error itself
    index, detail = getattr(diagnosis, "constraint_name", None), getattr(diagnosis, "message_detail", None)
    detail = detail or getattr(cause, "detail", None) or ""
    if index is not None and not index.endswith("_unique_dedupe_key"):
        return (
            f"Nothing was enqueued: the unique index {index!r}, which is not PGQueuer's, refuses it. {detail}"
        )
    keys = [key for key in error.dedupe_key if key is not None]
    same = re.match(r"Key \(dedupe_key\)=\((.*)\) already exists", detail)
    twice = next((key for key in keys if keys.count(key) > 1), None)
    key = same[1] if same else twice or (keys[0] if len(keys) == 1 else None)
    if keys.count(key) > 1:
        return f"Nothing was enqueued: the dedupe_key {key!r} stands more than once in this call."
    which = f"A job with the dedupe_key {key!r}" if key is not None else f"A job with one of {keys}"
    return (
        f"{which} is queued or picked already, so nothing was enqueued. "
        'on_conflict="skip" leaves such jobs out without an error.'
    )


def _quoted(error: BaseException, found: re.Match[str]) -> str | None:
    if not any(f'"{found["name"]}"' in str(query) for query in _locals(error, "query")):
        return None
    return (
        "In SQL double quotes name a column, and there is none of this name. "
        f"A text has single quotes: '{found['name']}'."
    )


def _two_columns(error: BaseException, found: re.Match[str]) -> str | None:
    levels = [frame.columns.nlevels for frame in _locals(error, "self") if hasattr(frame, "columns")]
    if set(levels) != {1}:
        return None
    return f"Several columns are a list, in brackets of its own: [[{found['names']}]]."


def _wrong_connection(error: BaseException, _found: re.Match[str]) -> str | None:
    drivers = [driver for driver in _locals(error, "self") if type(driver).__name__ in _TAKES]
    return wrong_connection(drivers[-1]) if drivers else None


# The connection that each driver takes, and the call that makes it.
_TAKES = {
    "AsyncpgDriver": ("asyncpg.Connection", "asyncpg.connect()"),
    "AsyncpgPoolDriver": ("asyncpg.Pool", "asyncpg.create_pool()"),
    "PsycopgDriver": ("psycopg.AsyncConnection", "psycopg.AsyncConnection.connect(autocommit=True)"),
    "SyncPsycopgDriver": ("psycopg.Connection", "psycopg.connect(autocommit=True)"),
}


def wrong_connection(driver: Any) -> str | None:
    """Return what to write if a driver got another driver's connection, or one that was not awaited."""
    held = connection_of(driver)
    name = next((base.__name__ for base in type(driver).__mro__ if base.__name__ in _TAKES), None)
    if name is None:
        return None
    wanted, made = _TAKES[name]
    if inspect.iscoroutine(held):
        return f"{name} got a connection that was not awaited. Write {name}(await {made})."
    homes = {given: other for other, (given, _) in _TAKES.items()}
    given = next((each for each in map(kind, type(held).__mro__) if each in homes), wanted)
    return None if given == wanted else f"{name} takes {wanted}, not {given}: that is for {homes[given]}."


def _locals(error: BaseException, name: str) -> Iterator[Any]:
    """Yield the local variables ``name`` of the library functions in the error's traceback."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if name in frame.f_locals and not is_learners(frame.f_code.co_filename):
            yield frame.f_locals[name]


HINTS = (
    # Python's own
    Hint(r"^NameError: name '(?P<name>\w+)' is not defined", _unknown_name, OWN),
    Hint(
        r"^RuntimeError: .*(from a running event loop|loop is already running|Already running asyncio)",
        _second_loop,
    ),
    Hint(r"^SyntaxError: 'await' outside function", MAGIC, r"IPython[\w.]*:time"),
    Hint(
        r"^RuntimeError: .*attached to a different loop",
        "It belongs to the loop it was made on: make it where it is used, for a handler inside main(), not "
        "in a cell. What was sent has probably been done, and only the answer is lost.",
    ),
    Hint(
        r"^TypeError: (?:object (\w+) can't be used in 'await' expression|'(\w+)' object can't be awaited)",
        _not_awaitable,
        OWN,
    ),
    Hint(
        r"^ValueError: invalid literal for int\(\) with base 10: '(-f|--f=.*)'",
        "In a notebook sys.argv has what the kernel was started with. Write the number itself.",
        OWN,
    ),
    Hint(
        r"^TypeError: (can't (subtract|compare) offset-naive|Cannot (subtract|compare) tz-naive"
        r"|Invalid comparison between dtype=datetime64\[\w+, .*\] and (date|Timestamp))",
        "One of these times has no time zone, and the kit's are in UTC: write datetime.now(timezone.utc), or "
        "pd.Timestamp('2025-01-31', tz='UTC').",
    ),
    Hint(r"^KeyError: \((?P<names>'\w+'(, '\w+')+)\)", _two_columns, r"pandas[\w.]*:__getitem__"),
    # What PGQueuer's calls are given
    Hint(
        r"bytes-like object is required, not '(dict|list)'|cannot adapt type 'dict'",
        "A payload is bytes: make a text of a dict or a list, and of that bytes, by json.dumps(…).encode().",
        ENQUEUE,
    ),
    Hint(
        r"^asyncpg.DataError.*bytes-like object is required",
        "A payload is bytes: write b'hello', or make bytes of a text with .encode().",
        ENQUEUE,
    ),
    Hint(
        r"^asyncpg.DataError.*bytes-like object is required",
        "This value is bytes: write b'hello', or make bytes of a text with .encode().",
    ),
    Hint(
        r"'datetime.datetime' object has no attribute 'days'|cannot cast type timestamp",
        "execute_after is how long from now: moment - datetime.now(timezone.utc), or - datetime.now() if the "
        "moment has no time zone.",
        ENQUEUE,
    ),
    Hint(
        r"^asyncpg.DataError.* object has no attribute 'days'|cannot cast type \w+(\[\])? to interval",
        "It takes a length of time, as execute_after is: write timedelta(seconds=5).",
    ),
    Hint(
        r"^ValueError: Expected \d+ values for execute_after",
        "execute_after is a timedelta, such as timedelta(seconds=5), or a list with one for each entrypoint.",
        ENQUEUE,
    ),
    Hint(
        r"^ValueError: Expected \d+ values for \w+ to match entrypoint",
        "For several jobs entrypoint, payload and priority are lists, and each has as many values: "
        "enqueue(['fetch'] * 2, [b'1', b'2'], [0, 0]).",
        ENQUEUE,
    ),
    Hint(
        r"^TypeError: object of type 'int' has no len|CancellationEvent|^asyncpg.DataError|to bigint\[\]",
        "It takes a list of ids, such as [1]; enqueue(…) returns one.",
        r"queries:(mark_job_as_cancelled|requeue_jobs)",
    ),
    Hint(
        r"^TypeError: unhashable type: 'list'",
        "It takes one id, and enqueue(…) returns a list: write wait_for(ids[0]).",
        r"completion:wait_for",
    ),
    Hint(
        r"^asyncpg.DataError.*cannot be interpreted as an integer",
        "It takes a whole number, as a priority and a job's id are: write 3, not '3'.",
    ),
    Hint(
        r"value out of int32 range|integer out of range",
        "It takes a whole number from -2147483648 to 2147483647, as a priority is.",
        ENQUEUE,
    ),
    Hint(r"^pgqueuer.DuplicateJobError", _duplicate),
    # Connections and SQL
    Hint(
        r"^asyncpg.InterfaceError: pool is not initialized",
        "The pool was not awaited: write pool = await asyncpg.create_pool().",
    ),
    Hint(
        r"^(AttributeError|TypeError|asyncpg.InterfaceError)", _wrong_connection, r"pgqueuer.adapters.drivers"
    ),
    Hint(
        r"^(Attribute|Type)Error: 'coroutine' object (has no attribute|is not (subscriptable|iterable))",
        "A call here was not awaited, so there is no value yet: write `(await …)` around that call.",
    ),
    Hint(
        r"^asyncpg.InterfaceError: .*another operation is in progress",
        "A connection does one thing at a time. Give each user its own: await asyncpg.connect().",
    ),
    Hint(
        r"^(?P<driver>asyncpg|psycopg)\.\w+: (the |.*underlying )?connection is closed",
        "A closed connection stays closed. Run the code that made it once more, such as "
        "conn = await {driver}.connect().",
    ),
    Hint(
        r" 25P02: ",
        "A statement before this one failed, so Postgres refuses the rest of its transaction. End it with "
        "ROLLBACK; a block `async with connection.transaction():` ends by itself.",
    ),
    Hint(r' 42703: column "(?P<name>[^"]+)" does not exist', _quoted),
    Hint(rf" 42P01: {TABLES}", NO_TABLES),
    Hint(
        r" 3D000: |^ConnectionRefused|^psycopg.OperationalError: .*(database .* not exist|refused)",
        "Nothing is there under this address. kit.postgres(…) starts a Postgres, and a connect() without an "
        "address goes to it.",
        DRIVER,
    ),
)
