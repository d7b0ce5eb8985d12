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
    ],
    "2 · Stopping it": [
        Ingredient(
            "that stop asks",
            (Edit("stop", "worker.stop()", "worker.kill()"),),
            then={"stop": (r"killed; process \d+, exit code -9; .*0 done",)},
        ),
        Ingredient(
            "that kill does not",
            (Edit("kill", "worker.kill()", "worker.stop()"),),
            then={"killed-job": ("Empty DataFrame",)},
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
    ],
    "4 · Started again": [
        Ingredient(
            "that nobody starts it again",
            (Edit("cut", "restart_on_failure=False", "restart_on_failure=True"),),
            then={"after-the-cut": ("tries to get it back", r"<Worker 'worker': (running|reconnecting)")},
        ),
    ],
    "5 · What a crash may cost": [
        Ingredient(
            "the level",
            (Edit("after-a-crash", "!pgq durability {level}", "!pgq durability durable"),),
            then={"three-levels": (r"^jobs\s+5\s+5\s+5$", r"^log\s+5\s+5\s+5$")},
        ),
        Ingredient(
            "the crash",
            (Edit("after-a-crash", "    await crash()\n", ""),),
            then={"three-levels": (r"^jobs\s+5\s+5\s+5$", r"^log\s+5\s+5\s+5$")},
        ),
    ],
    "6 · Measure, then tune": [
        Ingredient(
            "the size of a batch",
            (Edit("rate", "batch_size=batch_size", "batch_size=1"),),
            then={"measure-quick": ("^False$",)},
        ),
        Ingredient(
            "the mail server, which is what is narrow",
            (Edit("measure-slow", "pause, jobs = 0.1, 50", "pause, jobs = 0, 300"),),
            then={"measure-slow": ("^True$",)},
        ),
    ],
    "7 · A new version": [
        Ingredient(
            "the trigger, which is all that verify misses",
            (Edit("verify", "DROP TRIGGER tg_pgqueuer_changed ON pgqueuer; ", ""),),
            then={
                "verify": ("^All required PgQueuer database objects are present",),
                "upgrade-it": (r"^Applied 1 statement\.",),
            },
        ),
    ],
    "Your turn": [
        Ingredient(
            "a solution",
            (
                Edit(
                    "your-test",
                    'assert False, "two assertions belong here"',
                    "send.assert_not_awaited()\n"
                    '    assert (await pgq.qm.queries.queue_log())[-1].status == "failed"',
                ),
            ),
            then={"your-result": ("1 passed",)},
        ),
    ],
}
