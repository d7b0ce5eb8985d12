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
        Ingredient(
            "change it: two expired cards",
            (Edit("run-plainly", 'b"green"', 'b"expired"'),),
            then={"run-plainly": ("#2. exception: ValueError", "#3. exception: ValueError", "^0 jobs left")},
        ),
    ],
    "2 · The bank is busy": [
        Ingredient(
            "the retry",
            (
                Edit(
                    "charge-again",
                    'RetryRequested(delay=soon, reason="the bank is busy")',
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
        Ingredient(
            "change it: busy four times",
            (Edit("charge-again", "job.attempts < 2", "job.attempts < 4"),),
            then={"run-again": ("^(queued picked ){5}successful$",)},
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
            (Edit("bank-is-down", '{"executor_factory": patient}', "{}"),),
            then={"run-with-back-off": (r"^\d +picked +NaN\n\d +exception",)},
        ),
        Ingredient(
            "change it: one more try only",
            (Edit("charge-with-back-off", "max_attempts=3", "max_attempts=1"),),
            then={"run-with-back-off": (r"picked +NaN\n\d +picked +[\d.]+\n\d +exception",)},
        ),
    ],
    "4 · Held, mended, let go on": [
        Ingredient(
            'on_failure="hold"',
            (Edit("charge-with-a-mistake", '{"on_failure": "hold"}', "{}"),),
            then={"run-with-a-mistake": ("Empty DataFrame",)},
        ),
        Ingredient(
            "change it: the handler is not mended",
            (Edit("mended", '.replace(b",", b"")', ""),),
            then={"go-on": ("held: ValueError",)},
        ),
    ],
    "5 · One poisonous job": [
        Ingredient(
            "change it: no hold",
            (Edit("options-charge-carefully", ', "on_failure": "hold"', ""),),
            then={"run-with-poison": (" exception +1 ",), "poison-is-held": ("Empty DataFrame",)},
        ),
        Ingredient(
            "the tries",
            (Edit("options-charge-carefully", '"executor_factory": patient, ', ""),),
            then={"poison-is-held": (r"failed +0 +poison",)},
        ),
    ],
}
