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

SVG = "{http://www.w3.org/2000/svg}"


def chips(flow: Flow) -> list[str]:
    """Return what stands on the runs of the picture."""
    root = ElementTree.fromstring(flow.svg())
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text") if text.get("class") == "c"]


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
    root = ElementTree.fromstring(orders.picture().svg())
    assert not list(root.iter(f"{SVG}script"))
    assert "<script>" in str(root.get("aria-label"))


async def test_a_picture_without_runs_shows_the_stages_and_how_they_follow_each_other(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("check", then=("review", "ship"))(effect)
    orders.stage("review")(effect)
    orders.stage("ship")(effect)
    flow = orders.picture()
    root = ElementTree.fromstring(flow.svg())
    titles = [element.text for text in root.iter(f"{SVG}text") for element in text.iter(f"{SVG}title")]
    assert titles == ["check", "review", "ship", "done"]
    assert len(list(root.iter(f"{SVG}path"))) == 2 * 4  # a line and its tip for each way
    assert repr(flow) == "orders: 0 runs"


def test_more_runs_than_fit_are_a_number() -> None:
    from kit.stages.picture import Run

    runs = tuple(Run(number, "pack", "pending", "", "") for number in range(1, 1001))
    flow = Flow("orders", {"pack": (None,)}, runs)
    shown = len(chips(flow))
    assert 0 < shown < 100
    assert f"+ {1000 - shown} more" in flow.svg()


def test_many_stages_go_on_in_rows_below_each_other_and_each_count_is_whole() -> None:
    from kit.stages.picture import Run

    names = [f"a_rather_long_stage_{number}" for number in range(20)]
    stages: dict[str, tuple[str | None, ...]] = {
        name: (following,) for name, following in zip(names, [*names[1:], None], strict=True)
    }
    statuses = ("failed", "running", "waiting", "pending", "canceled")
    runs = [Run(number, names[number % 20], statuses[number // 20 % 5], "", "") for number in range(10_000)]
    root = ElementTree.fromstring(Flow("orders", stages, tuple(runs)).svg())
    texts = [text for text in root.iter(f"{SVG}text") if text.get("class") in ("b m", "q m")]
    places = [(text.get("x"), text.get("y")) for text in texts]
    assert len(set(places)) == len(places), "one text stands on another"
    said = ["".join(text.itertext()) for text in texts]
    counts = re.findall(rf"[{''.join(look.sign for look in palette.RUNS.values())}] (\d+)", " ".join(said))
    assert counts == ["100"] * 5 * 20
    assert len([text for text in said if text.startswith("→ a_rath")]) == 3


async def test_a_notebook_gets_the_picture_and_the_words(desk: Desk) -> None:
    bundle: dict[str, Any] = (await shop(desk)).picture()._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/svg+xml", "text/plain"}
