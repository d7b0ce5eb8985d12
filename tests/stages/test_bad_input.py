"""What makes no sense, in a job, a result or the code, is a clear error in the row, and the others go on."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, PgQueuer
from pgqueuer.errors import DuplicateJobError

import kit
from kit.errors import KitError
from kit.stages import Pipeline, Step

from .conftest import Desk, consuming
from .test_stages import effect


def two_stages() -> Pipeline:
    orders = Pipeline("orders")
    orders.stage("charge")(effect)
    orders.stage("ship")(effect)
    return orders


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (None, "names no run in this stage"),
        (b"", "names no run in this stage"),
        (b"\x00\xff", "names no run in this stage"),
        (b"42", "names no run in this stage"),
        (b"[]", "names no run in this stage"),
        (b'{"run": 1}', "names no run in this stage"),
        (b'{"run": "1", "stage": "charge"}', "names no run in this stage"),
        (b'{"run": true, "stage": "charge"}', "names no run in this stage"),
        (b'{"run": 9999999999999, "stage": "charge"}', "names no run in this stage"),
        (b'{"run": 77, "stage": "charge"}', "there is no such run"),
        (b'{"run": 1, "stage": "nowhere"}', "names no run in this stage"),
        (b'{"run": 1, "stage": "ship"}', "names no run in this stage"),
        (b'{"run": 1, "stage": ["charge"]}', "names no run in this stage"),
    ],
)
async def test_a_payload_that_is_no_reference_is_held_with_the_reason_in_the_log(
    desk: Desk, payload: bytes | None, says: str
) -> None:
    orders = two_stages()
    run = await orders.start(desk.connection)
    [bad] = await desk.queries.enqueue("orders.charge", payload, priority=10)
    async with consuming(orders):
        row = await desk.ended(run)
        await desk.until("the job to be held", "SELECT status = 'failed' FROM pgqueuer WHERE id = $1", bad)
    assert row["status"] == "done"
    traceback = await desk.value(
        "SELECT traceback FROM pgqueuer_log WHERE job_id = $1 AND status = 'failed'", bad
    )
    assert says in json.loads(traceback)["exception_message"]


async def test_a_second_job_for_the_same_run_and_stage_is_refused_by_its_dedupe_key(desk: Desk) -> None:
    orders = two_stages()
    await orders.start(desk.connection)
    key = await desk.value("SELECT dedupe_key FROM pgqueuer")
    with pytest.raises(DuplicateJobError):
        await desk.queries.enqueue("orders.charge", None, dedupe_key=key)


async def test_a_job_that_is_not_the_one_the_run_names_does_nothing(desk: Desk) -> None:
    orders = two_stages()
    run = await orders.start(desk.connection)
    for _ in range(5):
        await desk.queries.enqueue(
            "orders.charge", json.dumps({"run": run, "stage": "charge"}).encode(), priority=9
        )
    async with consuming(orders):
        row = await desk.ended(run)
    assert row["status"] == "done"
    assert await desk.value("SELECT count(*) FROM effects") == 2


async def test_a_run_moved_by_hand_to_an_unknown_stage_is_held_and_says_which_there_are(desk: Desk) -> None:
    orders = two_stages()
    run, other = await orders.start(desk.connection), await orders.start(desk.connection)
    async with consuming(orders):
        await desk.ended(other)
        await desk.ended(run)
    run, other = await orders.start(desk.connection), await orders.start(desk.connection)
    await desk.connection.execute("UPDATE kit_runs SET stage = 'nowhere' WHERE id = $1", run)
    async with consuming(orders):
        row = await desk.ended(run)
        assert (await desk.ended(other))["status"] == "done"
    assert row["status"] == "failed"
    assert "no stage 'nowhere'" in row["error"]
    assert "charge, ship" in row["error"]


async def test_a_stage_removed_while_runs_wait_in_it_holds_them_and_retry_resumes_when_it_is_back(
    desk: Desk,
) -> None:
    before, after = two_stages(), Pipeline("orders")
    after.stage("ship")(effect)
    waiting = await before.start(desk.connection)
    other = await after.start(desk.connection)
    async with consuming(after):
        row = await desk.ended(waiting)
        assert (await desk.ended(other))["status"] == "done"
    assert row["status"] == "failed"
    assert "no stage 'charge', it has ship" in row["error"]
    assert await desk.value("SELECT count(*) FROM pgqueuer") == 0
    kit.stages.retry(waiting)
    async with consuming(before):
        assert (await desk.ended(waiting))["status"] == "done"


async def test_branches_of_a_removed_stage_are_held_and_come_back_with_it(desk: Desk) -> None:
    before, after = Pipeline("orders"), Pipeline("orders")
    broken = True

    @before.stage(each="boxes", retries=1, backoff=3600)
    async def pack(step: Step) -> None:
        await effect(step)
        if broken and step.branch:
            raise ValueError("later")

    after.stage("ship")(effect)
    run = await before.start(desk.connection, {"boxes": [1, 2, 3]})
    async with consuming(before):
        await desk.until(
            "two branches to wait",
            "SELECT count(*) = 2 FROM kit_runs WHERE parent = $1 AND status = 'waiting'",
            run,
        )
    async with consuming(after):
        row = await desk.ended(run)
    assert (row["status"], await desk.value("SELECT count(*) FROM pgqueuer")) == ("failed", 0)
    broken = False
    kit.stages.retry(run)
    async with consuming(before):
        assert (await desk.ended(run))["status"] == "done"
    assert await desk.value("SELECT count(*) FROM effects") == 3


async def test_a_second_pipeline_of_the_same_name_is_refused_and_the_first_goes_on(desk: Desk) -> None:
    connection = await asyncpg.connect()
    try:
        pgq = PgQueuer(AsyncpgDriver(connection))
        async with two_stages().serve(pgq):
            with pytest.raises(KitError, match="two pipelines are named 'orders'"):
                async with two_stages().serve(pgq):
                    pass
        assert sorted(pgq.qm.entrypoint_registry) == ["orders.charge", "orders.ship"]
    finally:
        await connection.close()


async def test_two_pipelines_of_different_names_share_a_consumer(desk: Desk) -> None:
    orders, refunds = two_stages(), Pipeline("refunds")
    refunds.stage("charge")(effect)
    runs = [await orders.start(desk.connection), await refunds.start(desk.connection)]
    async with consuming(orders, refunds):
        assert [(await desk.ended(run))["status"] for run in runs] == ["done", "done"]


@pytest.mark.parametrize(
    "data",
    [
        {"when": datetime(2026, 1, 1)},
        {"x": math.nan},
        {"x": {1, 2}},
        {"x": "a\0b"},
        {"x": "\ud800"},
        [1],
        "text",
    ],
)
async def test_data_that_jsonb_cannot_hold_is_refused_at_the_start(desk: Desk, data: Any) -> None:
    with pytest.raises(KitError, match="The data of a run is"):
        await two_stages().start(desk.connection, data)


@pytest.mark.parametrize(
    "result",
    [{"when": datetime(2026, 1, 1)}, {"x": math.inf}, {"x": "a\0b"}, {"x": "\udfff"}, [1], "done", True, 0],
)
async def test_a_result_that_jsonb_cannot_hold_holds_the_run_and_undoes_the_step(
    desk: Desk, result: Any
) -> None:
    orders, good = Pipeline("orders"), two_stages()
    good.name = "good"

    @orders.stage(retries=9)
    async def charge(step: Step) -> Any:
        await effect(step)
        return result

    run, other = await orders.start(desk.connection), await good.start(desk.connection)
    async with consuming(orders, good):
        row = await desk.ended(run)
        assert (await desk.ended(other))["status"] == "done"
    assert (row["status"], row["attempts"]) == ("failed", 1)
    assert row["error"].startswith("What stage 'charge' returns is")
    assert await desk.value("SELECT count(*) FROM effects WHERE run = $1", run) == 0


async def test_text_that_looks_like_an_escaped_nul_is_kept_as_it_is(desk: Desk) -> None:
    orders = two_stages()
    run = await orders.start(desk.connection, {"path": "C:\\u0000", "face": "😀"})
    async with consuming(orders):
        row = await desk.ended(run)
    assert json.loads(row["data"]) == {"path": "C:\\u0000", "face": "😀"}


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a\0b"),
        ValueError("\ud800"),
        ValueError(),
        Silent(),
        ExceptionGroup("many", [ValueError("one")]),
    ],
)
async def test_an_error_whose_text_postgres_does_not_take_holds_its_run_and_no_other(
    desk: Desk, error: Exception
) -> None:
    orders = Pipeline("orders")

    @orders.stage()
    async def charge(step: Step) -> None:
        if step.data:
            raise error

    bad, good = await orders.start(desk.connection, {"bad": True}), await orders.start(desk.connection)
    async with consuming(orders):
        row = await desk.ended(bad)
        assert (await desk.ended(good))["status"] == "done"
    assert row["status"] == "failed"
    assert row["error"]


async def test_a_failed_query_that_the_handler_hides_holds_the_run(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage()
    async def charge(step: Step) -> None:
        with suppress(asyncpg.UndefinedColumnError):
            await step.connection.execute("SELECT nothing")

    run = await orders.start(desk.connection)
    async with consuming(orders):
        row = await desk.ended(run)
    assert row["status"] == "failed"
    assert "current transaction is aborted" in row["error"]


@pytest.mark.parametrize("given", [{"order": 7}, None, "Queries", "a driver", "a pool"])
async def test_what_a_run_is_started_on_must_be_a_connection(desk: Desk, given: Any) -> None:
    async with asyncpg.create_pool(min_size=1) as pool:
        driver = AsyncpgDriver(desk.connection)
        made = {"Queries": desk.queries, "a driver": driver, "a pool": pool}
        with pytest.raises(
            KitError, match=r"takes a connection of asyncpg's first, not .*, and then the data"
        ):
            await two_stages().start(made[given] if isinstance(given, str) else given, {"order": 7})
        async with pool.acquire() as lent:
            await two_stages().start(lent, {"order": 7})
