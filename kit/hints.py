"""One line below an error that asyncpg or PGQueuer reports in words a newcomer cannot use yet.

The lessons call asyncpg and PGQueuer directly, so their errors are what a learner meets.
"""

from __future__ import annotations

from typing import Any

from kit import console


def show_below_errors() -> None:
    """Let a notebook show the hint below the error of a cell; a second call changes nothing."""
    console.after_each_cell(_below_the_error)


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
            return "PGQueuer's tables are not in this database. kit.postgres(…) makes them."
        case asyncpg.InvalidCatalogNameError() | ConnectionRefusedError():
            return "There may be no Postgres yet: run the lesson's first cell, kit.postgres(…)."
        case _:
            return None
