"""What the board costs the consumer, and how smoothly it moves in a browser.

Run ``python -m tests.benchmarks.bench_board [consumer] [browser] [looking]``. The first part runs the same
jobs in one kernel with and without the board, in turns, and prints the median ratio of jobs a second. The
second has JupyterLab in Chromium draw a thousand jobs of which twenty move each tenth of a second, and prints
frames a second and how long the page was blocked. The third has `kit.look` draw a million jobs.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from jupyter_client.manager import start_new_kernel

from tests.benchmarks.figures import figure
from tests.waiting import wait_until

# Rounds, and how often each has the jobs done with the board and without: a tenth of a second can take twice
# that for many reasons, so a round compares the medians of several.
ROUNDS = {2_000: (15, 7), 10_000: (9, 3)}
AIM = 0.97
FRAMES_AIM = 45

SETUP = """
import asyncio, time
from contextlib import asynccontextmanager
import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
import kit

database = kit.postgres("embedded", database="bench_board")

@asynccontextmanager
async def main():
    connection = await asyncpg.connect()
    pgq = PgQueuer(AsyncpgDriver(connection))

    @pgq.entrypoint("work")
    async def work(job):
        pass

    yield pgq
    await connection.close()

async def enqueue(number):
    connection = await asyncpg.connect()
    await Queries(AsyncpgDriver(connection)).enqueue(["work"] * number, [b"x"] * number, [0] * number)
    await connection.close()

def left():
    return int(kit.sql("SELECT count(*) AS number FROM pgqueuer")["number"][0])
"""
# The jobs are there before the consumer starts, and its start is left out, so that only its speed counts.
BURST = """
kit.reset()
board = kit.board() if {board} else None
await enqueue({number})
time.sleep(0.5)
consumer = kit.run(main, batch_size=100, max_concurrent_tasks=200)
began, before = time.perf_counter(), consumer.done
while consumer.done < {number}:
    time.sleep(0.002)
took = (time.perf_counter() - began) / ({number} - before)
consumer.stop()
if board is not None:
    board.close()
print("took", took)
"""


def execute(client: Any, code: str) -> str:
    """Run a cell and return what it printed."""
    printed = []

    def hear(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = client.execute_interactive(code, output_hook=hear, timeout=300)
    if reply["content"]["status"] != "ok":
        raise RuntimeError("\n".join(reply["content"]["traceback"]))
    return "".join(printed)


def consumer() -> None:
    """Print what the board leaves of the consumer's throughput."""
    manager, client = start_new_kernel()
    try:
        execute(client, SETUP)
        for number, (rounds, bursts) in ROUNDS.items():
            took: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(2):  # warms up
                execute(client, BURST.format(board=True, number=number))
            for _ in range(rounds):
                each: dict[bool, list[float]] = {False: [], True: []}
                for burst in range(2 * bursts):
                    board = burst % 4 in (1, 2)
                    printed = execute(client, BURST.format(board=board, number=number))
                    each[board].append(float(printed.rsplit("took", 1)[1]))
                for board, times in each.items():
                    took[board].append(statistics.median(times))
            ratios = [without / with_it for without, with_it in zip(took[False], took[True], strict=True)]
            rates = {board: 1 / statistics.median(times) for board, times in took.items()}
            medians = f"{rates[True]:,.0f} jobs/s, {rates[False]:,.0f} without it"
            figure(
                f"consumer with a board, {number} jobs",
                statistics.median(ratios),
                f"at least {AIM}",
                "",
                medians,
            )
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


# Frames, changes of the picture, and tasks that take longer than 50 ms, for some seconds.
FRAMES = """
(seconds) => new Promise((resolve) => {
  let frames = 0, updates = 0, last = performance.now();
  const began = last, gaps = [], tasks = [];
  const seen = new MutationObserver(() => updates++);
  seen.observe(document.querySelector('.kb-words'), { childList: true });
  const note = (entries) => tasks.push(...entries.map(({ duration }) => duration));
  const long = new PerformanceObserver((list) => note(list.getEntries()));
  long.observe({ type: 'longtask' });
  const frame = (now) => {
    frames++;
    gaps.push(now - last);
    last = now;
    if (now - began < seconds * 1000) return requestAnimationFrame(frame);
    seen.disconnect();
    note(long.takeRecords());
    long.disconnect();
    const took = (now - began) / 1000, sum = tasks.reduce((all, each) => all + each, 0);
    gaps.sort((a, b) => a - b);
    const p95 = gaps[Math.floor(0.95 * gaps.length)];
    resolve({ frames: frames / took, updates: updates / took, p95,
        task: Math.max(0, ...tasks), blocked: sum / took / 1000 });
  };
  requestAnimationFrame(frame);
})
"""


async def _move(dsn: str, stop: threading.Event) -> None:
    """Twenty times ten jobs a second: pick twenty, end the twenty before, enqueue twenty."""
    import asyncpg

    from tests.pictures.conftest import Hands

    connection = await asyncpg.connect(dsn)
    hands = Hands(connection)
    held: list[Any] = []
    while not stop.is_set():
        began = time.perf_counter()
        await hands.end(held)
        held = await hands.pick(10)
        await hands.enqueue(*[b"x"] * 10, priority=int(began * 10) % 12)
        await asyncio.sleep(max(0.0, 0.1 - (time.perf_counter() - began)))
    await connection.close()


def browser() -> None:
    """Print how smoothly a thousand jobs move on the board beside the text."""
    from tests.jupyterlab import JupyterLab, browser_page, write_notebook

    with tempfile.TemporaryDirectory() as folder:
        write_notebook(Path(folder) / "bench.ipynb", SETUP + "print('dsn', database.dsn)")
        with JupyterLab(Path(folder), docked=True) as lab, browser_page(width=1280, height=720) as page:
            notebook = lab.open(page, "bench.ipynb")
            notebook.run_cell(0)
            dsn = notebook.text(0).split("dsn ")[1].split()[0]
            stop = threading.Event()
            thread = threading.Thread(target=lambda: asyncio.run(_fill_and_move(dsn, stop)))
            thread.start()
            words = page.locator("#kit-docked-board .kb-words")
            many = re.compile(r"(9\d\d|1,\d+) waiting")
            wait_until("the jobs", lambda: words.count() and many.match(words.inner_text()))
            time.sleep(2)
            seen = page.evaluate(FRAMES, 10)
            stop.set()
            thread.join()
    name = "1,000 jobs on the board"
    figure(name, seen["frames"], f"at least {FRAMES_AIM}", "frames/s", f"p95 {seen['p95']:.0f} ms a frame")
    updates = f"{seen['updates']:.1f} updates/s"
    figure(f"{name}, longest task", seen["task"], "under 100; 0: none over 50", "ms", updates)
    figure(f"{name}, blocked", seen["blocked"], "under 0.1 of the time")


async def _fill_and_move(dsn: str, stop: threading.Event) -> None:
    import asyncpg

    from tests.pictures.conftest import Hands

    connection = await asyncpg.connect(dsn)
    await Hands(connection).enqueue(*[b"x"] * 1000)
    await connection.close()
    await _move(dsn, stop)


async def _fill_both_tables(dsn: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(dsn)
    for status, table, column in (("queued", "pgqueuer", "id"), ("successful", "pgqueuer_log", "job_id")):
        await connection.execute(
            f"INSERT INTO {table} ({column}, status, entrypoint, priority)"
            f" SELECT n, '{status}', 'work', 0 FROM generate_series(1, 1000000) AS n"
        )
    await connection.execute("ANALYZE")
    await connection.close()


def looking() -> None:
    """Print how long the first picture of a million jobs, and of as many that have ended, takes."""
    import kit

    took = []
    with kit.postgres("embedded", database="bench_looking") as database:
        asyncio.run(_fill_both_tables(database.dsn))
        for _ in range(5):
            began = time.perf_counter()
            look = kit.look(database.dsn)
            assert "1,000,000 waiting" in str(look.board())
            took.append(time.perf_counter() - began)
            look.close()
        kit.reset()
    figure("kit.look on a million jobs, first picture", statistics.median(took), "under 2", "s")


if __name__ == "__main__":
    parts = {"consumer": consumer, "browser": browser, "looking": looking}
    for part in sys.argv[1:] or parts:
        parts[part]()
