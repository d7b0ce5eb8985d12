"""The picture of runs moving through their stages, and the words that say the same."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from kit.display import palette
from kit.stages import Pipeline, Step
from kit.stages.picture import Flow

from .conftest import Desk, consuming
from .test_stages import effect


def chips(flow: Flow) -> list[str]:
    """Return what stands on the runs of the picture."""
    return [str(run.text) for run in ElementTree.fromstring(flow.html()).iter("span") if run.get("title")]


def stages(flow: Flow) -> dict[str, list[str]]:
    """Return what stands in each stage of the picture below its name: a text a line."""
    drawn = [box for box in ElementTree.fromstring(flow.html()).iter("div") if box.find("b") is not None]
    return {
        str(box.findtext("b")): [str(line.text) for line in box.iter("div") if line.text] for box in drawn
    }


async def shop(desk: Desk) -> Pipeline:
    """Leave one run done, one held with a branch of three, and one that nobody has begun."""
    orders = Pipeline("orders")

    @orders.stage(each="boxes")
    async def pack(step: Step) -> None:
        if step.item == "torn":
            raise ValueError("<script>alert(1)</script> & torn")

    orders.stage("ship")(effect)
    done = await orders.start(desk.connection, {"boxes": ["a"]})
    held = await orders.start(desk.connection, {"boxes": ["a", "torn", "b"]})
    async with consuming(orders):
        await desk.ended(done)
        await desk.ended(held)
    await orders.start(desk.connection, {"boxes": []})
    return orders


async def test_each_run_stands_in_the_picture_with_its_number_and_a_sign_for_its_status(desk: Desk) -> None:
    orders = await shop(desk)
    assert sorted(chips(orders.picture())) == sorted(["✓ 1", "‖ 2 · 2/3", "◷ 7"])


async def test_the_words_say_how_many_runs_are_where_and_why_one_is_held(desk: Desk) -> None:
    orders = await shop(desk)
    assert repr(orders.picture()).splitlines() == [
        "orders: 3 runs, ‖ 1 held, ◷ 1 pending, ✓ 1 done",
        "  pack: 1 held, 1 pending",
        "  run 2 is held at pack: Branch 1: ValueError: <script>alert(1)</script> & torn",
    ]


async def test_an_errors_text_is_never_markup_in_the_picture(desk: Desk) -> None:
    orders = await shop(desk)
    root = ElementTree.fromstring(orders.picture().html())
    assert not list(root.iter("script"))
    assert "<script>" in str(root.get("aria-label"))


async def test_a_picture_without_runs_shows_the_stages_and_how_they_follow_each_other(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("check", then=("review", "ship"))(effect)
    orders.stage("review")(effect)
    orders.stage("ship")(effect)
    flow = orders.picture()
    assert stages(flow) == {
        "check": ["–", "→ ship"],  # beside it is the other way
        "review": ["–"],
        "ship": ["–"],
        "done": ["–"],
    }
    arrows = [one.text for one in ElementTree.fromstring(flow.html()).iter("span")]
    assert arrows == ["→"] * 3
    assert repr(flow) == "orders: 0 runs"


def test_more_runs_than_fit_are_a_number() -> None:
    from kit.stages.picture import Run

    runs = tuple(Run(number, "pack", "pending", "", "") for number in range(1, 1001))
    flow = Flow("orders", {"pack": (None,)}, runs)
    shown = len(chips(flow))
    assert 0 < shown < 100
    assert stages(flow)["pack"][-1] == f"+ {1000 - shown} more"


def test_many_stages_go_on_below_each_other_and_each_count_is_whole() -> None:
    from kit.stages.picture import Run

    names = [f"a_rather_long_stage_{number}" for number in range(20)]
    following: dict[str, tuple[str | None, ...]] = {
        name: (after,) for name, after in zip(names, [*names[1:], None], strict=True)
    }
    statuses = ("failed", "running", "waiting", "pending", "canceled")
    runs = [Run(number, names[number % 20], statuses[number // 20 % 5], "", "") for number in range(10_000)]
    drawn = stages(Flow("orders", following, tuple(runs)))
    assert list(drawn) == [*names, "done"]
    signs = "".join(look.sign for look in palette.RUNS.values())
    for name in names:
        assert re.findall(rf"[{signs}]\s(\d+)", drawn[name][0]) == ["100"] * 5


async def test_a_notebook_gets_the_picture_and_the_words(desk: Desk) -> None:
    bundle: dict[str, Any] = (await shop(desk)).picture()._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
