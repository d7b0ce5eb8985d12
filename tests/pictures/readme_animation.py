"""Make README's animation: ``python -m tests.pictures.readme_animation``.

A worker is killed while it has jobs. What is drawn is the history of that, moment by moment.
The site's build does not make it: its run is no lesson's, and a release shows the file that the tag has.
"""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
from PIL import Image

import kit
from kit.pictures.board.widget import page_of
from tests.jupyterlab import browser_page
from tests.pictures.played import Played
from tests.waiting import wait_until

PICTURE = Path(__file__).parents[2] / "notebooks" / "images" / "board.png"
PROGRAM = """
import asyncio
from contextlib import asynccontextmanager

import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer

@asynccontextmanager
async def main():
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))

    @pgq.entrypoint("send", concurrency_limit=6)
    async def send(job):
        await asyncio.sleep(0.9 + job.id % 5 / 10)

    yield pgq
    await connection.close()
"""
PAYLOADS = ["report", "invoice", "newsletter", "reset", "receipt", "reminder"]
PRIORITIES = [0, 5, -10, 10, 5, 0]
SIZE = (660, 560)
FRAME = 0.08  # seconds
COLOURS = 96


async def crash() -> None:
    """Let three workers send letters, and kill one of them."""
    connection = await asyncpg.connect()
    workers = kit.spawn("letters:main", count=3, batch_size=2, heartbeat_timeout=2.5, dequeue_timeout=0.2)
    number = 4 * len(PAYLOADS)
    payloads: list[bytes | None] = [f"{PAYLOADS[at % 6]} {at + 1}".encode() for at in range(number)]
    priorities = [PRIORITIES[at % 6] for at in range(number)]
    await Queries(AsyncpgDriver(connection)).enqueue(["send"] * number, payloads, priorities)
    await kit.wait(until="SELECT count(*) > 7 FROM pgqueuer_log WHERE status = 'successful'")
    wait_until("worker 2 has jobs", lambda: len(workers[1].running_jobs()) == 2)
    workers[1].kill()
    await kit.wait()
    await asyncio.sleep(1)  # in which the last cards fly
    await connection.close()
    workers.stop()


def history() -> str:
    """Return a page that plays a crash again."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("letters.py").write_text(PROGRAM)
        with kit.postgres("embedded", database="crashes"):
            board = kit.board()
            asyncio.run(crash())
            time.sleep(0.5)  # for its last look
            board.close()
            kit.reset()
        os.chdir("/")
    return page_of(board.history, "", "")


# Let what flies be as far as the next frame, whatever the time is that a screenshot takes.
FLY = """
(milliseconds) => document.getAnimations().forEach((each) => {
  each.pause();
  each.at = (each.at ?? 0) + milliseconds;
  if (each.at >= each.effect.getComputedTiming().endTime) each.finish();
  else each.currentTime = each.at;
})
"""


def frames(page: Any, kept: str) -> list[Image.Image]:
    """Return the pictures of all moments."""
    run = Played(page, kept, "readme")
    page.add_style_tag(content=".kb-controls, .kb-legend { display: none !important; }")
    pictures = []
    jobs = [(at, row["status"]) for at, table, _, row in run.history if table == "jobs" and "status" in row]
    first, last = min(at for at, status in jobs if status == "picked"), jobs[-1][0]
    begin, end = run.ask("argument.map((t) => board.history.played(t))", [first - 0.02, last + 0.6])
    for number in range(int((end - begin) / FRAME) + 1):
        run.ask("board.go(board.history.moment(argument)) ?? board.step()", begin + number * FRAME)
        page.evaluate(FLY, 1000 * FRAME if number else 10_000)  # the first picture is still
        shot = page.locator(".kit-board").screenshot(animations="allow")
        pictures.append(Image.open(io.BytesIO(shot)).convert("RGB"))
    return pictures


def in_few_colours(pictures: list[Image.Image]) -> list[Image.Image]:
    """Return the pictures with one palette, in which also a colour that is seldom has a place."""
    some = pictures[:: max(1, len(pictures) // 12)]
    all_of_them = Image.new("RGB", (some[0].width, some[0].height * len(some)))
    for number, picture in enumerate(some):
        all_of_them.paste(picture, (0, number * picture.height))
    palette = all_of_them.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
    return [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]


def main() -> None:
    """Write the picture."""
    kept = history()
    with browser_page(width=SIZE[0], height=SIZE[1]) as page:
        pictures = frames(page, kept)
    high = max(picture.height for picture in pictures)
    whole = [Image.new("RGB", (picture.width, high), "white") for picture in pictures]
    for under, picture in zip(whole, pictures, strict=True):
        under.paste(picture)
    first, *others = in_few_colours(whole)
    times = [round(1000 * FRAME)] * len(whole)
    times[0], times[-1] = 1200, 2500  # milliseconds
    first.save(PICTURE, save_all=True, append_images=others, duration=times, loop=0, optimize=True)
    print(f"{PICTURE.name}: {len(whole)} frames, {PICTURE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
