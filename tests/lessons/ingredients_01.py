"""What the lesson 01 credits, and what happens without it."""

from tests.lessons.ingredients import Beats, Edit, Ingredient

NOTHING = r"\A\Z"

BEATS: Beats = {
    "1 · An entrypoint is a name": [
        Ingredient(
            "the order of the ids",
            without=(
                Edit("two-names", '["goodbye", "welcome"]', '["welcome", "goodbye"]'),
                Edit("two-names", '[b"Grace", b"Ada"]', '[b"Ada", b"Grace"]'),
            ),
            then={"two-names": (r"Welcome, Ada!", r"Goodbye, Grace\.")},
        ),
        Ingredient(
            "change it: a higher priority",
            without=(Edit("two-names", "[0, 0]", "[0, 1]"),),
            then={"two-names": (r"Welcome, Ada!", r"Goodbye, Grace\.")},
        ),
        Ingredient(
            "the typing error",
            without=(Edit("unknown-name", '"welcom"', '"welcome"'),),
            then={"unknown-name": (r"Welcome, Linus!", r"Empty DataFrame")},
        ),
        Ingredient(
            "the line that adds the name",
            without=(Edit("one-more-line", 'pgq.entrypoint("welcom")(welcome)', "pass"),),
            then={"run-corrected": (r"No running consumer has the entrypoint 'welcom'",)},
        ),
        Ingredient(
            "the same name twice",
            without=(Edit("twice", '"welcome")(goodbye)', '"goodbye")(goodbye)'),),
            then={"taken-name": (NOTHING,)},
        ),
    ],
    "2 · Ordinary blocking code": [
        Ingredient(
            "asyncio.to_thread",
            without=(
                Edit(
                    "in-a-thread",
                    "await asyncio.to_thread(shrink_image, job.payload.decode())",
                    "shrink_image(job.payload.decode())",
                ),
            ),
            then={
                "side-by-side": (r"cat starts", r"cat is done", r"dog starts", r"dog is done", r"owl starts")
            },
        ),
        Ingredient(
            "change it: 42 images, and at most 32 threads",
            without=(Edit("side-by-side", 'b"owl"]', 'b"owl"] * 14'),),
            then={"side-by-side": (r"\A(.*starts\n){4,32}.*is done",)},
        ),
        Ingredient(
            "code that blocks",
            without=(
                Edit(
                    "shrink-image",
                    "    shrink_image(job.payload.decode())",
                    "    await asyncio.to_thread(shrink_image, job.payload.decode())",
                ),
            ),
            then={"one-by-one": (r"starts\n+.*starts\n+.*starts\n+.*is done",)},
        ),
        Ingredient(
            "a function that is not async",
            without=(Edit("not-async", "(shrink_image)", "(holds_up)"),),
            then={"refused": (NOTHING,)},
        ),
    ],
    "3 · Things that handlers share": [
        Ingredient(
            "change it: another greeting in the resources",
            without=(Edit("polite", '"Bonjour"', '"Hola"'),),
            then={"greeted": (r"Hola, Ada!",)},
        ),
        Ingredient(
            "the missing annotation",
            without=(Edit("without-annotation", "context) ->", "context: Context) ->"),),
            then={
                "without-annotation": (r"Bonjour, Grace!",),
                "log-exception": (r"successful",),
            },
        ),
        Ingredient(
            "running kit.run(main) again",
            without=(Edit("without-annotation", "kit.run(main)", ""),),
            then={"without-annotation": (r"Bonjour, Grace!",)},
        ),
    ],
}
