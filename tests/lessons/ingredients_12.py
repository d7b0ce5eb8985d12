"""What the lesson 12 credits, and what happens without it."""

from tests.lessons.ingredients import Beats, Edit, Ingredient

NOTHING = r"\A\Z"

BEATS: Beats = {
    "1 · Two histories": [
        Ingredient(
            "asking PGQueuer for the statistics",
            (Edit("add-up", "await q.log_statistics(None)", "()"),),
            then={"add-up": (r"^0 changes are counted", r"30\s+0$")},
        ),
    ],
    "2 · Tell me when it is done": [
        Ingredient(
            "that the job is held",
            (Edit("main", ', on_failure="hold"', ""),),
            then={"three-outcomes": ("bob, careful: exception",), "held": ("Empty DataFrame",)},
        ),
    ],
    "3 · Stop": [
        Ingredient(
            "with context.cancellation",
            (
                Edit("patient", "with context.cancellation:", "if True:"),
                Edit("cancel", "await kit.wait()", "await asyncio.sleep(1.5)\nawait kit.wait()"),
            ),
            then={"cancel": ("begins", "is done after all", "tidies up: True", "canceled")},
        ),
        Ingredient(
            "the request to cancel",
            (Edit("cancel", "await q.mark_job_as_cancelled([job])\n", ""),),
            then={"cancel": ("is done after all", "tidies up: False", "successful")},
        ),
    ],
    "4 · What an operator asks": [
        Ingredient(
            "the two jobs of another name",
            (Edit("answers", 'await q.enqueue(["export"] * 2, [None] * 2, [0] * 2)\n', ""),),
            then={"answers": (r"Empty DataFrame", r"successful\s+7")},
        ),
        Ingredient(
            "the rows without an address",
            (Edit("ten-rows", 'b"bob", b"cleo"', 'b"bob@home", b"cleo@home"'),),
            then={"answers": (r"successful\s+9", r"LookupError\s+1")},
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
    ],
    "6 · Look at your own queue": [
        Ingredient(
            "looking, in place of being at home",
            (Edit("look", "mine = kit.look(dsn)", "mine = kit"),),
            then={"delete": (NOTHING,)},
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
