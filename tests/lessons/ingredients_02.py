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
                    'subject="Hello").model_dump_json()',
                    'subject="Hello").model_dump_json().replace("subject", "topic")',
                ),
            ),
            then={"checked-email": (r"exception: ValidationError",)},
        ),
    ],
    "3 · Headers: what is about the job, not in it": [
        Ingredient(
            "the headers",
            without=(Edit("with-headers", ', headers={"user": "ada"}', ""),),
            then={"with-headers": (r"TypeError: 'NoneType' object is not subscriptable",)},
        ),
    ],
    "4 · Big things stay outside": [
        Ingredient(
            "the id in the payload",
            without=(Edit("count", 'WHERE id = $2", words, number', 'WHERE id = 7", words'),),
            then={"delete-and-count": (r"^1\s+8\s+<NA>",)},
        ),
        Ingredient(
            "taking the heavy job out first",
            without=(Edit("delete-and-count", 'await conn.execute("DELETE', 'str("DELETE'),),
            then={"delete-and-count": (r"exception: ValueError",), "deleted-log": (r"exception",)},
        ),
        Ingredient(
            "deleting by hand",
            without=(
                Edit(
                    "delete-and-count",
                    'conn.execute("DELETE FROM pgqueuer WHERE octet_length(payload) > 1000")',
                    "q.mark_job_as_cancelled([1])",
                ),
            ),
            then={"deleted-log": (r"canceled",)},
        ),
    ],
}
