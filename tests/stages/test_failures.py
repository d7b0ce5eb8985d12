"""What fails is tried again, held, resumed or canceled; what dies amid a step comes back, never twice."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from pgqueuer import RetryRequested

import kit
from kit.errors import KitError
from kit.stages import Pipeline, Step

from .conftest import Desk, consuming
from .test_stages import effect


async def count(desk: Desk) -> dict[str, int]:
    rows = await desk.fetch("SELECT stage, count(*) FROM effects GROUP BY stage")
    return {row["stage"]: row["count"] for row in rows}


async def test_a_failing_stage_is_tried_again_with_longer_and_longer_pauses_and_then_held(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage(retries=3, backoff=0.2)
    async def charge(step: Step) -> None:
        raise ValueError(f"refused {step.attempt}")

    run = await orders.start(desk.connection)
    async with consuming(orders):
        row = await desk.ended(run)
    assert (row["status"], row["attempts"], row["error"], row["job"]) == (
        "failed",
        4,
        "ValueError: refused 4",
        None,
    )
    waits = await desk.fetch("SELECT job, created FROM kit_run_history WHERE status = 'waiting' ORDER BY id")
    due = await desk.fetch(
        """SELECT extract(epoch FROM min(created) FILTER (WHERE status = 'picked')
                                   - min(created) FILTER (WHERE status = 'queued')) AS pause
           FROM pgqueuer_log WHERE job_id = ANY ($1) GROUP BY job_id ORDER BY job_id""",
        [wait["job"] for wait in waits],
    )
    assert [float(row["pause"]) >= pause for row, pause in zip(due, (0.2, 0.4, 0.8), strict=True)] == [
        True
    ] * 3


async def test_a_stage_that_works_in_the_end_leaves_no_error_and_its_effect_once(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage(retries=3, backoff=0)
    async def charge(step: Step) -> None:
        await effect(step)
        if step.attempt < 3:
            raise ValueError("not yet")

    run = await orders.start(desk.connection)
    async with consuming(orders):
        row = await desk.ended(run)
    assert (row["status"], row["attempts"], row["error"]) == ("done", 3, None)
    assert await count(desk) == {"charge": 1}


async def test_a_failure_is_in_pgqueuers_log_with_its_traceback(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage()
    async def charge(step: Step) -> None:
        raise ValueError("card refused")

    run = await orders.start(desk.connection)
    async with consuming(orders):
        await desk.ended(run)
    [logged] = await desk.fetch("SELECT entrypoint, traceback FROM pgqueuer_log WHERE status = 'exception'")
    assert logged["entrypoint"] == "orders.charge"
    assert "in charge" in json.loads(logged["traceback"])["traceback"]


async def test_a_handler_may_ask_for_another_try_as_pgqueuers_own_do(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage()
    async def charge(step: Step) -> None:
        await effect(step)
        if step.attempt < 3:
            raise RetryRequested(delay=timedelta(seconds=0.05), reason="the bank sleeps")

    run = await orders.start(desk.connection)
    async with consuming(orders):
        row = await desk.ended(run)
    assert (row["status"], row["attempts"]) == ("done", 3)
    assert await count(desk) == {"charge": 1}


async def test_retry_resumes_a_held_run_where_it_is_and_repeats_no_earlier_stage(desk: Desk) -> None:
    orders = Pipeline("orders")
    broken = True
    orders.stage("validate")(effect)

    @orders.stage()
    async def charge(step: Step) -> None:
        await effect(step)
        if broken:
            raise ValueError("bank is down")

    orders.stage("ship")(effect)
    run = await orders.start(desk.connection)
    async with consuming(orders):
        assert (await desk.ended(run))["stage"] == "charge"
        broken = False
        kit.stages.retry(run)
        row = await desk.ended(run)
    assert row["status"] == "done"
    assert await count(desk) == {"validate": 1, "charge": 1, "ship": 1}


async def test_retry_can_correct_the_data(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage(each="boxes")
    async def pack(step: Step) -> None:
        await effect(step)

    run = await orders.start(desk.connection, {"boxes": "books", "city": "Oslo"})
    async with consuming(orders):
        assert "'books'" in (await desk.ended(run))["error"]
        kit.stages.retry(run, {"boxes": ["books"]})
        row = await desk.ended(run)
    assert json.loads(row["data"]) == {"boxes": ["books"], "city": "Oslo", "pack": [{}]}


async def test_a_held_branch_holds_the_run_and_retry_repeats_that_branch_alone(desk: Desk) -> None:
    orders = Pipeline("orders")
    poisoned = {1, 3}

    @orders.stage(each="boxes")
    async def pack(step: Step) -> None:
        await effect(step)
        if step.branch in poisoned:
            raise ValueError(f"box {step.item} is torn")

    orders.stage("ship")(effect)
    run = await orders.start(desk.connection, {"boxes": list("abcde")})
    async with consuming(orders):
        await desk.ended(run)
        await desk.until(
            "both branches held",
            "SELECT count(*) = 2 FROM kit_runs WHERE parent = $1 AND status = 'failed'",
            run,
        )
        row = await desk.ended(run)
        assert row["error"] in ("Branch 1: ValueError: box b is torn", "Branch 3: ValueError: box d is torn")
        assert await count(desk) == {"pack": 3}
        poisoned.clear()
        kit.stages.retry(run)
        row = await desk.ended(run)
    assert (row["status"], row["error"]) == ("done", None)
    assert await count(desk) == {"pack": 5, "ship": 1}


async def test_retry_brings_back_a_run_whose_job_was_deleted_from_the_queue(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("charge")(effect)
    run = await orders.start(desk.connection)
    await desk.queries.clear_queue()
    kit.stages.retry(run)
    async with consuming(orders):
        row = await desk.ended(run)
    assert row["status"] == "done"


async def test_a_consumer_that_begins_queues_again_what_pgqueuer_holds_though_its_run_waits(
    desk: Desk,
) -> None:
    orders = Pipeline("orders")
    orders.stage("charge")(effect)
    run = await orders.start(desk.connection)
    # What PGQueuer makes of a job that it could neither finish nor queue again.
    await desk.connection.execute("UPDATE pgqueuer SET status = 'failed'")
    async with consuming(orders):
        row = await desk.ended(run)
    assert row["status"] == "done"


async def test_retry_of_a_run_that_is_not_held_says_so(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("charge")(effect)
    run = await orders.start(desk.connection)
    with pytest.raises(KitError, match="is pending: there is nothing"):
        kit.stages.retry(run)
    async with consuming(orders):
        await desk.ended(run)
    with pytest.raises(KitError, match="is done: there is nothing"):
        kit.stages.retry(run)
    with pytest.raises(KitError, match="no run 99"):
        kit.stages.retry(99)


async def test_a_canceled_run_loses_its_job_and_goes_no_further(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("charge")(effect)
    run = await orders.start(desk.connection)
    kit.stages.cancel(run)
    assert await desk.value("SELECT count(*) FROM pgqueuer") == 0
    assert await desk.value("SELECT status FROM kit_runs WHERE id = $1", run) == "canceled"
    with pytest.raises(KitError, match="is canceled already"):
        kit.stages.cancel(run)


async def test_cancel_at_once_undoes_what_a_running_handler_goes_on_to_write(desk: Desk) -> None:
    orders = Pipeline("orders")
    go_on = asyncio.Event()

    @orders.stage()
    async def charge(step: Step) -> None:
        await effect(step)
        await go_on.wait()

    orders.stage("ship")(effect)
    run = await orders.start(desk.connection)
    async with consuming(orders):
        await desk.until("status running", "SELECT status = 'running' FROM kit_runs WHERE id = $1", run)
        kit.stages.cancel(run)
        go_on.set()
        row = await desk.ended(run)
    assert row["status"] == "canceled"
    assert await count(desk) == {}


async def test_cancel_ends_the_branches_too(desk: Desk) -> None:
    orders = Pipeline("orders")
    go_on = asyncio.Event()

    @orders.stage(each="boxes")
    async def pack(step: Step) -> None:
        await effect(step)
        if step.branch:
            await go_on.wait()

    orders.stage("ship")(effect)
    run = await orders.start(desk.connection, {"boxes": [1, 2, 3]})
    async with consuming(orders):
        await desk.until(
            "branch 0 to be done", "SELECT count(*) = 1 FROM kit_runs WHERE branch = 0 AND status = 'done'"
        )
        kit.stages.cancel(run)
        go_on.set()
        await desk.ended(run)
    assert [row["status"] for row in await desk.fetch("SELECT status FROM kit_runs ORDER BY id")] == [
        "canceled",
        "done",
        "canceled",
        "canceled",
    ]
    assert await count(desk) == {"pack": 1}


async def test_branches_whose_run_somebody_keeps_locked_stop_no_other_run(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage(each="boxes")
    async def pack(step: Step) -> None:
        await effect(step)
        if step.data.get("first"):
            await step.connection.execute("SELECT pg_advisory_xact_lock_shared(1)")

    orders.stage("ship")(effect)
    await desk.connection.execute("SELECT pg_advisory_lock(1)")
    run = await orders.start(desk.connection, {"boxes": list(range(25)), "first": True})
    async with consuming(orders):
        await desk.until("the branches", "SELECT count(*) = 25 FROM kit_runs WHERE parent = $1", run)
        async with desk.connection.transaction():
            await desk.connection.execute("SELECT FROM kit_runs WHERE id = $1 FOR UPDATE", run)
            await desk.connection.execute("SELECT pg_advisory_unlock(1)")
            other = await asyncpg.connect()
            try:
                fresh = [await orders.start(other, {"boxes": [1]}) for _ in range(10)]
            finally:
                await other.close()
            await desk.until(
                "the other runs to be done",
                "SELECT count(*) = 10 FROM kit_runs WHERE id = ANY ($1::bigint[]) AND status = 'done'",
                fresh,
            )
        row = await desk.ended(run)
    assert row["status"] == "done"
    assert await count(desk) == {"pack": 35, "ship": 11}


async def test_a_try_that_outlasts_the_stages_deadline_fails(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage(deadline=0.1)
    async def charge(step: Step) -> None:
        await effect(step)
        await step.connection.execute("SELECT pg_sleep(60)")

    run = await orders.start(desk.connection)
    async with consuming(orders):
        row = await desk.ended(run)
    assert row["error"] == "TimeoutError: stage 'charge' was not done within 0.1 s"
    assert await count(desk) == {}


async def test_a_run_past_its_deadline_is_held_at_the_next_stage_and_retry_lets_it_go_on(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("charge")(effect)
    run = await orders.start(desk.connection, deadline=0)
    async with consuming(orders):
        row = await desk.ended(run)
        assert row["error"] == "The run's deadline passed before stage 'charge' began."
        kit.stages.retry(run)
        row = await desk.ended(run)
    assert row["status"] == "done"


async def test_a_job_that_comes_again_after_its_step_is_committed_does_nothing(desk: Desk) -> None:
    orders = Pipeline("orders")
    orders.stage("charge")(effect)
    orders.stage("ship")(effect)
    run = await orders.start(desk.connection)
    await desk.connection.execute("CREATE TABLE copies AS SELECT * FROM pgqueuer")
    async with consuming(orders):
        await desk.ended(run)
        await desk.connection.execute(
            "INSERT INTO pgqueuer SELECT * FROM copies"
        )  # as if its worker had died
        row = await desk.ended(run)
    assert row["status"] == "done"
    assert await count(desk) == {"charge": 1, "ship": 1}


async def test_two_consumers_with_the_same_job_do_its_step_once(desk: Desk) -> None:
    orders = Pipeline("orders")
    go_on = asyncio.Event()
    entered = 0

    @orders.stage()
    async def charge(step: Step) -> None:
        nonlocal entered
        entered += 1
        await effect(step)
        await go_on.wait()

    run = await orders.start(desk.connection)
    async with consuming(orders, heartbeat=60), consuming(orders, heartbeat=60):
        await desk.until("the handler to work", "SELECT status = 'running' FROM kit_runs WHERE id = $1", run)
        first = await desk.value("SELECT queue_manager_id FROM pgqueuer")
        await desk.connection.execute(
            "UPDATE pgqueuer SET heartbeat = now() - interval '1 hour'"
        )  # a missed one
        # The first consumer takes it back and drops it; the second finds the step taken and comes again.
        while await desk.value("SELECT queue_manager_id FROM pgqueuer") == first:
            await desk.connection.execute("UPDATE pgqueuer SET heartbeat = now() - interval '1 hour'")
            await asyncio.sleep(0.02)
        await desk.until(
            "the second delivery to come again later",
            "SELECT count(*) > 0 FROM pgqueuer_log WHERE traceback::text LIKE '%another worker is at run%'",
        )
        assert not await desk.value("SELECT count(*) FROM pg_locks WHERE NOT granted")
        go_on.set()
        row = await desk.ended(run)
    assert (row["status"], row["attempts"], entered) == ("done", 1, 1)
    assert await count(desk) == {"charge": 1}


async def test_a_step_whose_connection_is_cut_is_done_again_and_its_effect_is_there_once(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage()
    async def charge(step: Step) -> None:
        await effect(step)
        if step.attempt == 1:
            await step.connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    run = await orders.start(desk.connection)
    async with consuming(orders):
        row = await desk.ended(run)
    assert (row["status"], row["attempts"], row["error"]) == ("done", 2, None)
    assert await count(desk) == {"charge": 1}


async def test_a_run_survives_that_every_connection_but_ours_is_cut(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage(each="boxes")
    async def pack(step: Step) -> None:
        await effect(step)
        await asyncio.sleep(0.01)

    orders.stage("ship")(effect)
    run = await orders.start(desk.connection, {"boxes": list(range(60))})
    cut = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()
             AND backend_type = 'client backend'"""
    async with consuming(orders, heartbeat=1):
        for done in (5, 20, 40):
            await desk.until(f"{done} branches", "SELECT count(*) >= $1 FROM effects", done)
            await desk.value(cut)
        row = await desk.ended(run)
    assert row["status"] == "done"
    assert await count(desk) == {"pack": 60, "ship": 1}


async def test_a_consumer_that_is_stopped_in_the_middle_of_a_step_gives_the_job_back(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage()
    async def charge(step: Step) -> None:
        await effect(step)
        if step.attempt == 1:
            await asyncio.sleep(3600)

    run = await orders.start(desk.connection)
    async with consuming(orders) as consumer:
        await desk.until("the handler to work", "SELECT status = 'running' FROM kit_runs WHERE id = $1", run)
        while not consumer.done():
            consumer.cancel()
            await asyncio.sleep(0.05)
    assert await desk.fetch("SELECT status::text FROM pgqueuer") == [{"status": "queued"}]
    async with consuming(orders):
        row = await desk.ended(run)
    assert (row["status"], row["attempts"]) == ("done", 2)
    assert await count(desk) == {"charge": 1}


async def test_a_transaction_that_postgres_undid_is_done_again_without_counting_as_a_failure(
    desk: Desk,
) -> None:
    orders = Pipeline("orders")

    @orders.stage()
    async def charge(step: Step) -> None:
        await effect(step)
        if step.attempt == 1:
            raise asyncpg.DeadlockDetectedError("deadlock detected")

    run = await orders.start(desk.connection)
    async with consuming(orders):
        row = await desk.ended(run)
    assert (row["status"], row["error"]) == ("done", None)
    assert await count(desk) == {"charge": 1}


@pytest.mark.parametrize("connections_gone", [True, False])
async def test_a_handlers_own_error_of_the_network_is_a_failure_like_any_other(
    desk: Desk, connections_gone: bool
) -> None:
    orders = Pipeline("orders")
    error: Any = (
        ConnectionRefusedError("the bank's server") if connections_gone else asyncpg.InterfaceError("mine")
    )

    @orders.stage()
    async def charge(step: Step) -> None:
        raise error

    run = await orders.start(desk.connection)
    async with consuming(orders):
        row = await desk.ended(run)
    assert (row["status"], row["attempts"]) == ("failed", 1)


async def test_a_consumer_goes_on_after_its_database_was_reset(desk: Desk) -> None:
    orders = Pipeline("orders")

    @orders.stage(each="boxes")
    async def pack(step: Step) -> None: ...

    async with consuming(orders):
        first = await orders.start(desk.connection, {"boxes": [1, 2]})
        await desk.ended(first)
        kit.reset()
        again = await orders.start(desk.connection, {"boxes": [1, 2, 3]})
        row = await desk.ended(again)
    assert (first, again, row["status"]) == (1, 1, "done")


async def test_a_group_of_asked_retries_is_another_try_too(desk: Desk) -> None:
    orders = Pipeline("orders")

    async def refused() -> None:
        raise RetryRequested

    @orders.stage()
    async def charge(step: Step) -> None:
        if step.attempt == 1:
            async with asyncio.TaskGroup() as group:
                group.create_task(refused())

    run = await orders.start(desk.connection)
    async with consuming(orders):
        row = await desk.ended(run)
    assert (row["status"], row["attempts"]) == ("done", 2)
