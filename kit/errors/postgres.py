"""What an exception says of Postgres: it is away, it may work in a moment, its tables are missing."""

from __future__ import annotations

import math
import traceback

NO_TABLES = (
    "PGQueuer's tables are not in this database, or an older PGQueuer made them. Run kit.postgres(…), or "
    "`pgq install` in a terminal; `pgq upgrade` brings old tables up to date."
)


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
