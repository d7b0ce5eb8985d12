"""Where Postgres comes from: ``postgres()`` picks a source, says why, and points this process at it."""

from kit.sources.choosing import open_database, postgres, reset
from kit.sources.opened import Postgres

__all__ = ["Postgres", "open_database", "postgres", "reset"]
