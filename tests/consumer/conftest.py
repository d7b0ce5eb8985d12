"""A fresh database for each test that awaits, and no consumer that outlives its test."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

from kit.session import session


@pytest.fixture(autouse=True)
def a_database_and_no_consumers(request: pytest.FixtureRequest) -> Iterator[None]:
    if inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("queue_database")
    yield
    for consumer in session.consumers.values():
        consumer.stop(timeout=0)
    session.consumers.clear()
