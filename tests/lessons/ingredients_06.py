"""Lesson 06: what each section credits."""

from __future__ import annotations

from tests.lessons.ingredients import Beats, Edit, Ingredient

IS_PICKED = "SELECT status = 'picked' FROM pgqueuer"
UNTIL_IT_IS_BACK = """while True:
    try:
        db = await asyncpg.connect()
        break
    except (asyncpg.PostgresError, OSError):
        await asyncio.sleep(0.05)"""

NO_FAULTS = Edit(
    "office", "        workers.append(worker)\n", "        workers.append(worker)\n        break\n"
)


def row(*values: int) -> str:
    """Return a pattern for the only row of a table."""
    return r"^0\s+" + r"\s+".join(map(str, values)) + "$"


BEATS: Beats = {
    "1 · Killed in the middle": [
        Ingredient(
            "the kill",
            (Edit("kill", "worker.kill()", "await kit.wait()"),),
            then={"another": ("^queued picked successful$", row(1)), "kill": ("running",)},
        ),
        Ingredient(
            "change it: killed before it sends",
            (
                Edit("send-plainly", "    db =", "    await asyncio.sleep(1)\n    db ="),
                Edit("kill", "until=is_sent", f'until="{IS_PICKED}"'),
            ),
            then={"another": (row(1),)},
        ),
    ],
    "2 · Nobody is killed": [
        Ingredient(
            "a second worker, who takes the first for dead",
            (Edit("run-blocked", "spawn(count=2)", "spawn()"),),
            then={"run-blocked": (row(1),)},
        ),
        Ingredient(
            "change it: a thread",
            (Edit("send-blocking", "    time.sleep(3)", "    await asyncio.to_thread(time.sleep, 3)"),),
            then={"run-blocked": (row(1),)},
        ),
    ],
    "3 · Postgres itself crashes": [
        Ingredient(
            "that workers come back",
            (
                Edit(
                    "office",
                    '"heartbeat_timeout": 2,',
                    '"heartbeat_timeout": 2, "restart_on_failure": False,',
                ),
                Edit("after-the-crash", "await kit.wait()\ndb = await asyncpg.connect()", UNTIL_IT_IS_BACK),
            ),
            then={"after-the-crash": (r"^(?!300$)\d+$",)},
        ),
        Ingredient(
            "change it: not committed",
            (Edit("crash", "    await queue", '    await db.execute("BEGIN")\n    await queue'),),
            then={"after-the-crash": ("^0$",)},
        ),
    ],
    "4 · The lab": [
        Ingredient(
            "the faults",
            (Edit("office", "seconds=15", "seconds=0"),),
            then={
                "run-mark-first": ("0 lost, 0 doubled", "proves nothing"),
                "run-post-first": ("0 lost, 0 doubled", "proves nothing"),
                "run-together": ("proves nothing",),
            },
        ),
        Ingredient(
            "the transaction",
            (Edit("together", "async with db.transaction():", "if True:"),),
            then={"run-together": (r"[1-9]\d* lost", "not clean")},
        ),
        Ingredient(
            "change it: other faults",
            (Edit("run-together", "hurt(seed=1)", "hurt(seed=7)\nprint('other faults')"),),
            then={"run-together": ("^other faults", "0 lost, 0 doubled", "clean")},
        ),
    ],
    "5 · The job that kills": [
        Ingredient(
            "change it: an exception, in place of the end of the process",
            (Edit("send-poison", "os._exit(1)", "raise ValueError()"),),
            then={
                "run-poison": ("exception: ValueError", "Empty DataFrame"),
                "find-poison": ("^1 deliveries",),
            },
        ),
    ],
}
