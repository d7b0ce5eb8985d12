"""An exception as text: one line for people, and a form that Postgres can store."""

from __future__ import annotations

import re
import traceback
from contextlib import suppress

_PYDANTIC = re.compile(
    r"(?P<count>\d+) validation errors? for .*\n(?P<field>(?:\S.*\n)*)  (?P<rule>.+?)(?: \[type=.*)?$", re.M
)
_YAML = re.compile(
    r"while (?:parsing|scanning|constructing) .*\n(?:\s.*\n)*(?P<problem>\S.*)"
    r"(?:\n\s+in .*?(?P<place>line \d+, column \d+))?"
)


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
    """Return an exception's type and the first useful line of its message, with ``…`` where there are more.

    Pydantic's first line counts the errors, YAML's names the text that was read; the mistake comes below.
    """
    if found := _PYDANTIC.match(message):
        field = "".join(f"{line}: " for line in found["field"].splitlines())
        return f"{name}: {field}{found['rule']}" + (" …" if found["count"] != "1" else "")
    if found := _YAML.match(message):
        return f"{name}: {found['problem']}" + (f" ({found['place']})" if found["place"] else "")
    first, *more = message.strip().splitlines() or [""]
    line = f"{name}: {first}" if first else name
    return f"{line} …" if more else line


def server_message(error: BaseException) -> str:
    """Return a server's message, with its detail and hint, on one line and without the last full stop."""
    return re.sub(r"\.?\s*\n(DETAIL|HINT):\s+", ". ", str(error)).strip().rstrip(".")


def storable_text(text: str) -> str:
    """Return the text in a form that Postgres and notebooks take: a NUL or half a character is escaped."""
    return text.replace("\0", "\\0").encode(errors="backslashreplace").decode()


def storable(error: BaseException) -> Exception:
    """Return ``error``, or one of the same name and text that PGQueuer can log.

    PGQueuer writes its log in batches, and repeats a batch until it works: a text that Postgres refuses would
    stop the log. An exception that is no `Exception` would end the consumer, and cancel its other jobs.
    """
    if isinstance(error, Exception):
        with suppress(Exception):  # an error whose str() raises
            whole = "".join(traceback.format_exception(error)) + str(error)
            if whole == storable_text(whole):
                return error
    kind, text = type(error), one_line(error).removeprefix(type(error).__name__).removeprefix(": ")
    with suppress(Exception):
        text = str(error)
    stand_in = type(kind.__name__, (Exception,), {"__module__": kind.__module__})
    result: Exception = stand_in(storable_text(text))
    placed = result.with_traceback(error.__traceback__)
    whole = "".join(traceback.format_exception(placed))
    return placed if whole == storable_text(whole) else result.with_traceback(None)
