"""What an exception means: Postgres is away, tables are missing, one line for people, the hint below it.

The lessons call asyncpg and PGQueuer directly, so their errors are what a learner meets.
"""

from __future__ import annotations

import linecache
import os
import re
import sysconfig
import traceback
from contextlib import suppress
from typing import Any

from kit import notebook

NO_TABLES = "PGQueuer's tables are not in this database. Run kit.postgres(…), which makes them."


def one_line(error: BaseException) -> str:
    """Return the exception as the last line of a traceback has it, such as ``ValueError: no such order``."""
    try:
        text = str(error).strip()
        if not text:
            # Some exceptions, PGQueuer's DuplicateJobError among them, have attributes and no text.
            text = ", ".join(f"{key}={value!r}" for key, value in error.__dict__.items())
    except Exception as broken:
        text = f"(its own text cannot be made: {type(broken).__name__})"
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


def tables_are_missing(error: BaseException | None) -> bool:
    """Return whether the error means that PGQueuer's tables, or a column of today's, are not there."""
    if getattr(error, "sqlstate", None) in ("42P01", "42703"):  # undefined table, undefined column
        return True
    return type(error) is RuntimeError and "is missing" in str(error) and "pgq" in str(error)


def place(error: BaseException) -> str:
    """Return ``, Cell In[3], line 4: the code``: the last frame of the traceback that a learner wrote."""
    folders = {sysconfig.get_path(key) for key in ("stdlib", "purelib", "platlib")}
    folders.add(os.path.dirname(__file__))
    ours = tuple(os.path.join(folder, "") for folder in folders)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((*ours, "<frozen", "<string>")):
            file, number = frame.filename, frame.lineno or 0
            break
    else:
        if not isinstance(error, SyntaxError) or error.filename is None:
            return ""
        file, number = error.filename, error.lineno or 0
    name = notebook.cell_name(file) or os.path.basename(file)
    code = linecache.getline(file, number).strip()
    return f" ({name}, line {number}: `{code}`)" if code else f" ({name}, line {number})"


def own_traceback(error: BaseException) -> str:
    """Return the traceback without the frames above a handler, which are the kit's and PGQueuer's."""
    start = error.__traceback__
    while start and start.tb_frame.f_globals.get("__name__", "").split(".")[0] in ("kit", "pgqueuer"):
        start = start.tb_next
    return "".join(traceback.format_exception(type(error), error, start or error.__traceback__))


def show_hints() -> None:
    """Let a notebook show the hint below the error of a cell; a second call changes nothing."""
    notebook.after_each_cell(_below_the_error)


def _below_the_error(result: Any) -> None:
    if result.error_in_exec is not None and (line := hint(result.error_in_exec)) is not None:
        print(line)


def hint(error: BaseException) -> str | None:
    """Return what to do about ``error``, in one line; None when its own text says enough."""
    import asyncpg
    from pgqueuer.domain.errors import DuplicateJobError

    text = str(error)
    match error:
        case asyncpg.DataError() if "a bytes-like object is required" in text:
            return "A payload is bytes: write b'hello', or make bytes of a text with .encode()."
        case DuplicateJobError():
            keys = ", ".join(repr(key) for key in error.dedupe_key if key is not None)
            return (
                f"A job with the dedupe_key {keys} is queued or picked already, so nothing was enqueued. "
                'on_conflict="skip" leaves such jobs out without an error.'
            )
        case asyncpg.InterfaceError() if "another operation is in progress" in text:
            return "A connection does one thing at a time. Give each user its own: await asyncpg.connect()."
        case asyncpg.InterfaceError() if "connection is closed" in text:
            return "Make the connection again: run the cell with asyncpg.connect() once more."
        case RuntimeError() if "attached to a different loop" in text:
            return (
                "A connection belongs to the loop it was made on. The consumer has its own: "
                "connect inside main(), not in a cell."
            )
        case asyncpg.UndefinedTableError() if '"pgqueuer' in text:
            return NO_TABLES
        case asyncpg.InvalidCatalogNameError() | ConnectionRefusedError():
            return "There may be no Postgres yet: run the lesson's first cell, kit.postgres(…)."
        case _:
            return None
