"""Where Postgres comes from: ``postgres()`` picks a source, says why, and points this process at it."""

from kit.sources.choosing import open_database, postgres, reset
from kit.sources.opened import Postgres
from kit.sources.registry import status, stop_all
from kit.sources.server import Status

__all__ = ["Postgres", "Status", "open_database", "postgres", "reset", "status", "stop_all"]
