"""Runs move through their stages: in order, through branches, by choice; the step is one transaction."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import pytest
from pydantic import BaseModel

import kit
from kit.errors import KitError
from kit.sources import Postgres
from kit.stages import Pipeline, Step
from kit.stages.store.schema import install

from .conftest import Desk, consuming

EFFECT = "INSERT INTO effects (run, stage, branch) VALUES ($1, $2, $3)"


async def effect(step: Step) -> None:
    await step.connection.execute(EFFECT, step.run, step.stage, step.branch)


async def test_a_run_goes_through_its_stages_in_the_order_of_their_declaration(desk: Desk) -> None:
    orders = Pipeline("orders")
    seen = []

    @orders.stage()
    async def validate(step: Step) -> None:
        seen.append((step.run, step.stage, step.attempt))

    @orders.stage()
    async def charge(step: Step) -> None:
        seen.append((step.run, step.stage, step.attempt))

    run = await orders.start(desk.connection)
    async with consuming(orders):
        row = await desk.ended(run)
    assert (row["status"], seen) == ("done", [(run, "validate", 1), (run, "charge", 1)])


async def test_a_stage_finds_in_the_data_what_the_earlier_ones_returned(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage()
    async def price(step: Step) -> dict[str, Any]:
        return {"total": step.data["pieces"] * 7, "note": "gift"}

    @orders.stage()
    async def charge(step: Step) -> dict[str, Any]:
        return {"paid": step.data["total"], "note": "paid"}

    run = await orders.start(desk.connection, {"pieces": 6})
    async with consuming(orders):
        row = await desk.ended(run)
    assert json.loads(row["data"]) == {"pieces": 6, "total": 42, "note": "paid", "paid": 42}


async def test_the_payload_of_a_stages_job_is_only_the_reference(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("validate")(effect)
    run = await orders.start(desk.connection, {"secret": "x" * 1000})
    [job] = await desk.fetch("SELECT id, entrypoint, payload FROM pgqueuer")
    assert (job["entrypoint"], json.loads(job["payload"])) == (
        "orders.validate",
        {"run": run, "stage": "validate"},
    )
    assert await desk.value("SELECT job FROM kit_runs WHERE id = $1", run) == job["id"]


async def test_a_start_that_is_rolled_back_leaves_neither_run_nor_job(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("validate")(effect)
    await install(desk.connection)
    transaction = desk.connection.transaction()
    await transaction.start()
    await orders.start(desk.connection)
    await transaction.rollback()
    assert await desk.value("SELECT (SELECT count(*) FROM kit_runs) + (SELECT count(*) FROM pgqueuer)") == 0


async def test_what_a_handler_wrote_is_undone_when_it_fails(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage()
    async def charge(step: Step) -> None:
        await effect(step)
        raise ValueError("card refused")

    run = await orders.start(desk.connection)
    async with consuming(orders):
        row = await desk.ended(run)
    assert (row["status"], row["error"]) == ("failed", "ValueError: card refused")
    assert await desk.value("SELECT count(*) FROM effects") == 0


async def test_a_list_becomes_branches_and_the_join_gets_their_results_in_the_lists_order(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage(each="boxes")
    async def pack(step: Step) -> dict[str, Any]:
        await asyncio.sleep(0.05 * (3 - (step.branch or 0)))  # the first one ends last
        return {"packed": step.item.upper(), "place": step.branch}

    @orders.stage()
    async def ship(step: Step) -> dict[str, Any]:
        await effect(step)
        return {"seen": [result["packed"] for result in step.data["pack"]]}

    run = await orders.start(desk.connection, {"boxes": ["a", "b", "c"]})
    async with consuming(orders):
        row = await desk.ended(run)
    data = json.loads(row["data"])
    assert data["pack"] == [{"packed": letter.upper(), "place": place} for place, letter in enumerate("abc")]
    assert data["seen"] == ["A", "B", "C"]
    assert await desk.value("SELECT count(*) FROM effects") == 1


async def test_a_run_ends_with_its_last_branch_when_no_stage_follows(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("pack", each="boxes")(effect)
    run = await orders.start(desk.connection, {"boxes": [1, 2]})
    async with consuming(orders):
        row = await desk.ended(run)
    assert (row["status"], json.loads(row["data"])["pack"]) == ("done", [{}, {}])


async def test_an_empty_list_goes_straight_to_the_join(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("pack", each="boxes")(effect)
    orders.stage("ship")(effect)
    run = await orders.start(desk.connection, {"boxes": []})
    async with consuming(orders):
        row = await desk.ended(run)
    assert (row["status"], json.loads(row["data"])["pack"]) == ("done", [])
    assert await desk.fetch("SELECT stage FROM effects") == [{"stage": "ship"}]


async def test_a_handler_chooses_the_next_stage_among_those_declared(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage(then=("review", "ship", None))
    async def check(step: Step) -> None:
        step.next = {"large": "review", "small": "ship", "none": None}[step.data["size"]]

    orders.stage("review")(effect)
    orders.stage("ship")(effect)
    sizes = {size: await orders.start(desk.connection, {"size": size}) for size in ("large", "small", "none")}
    async with consuming(orders):
        rows = {size: await desk.ended(run) for size, run in sizes.items()}
    assert {size: row["stage"] for size, row in rows.items()} == {
        "large": "ship",
        "small": "ship",
        "none": "check",
    }
    assert await desk.fetch("SELECT run, stage FROM effects ORDER BY run, stage") == [
        {"run": sizes["large"], "stage": "review"},
        {"run": sizes["large"], "stage": "ship"},
        {"run": sizes["small"], "stage": "ship"},
    ]


async def test_a_choice_that_was_not_declared_holds_the_run_and_names_the_allowed_ones(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage()
    async def check(step: Step) -> None:
        step.next = "nowhere"

    orders.stage("ship")(effect)
    run = await orders.start(desk.connection)
    async with consuming(orders):
        row = await desk.ended(run)
    assert row["status"] == "failed"
    assert "'nowhere'" in row["error"]
    assert "'ship'" in row["error"]


class Order(BaseModel):
    pieces: int


async def test_a_stage_with_a_model_gets_its_data_as_an_instance(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage(model=Order)
    async def price(step: Step) -> Order:
        assert isinstance(step.data, Order)
        return Order(pieces=step.data.pieces + 1)

    run = await orders.start(desk.connection, Order(pieces=2))
    async with consuming(orders):
        row = await desk.ended(run)
    assert json.loads(row["data"]) == {"pieces": 3}


async def test_data_that_does_not_fit_the_model_holds_the_run_at_once_and_says_where(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("price", model=Order, retries=5)(effect)
    run = await orders.start(desk.connection, {"pieces": "many"})
    async with consuming(orders):
        row = await desk.ended(run)
    assert (row["status"], row["attempts"]) == ("failed", 1)
    assert row["error"].startswith("The data of stage 'price' does not fit Order: pieces: ")


async def test_an_item_that_does_not_fit_the_model_holds_its_branch_and_the_others_go_on(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("pack", each="boxes", model=Order)(effect)
    run = await orders.start(desk.connection, {"boxes": [{"pieces": 1}, {"pieces": None}, {"pieces": 3}]})
    async with consuming(orders):
        row = await desk.ended(run)
    assert (row["status"], row["error"][:9]) == ("failed", "Branch 1:")
    branches = await desk.fetch("SELECT status FROM kit_runs WHERE parent = $1 ORDER BY branch", run)
    assert [branch["status"] for branch in branches] == ["done", "failed", "done"]


async def test_a_running_step_can_be_seen_while_its_handler_works(desk: Desk) -> None:
    orders = Pipeline("orders")
    go_on = asyncio.Event()

    @orders.stage()
    async def charge(step: Step) -> None:
        await go_on.wait()

    run = await orders.start(desk.connection)
    async with consuming(orders):
        await desk.until("status running", "SELECT status = 'running' FROM kit_runs WHERE id = $1", run)
        go_on.set()
        await desk.ended(run)
    frame = kit.stages.history(run)
    assert list(frame["status"]) == ["pending", "running", "done"]


async def test_the_tables_of_an_empty_database_are_empty_frames_with_columns(desk: Desk) -> None:
    assert list(kit.stages.runs().columns) == [
        "id", "pipeline", "stage", "status", "branches", "data",
        "attempts", "error", "job", "created", "updated",
    ]  # fmt: skip
    assert list(kit.stages.history().columns) == [
        "created", "run", "branch", "stage", "status", "attempt", "job", "error",
    ]  # fmt: skip
    assert kit.stages.runs().empty


async def test_runs_shows_how_many_branches_are_done_and_each_branch_when_asked(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("pack", each="boxes")(effect)
    run = await orders.start(desk.connection, {"boxes": [1, 2]})
    async with consuming(orders):
        await desk.ended(run)
    frame = kit.stages.runs("orders")
    [row] = frame[["id", "status", "branches", "data"]].to_dict("records")
    assert row == {
        "id": run,
        "status": "done",
        "branches": "2/2",
        "data": {"boxes": [1, 2], "pack": [{}, {}]},
    }
    branches = kit.stages.runs(branches=True)
    assert list(branches["branch"].fillna(-1)) == [-1, 0, 1]
    assert kit.stages.runs("others").empty


async def test_the_history_has_a_row_for_each_transition_of_a_run_and_its_branches(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("pack", each="boxes")(effect)
    orders.stage("ship")(effect)
    run = await orders.start(desk.connection, {"boxes": [1]})
    async with consuming(orders):
        await desk.ended(run)
    frame = kit.stages.history(run)
    assert set(zip(frame["stage"], frame["branch"].fillna(-1), frame["status"], strict=True)) == {
        *(("pack", -1, status) for status in ("pending", "running", "waiting")),
        *(("pack", 0, status) for status in ("pending", "running", "done")),
        *(("ship", -1, status) for status in ("pending", "running", "done")),
    }
    assert len(frame) == 9


async def test_the_tables_are_made_again_after_somebody_dropped_them(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("validate")(effect)
    await orders.start(desk.connection)
    await desk.connection.execute("DROP TABLE kit_runs, kit_run_history")
    await desk.queries.clear_queue()
    run = await orders.start(desk.connection)
    async with consuming(orders):
        row = await desk.ended(run)
    assert row["status"] == "done"


async def test_processes_that_install_at_once_do_not_disturb_each_other(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("validate")(effect)

    async def start() -> None:
        connection = await asyncpg.connect()
        try:
            await orders.start(connection)
        finally:
            await connection.close()

    await asyncio.gather(*(start() for _ in range(8)))
    assert await desk.value("SELECT count(*) FROM kit_runs") == 8


async def test_a_cell_that_is_run_again_replaces_the_handler_of_its_stage(desk: Desk) -> None:
    orders = Pipeline("orders")
    said = []
    for word in ("old", "new"):

        @orders.stage()
        async def greet(step: Step, word: str = word) -> None:
            said.append(word)

    orders.stage("last")(effect)
    run = await orders.start(desk.connection)
    async with consuming(orders):
        await desk.ended(run)
    assert (said, list(orders.stages)) == (["new"], ["greet", "last"])


async def test_no_connection_is_left_after_the_consumer_has_ended(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("pack", each="boxes")(effect)
    run = await orders.start(desk.connection, {"boxes": list(range(20))})
    async with consuming(orders):
        await desk.ended(run)
    await desk.until(
        "the consumer's connections to close",
        """SELECT count(*) = 1 FROM pg_stat_activity
           WHERE datname = current_database() AND backend_type = 'client backend'""",
    )


def test_a_pipeline_says_which_stages_may_follow_which() -> None:
    orders = Pipeline("orders")
    orders.stage("check", then=("review", None))(effect)
    orders.stage("review")(effect)
    assert orders.stages == {"check": ("review", None), "review": (None,)}


@pytest.mark.parametrize("name", ["", "a.b", "a b", None, 3])
def test_a_name_that_would_not_make_an_entrypoint_is_refused(name: Any) -> None:
    with pytest.raises(KitError, match="letters, digits"):
        Pipeline(name)


def test_a_handler_that_is_not_async_is_refused() -> None:
    with pytest.raises(KitError, match="async def"):
        Pipeline("orders").stage(lambda step: None)  # type: ignore[arg-type]


def test_two_stages_of_one_name_are_refused() -> None:
    orders = Pipeline("orders")

    async def other(step: Step) -> None: ...

    orders.stage("validate")(effect)
    with pytest.raises(KitError, match="'validate' already"):
        orders.stage("validate")(other)


@pytest.mark.parametrize("then", ["first", "nowhere", ("second", "second ")])
async def test_a_stage_that_leads_back_or_nowhere_is_refused(desk: Desk, then: Any) -> None:
    orders = Pipeline("orders")
    orders.stage("first")(effect)
    orders.stage("second", then=then)(effect)
    with pytest.raises(KitError, match="declared below"):
        await orders.start(desk.connection)


def test_branches_that_would_choose_the_next_stage_are_refused() -> None:
    with pytest.raises(KitError, match="cannot choose"):
        Pipeline("orders").stage(each="boxes", then=("a", "b"))(effect)


async def test_a_pipeline_without_stages_does_not_start(desk: Desk) -> None:
    with pytest.raises(KitError, match="no stages"):
        await Pipeline("orders").start(desk.connection)


def test_a_decorator_without_its_parentheses_is_refused() -> None:
    with pytest.raises(KitError, match="parentheses"):
        Pipeline("orders").stage(effect)  # type: ignore[arg-type]


async def test_after_a_reset_runs_begin_anew_and_keep_their_history(queue_database: Postgres) -> None:
    pipeline = Pipeline("again")

    @pipeline.stage()
    async def only(step: Step) -> None: ...

    connection = await asyncpg.connect()
    try:
        await pipeline.start(connection)
        kit.reset()
        assert kit.stages.runs().empty
        assert kit.stages.history().empty
        run = await pipeline.start(connection)
    finally:
        await connection.close()
    assert list(kit.stages.history(run)["status"]) == ["pending"]
