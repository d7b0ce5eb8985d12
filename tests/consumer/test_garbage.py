"""What consumers do with Python's garbage collector: it leaves out what was there before them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator

import pytest

import kit
from kit.session import session
from tests.consumer.queue import main_with, nothing


class Knot:
    """Something large that only the garbage collector can free."""

    def __init__(self, freed: Callable[[], object]) -> None:
        self.itself = self
        self.large = b"x" * (session.memory // 2)
        weakref.finalize(self, freed)


@pytest.fixture
def left_to_the_kit() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def test_what_was_there_before_the_consumer_is_left_out_until_it_ends() -> None:
    consumer = kit.run(main_with(work=nothing))
    assert gc.get_freeze_count() > 10_000
    consumer.stop()
    assert gc.get_freeze_count() == 0


async def test_a_consumer_that_is_run_again_and_again_leaves_no_garbage(left_to_the_kit: None) -> None:
    kit.run(main_with(work=nothing)).stop()
    freed = []
    Knot(lambda: freed.append(True))
    kit.run(main_with(work=nothing)).stop()
    assert freed


async def test_what_is_freed_before_a_consumer_may_run_another(left_to_the_kit: None) -> None:
    kit.run(main_with(work=nothing)).stop()
    states = []
    Knot(lambda: states.append(kit.run(main_with(work=nothing), name="other", start_timeout=5).state))
    kit.run(main_with(work=nothing)).stop()
    assert states == ["running"]
