"""What the board draws: what happened in a queue, as a list of changes, each with its time.

The state at a moment is what all changes up to it make together, so the same list serves the live picture,
the replay and a saved page. ``board.js`` puts the changes together by the same rule as `fold` here.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import Any

from kit.database.queue_tables import ENDINGS
from kit.display import palette

Key = int | str
Row = dict[str, Any]
Tables = dict[str, dict[Key, Row]]

# jobs by id; lanes by the id of who picks; concurrency limits by entrypoint; schedules by id; jobs that are
# not drawn, and jobs that have ended and are forgotten, by status; and what else there is to say.
NAMES = ("jobs", "lanes", "limits", "schedules", "more", "gone", "said")
TIMES = {"created", "due", "beat", "next", "last"}
ACTIVE = ("queued", "picked", "failed")
BOUND = 200_000  # characters of JSON


def fold(tables: Tables, at: float, table: str, key: Key, new: Row | None) -> None:
    """Let one change, at a time in seconds since the history's begin, make its row what it then is."""
    rows = tables[table]
    if new is None:
        rows.pop(key, None)
        return
    row = rows.setdefault(key, {})
    if "status" in new:
        row.setdefault("created", at)
        row["at"] = at
    row.update(new)


class History:
    """The changes of one database's queue. One thread adds to it; any may read.

    Times are seconds: in arguments since 1970, by the database's clock, and in ``tables`` since ``begin``.

    Attributes:
        name: the database's.
        tables: the state now, a dict of rows for each of `NAMES`.
        first, last: the numbers of the first change that is kept, and of the one that comes next.
        now: the time of the newest look at the tables.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.RLock()
        self.now = self.begin = self._newest = 0.0
        self.first = 0
        self.tables: Tables = {table: {} for table in NAMES}
        self._base: Tables = {table: {} for table in NAMES}
        self._changes: list[str] = []
        self._size = 0
        self._emptied = False

    @property
    def last(self) -> int:
        """The number of the change that comes next."""
        return self.first + len(self._changes)

    def put(self, at: float, table: str, key: Key, **fields: Any) -> None:
        """Note what is known of a row; what it says already is no change."""
        with self.lock:
            if table == "jobs" and self._emptied:
                self._forget(len(self._changes))  # a replay is of what happened since the queue was emptied
                self._emptied = False
            self.begin = self.begin or at
            row = self.tables[table].get(key, {})
            for name in TIMES & fields.keys():
                if fields[name] is not None:
                    fields[name] = round(fields[name] - self.begin, 2)
            new = {name: value for name, value in fields.items() if row.get(name) != value}
            if "turn" in new:  # picked once more, though it was picked before
                new["status"] = fields["status"]
            if new or key not in self.tables[table]:
                self._add(at, table, key, new)

    def drop(self, at: float, table: str, key: Key) -> None:
        """Note that a row is no longer there."""
        with self.lock:
            if key in self.tables[table]:
                self._add(at, table, key, None)

    def empty(self, at: float) -> None:
        """Note that the queue was emptied. What was before is kept until there is a job again."""
        with self.lock:
            for table in ("jobs", "more", "gone", "schedules"):
                for key in list(self.tables[table]):
                    self.drop(at, table, key)
            self._emptied = True

    def _add(self, at: float, table: str, key: Key, new: Row | None) -> None:
        # No change is before the one that is noted already, though a row of the log may come late.
        self._newest = max(at, self._newest)
        moment = round(self._newest - self.begin, 3)
        fold(self.tables, moment, table, key, new)
        change = [moment, table, key, new]
        self._changes.append(json.dumps(change, separators=(",", ":"), ensure_ascii=False))
        self._size += len(self._changes[-1]) + 1
        if self._size > BOUND:
            self._forget(len(self._changes) // 3)

    def _forget(self, number: int) -> None:
        """Keep what the oldest changes come to; of jobs that had ended by then, how many they were."""
        for change in self._changes[:number]:
            fold(self._base, *json.loads(change))
        del self._changes[:number]
        self.first += number
        self._size = sum(map(len, self._changes))
        jobs, gone = self._base["jobs"], self._base["gone"]
        for job in [job for job, row in jobs.items() if row.get("status") in ENDINGS]:
            status = jobs.pop(job)["status"]
            if self.tables["jobs"].pop(job, None) is not None:
                gone[status] = {"n": gone.get(status, {"n": 0})["n"] + 1}
        self.tables["gone"] = {status: dict(row) for status, row in gone.items()}

    def since(self, number: int) -> tuple[str, int]:
        """Return the changes from ``number`` on as a message, or all; and the number of the next."""
        with self.lock:
            head: Row = {
                "name": self.name,
                "now": round(max(self.now, self._newest) - self.begin, 3),
                "from": number,
            }
            if number <= self.first:
                base = {table: list(rows.items()) for table, rows in self._base.items()}
                head |= {"begin": self.begin, "base": base, "from": self.first}
            told = self._changes[head["from"] - self.first :]
            text = json.dumps(head, separators=(",", ":"), ensure_ascii=False)
            return f'{text[:-1]},"changes":[{",".join(told)}]}}', self.last

    def totals(self) -> Counter[str]:
        """Return how many jobs there are of each status: in the queue, and ended."""
        with self.lock:
            totals = Counter(row["status"] for row in self.tables["jobs"].values())
            for table in ("more", "gone"):
                totals.update(
                    {str(status): row["n"] for status, row in self.tables[table].items() if "n" in row}
                )
        return +totals

    def words(self) -> str:
        """Say the picture in a sentence or two."""
        with self.lock:
            totals = self.totals()
            now = max(self.now, self._newest) - self.begin
            waits = [
                row.get("due") or now for row in self.tables["jobs"].values() if row["status"] == "queued"
            ]
            trouble = self.tables["said"].get("trouble", {}).get("text")
        if totals:
            shown = ["queued", "picked", *(status for status in palette.JOBS if totals[status])]
            parts = [f"{totals[status]:,} {palette.JOBS[status].word}" for status in dict.fromkeys(shown)]
            later = sum(due > now for due in waits)
            said = ", ".join(parts) + (f"; {later:,} due later." if later else ".")
        else:
            said = "The queue is empty and no job has run yet."
        return f"{said} {trouble}" if trouble else said
