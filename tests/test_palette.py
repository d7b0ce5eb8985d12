"""How a status looks is said in one place."""

from __future__ import annotations

import math
import re
from itertools import combinations, pairwise
from pathlib import Path
from typing import get_args

from pgqueuer.types import JOB_STATUS

import kit
from kit.database.queue_tables import ENDINGS
from kit.display import palette
from kit.pictures.board.history import ACTIVE
from kit.pictures.timeline.histories import OUTCOMES
from kit.stages.store import schema

HOUSE = Path(kit.__file__).parent
LOOKS = [*palette.JOBS.values(), *palette.RUNS.values(), palette.WAITING]


def others(*folders: str) -> list[Path]:
    """The files that may say nothing of it themselves."""
    found = [path for folder in folders for path in (HOUSE / folder).rglob("*") if path.is_file()]
    return [
        path
        for path in found
        if path.suffix in (".py", ".js", ".css") and path != HOUSE / "display/palette.py"
    ]


def test_every_status_of_a_job_and_of_a_run_has_a_look() -> None:
    statuses = set(get_args(JOB_STATUS))
    assert palette.JOBS.keys() == statuses
    assert palette.RUNS.keys() == set(schema.STATUSES)


def test_every_status_is_known_to_the_board_and_every_outcome_has_an_end_in_the_timeline() -> None:
    assert sorted(ACTIVE + ENDINGS) == sorted(palette.JOBS)
    words = {palette.JOBS[status].word for status in palette.JOBS if status not in ("queued", "picked")}
    assert words <= OUTCOMES.keys()


def test_one_thing_has_one_word_in_every_picture() -> None:
    assert palette.JOBS["successful"].word == palette.RUNS["done"].word == "done"
    assert palette.JOBS["failed"].word == palette.RUNS["failed"].word == "held"
    assert palette.JOBS["canceled"].word == palette.RUNS["canceled"].word == "cancelled"
    words = [look.word for look in palette.JOBS.values()]
    assert len(set(words)) == len(words)


def test_no_other_file_knows_the_colour_of_a_status_or_a_priority() -> None:
    colours = {look.colour for look in LOOKS} | {palette.WAITS}
    colours |= {step.fill for step in palette.RAMP}
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
        priority: palette.step(priority).fill
        for priority in (-(2**31), -1, 0, 1, 2, 3, 5, 6, 9, 10, 2**31 - 1)
    }
    steps = dict(zip(said, (0, 0, 1, 2, 2, 3, 3, 4, 4, 5, 5), strict=True))
    assert said == {priority: palette.RAMP[step].fill for priority, step in steps.items()}


def linear(colour: str) -> list[float]:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def lab(rgb: list[float]) -> tuple[float, float, float]:
    """The place of a colour in CIE L*a*b*, from its linear red, green and blue."""
    red, green, blue = (max(0.0, part) for part in rgb)
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883
    fx, fy, fz = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


# How who lacks the green-sensitive cones sees linear red, green and blue (Machado, Oliveira, Fernandes 2009).
DEUTERANOPIA = (
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.01182, 0.04294, 0.968881),
)


def seen_with(matrix: tuple[tuple[float, ...], ...], rgb: list[float]) -> list[float]:
    return [sum(weight * part for weight, part in zip(row, rgb, strict=True)) for row in matrix]


def contrast(one: str, other: str) -> float:
    weights = (0.2126, 0.7152, 0.0722)
    dark, light = sorted(
        sum(w * p for w, p in zip(weights, linear(colour), strict=True)) for colour in (one, other)
    )
    return (light + 0.05) / (dark + 0.05)


def test_a_higher_priority_is_darker_and_told_from_the_next_without_colour_and_with_deuteranopia() -> None:
    colours = [linear(step.fill) for step in palette.RAMP]
    greys = [lab(colour)[0] for colour in colours]
    assert all(light - dark > 9 for light, dark in pairwise(greys)), greys
    seen = [lab(seen_with(DEUTERANOPIA, colour)) for colour in colours]
    for one, other in combinations(seen, 2):
        assert math.dist(one, other) > 9
    assert all(one[0] > other[0] for one, other in pairwise(seen))


def test_a_status_stands_out_from_either_ground_and_carries_white_text() -> None:
    for look in LOOKS[:-1]:
        assert contrast(look.colour, "#ffffff") >= 4.2
        for ground in palette.NEUTRAL["ground"]:
            assert contrast(look.colour, ground) >= 3


def test_what_is_written_on_a_priority_and_on_every_ground_can_be_read() -> None:
    for step in palette.RAMP:
        assert contrast(step.fill, step.text) >= 4.5
    for theme in (0, 1):
        for ground in ("ground", "raised", "tint"):
            for text in ("text", "quiet"):
                assert contrast(palette.NEUTRAL[text][theme], palette.NEUTRAL[ground][theme]) >= 4.5


def test_the_style_sheets_use_only_colours_that_a_page_is_given() -> None:
    given = {f"--c-{status}" for status in palette.JOBS}
    given |= {f"--{theme}-{name}" for theme in "ld" for name in palette.NEUTRAL}
    for name in ("board", "panel"):
        sheet = (HOUSE / "pictures" / name / f"{name}.css").read_text("utf-8")
        made = set(re.findall(r"(--[\w-]+):", sheet)) | {"--left", "--head", "--bad", "--sign"}  # by the page
        used = {
            each
            for each in re.findall(r"var\((--[\w-]+)", sheet)
            if not each.startswith(("--jp", "--vscode"))
        }
        assert used <= given | made, f"{name}.css uses what nobody says"
