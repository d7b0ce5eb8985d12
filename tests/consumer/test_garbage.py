"""What consumers do with Python's garbage collector: it leaves out what was there before them."""

from __future__ import annotations

import gc
import weakref

import kit
from kit.session import session
from tests.consumer.queue import main_with, nothing


class Knot:
    """Something that only the garbage collector can free."""

    def __init__(self) -> None:
        self.itself = self


async def test_what_was_there_before_the_consumer_is_left_out_until_it_ends() -> None:
    consumer = kit.run(main_with(work=nothing))
    assert gc.get_freeze_count() > 10_000
    consumer.stop()
    assert gc.get_freeze_count() == 0


async def test_a_consumer_that_is_run_again_and_again_leaves_no_garbage() -> None:
    kit.run(main_with(work=nothing)).stop()
    gc.disable()
    try:
        knots = [Knot() for _ in range(session.objects)]
        seen = weakref.ref(knots[0])
        del knots
        kit.run(main_with(work=nothing)).stop()
        assert seen() is None
    finally:
        gc.enable()
