"""The board's picture is the tables', whatever happens to them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, Job, PgQueuer
from pgqueuer.types import QueueEntrypoint

import kit
from kit.pictures.board import feed, reader
from kit.pictures.board.state import DRAWN, ENDED_KEPT
from kit.sources import Postgres
from tests.pictures.conftest import Followed, Hands


@asynccontextmanager
async def waiting() -> AsyncIterator[PgQueuer]:
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))

    @pgq.entrypoint("work")
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
    assert (card.entrypoint, card.priority, card.payload, card.size) == ("send_email", 5, '{"to": "ada"}', 13)


async def test_a_picked_job_shows_its_worker_and_heartbeat(followed: Followed, hands: Hands) -> None:
    [job] = await hands.enqueue(b"x")
    [picked] = await hands.pick()
    card = await followed.until_status(job, "picked")
    assert card.consumer == "00000000-0000-0000-0000-000000000007"
    assert card.heartbeat is not None
    # Also in a look that takes in only what is new: a heartbeat may have to be younger than a second.
    for _ in range(3):
        await hands.queries.update_heartbeat([picked.id])
        beat = await hands.connection.fetchval("SELECT extract(epoch FROM heartbeat)::float8 FROM pgqueuer")
        await followed.feed.look_now()
        assert followed.state.consumers[0].heartbeat == beat
    await followed.until("the worker", lambda: followed.state.consumers)
    assert followed.state.consumers[0].name == "worker 00000000"
    assert followed.state.consumers[0].jobs == 1


async def test_a_worker_that_is_gone_is_told_from_one_that_is_connected(
    followed: Followed, queue_database: Postgres
) -> None:
    worker = await asyncpg.connect(queue_database.dsn)
    await Hands(worker).enqueue(b"x")
    [job] = await Hands(worker).pick()
    await Hands(worker).queries.update_heartbeat([job.id])
    await followed.until("it working", lambda: [one.state for one in followed.state.consumers] == ["working"])
    await worker.close()
    await followed.until(
        "it gone", lambda: [one.state for one in followed.state.consumers] == ["not connected"]
    )
    assert followed.state.consumers[0].jobs == 1


async def test_a_consumer_elsewhere_is_known_before_it_has_a_job(
    followed: Followed, queue_database: Postgres
) -> None:
    worker = await asyncpg.connect(queue_database.dsn)
    assert await Hands(worker).queries.queued_work([QueueEntrypoint("work")]) == 0
    await followed.until(
        "it", lambda: [one.name for one in followed.state.consumers] == ["a consumer elsewhere"]
    )
    await worker.close()
    await followed.until("nobody", lambda: followed.state.consumers == [])


async def test_a_consumer_of_this_process_is_told_by_its_name_and_state(
    followed: Followed, hands: Hands
) -> None:
    consumer = kit.run(waiting, name="second")
    await hands.enqueue(b"x")
    await followed.until(
        "it", lambda: [(one.name, one.jobs) for one in followed.state.consumers] == [("second", 1)]
    )
    assert followed.state.consumers[0].state == "running"
    await asyncio.to_thread(consumer.stop, 0)
    await followed.until("that it has stopped", lambda: followed.state.consumers[0].state == "stopped")


async def test_only_consumers_that_are_there_are_named_however_often_one_was_started(
    followed: Followed, hands: Hands
) -> None:
    jobs: list[int] = []

    def all_ended() -> bool:
        return followed.state.totals()["successful"] == len(jobs)

    for _ in range(3):
        kit.run(quick, name="quick")
        jobs += await hands.enqueue(*[b"x"] * 30, entrypoint="quick")
        await followed.until("its jobs", all_ended)
        names = {consumer["name"] for change in followed.told for consumer in change.get("consumers", [])}
        assert names <= {"quick"}
    assert [one.name for one in followed.state.consumers] == ["quick"]


async def test_a_job_that_ends_between_two_looks_is_shown_as_ended(followed: Followed, hands: Hands) -> None:
    [job] = await hands.enqueue(b"x")
    await hands.end(await hands.pick())
    card = await followed.until_status(job, "successful")
    assert card.created is not None
    assert card.picked is not None
    assert card.ended is not None
    assert card.created <= card.picked <= card.ended


async def test_an_ended_job_keeps_the_payload_it_was_seen_with(followed: Followed, hands: Hands) -> None:
    [job] = await hands.enqueue(b"hello")
    await followed.until_status(job, "queued")
    await hands.end(await hands.pick())
    assert (await followed.until_status(job, "successful")).payload == "hello"


async def test_a_failed_job_shows_its_exceptions_last_line_and_traceback(
    followed: Followed, hands: Hands
) -> None:
    [job] = await hands.enqueue(b"x")
    await hands.end(await hands.pick(), "exception", ValueError("no such order"))
    card = await followed.until_status(job, "exception")
    assert card.error == "ValueError: no such order"
    assert card.trace is not None
    assert "no such order" in card.trace


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
    assert card.attempts == 1
    assert card.due is not None
    assert 30 < card.due - followed.state.now < 70
    assert "1 due later" in followed.state.summary()


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
    await followed.until("the new priority", lambda: followed.card(first).priority == 9)
    await followed.until("that the second is gone", lambda: second not in followed.state.cards)


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
        assert followed.card(slow).status == "picked"
        await transaction.commit()
        await followed.until_status(slow, "successful")
        await several_looks(followed, 5)
    finally:
        await late.close()
    assert followed.state.ended["work", "successful"] == 2


@pytest.mark.parametrize("number", [2, DRAWN + 10], ids=["drawn", "counted"])
async def test_a_log_row_that_commits_when_it_is_no_longer_looked_for_is_counted(
    followed: Followed, hands: Hands, queue_database: Postgres, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(reader, "GAP_LIFE", 0.1)
    monkeypatch.setattr(feed, "SLOW", 0.2)
    read = followed.feed._reader
    slow, quick, *others = await hands.enqueue(*[b"x"] * number)
    late = await asyncpg.connect(queue_database.dsn)
    try:
        transaction = late.transaction()
        await transaction.start()
        await Hands(late).queries.mark_job_as_cancelled([slow])  # type: ignore[list-item]
        await hands.queries.mark_job_as_cancelled([quick])  # type: ignore[list-item]
        await followed.until("one", lambda: followed.state.totals()["canceled"] == 1)
        await followed.until(
            "that the gap is given up", lambda: not (read.gaps or read._recount or read._estimated)
        )
        await transaction.commit()
    finally:
        await late.close()
    right = {"queued": len(others), "canceled": 2}
    await followed.until("the other", lambda: +followed.state.totals() == +Counter(right))


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
    await followed.until("one ended", lambda: followed.state.totals()["successful"] == 1)
    await followed.until("that the gap is given up", lambda: not followed.feed._reader.gaps)
    await several_looks(followed, 3)
    assert followed.state.totals() == {"successful": 1}


async def test_an_emptied_queue_is_shown_empty_though_ids_begin_again(
    followed: Followed, hands: Hands
) -> None:
    await hands.connection.execute(SILENT)
    [job] = await hands.enqueue(b"old")
    await hands.end(await hands.pick())
    await followed.until_status(job, "successful")
    await hands.connection.execute("TRUNCATE pgqueuer, pgqueuer_log RESTART IDENTITY")
    await followed.until("nothing", lambda: not followed.state.cards and not followed.state.totals())
    assert await hands.enqueue(b"new") == [job]
    assert (await followed.until_status(job, "queued")).payload == "new"


async def test_a_lost_connection_is_told_and_made_good(followed: Followed, hands: Hands) -> None:
    await hands.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kit board'"
        " AND datname = current_database()"
    )
    await followed.until("its trouble", lambda: followed.state.trouble)
    assert "has lost Postgres" in followed.state.summary()
    [job] = await hands.enqueue(b"x")
    await followed.until_status(job, "queued")
    await followed.until("no trouble", lambda: followed.state.trouble is None)


async def test_more_jobs_than_can_be_drawn_are_counted(followed: Followed, hands: Hands) -> None:
    many = DRAWN + 1
    await hands.enqueue(*[b"x"] * many, priority=3)
    await followed.until("a number instead of cards", lambda: followed.state.counting)
    assert followed.state.totals() == {"queued": many}
    assert not followed.state.cards
    assert followed.state.waiting == {("work", 3): many}
    await hands.end(await hands.pick(20))
    await followed.until("cards again", lambda: not followed.state.counting)
    await followed.until("every job", lambda: len(followed.state.cards) == many)
    assert followed.state.totals() == {"queued": many - 20, "successful": 20}


async def test_a_queue_too_fast_to_follow_is_counted_until_it_calms_down(
    followed: Followed, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.pictures.board.reader.RUSH", 10)  # jobs ended in a second
    number = 300
    await hands.enqueue(b"first")
    await followed.until("the first", lambda: followed.state.cards)
    await hands.enqueue(*[b"x"] * number)
    await hands.end(await hands.pick(number))
    await followed.until("a number", lambda: followed.state.counting)
    await followed.until("cards again", lambda: len(followed.state.cards) == number + 1)
    assert followed.state.totals() == {"queued": 1, "successful": number}


async def test_only_the_newest_ended_jobs_keep_a_card(followed: Followed, hands: Hands) -> None:
    number = ENDED_KEPT + 20
    ids = await hands.enqueue(*[b"x"] * number)
    await hands.end(await hands.pick(number))
    await followed.until("all ended", lambda: followed.state.totals()["successful"] == number)
    await followed.until("the newest", lambda: sorted(followed.state.cards) == ids[20:])


async def test_an_idle_queue_tells_nothing(followed: Followed, hands: Hands) -> None:
    [job] = await hands.enqueue(b"x")
    await followed.until_status(job, "queued")
    await several_looks(followed, 2)
    before = len(followed.told)
    await several_looks(followed, 6)
    assert followed.told[before:] == []


async def test_only_what_has_changed_is_told(followed: Followed, hands: Hands) -> None:
    await hands.enqueue(*[b"x"] * 50)
    await followed.until("fifty", lambda: followed.state.totals()["queued"] == 50)
    before = len(followed.told)
    [job] = await hands.enqueue(b"new")
    await followed.until_status(job, "queued")
    await followed.until("it told", lambda: followed.told[before:])
    assert [card["id"] for change in followed.told[before:] for card in change.get("cards", [])] == [job]


async def test_every_change_told_together_makes_the_whole_picture(followed: Followed, hands: Hands) -> None:
    await hands.enqueue(*[b"x"] * 30)
    await hands.end(await hands.pick(10))
    await hands.end(await hands.pick(10), "exception", ValueError("no"))
    await hands.pick(5)
    await followed.until(
        "all of it", lambda: [followed.state.totals()[s] for s in STATUSES] == [5, 5, 10, 10]
    )
    told: dict[int, dict[str, object]] = {}
    for change in followed.told:
        for card in change.get("cards", []):
            told[card["id"]] = card
        for job in change.get("gone", []):
            del told[job]
    assert told == {card["id"]: card for card in followed.state.full()["cards"]}


STATUSES: Sequence[str] = ("queued", "picked", "successful", "exception")


async def several_looks(followed: Followed, number: int) -> None:
    """Wait until the feed has looked at the tables so many times more."""
    for _ in range(number):
        await asyncio.wait_for(followed.feed.look_now(), 10)
