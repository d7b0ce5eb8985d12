"""A fresh database for each test that awaits, and no consumer that outlives its test."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def each_test(database_and_no_consumers: None) -> None:
    """Hold for every test of consumers."""
