"""What the lesson 12 credits, and what happens without it."""

from tests.lessons.ingredients import Beats, Edit, Ingredient

NOTHING = r"\A\Z"
NONE_IS_PICKED = "SELECT NOT EXISTS (SELECT FROM pgqueuer WHERE status = 'picked')"

BEATS: Beats = {
    "1 · Tell me when it is done": [
        Ingredient(
            "that the job is held",
            (Edit("main", ', on_failure="hold"', ""),),
            then={"three-outcomes": ("bob, careful: exception",), "held": ("Empty DataFrame",)},
        ),
        Ingredient(
            "change it: an address for the third",
            (Edit("three-outcomes", '"careful", b"bob"', '"careful", b"bob@example.org"'),),
            then={"three-outcomes": ("bob, careful: successful",), "held": ("Empty DataFrame",)},
        ),
    ],
    "2 · Stop": [
        Ingredient(
            "with context.cancellation",
            (
                Edit("patient", "with context.cancellation:", "if True:"),
                Edit("cancel", "await kit.wait()\n", "await asyncio.sleep(3.5)\nawait kit.wait()\n"),
            ),
            then={"cancel": ("begins", "is done after all", "tidies up: True", "canceled")},
        ),
        Ingredient(
            "the request to cancel",
            (Edit("cancel", "await q.mark_job_as_cancelled([job])\n", ""),),
            then={"cancel": ("is done after all", "tidies up: False", "successful")},
        ),
        Ingredient(
            "change it: a call that blocks",
            (
                Edit("patient", "await asyncio.sleep(3)", "time.sleep(3)"),
                Edit("patient", "async def", "import time\n\n\nasync def"),
                Edit("cancel", "await kit.wait()\n", "await asyncio.sleep(3.5)\nawait kit.wait()\n"),
            ),
            then={"cancel": ("begins", "is done after all")},
        ),
    ],
    "3 · Alarms that are right": [
        Ingredient(
            "the job that is due",
            (Edit("ring", "    execute_after = execute_after - interval '5 min'", "    priority = 0"),),
            then={"ring": (r"overdue\s+0",)},
        ),
        Ingredient(
            "the handler that hangs",
            (
                Edit("hangs", "await asyncio.sleep(3600)", "await asyncio.sleep(0.5)"),
                Edit(
                    "ring",
                    "await conn.execute",
                    f'await kit.wait(until="{NONE_IS_PICKED}")\nawait conn.execute',
                ),
            ),
            then={"ring": (r"picked too long\s+0",)},
        ),
        Ingredient(
            "change it: since created",
            (Edit("alarms", "execute_after <", "created <"),),
            then={"ring": (r"overdue\s+2",)},
        ),
    ],
    "4 · What an operator asks": [
        Ingredient(
            "the rows without an address",
            (Edit("main", 'b"bob", b"cleo"', 'b"bob@home", b"cleo@home"'),),
            then={
                "rate": (r"exception\s+1",),
                "failures": (r"\A(?![\s\S]*Assertion)[\s\S]*LookupError\s+1",),
            },
        ),
        Ingredient(
            "change it: whatever has a traceback",
            (Edit("failures", "status IN ('exception', 'failed')", "traceback IS NOT NULL"),),
            then={"failures": (r"RetryRequested\s+3", r"AssertionError\s+2")},
        ),
    ],
    "5 · Windows that come with PGQueuer": [
        Ingredient(
            "stopping the dashboard",
            (Edit("stop-web", "dashboard.stop()\n", ""),),
            then={"stop-web": ("login",)},
        ),
        Ingredient(
            "the tracer",
            (Edit("traced", "TRACER.tracer = Tracer()\n", ""),),
            then={"traced": (r"\A1 job is not due yet",)},
        ),
        Ingredient(
            "change it: another order",
            (Edit("tracer", "order-7", "order-8"),),
            then={"traced": ("is of order-8",)},
        ),
    ],
    "6 · Look at your own queue": [
        Ingredient(
            "looking, in place of being at home",
            (Edit("look", "mine = kit.look(dsn)", "mine = kit"),),
            then={"delete": (NOTHING,)},
        ),
        Ingredient(
            "change it: more rows",
            (Edit("look", "last=3", "last=40"),),
            then={"look": (r"^29 +\d+ +exception",)},
        ),
    ],
    "Your turn": [
        Ingredient(
            "the exercise as it stands",
            (
                Edit("my-question", "p.created AS seconds", "e.created - p.created AS seconds"),
                Edit("my-question", "e.status = 'successful'", "e.status IN ('successful', 'exception')"),
                Edit("my-question", "ORDER BY p.job_id", "ORDER BY seconds DESC"),
            ),
            # Ends are written in batches, a tenth of a second each: the slowest of those in one are equal.
            then={"my-answer": (r"^0\s+(10|[5-9])\s+0 days",)},
        ),
    ],
}
