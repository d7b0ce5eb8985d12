"""How a status looks is said in one place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from pgqueuer.types import JOB_STATUS

import kit
from kit import palette
from kit.pictures.board import assets
from kit.pictures.board.state import ACTIVE, COLUMNS, ENDINGS
from kit.pictures.timeline.histories import OUTCOMES
from kit.stages import store

HOUSE = Path(kit.__file__).parent
LOOKS = [*palette.JOBS.values(), *palette.RUNS.values(), palette.WAITING]


def others(*folders: str) -> list[Path]:
    """The files that may say nothing of it themselves."""
    found = [path for folder in folders for path in (HOUSE / folder).rglob("*") if path.is_file()]
    return [path for path in found if path.suffix in (".py", ".js", ".css") and path != HOUSE / "palette.py"]


def test_every_status_of_a_job_and_of_a_run_has_a_look() -> None:
    statuses = set(get_args(JOB_STATUS))
    assert palette.JOBS.keys() == statuses
    assert palette.RUNS.keys() == set(store.STATUSES)


def test_every_status_has_a_column_on_the_board_and_every_outcome_an_end_in_the_timeline() -> None:
    assert sorted(status for statuses in COLUMNS for status in statuses) == sorted(ACTIVE + ENDINGS)
    assert sorted(ACTIVE + ENDINGS) == sorted(palette.JOBS)
    words = {palette.JOBS[status].word for status in palette.JOBS if status not in ("queued", "picked")}
    assert words | palette.RUNS.keys() <= OUTCOMES.keys()


def test_no_other_file_knows_the_colour_of_a_status_or_a_priority() -> None:
    colours = {colour for look in LOOKS for colour in (look.light, look.dark)} | {palette.WAITS}
    colours |= {step.fill for step in palette.RAMP} | set(palette.STAGES)
    assert len(colours) > 10
    for path in others("."):
        found = colours & set(re.findall(r"#[0-9a-f]{6}", path.read_text("utf-8").lower()))
        assert not found, f"{path} has colours of its own: {found}"


def test_no_other_picture_knows_the_sign_of_a_status() -> None:
    signs = {look.sign for look in LOOKS} | {palette.RETRIED[0]}
    for path in [*others("pictures"), HOUSE / "stages" / "picture.py"]:
        found = signs & set(path.read_text("utf-8"))
        assert not found, f"{path} has signs of its own: {found}"


def test_a_priority_has_the_colour_of_the_step_it_falls_into() -> None:
    said = {
        priority: palette.fill(priority) for priority in (-(2**31), -1, 0, 1, 2, 3, 5, 6, 9, 10, 2**31 - 1)
    }
    steps = dict(zip(said, (0, 0, 1, 2, 2, 3, 3, 4, 4, 5, 5), strict=True))
    assert said == {priority: palette.RAMP[step].fill for priority, step in steps.items()}


def test_the_browser_is_given_every_look_of_a_job() -> None:
    script, styles = assets.script(), assets.styles()
    for statuses in COLUMNS:
        look = palette.JOBS[statuses[0]]
        assert f"--c-{look.word}: {look.light};" in styles
        assert f".kb-{look.word} {{--status: var(--c-{look.word});}}" in styles
    for step in palette.RAMP:
        assert step.fill in styles
        assert step.fill in script
    used = set(re.findall(r"var\((--[\w-]+)\)", styles))
    given = set(re.findall(r"(--[\w-]+):", styles)) | {"--columns"}
    assert used <= given, "the style sheet uses what nobody says"
