"""What an exception means: Postgres is away, tables are missing, whose line it is, one line for people.

The lessons call asyncpg and PGQueuer directly, so their errors are what a learner meets. What helps against
each is in `kit.hints`.
"""

from __future__ import annotations

import linecache
import math
import os
import re
import sysconfig
import traceback
from contextlib import suppress
from types import TracebackType

from kit import notebook

NO_TABLES = (
    "PGQueuer's tables are not in this database, or an older PGQueuer made them. Run kit.postgres(…), or "
    "`pgq install` in a terminal; `pgq upgrade` brings old tables up to date."
)

# Where a user's own libraries are, or Debian's: beside those folders that this Python names.
_PACKAGES = re.compile(r"[/\\](?:site|dist)-packages[/\\]")


def one_line(error: BaseException) -> str:
    """Return the exception as the last line of a traceback has it, such as ``ValueError: no such order``."""
    try:
        text = str(error).strip()
        if not text:
            # Some exceptions, PGQueuer's DuplicateJobError among them, have attributes and no text.
            text = ", ".join(f"{key}={value!r}" for key, value in error.__dict__.items())
    except Exception as broken:
        text = f"(its own text cannot be made: {type(broken).__name__})"
    # Around these words asyncio shows two objects at full length.
    if "attached to a different loop" in text:
        text = "used on another loop than the one it was made on"
    line = headline(type(error).__name__, text)
    if isinstance(error, BaseExceptionGroup):
        return f"{line.removesuffix(' …')}: {one_line(error.exceptions[0])}"
    return line


def headline(name: str, message: str) -> str:
    """Return an exception's type and the first line of its message, with ``…`` where there are more."""
    first, *more = message.strip().splitlines() or [""]
    line = f"{name}: {first}" if first else name
    return f"{line} …" if more else line


def server_message(error: BaseException) -> str:
    """Return what a server said, its detail and hint too, as sentences on one line without the last stop."""
    return re.sub(r"\.?\s*\n(DETAIL|HINT):\s+", ". ", str(error)).strip().rstrip(".")


def storable_text(text: str) -> str:
    """Return the text as Postgres and a notebook take it: a NUL or half a character as an escape."""
    return text.replace("\0", "\\0").encode(errors="backslashreplace").decode()


def storable(error: BaseException) -> Exception:
    """Return ``error``, or one of the same name that says the same if PGQueuer could not log it.

    PGQueuer writes its log in batches, and tries a batch again until it works: a text that Postgres refuses
    would stop it. An exception that is no `Exception` would end the consumer, and cancel the jobs beside it.
    """
    if isinstance(error, Exception):
        with suppress(Exception):  # an error whose str() raises
            whole = "".join(traceback.format_exception(error)) + str(error)
            if whole == storable_text(whole):
                return error
    kind, said = type(error), one_line(error).removeprefix(type(error).__name__).removeprefix(": ")
    with suppress(Exception):
        said = str(error)
    stand_in = type(kind.__name__, (Exception,), {"__module__": kind.__module__})
    result: Exception = stand_in(storable_text(said))
    placed = result.with_traceback(error.__traceback__)
    whole = "".join(traceback.format_exception(placed))
    return placed if whole == storable_text(whole) else result.with_traceback(None)


def postgres_is_away(error: BaseException) -> bool:
    """Return whether the error means that Postgres is gone, starting or out of reach, whatever the driver.

    SQLSTATE class 08 is "connection exception"; 57P01 to 57P03 are shutdown, crash and starting up; 53300
    is too many connections (PostgreSQL's manual, appendix A).
    """
    state = getattr(error, "sqlstate", None) or ""
    if state.startswith("08") or state in ("57P01", "57P02", "57P03", "53300"):
        return True
    kind = f"{type(error).__module__.split('.')[0]}.{type(error).__name__}"
    if kind in ("asyncpg.InterfaceError", "asyncpg.InternalClientError"):
        return "closed" in str(error)
    if kind in ("psycopg.OperationalError", "pgqueuer.FailingListenerError"):
        return not state
    if isinstance(error, ConnectionError):
        return True
    if isinstance(error, OSError):
        # A missing file is an OSError too; only one that came out of a driver speaks of the connection.
        modules = {frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)}
        return any(module.split(".")[0] in ("asyncpg", "psycopg", "psycopg_pool") for module in modules)
    return False


def patience_to_connect(error: BaseException) -> float:
    """Return for how many seconds it makes sense to connect again after this error.

    SQLSTATE 57P03 is "cannot connect now": the server starts, recovers or shuts down. Whoever connects in
    the instant of a crash is cut off, and hears that on the next try.
    """
    if getattr(error, "sqlstate", None) == "57P03":
        return math.inf
    kind = f"{type(error).__module__.split('.')[0]}.{type(error).__name__}"
    cut_off = isinstance(error, ConnectionError) or kind == "asyncpg.ConnectionDoesNotExistError"
    return 1.0 if cut_off and not isinstance(error, ConnectionRefusedError) else 0.0


def worth_another_try(error: BaseException) -> bool:
    """Return whether Postgres is away, or ended the work for a reason that passes.

    SQLSTATE class 57 is "operator intervention", 53 "insufficient resources", 40 "transaction rollback", as
    after a deadlock (PostgreSQL's manual, appendix A). A driver's InterfaceError without a state is one of a
    connection that broke.
    """
    state = getattr(error, "sqlstate", None) or ""
    if state:
        return state[:2] in ("08", "57", "53", "40")
    if isinstance(error, OSError):
        return True
    kinds = {kind.__name__ for kind in type(error).__mro__ if kind.__module__.startswith("asyncpg")}
    return bool(kinds & {"InterfaceError", "InternalClientError"})


def tables_are_missing(error: BaseException | None) -> bool:
    """Return whether the error means that PGQueuer's tables, or a column of today's, are not there."""
    if getattr(error, "sqlstate", None) in ("42P01", "42703"):  # undefined table, undefined column
        return True
    return type(error) is RuntimeError and "is missing" in str(error) and "pgq" in str(error)


def is_learners(filename: str) -> bool:
    """Return whether a learner may have written the file: it is a cell, or a file that is no library's."""
    folders = {sysconfig.get_path(key) for key in ("stdlib", "purelib", "platlib")} | {
        os.path.dirname(__file__)
    }
    libraries = tuple(os.path.join(folder, "") for folder in folders)
    if filename.startswith((*libraries, "<frozen", "<string>")) or _PACKAGES.search(filename):
        return False
    # What was compiled from .pyx, asyncpg's protocol for one, names its source without a folder.
    return not filename.endswith(".pyx")


def learners_frames(trace: TracebackType | None) -> list[TracebackType]:
    """Return those entries of a traceback that are in code a learner may have written, outermost first."""
    found = []
    while trace is not None:
        if is_learners(trace.tb_frame.f_code.co_filename):
            found.append(trace)
        trace = trace.tb_next
    return found


def place(error: BaseException, *, cells_only: bool = False) -> str:
    """Return `` (Cell In[3], line 4: `the code`)``: the last frame of the traceback that a learner wrote.

    Nothing, where there is none, or none in a cell and ``cells_only``.
    """
    if frames := learners_frames(error.__traceback__):
        file, number = frames[-1].tb_frame.f_code.co_filename, frames[-1].tb_lineno
    elif isinstance(error, SyntaxError) and error.filename is not None:
        file, number = error.filename, error.lineno or 0
    else:
        return ""
    cell = notebook.cell_name(file)
    if cells_only and cell is None:
        return ""
    code = linecache.getline(file, number).strip()
    return f" ({cell or os.path.basename(file)}, line {number}" + (f": `{code}`)" if code else ")")


def own_traceback(error: BaseException) -> str:
    """Return the traceback without the frames above what a learner wrote, which called or imported it."""
    callers = ("kit", "pgqueuer", "asyncio", "contextlib", "importlib")
    start = error.__traceback__
    while start and start.tb_frame.f_globals.get("__name__", "").split(".")[0] in callers:
        start = start.tb_next
    return "".join(traceback.format_exception(type(error), error, start or error.__traceback__))
