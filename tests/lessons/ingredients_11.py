"""Lesson 11: what each section credits."""

from __future__ import annotations

from tests.lessons.ingredients import Beats, Edit, Ingredient

ENQUEUE = '(job,) = await mine.enqueue("welcome", name.encode())'
INSERT = '        await session.execute(insert, {"name": name})\n'
DELETE = '        await db.execute("DELETE FROM users WHERE name = $1", name)\n'
BOTH = """        async with db.transaction():
            await db.execute("DELETE FROM users WHERE name = $1", name)
            await Queries(AsyncpgDriver(db)).enqueue("goodbye", name.encode())
"""

BEATS: Beats = {
    "1 · From a web page": [
        Ingredient(
            "the queue, without which the page waits for the mail",
            (Edit("sign-up", ENQUEUE, 'job = print("mail sent to", name)'),),
            then={"run-web": ("mail sent to Ada", "'welcome': 'Ada'")},
        ),
        Ingredient(
            "change it: a name beyond ASCII",
            (Edit("run-web", "/signup/Ada", "/signup/Zoë"),),
            then={"run-web": ("'welcome': 'Zoë'", "mail sent to Zoë")},
        ),
    ],
    "2 · How far is it?": [
        Ingredient(
            "the table that the handler writes into",
            (
                Edit("count-names", "await pool.execute(save, done, result, job.id)", "pass"),
                Edit("run-progress", 'await kit.wait(until="SELECT done > 0 FROM progress")\n', ""),
            ),
            then={"run-progress": (r"'done': 0, 'result': None", r"'done': 0, 'result': None")},
        ),
        Ingredient(
            "change it: three quarters",
            (Edit("run-progress", "done > 0", "done > 2"),),
            then={"run-progress": (r"^\{'done': [34], .*\}\n\{'done': 4",)},
        ),
    ],
    "3 · From code that does not await": [
        Ingredient(
            "the line that enqueues",
            (Edit("sync-sign-up", 'mine.enqueue("goodbye", name.encode())', "pass"),),
            then={"run-sync": (r"^0 +1 +0$",)},
        ),
        Ingredient(
            "change it: no autocommit",
            (Edit("sync-sign-up", "autocommit=True", ""),),
            then={"run-sync": ("must have autocommit enabled", r"^0 +0 +0$")},
        ),
    ],
    "4 · Inside a session of SQLAlchemy": [
        Ingredient(
            "the session's own connection",
            (
                Edit(
                    "sign-up-in-a-session",
                    "await queries_of(session)",
                    "Queries(AsyncpgDriver(await asyncpg.connect()))",
                ),
            ),
            then={"run-orm": ("goodbye, Edsger", r"^0 +0 +1$")},
        ),
        Ingredient(
            "change it: enqueued before the session's first statement",
            (
                Edit("sign-up-in-a-session", INSERT, ""),
                Edit("sign-up-in-a-session", "        raise", f"{INSERT}        raise"),
            ),
            then={"run-orm": ("goodbye, Edsger", r"^0 +0 +1$")},
        ),
    ],
    "5 · A handler that never comes back": [
        Ingredient(
            "the hang",
            (Edit("time-limit", "asyncio.sleep(3600)", "asyncio.sleep(0.1)"),),
            then={"run-limits": ("picked successful picked successful",)},
        ),
        Ingredient(
            "change it: a call that blocks",
            (Edit("time-limit", "await asyncio.sleep(3600)", "import time; time.sleep(1)"),),
            then={"run-limits": ("picked successful picked successful",)},
        ),
    ],
    "6 · So many a second": [
        Ingredient(
            "the pause",
            (Edit("speed-limit", "asyncio.sleep(0.5)", "asyncio.sleep(0.05)"),),
            then={"run-speed": ("False",)},
        ),
        Ingredient(
            "change it: no limit",
            (Edit("run-speed", "limit=1", ""),),
            then={"run-speed": ("False",)},
        ),
    ],
    "Your turn": [
        Ingredient(
            "a solution",
            (Edit("your-page", DELETE, BOTH),),
            then={"your-result": ("goodbye, Ada",)},
        ),
    ],
}
