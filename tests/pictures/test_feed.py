"""The board's picture is the tables', whatever happens to them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, Job, PgQueuer
from pgqueuer.types import QueueEntrypoint

import kit
from kit.database.queue_tables import DRAWN
from kit.pictures.board import feed, history
from kit.pictures.board.feed import TAIL
from kit.sources import Postgres
from tests.pictures.conftest import Followed, Hands


@asynccontextmanager
async def waiting() -> AsyncIterator[PgQueuer]:
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))

    @pgq.entrypoint("work", concurrency_limit=4)
    async def work(job: Job) -> None:
        await asyncio.sleep(60)

    yield pgq
    await connection.close()


@asynccontextmanager
async def quick() -> AsyncIterator[PgQueuer]:
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))

    @pgq.entrypoint("quick")
    async def quick(job: Job) -> None:
        await asyncio.sleep(0.001)

    yield pgq
    await connection.close()


SILENT = "ALTER TABLE pgqueuer DISABLE TRIGGER tg_pgqueuer_changed"


async def test_an_enqueued_job_is_shown_with_its_payload_and_priority(
    followed: Followed, hands: Hands
) -> None:
    [job] = await hands.enqueue(b'{"to": "ada"}', priority=5, entrypoint="send_email")
    card = await followed.until_status(job, "queued")
    assert (card["entrypoint"], card["priority"], card["payload"]) == ("send_email", 5, '{"to": "ada"}')


async def test_a_picked_job_shows_its_worker_and_that_ones_heartbeat(
    followed: Followed, hands: Hands
) -> None:
    [job] = await hands.enqueue(b"x")
    [picked] = await hands.pick()
    card = await followed.until_status(job, "picked")
    assert (card["worker"], card["turn"]) == ("00000000", 1)
    lane = followed.history.tables["lanes"]["00000000"]
    # Also in a look that takes in only what is new: a heartbeat may have to be younger than a second.
    for _ in range(3):
        await hands.queries.update_heartbeat([picked.id])
        beat = await hands.connection.fetchval("SELECT extract(epoch FROM heartbeat)::float8 FROM pgqueuer")
        await followed.feed.look_now()
        lane = followed.history.tables["lanes"]["00000000"]
        assert lane["beat"] == pytest.approx(beat - followed.history.begin, abs=0.01)
    assert lane["name"] == "worker 00000000"


async def test_a_job_has_the_lane_of_its_worker_from_the_first_moment_on(
    followed: Followed, hands: Hands
) -> None:
    [job] = await hands.enqueue(b"x")
    await hands.pick()
    await followed.until("who has it", lambda: followed.as_told()["jobs"][job]["worker"])
    changes = [change for message in followed.told for change in message["changes"]]
    [picked] = [at for at, change in enumerate(changes) if change[1] == "jobs" and "worker" in change[3]]
    [lane] = [at for at, change in enumerate(changes) if change[1] == "lanes" and "name" in change[3]]
    assert lane < picked
    assert changes[lane][0] <= changes[picked][0]


async def test_a_worker_that_is_gone_is_told_from_one_that_is_connected(
    followed: Followed, queue_database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "SLOW", 0.2)
    worker = await asyncpg.connect(queue_database.dsn)
    await Hands(worker).enqueue(b"x")
    [job] = await Hands(worker).pick()
    await Hands(worker).queries.update_heartbeat([job.id])
    await followed.until("it working", lambda: followed.lanes() == [("worker 00000000", "working")])
    await several_looks(followed, 10)
    assert followed.lanes() == [("worker 00000000", "working")]
    await worker.close()
    await followed.until("it gone", lambda: followed.lanes() == [("worker 00000000", "gone")])


async def test_a_consumer_elsewhere_is_known_before_it_has_a_job(
    followed: Followed, queue_database: Postgres
) -> None:
    worker = await asyncpg.connect(queue_database.dsn)
    assert await Hands(worker).queries.queued_work([QueueEntrypoint("work")]) == 0
    await followed.until("it", lambda: followed.lanes() == [("another program", "connected")])
    await worker.close()
    await followed.until("nobody", lambda: followed.lanes() == [])


async def test_a_consumer_of_this_process_is_told_by_its_name_state_and_limits(
    followed: Followed, hands: Hands
) -> None:
    consumer = kit.run(waiting, name="second", heartbeat_timeout=7)
    [job] = await hands.enqueue(b"x")
    card = await followed.until_status(job, "picked")
    await several_looks(followed, 1)
    lane = followed.history.tables["lanes"][card["worker"]]
    assert (lane["name"], lane["state"], lane["timeout"]) == ("second", "running", 7)
    assert followed.history.tables["limits"] == {"work": {"n": 4}}
    await asyncio.to_thread(consumer.stop, 0)
    await followed.until_status(job, "queued")
    await followed.until("nobody", lambda: followed.lanes() == [] and not followed.history.tables["limits"])


async def test_a_job_of_a_dead_worker_counts_its_deliveries_and_stands_in_the_next_ones_lane(
    followed: Followed, hands: Hands
) -> None:
    [job] = await hands.enqueue(b"x")
    await hands.pick()
    first = await followed.until_status(job, "picked")
    assert (first["turn"], first["worker"]) == (1, "00000000")
    await hands.connection.execute("UPDATE pgqueuer SET heartbeat = now() - interval '1 hour'")
    kit.run(waiting, name="second", heartbeat_timeout=7)
    await followed.until("it taken over", lambda: followed.card(job)["worker"] != "00000000")
    await several_looks(followed, 1)
    assert followed.card(job)["turn"] == 2
    assert followed.history.tables["lanes"][followed.card(job)["worker"]]["name"] == "second"


async def test_jobs_too_quick_to_be_seen_running_are_known_by_the_lane_they_ran_in(
    followed: Followed, hands: Hands
) -> None:
    jobs: list[int] = []
    for _ in range(3):
        kit.run(quick, name="quick")
        jobs += await hands.enqueue(*[b"x"] * 30, entrypoint="quick")
        number = len(jobs)
        await followed.until("its jobs", lambda: followed.history.totals()["successful"] == number)  # noqa: B023
        assert [name for name, _ in followed.lanes()] == ["quick"]
    assert all(followed.card(job)["worker"] for job in jobs)


async def test_a_job_that_ends_between_two_looks_is_shown_as_ended(followed: Followed, hands: Hands) -> None:
    [job] = await hands.enqueue(b"x")
    await hands.end(await hands.pick())
    await followed.until_status(job, "successful")
    seen = [change for message in followed.told for change in message["changes"] if change[2] == job]
    assert [change["status"] for *_, change in seen] == ["queued", "picked", "successful"]
    times = await hands.connection.fetch("SELECT extract(epoch FROM created)::float8 FROM pgqueuer_log")
    assert [at + followed.history.begin for at, *_ in seen] == pytest.approx([at for (at,) in times], abs=0.1)


async def test_an_ended_job_keeps_the_payload_it_was_seen_with(followed: Followed, hands: Hands) -> None:
    [job] = await hands.enqueue(b"hello")
    await followed.until_status(job, "queued")
    await hands.end(await hands.pick())
    assert (await followed.until_status(job, "successful"))["payload"] == "hello"


async def test_a_failed_job_shows_its_exception(followed: Followed, hands: Hands) -> None:
    [job] = await hands.enqueue(b"x")
    await hands.end(await hands.pick(), "exception", ValueError("no such order"))
    card = await followed.until_status(job, "exception")
    assert card["error"] == "ValueError: no such order"


async def test_a_held_job_stays_and_moves_back_when_it_is_requeued(followed: Followed, hands: Hands) -> None:
    [job] = await hands.enqueue(b"x")
    jobs = await hands.pick()
    await hands.end(jobs, "failed", ValueError("no"))
    await followed.until_status(job, "failed")
    await hands.queries.requeue_jobs([jobs[0].id])
    await followed.until_status(job, "queued")


async def test_a_retried_job_shows_its_attempts_and_when_it_is_due(followed: Followed, hands: Hands) -> None:
    [job] = await hands.enqueue(b"x")
    [picked] = await hands.pick()
    await followed.until_status(job, "picked")
    await hands.queries.retry_job(picked, timedelta(seconds=60), None)
    card = await followed.until_status(job, "queued")
    assert card["tries"] == 1
    assert 30 < card["due"] + followed.history.begin - followed.history.now < 70
    assert "1 due later" in followed.history.words()


async def test_canceled_and_deleted_jobs_are_shown_as_such(followed: Followed, hands: Hands) -> None:
    first, second = await hands.enqueue(b"x", b"y")
    await hands.queries.mark_job_as_cancelled([first])  # type: ignore[list-item]
    await hands.queries.clear_queue("work")
    await followed.until_status(first, "canceled")
    await followed.until_status(second, "deleted")


async def test_the_picture_is_right_without_any_notification(followed: Followed, hands: Hands) -> None:
    await hands.connection.execute(SILENT)
    first, second, third = await hands.enqueue(b"1", b"2", b"3")
    await hands.end(await hands.pick())
    await followed.until_status(first, "successful")
    await followed.until_status(second, "queued")
    await followed.until_status(third, "queued")


async def test_rows_changed_by_hand_are_seen(followed: Followed, hands: Hands) -> None:
    first, second = await hands.enqueue(b"1", b"2")
    await followed.until_status(second, "queued")
    await hands.connection.execute("UPDATE pgqueuer SET priority = 9 WHERE id = $1", first)
    await hands.connection.execute("DELETE FROM pgqueuer WHERE id = $1", second)
    await followed.until("the new priority", lambda: followed.card(first)["priority"] == 9)
    await followed.until("that the second is gone", lambda: second not in followed.history.tables["jobs"])


async def test_a_log_row_that_commits_late_is_counted_once(
    followed: Followed, hands: Hands, queue_database: Postgres
) -> None:
    slow, quick = await hands.enqueue(b"1", b"2")
    picked = await hands.pick(2)
    late = await asyncpg.connect(queue_database.dsn)
    try:
        transaction = late.transaction()
        await transaction.start()
        await Hands(late).end([job for job in picked if job.id == slow])
        await hands.end([job for job in picked if job.id == quick])
        await followed.until_status(quick, "successful")
        assert followed.card(slow)["status"] == "picked"
        await transaction.commit()
        await followed.until_status(slow, "successful")
        await several_looks(followed, 5)
    finally:
        await late.close()
    assert followed.history.totals() == {"successful": 2}


@pytest.mark.parametrize("number", [2, DRAWN + 10], ids=["drawn", "counted"])
async def test_a_log_row_that_commits_when_it_is_no_longer_looked_for_is_counted(
    followed: Followed, hands: Hands, queue_database: Postgres, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(feed, "LATE", 0.1)
    monkeypatch.setattr(feed, "SLOW", 0.2)
    slow, quick, *others = await hands.enqueue(*[b"x"] * number)
    late = await asyncpg.connect(queue_database.dsn)
    try:
        transaction = late.transaction()
        await transaction.start()
        await Hands(late).queries.mark_job_as_cancelled([slow])  # type: ignore[list-item]
        await hands.queries.mark_job_as_cancelled([quick])  # type: ignore[list-item]
        await followed.until("one", lambda: followed.history.totals()["canceled"] == 1)
        newest = await hands.connection.fetchval("SELECT max(id) FROM pgqueuer_log")
        await followed.until("that row left behind", lambda: (followed.feed._mark or (0,))[0] == newest)
        await transaction.commit()
    finally:
        await late.close()
    right = {"queued": len(others), "canceled": 2}
    await followed.until("the other", lambda: +followed.history.totals() == +Counter(right))


async def test_a_log_row_that_is_rolled_back_leaves_the_counts_right(
    followed: Followed, hands: Hands
) -> None:
    await hands.enqueue(b"1")
    picked = await hands.pick()
    transaction = hands.connection.transaction()
    await transaction.start()
    await hands.end(picked)
    await transaction.rollback()
    await hands.end(picked)
    await followed.until("one ended", lambda: followed.history.totals()["successful"] == 1)
    await several_looks(followed, 3)
    assert followed.history.totals() == {"successful": 1}


async def test_an_emptied_queue_is_shown_empty_though_ids_begin_again(
    followed: Followed, hands: Hands
) -> None:
    await hands.connection.execute(SILENT)
    [job] = await hands.enqueue(b"old")
    await hands.end(await hands.pick())
    await followed.until_status(job, "successful")
    await hands.connection.execute("TRUNCATE pgqueuer, pgqueuer_log RESTART IDENTITY")
    await followed.until("nothing", lambda: not followed.history.totals())
    assert await hands.enqueue(b"new") == [job]
    assert (await followed.until_status(job, "queued"))["payload"] == "new"


async def test_a_lost_connection_is_told_and_made_good(followed: Followed, hands: Hands) -> None:
    await hands.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kit board'"
        " AND datname = current_database()"
    )
    await followed.until("its trouble", lambda: trouble(followed))
    assert "has lost Postgres" in followed.history.words()
    [job] = await hands.enqueue(b"x")
    await followed.until_status(job, "queued")
    await followed.until("no trouble", lambda: trouble(followed) is None)


async def test_of_more_jobs_than_can_be_drawn_the_next_ones_are_and_the_others_are_counted(
    followed: Followed, hands: Hands
) -> None:
    many = DRAWN + 50
    ids = await hands.enqueue(*[b"x"] * many, priority=3)
    [first] = await hands.enqueue(b"x", priority=9)
    await followed.until("all", lambda: followed.history.totals() == {"queued": many + 1})
    jobs = followed.history.tables["jobs"]
    await followed.until("the next ones", lambda: sorted(jobs) == sorted([first, *ids[: DRAWN - 1]]))
    await hands.end(await hands.pick(20))
    right = {"queued": many - 19, "successful": 20}
    await followed.until("twenty ended", lambda: followed.history.totals() == right)

    def waiting() -> list[Any]:
        return sorted(job for job, card in jobs.items() if card["status"] == "queued")

    await followed.until("the next ones", lambda: waiting() == ids[19 : 19 + DRAWN])
    await hands.end(await hands.pick(100))
    await followed.until("no more", lambda: not followed.history.tables["more"]["queued"]["n"])


async def test_of_a_queue_too_fast_to_follow_the_numbers_are_right(followed: Followed, hands: Hands) -> None:
    number = 3 * TAIL
    await hands.enqueue(b"first")
    await followed.until("the first", lambda: followed.history.totals())
    await hands.enqueue(*[b"x"] * number)
    await hands.end(await hands.pick(number))
    right = {"queued": 1, "successful": number}
    await followed.until("all", lambda: followed.history.totals() == right)


async def test_what_happened_before_the_board_was_there_is_in_its_history(
    hands: Hands, queue_database: Postgres
) -> None:
    first, second = await hands.enqueue(b"1", b"2")
    await hands.end(await hands.pick())
    past = history.History("past")
    follower = feed.Feed(queue_database.target, past, lambda: None)
    task = asyncio.create_task(follower.run())
    await asyncio.wait_for(follower.look_now(), 10)
    follower.stop()
    await asyncio.wait_for(task, 10)
    changes = [change for change in json.loads(past.since(-1)[0])["changes"] if change[1] == "jobs"]
    assert [(job, change["status"]) for _, _, job, change in changes if "status" in change] == [
        *((first, "queued"), (second, "queued"), (first, "picked"), (first, "successful"))
    ]
    times = [at for at, *_ in changes]
    assert times == sorted(times)
    assert times[0] < times[2]


async def test_a_history_is_bounded_and_forgets_only_what_has_ended(
    followed: Followed, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "BOUND", 20_000)
    [kept] = await hands.enqueue(b"kept", priority=-1)
    for batch in range(1, 9):
        await hands.enqueue(*[b"x"] * 50)
        await hands.end(await hands.pick(50))
        right = {"queued": 1, "successful": 50 * batch}
        await followed.until("all ended", lambda: followed.history.totals() == right)  # noqa: B023
    text, _ = followed.history.since(-1)
    assert len(text) < 30_000
    assert followed.card(kept)["payload"] == "kept"
    assert followed.history.tables["gone"]["successful"]["n"] > 200


async def test_a_history_begins_anew_with_the_first_job_after_the_queue_was_emptied(
    followed: Followed, hands: Hands
) -> None:
    [old] = await hands.enqueue(b"old")
    await followed.until_status(old, "queued")
    await hands.end(await hands.pick())
    await followed.until_status(old, "successful")
    await asyncio.to_thread(kit.reset)
    await followed.until("nothing", lambda: not followed.history.totals())
    assert "old" in followed.history.since(-1)[0]
    [new] = await hands.enqueue(b"new")
    await followed.until("the new one", lambda: followed.card(new).get("payload") == "new")
    assert "old" not in followed.history.since(-1)[0]
    assert followed.as_told()["jobs"] == followed.history.tables["jobs"]


async def test_a_schedule_is_a_row_with_its_next_run(followed: Followed, hands: Hands) -> None:
    await hands.connection.execute(
        "INSERT INTO pgqueuer_schedules (expression, entrypoint, next_run)"
        " VALUES ('0 2 * * *', 'nightly', now() + interval '1 hour')"
    )
    schedules = followed.history.tables["schedules"]
    await followed.until("it", lambda: [row["entrypoint"] for row in schedules.values()] == ["nightly"])
    [row] = schedules.values()
    assert row["expression"] == "0 2 * * *"
    assert 3500 < row["next"] + followed.history.begin - followed.history.now < 3601
    await hands.connection.execute("DELETE FROM pgqueuer_schedules")
    await followed.until("nothing", lambda: not schedules)


async def test_an_idle_queue_tells_nothing(followed: Followed, hands: Hands) -> None:
    [job] = await hands.enqueue(b"x")
    await followed.until_status(job, "queued")
    await several_looks(followed, 2)
    before = len(followed.told)
    await several_looks(followed, 6)
    assert followed.told[before:] == []


async def test_only_what_has_changed_is_told(followed: Followed, hands: Hands) -> None:
    await hands.enqueue(*[b"x"] * 50)
    await followed.until("fifty", lambda: followed.history.totals()["queued"] == 50)
    before = len(followed.told)
    [job] = await hands.enqueue(b"new")
    await followed.until_status(job, "queued")
    await followed.until("it told", lambda: followed.told[before:])
    told = [change for message in followed.told[before:] for change in message["changes"]]
    assert {key for _, table, key, _ in told if table == "jobs"} == {job}


async def test_all_that_is_told_makes_the_whole_picture_at_most_ten_times_a_second(
    followed: Followed, hands: Hands
) -> None:
    began = asyncio.get_running_loop().time()
    await hands.enqueue(*[b"x"] * 30)
    await hands.end(await hands.pick(10))
    await hands.end(await hands.pick(10), "exception", ValueError("no"))
    await hands.pick(5)
    await followed.until(
        "all of it", lambda: [followed.history.totals()[s] for s in STATUSES] == [5, 5, 10, 10]
    )
    await several_looks(followed, 1)
    assert followed.as_told() == followed.history.tables
    assert len(followed.told) <= 3 + 10 * (asyncio.get_running_loop().time() - began)


STATUSES: Sequence[str] = ("queued", "picked", "successful", "exception")


def trouble(followed: Followed) -> object:
    return followed.history.tables["said"].get("trouble", {}).get("text")


async def several_looks(followed: Followed, number: int) -> None:
    """Wait until the feed has looked at the tables so many times more."""
    for _ in range(number):
        await asyncio.wait_for(followed.feed.look_now(), 10)
