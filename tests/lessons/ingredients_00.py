"""What the lesson 00 credits, and what happens without it."""

from tests.lessons.ingredients import Beats, Edit, Ingredient

BEATS: Beats = {
    "2 · One job, all the way round": [
        Ingredient(
            "the consumer",
            without=(Edit("run-old-main", "kit.run(main)\n", ""),),
            then={
                "run-old-main": (r"No consumer is running",),
                "left-queue": (r"^1$",),
            },
        ),
        Ingredient(
            "the name that the job and the handler share",
            without=(Edit("old-main", '"fetch"', '"fetching"'),),
            then={"run-old-main": (r"No running consumer has the entrypoint 'fetch'",)},
        ),
        Ingredient(
            "the three more jobs",
            without=(Edit("three-more", "await q.enqueue", "# await q.enqueue"),),
            then={"count-log": (r"queued\s+1 ", r"picked\s+1 ", r"successful\s+1 ")},
        ),
    ],
    "3 · Two lines newer": [
        Ingredient(
            "the two lines",
            without=(
                Edit("new-main", "@asynccontextmanager\n", ""),
                Edit("new-main", "yield pgq", "return pgq"),
            ),
            then={"run-new-main": (r"`pgq run` wants @asynccontextmanager above it and `yield pgq`",)},
        ),
        Ingredient(
            "calling kit.run(main)",
            without=(Edit("run-new-main", "kit.run(main)\n", ""),),
            then={"run-new-main": (r"No consumer is running",)},
        ),
    ],
    "4 · Watch it move": [
        Ingredient(
            "the concurrency limit",
            without=(Edit("slow", ", concurrency_limit=3", ""),),
            then={"thirty-pages": (r"00:00:0[0-4]",)},
        ),
    ],
    "5 · Every table there is": "It lists what PGQueuer has made; nothing is said to cause it.",
}
