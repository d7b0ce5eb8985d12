"""What the tests need, as ``tests/conftest.py`` groups them."""

from __future__ import annotations

import pytest

GROUPS = {"nothing", "postgres", "processes", "docker", "browser", "firefox", "pgbouncer"}


@pytest.fixture
def all_tests(request: pytest.FixtureRequest) -> list[pytest.Item]:
    chosen = request.config.option
    if chosen.markexpr or chosen.keyword or request.config.args_source.name != "TESTPATHS":
        pytest.skip("only a part of the tests was chosen")
    return list(request.session.items)


def test_each_test_is_in_one_group(all_tests):
    found = {item.nodeid: GROUPS & {mark.name for mark in item.iter_markers()} for item in all_tests}
    assert {name: groups for name, groups in found.items() if len(groups) != 1} == {}


def test_two_fifths_of_the_tests_are_fast(all_tests):
    fast = [item for item in all_tests if item.get_closest_marker("fast")]
    assert len(fast) >= 0.4 * len(all_tests)


def test_tests_that_share_a_kernel_run_in_one_process(all_tests, request):
    if not hasattr(request.config, "workerinput"):
        pytest.skip("one process runs all tests")
    apart = [item.nodeid for item in all_tests if "@" not in item.nodeid]
    assert apart == [], "start them with `-n 3 --dist loadgroup`"
