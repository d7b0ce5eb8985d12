"""Lesson 13: what each section credits."""

from __future__ import annotations

from tests.lessons.ingredients import Beats, Edit, Ingredient

BEATS: Beats = {
    "1 · A program": [
        Ingredient(
            "that main registers the handlers",
            (Edit("shop-main", "    register(pgq)\n", ""),),
            then={"run-program": (r"\A(?!.*sent:).*\Z",)},
        ),
        Ingredient(
            "change it: a sum that is no number",
            (Edit("run-program", 'b"12"', 'b"twelve"'),),
            then={"run-program": ("invalid literal for int",)},
        ),
    ],
    "2 · Stopping it": [
        Ingredient(
            "change it: a kill, which does not ask",
            (Edit("stop", "worker.stop()", "worker.kill()"),),
            then={"stop": (r"killed; process \d+, exit code -9; .*0 done",)},
        ),
    ],
    "3 · Two kinds of test": [
        Ingredient(
            "the change in main",
            (Edit("break-main", """', resources={"send": send}'""", "''"),),
            then={"break-main": ("2 passed",)},
        ),
        Ingredient(
            "that only the second test uses main",
            (
                Edit("integration-test", "async with main() as pgq:", "async with main():"),
                Edit("integration-test", "await pgq.run", "pass  # await pgq.run"),
                Edit("integration-test", '"successful" in', '"queued" in'),
            ),
            then={"break-main": ("2 passed",)},
        ),
        Ingredient(
            "change it: the handler is tidied up",
            (
                Edit(
                    "break-main",
                    """', resources={"send": send}', \"\"""",
                    '"int(job.payload)", "job.payload"',
                ),
            ),
            then={"break-main": ("FAILED.*test_a_receipt_names_the_sum", "1 failed, 1 passed")},
        ),
    ],
    "4 · Started again": [
        Ingredient(
            "change it: it may connect again",
            (Edit("cut", '"restart_on_failure": False', '"restart_on_failure": True'),),
            then={"after-the-cut": ("sent: You have paid 12", r"<Worker 'worker': running")},
        ),
    ],
    "5 · What a crash may cost": [
        Ingredient(
            "the level",
            (Edit("after-a-crash", "!pgq durability {level}", "!pgq durability durable"),),
            then={"three-levels": (r"^jobs\s+5\s+5\s+5$", r"^log\s+5\s+5\s+5$")},
        ),
        Ingredient(
            "change it: no crash",
            (Edit("after-a-crash", "    await crash()\n", ""),),
            then={"three-levels": (r"^jobs\s+5\s+5\s+5$", r"^log\s+5\s+5\s+5$")},
        ),
    ],
}
