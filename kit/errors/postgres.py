"""Classify exceptions: Postgres is away, may answer in a moment, or lacks PGQueuer's tables.

Only this module knows how a lost connection is recognised. SQLSTATE codes are those of PostgreSQL's manual,
appendix A.
"""

from __future__ import annotations

import math
import re
import traceback
from typing import Any

NO_TABLES = (
    "PGQueuer's tables are not in this database, or an older PGQueuer made them. Run kit.postgres(…), or "
    "`pgq install` in a terminal; `pgq upgrade` brings old tables up to date."
)

# Postgres' message, in whatever language: a schema and a prefix may precede a table's name. A message that
# names a FROM clause has the same SQLSTATE, and is about an alias.
TABLES = r"(?!.*\bFROM\b).*pgqueuer(_log|_schedules|_statistics)?\s?[\"»«”“]"
_DRIVERS = ("asyncpg", "psycopg", "psycopg_pool")


def sqlstate(error: BaseException | None) -> str:
    """Return the SQLSTATE that the server sent with an error; empty if it sent none."""
    return getattr(error, "sqlstate", None) or ""


def kind(of: type) -> str:
    """Return the package and the name of a class, such as ``asyncpg.InterfaceError``."""
    return f"{of.__module__.split('.')[0]}.{of.__name__}"


def postgres_is_away(error: BaseException, connection: Any = None) -> bool:
    """Return whether the error means that Postgres is gone, starting or out of reach, for any driver.

    If the asyncpg ``connection`` of the error is closed, that counts, too: asyncpg has many words for it.
    """
    # Class 08 is "connection exception"; 57P.. are shutdown, crash, starting up and a dropped database; 53300
    # is too many connections.
    state = sqlstate(error)
    if state.startswith(("08", "57P")) or state == "53300":
        return True
    if kind(type(error)) in ("asyncpg.InterfaceError", "asyncpg.InternalClientError"):
        return "closed" in str(error) or (connection is not None and connection.is_closed())
    if kind(type(error)) in ("psycopg.OperationalError", "pgqueuer.FailingListenerError"):
        return not state
    # A missing file is an OSError, too. Only one that was raised inside a driver is about the connection.
    return isinstance(error, ConnectionError) or (isinstance(error, OSError) and came_from(error, *_DRIVERS))


def came_from(error: BaseException, *packages: str) -> bool:
    """Return whether code of one of these packages stands in the error's traceback."""
    names = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(name.split(".")[0] in packages for name in names)


def patience_to_connect(error: BaseException) -> float:
    """Return for how many seconds it makes sense to connect again after this error.

    57P03 is "cannot connect now": the server starts, recovers or shuts down. A client that connects in the
    instant of a crash is cut off, and gets 57P03 at its next attempt.
    """
    if sqlstate(error) == "57P03":
        return math.inf
    cut_off = isinstance(error, ConnectionError) or kind(type(error)) == "asyncpg.ConnectionDoesNotExistError"
    return 1.0 if cut_off and not isinstance(error, ConnectionRefusedError) else 0.0


def worth_another_try(error: BaseException) -> bool:
    """Return whether Postgres is away, or ended the work for a reason that passes.

    Class 57 is "operator intervention", 53 "insufficient resources", 40 "transaction rollback", as after a
    deadlock. A driver's InterfaceError without a state means that its connection broke.
    """
    if state := sqlstate(error):
        return state[:2] in ("08", "57", "53", "40")
    kinds = {base.__name__ for base in type(error).__mro__ if base.__module__.startswith("asyncpg")}
    return isinstance(error, OSError) or bool(kinds & {"InterfaceError", "InternalClientError"})


def tables_are_missing(error: BaseException | None) -> bool:
    """Return whether the error means that PGQueuer's tables, or a column of today's, are not there."""
    if error is not None and sqlstate(error) == "42P01":  # undefined table
        return re.match(TABLES, str(error)) is not None
    if sqlstate(error) == "42703":  # undefined column
        return True
    return type(error) is RuntimeError and "is missing" in str(error) and "pgq" in str(error)
