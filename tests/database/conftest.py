"""A server and a database of one's own, as for the tests of sources."""

from tests.sources.conftest import name, same_environment, server, sql

__all__ = ["name", "same_environment", "server", "sql"]
