"""What the lesson 00 credits, and what happens without it."""

from tests.lessons.ingredients import Beats, Edit, Ingredient

ENQUEUE = 'await q.enqueue(["welcome"], [name.encode()], [0])'
NO_MAIL = r"\A(?![\s\S]*mail sent)[\s\S]*Welcome, Ada!"

BEATS: Beats = {
    "2 · One job, all the way round": [
        Ingredient(
            "the consumer",
            without=(Edit("run-main", "kit.run(main)\n", ""),),
            then={
                "run-main": (r"No consumer is running",),
                "left-queue": (r"^1$",),
            },
        ),
        Ingredient(
            "the name that the job and the handler share",
            without=(Edit("main", '"fetch"', '"fetching"'),),
            then={"run-main": (r"No running consumer has the entrypoint 'fetch'",)},
        ),
        Ingredient(
            "the newer form of main",
            without=(Edit("main", "@asynccontextmanager\n", ""), Edit("main", "yield pgq", "return pgq")),
            then={"run-main": (r"`yield pgq` instead of `return pgq`", r"Processed: hello world")},
        ),
        Ingredient(
            "the three more jobs",
            without=(Edit("three-more", "await q.enqueue", "# await q.enqueue"),),
            then={"count-log": (r"queued\s+1 ", r"picked\s+1 ", r"successful\s+1 ")},
        ),
        Ingredient(
            "change it: a name beyond ASCII",
            without=(Edit("three-more", 'b"blue"', '"Zoë".encode()'),),
            then={"three-more": (r"Processed: Zoë",)},
        ),
    ],
    "3 · Watch it move": [
        Ingredient(
            "the concurrency limit",
            without=(Edit("slow", ", concurrency_limit=3", ""),),
            then={"thirty-pages": (r"00:00:0[0-7]",)},
        ),
        Ingredient(
            "change it: ten at a time",
            without=(Edit("slow", "concurrency_limit=3", "concurrency_limit=10"),),
            then={"thirty-pages": (r"00:00:0[2-7]",)},
        ),
    ],
    "4 · Every table there is": [
        Ingredient(
            "change it: the tables whose names go on with an s",
            without=(Edit("tables", "'pgqueuer%'", "'pgqueuer_s%'"),),
            then={"tables": (r"\A(?![\s\S]*log)[\s\S]*pgqueuer_schedules[\s\S]*pgqueuer_statistics",)},
        ),
    ],
    "5 · Somebody signs up": [
        Ingredient(
            "the queue, without which Ada waits for the mail",
            without=(Edit("page", ENQUEUE, 'await asyncio.sleep(1); print("mail sent to", name)'),),
            then={"press": (r"mail sent to Ada", r"Welcome, Ada!")},
        ),
        Ingredient(
            "change it: a page that works itself",
            without=(Edit("page", ENQUEUE, "await asyncio.sleep(1)"),),
            then={"press": (NO_MAIL,)},
        ),
    ],
}
