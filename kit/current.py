"""This process's current database and its consumers: the kit's only global state."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kit.errors import KitError

if TYPE_CHECKING:
    from kit.consumer import Consumer
    from kit.sources import Postgres

database: Postgres | None = None
consumers: dict[str, Consumer] = {}


def dsn() -> str | None:
    """Return the DSN of the current database; None when ``PG*`` variables alone name it.

    The second case is a terminal after ``eval "$(kit env)"``: ``asyncpg.connect()`` reads those itself.

    Raises:
        KitError: nothing in this process says which database to use.
    """
    if database is not None:
        return database.dsn
    if os.environ.get("PGHOST") and os.environ.get("PGDATABASE"):
        return None
    raise KitError("There is no Postgres in this process yet. Run kit.postgres() first.")
