"""A server and a database of one's own, as for the tests of sources."""

from tests.sources.conftest import name, no_database_remains, same_environment, server, sql

__all__ = ["name", "no_database_remains", "same_environment", "server", "sql"]
