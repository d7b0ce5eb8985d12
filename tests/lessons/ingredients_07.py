"""Lesson 07: what each section credits."""

from __future__ import annotations

from tests.lessons.ingredients import Beats, Edit, Ingredient

SEND = 'await db.execute("UPDATE letters SET sent = sent + 1")  # only if job.id is new in posted'
SEND_ONCE = """async with db.transaction():
        if await db.execute("INSERT INTO posted VALUES ($1) ON CONFLICT DO NOTHING", job.id) == "INSERT 0 1":
            await db.execute("UPDATE letters SET sent = sent + 1")"""

UNTIL_IT_IS_BACK = """while True:
    try:
        db = await asyncpg.connect()
        break
    except (asyncpg.PostgresError, OSError):
        await asyncio.sleep(0.05)"""


def row(*values: int) -> str:
    """Return a pattern for the only row of a table."""
    return r"^0\s+" + r"\s+".join(map(str, values)) + "$"


BEATS: Beats = {
    "1 · Killed in the middle": [
        Ingredient(
            "the kill",
            (Edit("worker-killed", "worker.kill()", "await kit.wait()"),),
            then={"another": (row(1, 1),), "worker-killed": ("running",)},
        ),
    ],
    "2 · Counted once": [
        Ingredient(
            "the look at sent",
            (Edit("send-once", " AND sent = 0", ""),),
            then={"another-again": (row(2, 2),)},
        ),
    ],
    "3 · Alive, and taken for dead": [
        Ingredient(
            "a second worker, who takes the first for dead",
            (Edit("run-blocked", "spawn(count=2)", "spawn()"),),
            then={"run-blocked": (row(1),)},
        ),
        Ingredient(
            "the thread",
            (Edit("send-in-a-thread", "await asyncio.to_thread(time.sleep, 1.8)", "time.sleep(1.8)"),),
            then={"run-in-a-thread": (row(2),)},
        ),
    ],
    "4 · Frozen, and back again": [
        Ingredient(
            "the pause",
            (Edit("freeze", "frozen.pause()", "await kit.wait()"),),
            then={"thaw": (row(1),)},
        ),
    ],
    "5 · Postgres itself crashes": [
        Ingredient(
            "that workers come back",
            (
                Edit("spawn", "heartbeat_timeout=1,", "heartbeat_timeout=1, restart_on_failure=False,"),
                Edit("after-the-crash", "await kit.wait()\ndb = await asyncpg.connect()", UNTIL_IT_IS_BACK),
            ),
            then={"after-the-crash": (r"^(?!300$)\d+$",)},
        ),
    ],
    "Your turn": [
        Ingredient(
            "a solution",
            (Edit("your-handler", SEND, SEND_ONCE),),
            then={"your-result": (row(1),)},
        ),
    ],
}
