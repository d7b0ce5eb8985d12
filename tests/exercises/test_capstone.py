"""The capstone: right services are valid, broken ones are not, each for the fault that it deserves.

A run takes up to a minute, so by day one seed and some services are tried.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from kit.errors import KitError
from kit.exercises import capstone
from kit.exercises.capstone.run import Run
from kit.exercises.capstone.verdict import Verdict, Wrong
from kit.exercises.lessons.capstone import BROKEN, OTHER, SOLUTION
from kit.exercises.untouched import without_magic
from kit.session import session
from kit.sources import Postgres
from tests.night import SEEDS

FAULTS = list(BROKEN) if SEEDS else ["never called", "a session cut at the enqueue"]
RIGHT = {"the reference": SOLUTION, "another one": OTHER} if SEEDS else {"the reference": SOLUTION}

every_seed = pytest.mark.parametrize("seed", SEEDS or [1])


def hurt(source: str, seed: int) -> Verdict:
    Path("programs").mkdir(exist_ok=True)
    Path("programs/service.py").write_text(without_magic(source), "utf-8")
    return capstone.hurt(seed)


@every_seed
@pytest.mark.parametrize("source", RIGHT.values(), ids=RIGHT)
def test_a_right_service_is_valid(source: str, seed: int, lesson: Postgres) -> None:
    verdict = hurt(source, seed)
    assert verdict.state == "valid", verdict
    assert verdict.level == 4
    assert len(verdict.faults) == 10
    assert len(verdict.latencies) > 80


@every_seed
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_service_gets_the_verdict_that_it_deserves(fault: str, seed: int, lesson: Postgres) -> None:
    verdict = hurt(BROKEN[fault].answer, seed)
    if fault == "never called":
        assert verdict.state == "could not tell", verdict
        return
    assert verdict.state == "not valid", verdict
    assert BROKEN[fault].gets in {
        one.kind.replace(" ", "-") for one in verdict.wrong if one.fault == fault
    } or (
        fault == "two parcels packed at once"
        and "no mail" in verdict.wrong[0].what  # it happens by itself, too
    )
    assert verdict.report["history"].str.contains("#").any() or fault in (
        "nothing",
        "a burst",
        "a bad payload",
    )


def test_a_run_that_is_interrupted_leaves_nothing_and_this_process_as_it_was(lesson: Postgres) -> None:
    Path("programs").mkdir()
    Path("programs/service.py").write_text(without_magic(SOLUTION), "utf-8")
    before = (os.environ.get("PGDATABASE"), os.environ.get("PGPORT"), session.database)
    children = {process.pid for process in psutil.Process().children()}

    async def interrupted() -> None:
        run = asyncio.create_task(Run(1).do())
        workers = 0
        async with asyncio.timeout(60):
            while workers < 3:
                workers = len({process.pid for process in psutil.Process().children()} - children)
                await asyncio.sleep(0.05)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(interrupted())
    mine = [process for process in psutil.Process().children() if process.pid not in children]
    assert psutil.wait_procs(mine, timeout=20)[1] == []
    assert (os.environ.get("PGDATABASE"), os.environ.get("PGPORT"), session.database) == before


def test_a_service_that_cannot_start_says_why(lesson: Postgres) -> None:
    with pytest.raises(KitError, match=r"The service cannot start: .*nowhere"):
        hurt("import nowhere\n", 1)


def test_what_went_wrong_outweighs_what_did_not_come_about() -> None:
    wrong = Wrong("lost", 7, "lost: no mail", "a burst")
    never = Wrong("never called", None, "the bank was never called", "nothing")
    assert Verdict(1).state == "valid"
    assert Verdict(1, missing=["a burst"]).state == "could not tell"
    assert Verdict(1, wrong=[never]).state == "could not tell"
    assert Verdict(1, wrong=[wrong], missing=["a burst"]).state == "not valid"
    assert Verdict(1, wrong=[wrong]).report.iloc[0]["lesson"] == "09 · Concurrency"


def test_a_report_that_is_missing_leads_to_the_lesson_on_schedules() -> None:
    missing = Wrong("no report", None, "no report was written", "nothing")
    assert Verdict(1, wrong=[missing]).report.iloc[0]["lesson"] == "08 · Time"


def test_the_plot_shows_each_fault_and_both_kinds_of_orders() -> None:
    import matplotlib

    matplotlib.use("Agg")
    spans = [("nothing", 0.0, 1.0), ("a burst", 1.0, 5.0)]
    axes = Verdict(1, spans=spans, latencies=[(0.1, 0.5, False), (1.2, 3.0, True)]).plot()
    assert [text.get_text() for text in axes.texts] == ["nothing", "a burst"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["usual", "urgent"]
