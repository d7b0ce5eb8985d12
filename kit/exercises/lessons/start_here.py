"""Exercises of the lesson *Start here*."""

from __future__ import annotations

from pgqueuer import Job

from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, Wrong

NOTEBOOK = """
from contextlib import asynccontextmanager
import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries
"""


async def _fetch(job: Job) -> None:
    print(f"Processed: {job.payload!r}")


async def one_job_goes_round(answer: Answer) -> None:
    await answer.enqueue("fetch", [b"hello world"])
    await answer.run(fetch=_fetch)
    ((rows,),) = await answer.sql("SELECT count(*) FROM pgqueuer")
    log = [status for _, _, status, _ in await answer.log()]
    answer.guessed("rows_in_queue", rows, {1: "still-in-the-queue", 3: "still-in-the-queue"}, "rows-in-queue")
    answer.guessed("log", log, {1: "no-step-between", 2: "no-step-between"}, "other-words")


STATUSES = Exercise(
    id="statuses",
    kind="predict",
    title="One job, all the way round",
    minutes=2,
    after="enqueue",
    task="**Predict.** One job is enqueued, picked and done, without an accident. How many rows has the queue "
    "then, and which statuses has the log, from the first to the last?",
    names=("rows_in_queue", "log"),
    stub='kit.predict("statuses", rows_in_queue=..., log=...)  # log is a list, such as ["new", "old"]',
    solution='kit.predict("statuses", rows_in_queue=0, log=["queued", "picked", "successful"])',
    also=('kit.predict("statuses", rows_in_queue=0, log=("Queued", "Picked", "Successful"))',),
    check=one_job_goes_round,
    hints=(
        "A job is a row that waits or runs. Is a finished one either of the two?",
        "The log has a row for every change, and between waiting and being done there is one more.",
        "It is `0` rows; and a consumer *picks* a job before it can be successful.",
    ),
    why="A finished job leaves the queue, so the queue holds only what is still to be done. The story stays in the "
    "log: queued, picked, successful.",
    wrong=(
        Wrong(
            "the queue is a history",
            'kit.predict("statuses", rows_in_queue=1, log=["queued", "picked", "successful"])',
            "still-in-the-queue",
        ),
        Wrong(
            "nothing between waiting and done",
            'kit.predict("statuses", rows_in_queue=0, log=["queued", "successful"])',
            "no-step-between",
        ),
        Wrong(
            "words of another queue",
            'kit.predict("statuses", rows_in_queue=0, log=["queued", "running", "done"])',
            "other-words",
        ),
        Wrong(
            "a row that is missing somewhere",
            'kit.predict("statuses", rows_in_queue=2, log=["queued", "picked", "successful"])',
            "rows-in-queue",
        ),
    ),
    messages={
        "still-in-the-queue": "A job that is done does not stay in the queue, marked as done: its row is deleted. "
        "The queue is no history; the log is.",
        "no-step-between": "A job does not go from waiting to done in one step: first a consumer has to take it, so "
        "that no other does. That is a row of the log, too.",
        "other-words": "The number of rows is right, the words are not PGQueuer's: the cells below show them.",
        "rows-in-queue": "One job is one row in the queue as long as it waits or runs. How many are there when it "
        "is done?",
    },
)

EXERCISES = (STATUSES,)
