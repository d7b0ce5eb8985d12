"""What the lesson 14 credits, and what happens without it."""

from tests.lessons.ingredients import Beats, Edit, Ingredient

WAIT_FOR_BOB = "await asyncio.wait_for(until(somebody_waits), 10)"
ALL_DONE = "await asyncio.wait_for(until(all_are_done), 20)"
OLD_HEARTBEAT = """
            OR status = 'picked'
            AND heartbeat < now() - interval '1 second'"""

BEATS: Beats = {
    "1 · Two want the same task": [
        Ingredient(
            "reading, which keeps nobody else from reading",
            (Edit("next-plain", "LIMIT 1", "LIMIT 1 FOR UPDATE SKIP LOCKED"),),
            then={"both-plain": ("Ann: red", "Bob: green")},
        ),
        Ingredient(
            "change it: the newest first",
            (Edit("next-plain", "ORDER BY id", "ORDER BY id DESC"),),
            then={"both-plain": ("Ann: blue", "Bob: blue")},
        ),
    ],
    "2 · A lock": [
        Ingredient(
            "the lock",
            (
                Edit("next-for-update", " FOR UPDATE", ""),
                Edit("both-for-update", WAIT_FOR_BOB, "await asyncio.wait_for(asyncio.wait([bobs]), 10)"),
            ),
            then={"both-for-update": ("Bob has an answer: True", "Bob: red")},
        ),
        Ingredient(
            "change it: Ann does nothing",
            (Edit("both-for-update", 'await ann.execute(done, anns["id"])', "pass"),),
            then={"both-for-update": ("Bob has an answer: False", "Bob: red")},
        ),
    ],
    "3 · Two more words": [
        Ingredient(
            "SKIP LOCKED, without which there is no lock to skip here",
            (Edit("next-skip-locked", " FOR UPDATE SKIP LOCKED", ""),),
            then={"both-skip": ("Ann: red", "Bob: red")},
        ),
        Ingredient(
            "change it: a lock that several may hold",
            (Edit("next-skip-locked", "FOR UPDATE", "FOR SHARE"),),
            then={"both-skip": ("Ann: red", "Bob: red")},
        ),
    ],
    "4 · A queue in thirty lines": [
        Ingredient(
            "the status picked, without which all take the same",
            (Edit("take", "SET status = 'picked', heartbeat", "SET heartbeat"),),
            then={"taken": ("red", "red", "red")},
        ),
        Ingredient(
            "the old heartbeat, by which a dead worker's task is found",
            (
                Edit("take", OLD_HEARTBEAT, ""),
                Edit("killed", ALL_DONE, "await asyncio.sleep(2)"),
            ),
            then={"killed": (r"green · attempt 1", r"red\s+picked\s+1")},
        ),
        Ingredient(
            "the kill",
            (Edit("killed", "take_and_die()", "pass"),),
            then={"killed": (r"^red · attempt 1", r"^green · attempt 1")},
        ),
        Ingredient(
            "change it: two attempts",
            (Edit("do", "< 3", "< 2"),),
            then={"retried": (r"green · attempt 2", r"blue · attempt 1", r"green\s+failed\s+2")},
        ),
        Ingredient(
            "NOTIFY",
            (Edit("enqueue", 'await pool.execute("NOTIFY tasks")', "pass"),),
            then={"bell": (r"with NOTIFY: (0\.[3-9]|[1-9])",)},
        ),
    ],
    "5 · The same in PGQueuer": [
        Ingredient(
            "change it: a limit",
            (Edit("its-lines", "its_statement()", "its_statement(limit=3)"),),
            then={"its-lines": ("FROM limited_claims",)},
        ),
    ],
    "6 · When not to": [
        Ingredient(
            "the batches",
            (Edit("rates", "rate(size)", "rate(1)"),),
            then={"rates": (r"^[0-2] times as many",)},
        ),
        Ingredient(
            "change it: batches of ten",
            (Edit("rates", "size = 100", "size = 10"),),
            then={"rates": (r"in batches of 10$",)},
        ),
    ],
    "Your turn": [
        Ingredient(
            "the exercise as it stands",
            (Edit("my-take", "ORDER BY id", "ORDER BY priority DESC, id"),),
            then={"my-order": ("^silver", "^red", "^green")},
        ),
    ],
}
