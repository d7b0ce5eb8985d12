"""Lesson 05: what each section credits."""

from __future__ import annotations

from tests.lessons.ingredients import Beats, Edit, Ingredient

BEATS: Beats = {
    "1 · It raises, and that was it": [
        Ingredient(
            "the exception",
            (Edit("charge-plainly", 'raise ValueError("the card has expired")', "pass"),),
            then={"run-plainly": ("charged the expired card",), "log-of-it": ("successful",)},
        ),
    ],
    "2 · The bank is busy": [
        Ingredient(
            "the retry",
            (
                Edit(
                    "charge-again",
                    'RetryRequested(delay=timedelta(seconds=0.3), reason="the bank is busy")',
                    'ConnectionError("the bank is busy")',
                ),
            ),
            then={"run-again": ("^queued picked exception$",)},
        ),
        Ingredient(
            "the count of attempts",
            (Edit("charge-again", "job.attempts < 2", "job.attempts < 1"),),
            then={"run-again": ("^queued picked queued picked successful$",)},
        ),
    ],
    "3 · Further and further apart": [
        Ingredient(
            "the growing distance",
            (Edit("charge-with-back-off", "backoff_multiplier=2", "backoff_multiplier=1"),),
            then={"run-with-back-off": (r"picked +0\.", r"picked +0\.", r"picked +0\.", "exception")},
        ),
        Ingredient(
            "the executor",
            (Edit("charge-with-back-off", '{"executor_factory": patient}', "{}"),),
            then={"run-with-back-off": (r"^0 +picked +NaN\n1 +exception",)},
        ),
    ],
    "4 · Held, mended, let go on": [
        Ingredient(
            'on_failure="hold"',
            (Edit("options-charge-with-a-mistake", '{"on_failure": "hold"}', "{}"),),
            then={"run-with-a-mistake": ("Empty DataFrame",)},
        ),
        Ingredient(
            "the mended handler",
            (Edit("mended", ".replace(b',', b'')", ""),),
            then={"go-on": ("held: ValueError",)},
        ),
    ],
    "5 · One poisonous job": [
        Ingredient(
            "the hold",
            (Edit("options-charge-carefully", ', "on_failure": "hold"', ""),),
            then={"run-with-poison": (" exception +1 ",), "poison-is-held": ("Empty DataFrame",)},
        ),
        Ingredient(
            "the tries",
            (Edit("options-charge-carefully", '"executor_factory": patient, ', ""),),
            then={"poison-is-held": (r"failed +0 +poison",)},
        ),
    ],
    "Your turn": [
        Ingredient(
            "a solution",
            (
                Edit(
                    "my-charge",
                    '    raise ConnectionError("the bank is down")',
                    "    if job.attempts < 3:\n        raise RetryRequested(delay=timedelta(seconds=0.1))\n"
                    '    raise ConnectionError("the bank is down")',
                ),
            ),
            then={"my-run": (r"failed +0 +expired", r"failed +3 +blue")},
        ),
    ],
}
