"""Tables as DataFrames against ADBC and pandas.read_sql: seconds and megabytes for the same rows of the log.

Run ``python -m tests.benchmarks.bench_tables [rows …]`` with the extra ``benchmark`` installed. A round runs
the three one after the other, connecting included; printed are the medians of the seconds and of the rounds'
ratios to ADBC. Peak memory is that of a process which reads the table once, imports included.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kit
from kit.sources import open_database
from tests.benchmarks.figures import figure

ROUNDS = {10_000: 25, 1_000_000: 7}
AIMS = {10_000: 1.1, 1_000_000: 1.5}  # at most this many times ADBC's seconds
QUERY = "SELECT * FROM pgqueuer_log ORDER BY id"
# A log as a consumer writes it: three rows a job, some with a traceback.
FILL = """
INSERT INTO pgqueuer_log (created, job_id, status, priority, entrypoint, traceback, aggregated)
SELECT now() + n * interval '1 ms', 1 + n / 3,
    (ARRAY['queued', 'picked', CASE WHEN fails THEN 'exception' ELSE 'successful' END])[1 + n % 3]
        ::pgqueuer_status,
    n % 5, 'entrypoint_' || n / 3 % 7,
    CASE WHEN fails THEN jsonb_build_object(
        'job_id', 1 + n / 3, 'timestamp', now(), 'exception_type', 'KeyError',
        'exception_message', 'subject', 'additional_context', NULL,
        'traceback', repeat('  File "consumer.py", line 12, in handler\n', 8)) END,
    n % 2 = 0
FROM (SELECT n, n % 60 = 2 AS fails FROM generate_series(0, $1::int - 1) AS n) AS rows
"""


def ours() -> Any:
    return kit.log()


def adbc() -> Any:
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(os.environ["BENCH_DSN"]) as connection, connection.cursor() as cursor:
        cursor.execute(QUERY)
        return cursor.fetch_arrow_table().to_pandas()


def read_sql() -> Any:
    import pandas as pd
    import sqlalchemy

    engine = sqlalchemy.create_engine(
        os.environ["BENCH_DSN"].replace("postgresql:", "postgresql+psycopg:", 1)
    )
    try:
        return pd.read_sql(QUERY, engine)
    finally:
        engine.dispose()


READERS: dict[str, Callable[[], Any]] = {"kit.log": ours, "adbc": adbc, "read_sql": read_sql}


def seconds(read: Callable[[], Any], rows: int) -> float:
    """Return how long one reading takes, after a look at what it returned."""
    begin = time.perf_counter()
    table = read()
    took = time.perf_counter() - begin
    assert len(table) == rows, f"{read.__name__} returned {len(table)} rows"
    return took


def peak(name: str) -> float:
    """Return the most megabytes a new process had in memory while it read the table once."""
    code = f"from tests.benchmarks.bench_tables import report_peak; report_peak({name!r})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout)


def report_peak(name: str) -> None:
    """Read the table with the reader of this name, and print this process's peak memory in megabytes."""
    table = READERS[name]()
    assert len(table)
    print(most_memory() / 1e6)


def most_memory() -> float:
    """Return the most bytes this process has had in memory."""
    status = Path("/proc/self/status")  # getrusage would count the parent's memory at the fork, too
    if status.exists():
        return float(next(line.split()[1] for line in status.open() if line.startswith("VmHWM"))) * 1024
    import psutil

    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset)
    import resource

    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def compare(rows: int) -> bool:
    """Print the figures for ``rows`` rows; return whether the aims are met."""
    kit.reset()
    kit.sql(FILL, rows)
    kit.sql("VACUUM ANALYZE pgqueuer_log")
    times: dict[str, list[float]] = {name: [] for name in READERS}
    for round_ in range(-1, ROUNDS.get(rows, 7)):
        for name, read in READERS.items():
            took = seconds(read, rows)
            if round_ >= 0:  # the first one imports and warms up
                times[name].append(took)
    memory = {name: peak(name) for name in READERS}
    print(f"{rows} rows of the log")
    for name, took_by_it in times.items():
        ratio = statistics.median(a / b for a, b in zip(took_by_it, times["adbc"], strict=True))
        print(
            f"  {name:8}  {statistics.median(took_by_it):7.3f} s   {ratio:5.2f} × ADBC's time   "
            f"peak {memory[name]:5.0f} MB"
        )
        if name == "kit.log":
            figure(f"kit.log() of {rows} rows / ADBC", ratio, f"at most {AIMS.get(rows, 1.5)}")
            met = ratio <= AIMS.get(rows, 1.5) and (rows < 1_000_000 or memory["kit.log"] < memory["adbc"])
    print(f"  aim: at most {AIMS.get(rows, 1.5)} ×{', less memory' if rows >= 1_000_000 else ''}")
    return met


def main() -> int:
    """Compare and print; 1 if an aim is missed."""
    with open_database(database=f"bench_tables_{os.getpid()}") as database:
        os.environ["BENCH_DSN"] = database.dsn
        try:
            results = [compare(rows) for rows in map(int, sys.argv[1:] or map(str, AIMS))]
        finally:
            database.drop()
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
