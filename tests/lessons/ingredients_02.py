"""What the lesson 02 credits, and what happens without it."""

from tests.lessons.ingredients import Beats, Edit, Ingredient

NOTHING = r"\A\Z"

BEATS: Beats = {
    "1 · A payload is bytes": [
        Ingredient(
            "the forgotten b",
            without=(Edit("text-refused", '"hello"', 'b"hello"'),),
            then={"text-refused": (NOTHING,), "two-notes": (r"hello", r"smørrebrød")},
        ),
        Ingredient(
            "encode()",
            without=(Edit("two-notes", '"smørrebrød".encode()', 'b"sm?rrebr?d"'),),
            then={"two-notes": (r"b'sm\?rrebr\?d'\s+sm\?rrebr\?d",)},
        ),
        Ingredient(
            "change it: one sign of four bytes",
            without=(Edit("two-notes", "smørrebrød", "🫖"),),
            then={"two-notes": (r"b'\\xf0\\x9f\\xab\\x96'\s+🫖",)},
        ),
    ],
    "2 · JSON": [
        Ingredient(
            "the key that is spelled differently",
            without=(Edit("emails", '"topic"', '"subject"'),),
            then={
                "poison": (r"To ada@", r"To bob@", r"To cleo@"),
                "log-poison": (r"Empty DataFrame",),
            },
        ),
        Ingredient(
            "the model, in the producer",
            without=(Edit("wrong-key", "topic=", "subject="),),
            then={"wrong-key": (NOTHING,)},
        ),
        Ingredient(
            "the model, in the handler",
            without=(
                Edit(
                    "checked-email",
                    "email.model_dump_json()",
                    'email.model_dump_json().replace("subject", "topic")',
                ),
            ),
            then={"checked-email": (r"exception: ValidationError",)},
        ),
        Ingredient(
            "change it: a second mail with a topic",
            without=(Edit("emails", '"ada@example.org", "subject"', '"ada@example.org", "topic"'),),
            then={"poison": (r"\A(?![\s\S]*To ada@)[\s\S]*To cleo@",)},
        ),
    ],
    "3 · Headers: what is about the job, not in it": [
        Ingredient(
            "change it: no headers",
            without=(Edit("with-headers", ', headers={"user": "ada"}', ""),),
            then={"with-headers": (r"TypeError: 'NoneType' object is not subscriptable",)},
        ),
    ],
    "4 · Big things stay outside": [
        Ingredient(
            "the id in the payload",
            without=(Edit("count", "words = $2 WHERE id = $1", "words = $2 WHERE id = $1 - $1 + 7"),),
            then={"delete-and-count": (r"^1\s+8\s+<NA>",)},
        ),
        Ingredient(
            "taking the heavy job out first",
            without=(Edit("delete-and-count", "await conn.execute(heavy)\n", ""),),
            then={"delete-and-count": (r"exception: ValueError",), "deleted-log": (r"exception",)},
        ),
        Ingredient(
            "deleting by hand",
            without=(
                Edit(
                    "delete-and-count",
                    "conn.execute(heavy)",
                    "q.mark_job_as_cancelled([1])",
                ),
            ),
            then={"deleted-log": (r"canceled",)},
        ),
        Ingredient(
            "change it: a document twice as long",
            without=(Edit("documents", "100_000", "200_000"),),
            then={"delete-and-count": (r"800000",)},
        ),
    ],
}
