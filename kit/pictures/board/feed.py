"""Keeps a `History` true to the tables of a database.

The log has a row for each transition, so its tail shows also jobs that come and go between two looks. It does
not say all, and its rows do not commit in order: so the queue itself is read now and then, and whenever there
is more of it than is drawn. PGQueuer's own NOTIFY wakes the feed. As an UPDATE sends none (a pick, a retry),
a poll stands behind that, quick while something happens and slow while nothing does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pgqueuer.domain.settings import db_settings

from kit.database.other_consumers import consumers_connected
from kit.database.queue_tables import ENDINGS
from kit.database.target import Target, Unreachable
from kit.display import payloads
from kit.errors.postgres import NO_TABLES, tables_are_missing
from kit.errors.text import headline, one_line
from kit.pictures.board.history import ACTIVE, History
from kit.session import session

if TYPE_CHECKING:
    import asyncpg

APPLICATION = "kit board"

QUICK = 0.1  # seconds from one look to the next, at least: ten pictures a second
BUSY = 0.25  # the poll while jobs run, or are about to
SLOW = 2.0  # the poll while none do, and how often the queue is read whole
# A look is followed by so many times its cost of rest, so that the consumer keeps what it has. The cost of a
# short look is this thread's own time, that of one that counts also the server's.
SHARE, SHARE_OF_COUNTING = 40, 80
REST, REST_OF_COUNTING = 0.25, 5.0  # at most
RETRY = 1.0  # between two attempts to reach Postgres
REACH = 5.0  # how long an attempt takes at most
GOODBYE = 2.0  # how long the last look, and closing, may take

PAST = 1500  # rows of the log that are looked at in the beginning
TAIL = 200  # rows of the log in one look; where there are more, the queue as a whole is cheaper
LATE = 5.0  # seconds that a row of the log may commit late
STAYS = 10.0  # seconds that a worker of another program stays on the board without a job
ERROR = 160  # characters of an exception

NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"

Rows = list["asyncpg.Record"]


class Feed:
    """Follows one database until it is stopped.

    Args:
        target: what to follow.
        history: what is kept true.
        changed: called after each look, in the feed's own thread.
    """

    def __init__(self, target: Target, history: History, changed: Callable[[], None]) -> None:
        self._target = target
        self._history = history
        self._jobs = history.tables["jobs"]
        self._changed = changed
        self._tables = target.queue_tables
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._stop = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._begun = self._done = 0
        self._anew = True
        self._now = 0.0
        self._mark: tuple[int, int, float] | None = None  # a row of the log before which all are known
        self._seen: dict[int, tuple[int, int, float]] = {}  # those after it that are known too
        self._ended: Counter[str] = Counter()  # in the whole log
        self._recount = True
        self._long = False  # there are more jobs than are drawn
        self._known = set[int]()  # connections (pids) that other programs consume through
        self._new = set[int]()  # and those that were seen once
        self._alone = Counter[str]()  # how often none was there though a lane is another program's

    async def look_now(self) -> None:
        """Return after a look that began now: the picture is then as fresh as the tables."""
        begun = self._begun
        while self._done <= begun and not self._stop.is_set():
            self._hurry.set()
            self._wake.set()
            await asyncio.sleep(0.001)

    def stop(self) -> None:
        """End :meth:`run`. To be called in the feed's loop."""
        self._stop.set()
        self._hurry.set()
        self._wake.set()
        if self._connection is not None:  # a look that hangs is not waited for
            asyncio.get_running_loop().call_later(GOODBYE, self._connection.terminate)

    async def run(self) -> None:
        """Follow the tables until :meth:`stop`, through lost connections and restarted servers."""
        while not self._stop.is_set():
            try:
                self._connection = await self._target.open(APPLICATION, limit=REACH)
                try:
                    await self._follow(self._connection)
                finally:
                    with contextlib.suppress(Exception):
                        await self._connection.close(timeout=GOODBYE)
            except Exception as error:  # whatever it is, the board says so and goes on
                self._say(_trouble(error))
                self._changed()
            if not self._stop.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), RETRY)

    def _say(self, trouble: str | None) -> None:
        if trouble or "trouble" in self._history.tables["said"]:
            self._history.put(self._history.now, "said", "trouble", text=trouble)

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        with contextlib.suppress(ValueError):
            event = json.loads(str(payload))
            if event.get("type") == "health_check_event":
                return
            self._anew |= event.get("operation") == "truncate"
        self._wake.set()

    async def _follow(self, connection: asyncpg.Connection) -> None:
        if not self._target.read_only:  # somebody's own may be a standby, where nobody may listen
            async with self._target.answering(connection):
                await connection.add_listener(db_settings().channel, self._heard)
        connection.add_termination_listener(lambda _: self._wake.set())
        self._recount = True
        pause, whole = 0.0, -SLOW
        while not self._stop.is_set():
            began, used = time.perf_counter(), time.thread_time()
            self._begun += 1
            before = self._history.last
            late = began - whole > SLOW
            async with self._target.answering(connection):
                counted = await self._look(connection, late)
            whole = began if late else whole
            self._say(None)
            self._history.now = max(self._now, self._history.now)
            self._done = self._begun
            self._changed()
            took, used = time.perf_counter() - began, time.thread_time() - used
            if counted:
                most = float("inf") if self._target.read_only else REST_OF_COUNTING
                rest = max(QUICK, min(SHARE_OF_COUNTING * took, most))
            else:
                rest = max(QUICK - took, min(SHARE * used, REST))
            pause = rest if self._history.last != before else min(max(pause * 2, QUICK), self._patience())
            await self._rest(rest, max(pause, rest))

    async def _rest(self, least: float, most: float) -> None:
        """Sleep ``least`` seconds whatever happens, and up to ``most`` while nothing wakes the feed."""
        began = time.perf_counter()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), most)
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), max(0.0, least - (time.perf_counter() - began)))
        self._hurry.clear()

    def _patience(self) -> float:
        now = self._now - self._history.begin
        for job in self._jobs.values():
            if job["status"] == "picked" or (
                job["status"] == "queued" and (job.get("due") or 0) < now + SLOW
            ):
                return BUSY
        return SLOW

    async def _look(self, connection: asyncpg.Connection, whole: bool) -> bool:
        """Take in what is new, if ``whole`` also what the log lacks; return whether jobs were counted."""
        if self._anew or self._long or whole:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await self._read_log(connection)
                await self._read_queue(connection)
        elif await self._read_log(connection):
            return await self._look(connection, whole=True)
        if whole:
            await self._look_for_others(connection)
            await self._read_schedules(connection)
        await self._read_lanes(connection)
        return self._long

    # The log

    async def _read_log(self, connection: asyncpg.Connection) -> bool:
        """Take in the log's new rows; return whether there were too many, and some were left out."""
        self._now = await connection.fetchval(NOW)
        mark = self._mark
        rows = await connection.fetch(self._tables.tail, mark[0] if mark else 0, list(self._seen), TAIL + 2)
        emptied = mark is not None and (not rows or _identity(rows[0]) != mark)
        if self._anew or emptied or len(rows) > TAIL:
            if emptied or (self._anew and mark is not None):
                self._history.empty(self._now)
                self._recount, self._anew = True, True
            past = PAST if self._anew else TAIL
            newest = await connection.fetchval(self._tables.newest_transition)
            rows = await connection.fetch(self._tables.tail, max(0, newest - past), [], past + 1)
            self._mark, self._seen, left_out = None, {}, True
            rows = [row for row in rows if self._anew or not self._knows(row)]
        else:
            rows, left_out = rows[1:] if mark else rows, False
        self._take(rows)
        self._recount |= left_out
        return left_out

    def _knows(self, row: asyncpg.Record) -> bool:
        """Return whether a row of the log was taken in before, as far as the job's card tells."""
        job = self._jobs.get(row["job_id"])
        return job is not None and (
            job["status"] in ENDINGS or job["at"] >= round(row["at"] - self._history.begin, 3)
        )

    def _take(self, rows: Rows) -> None:
        history, newest = self._history, {row["job_id"]: row["number"] for row in rows}
        workers = self._workers(rows)
        for row in rows:
            job, became = row["job_id"], row["became"]
            known = self._jobs.get(job, {})
            self._seen[row["number"]] = _identity(row)
            if became in ENDINGS:
                self._ended[became] += 1
            elif known.get("status") in ENDINGS:
                continue  # a row that commits late: no job comes back
            fields = {"status": became}
            if not known:
                fields |= {"entrypoint": row["of"], "priority": row["at_priority"], **_payload(row)}
            if became == "picked":
                fields |= {"turn": known.get("turn", 0) + 1, "worker": workers.get(job)}
            elif row["whose"] and became != "queued":
                fields["worker"] = row["whose"]
            if row["kind"] is not None:
                fields["error"] = headline(row["kind"], row["message"] or "")[:ERROR]
            if row["status"] == became and newest[job] == row["number"]:
                fields |= _facts(row, known)
            if became == "picked":
                self._has_a_lane(row["at"], fields["worker"])
            history.put(row["at"], "jobs", job, **fields)
        for identity in list(self._seen.values()):
            if identity[2] < self._now - LATE or self._mark is None:
                self._mark = max(self._mark or identity, identity)
        if self._mark is not None:
            self._seen = {number: seen for number, seen in self._seen.items() if number > self._mark[0]}

    def _workers(self, rows: Rows) -> dict[int, str | None]:
        """Return the lanes of this process that took up jobs of these rows: the queue may no longer say."""
        found: dict[int, str | None] = {}
        if rows and not self._target.read_only:
            for name, jobs in list(session.began.items()):
                for job, when in reversed(jobs.copy()):
                    if when < rows[0]["at"] - LATE:
                        break
                    found.setdefault(job, _manager_of(name))
        return found

    def _has_a_lane(self, at: float, worker: str | None) -> None:
        """Let whoever takes up a job have its lane from then on, though more is heard of it later."""
        if worker is None or worker in self._history.tables["lanes"]:
            return
        mine = {} if self._target.read_only else dict(session.consumers)
        # One that starts may have told of no id yet; where another one starts as well, it is not known which.
        starting = [name for name, consumer in mine.items() if consumer.state == "starting"]
        name = _names(self._target).get(worker) or (starting[0] if len(starting) == 1 else f"worker {worker}")
        self._history.drop(at, "lanes", name)  # where it stood until now
        state = mine[name].state if name in mine else "working"
        self._history.put(at, "lanes", worker, name=name, state=state)

    # The queue

    async def _read_queue(self, connection: asyncpg.Connection) -> None:
        """Read the queue, and mend what the log does not tell."""
        history = self._history
        counts = {row["status"]: row for row in await connection.fetch(self._tables.counts)}
        rows = await connection.fetch(self._tables.drawn_jobs)
        for row in rows:
            known = self._jobs.get(row["id"], {})
            fields = {"status": row["status"], "priority": row["priority"], **_facts(row, known)}
            if not known:
                fields |= {"entrypoint": row["entrypoint"], "created": row["created"]}
            if row["status"] == "picked":
                self._has_a_lane(self._now if known else row["updated"], row["worker"])
            if not known and row["status"] == "picked":
                history.put(row["updated"], "jobs", row["id"], **fields | {"turn": row["tries"] + 1})
            else:
                history.put(self._now, "jobs", row["id"], **fields)
        there = {row["id"] for row in rows}
        lost = [job for job, card in self._jobs.items() if card["status"] in ACTIVE and job not in there]
        if lost:
            fates = {row["job_id"]: row for row in await connection.fetch(self._tables.fate, lost)}
            for job in lost:
                fate = fates.get(job)
                if fate is not None and fate["became"] in ENDINGS:
                    history.put(fate["at"], "jobs", job, status=fate["became"])
                    self._recount = True
                else:
                    history.drop(self._now, "jobs", job)
        if self._recount:
            self._recount = False
            ended = await connection.fetch(self._tables.endings)
            self._ended = Counter({row["status"]: row["number"] for row in ended})
        self._anew = False
        drawn = Counter(card["status"] for card in self._jobs.values())
        for status in (*ACTIVE, *ENDINGS):
            number = counts[status]["number"] if status in counts else self._ended[status]
            more = max(0, number - drawn[status] - history.tables["gone"].get(status, {"n": 0})["n"])
            if more or status in history.tables["more"]:
                history.put(self._now, "more", status, n=more)
        self._long = any(history.tables["more"].get(status, {"n": 0})["n"] for status in ACTIVE)
        if self._long or "oldest" in history.tables["more"]:
            oldest = counts["queued"]["oldest"] if self._long and "queued" in counts else None
            history.put(self._now, "more", "oldest", due=oldest)

    async def _read_schedules(self, connection: asyncpg.Connection) -> None:
        rows = {row["id"]: dict(row.items()) for row in await connection.fetch(self._tables.drawn_schedules)}
        for key, row in rows.items():
            self._history.put(
                self._now, "schedules", key, **{name: row[name] for name in row if name != "id"}
            )
        for key in self._history.tables["schedules"].keys() - rows.keys():
            self._history.drop(self._now, "schedules", key)

    # Who consumes

    async def _read_lanes(self, connection: asyncpg.Connection) -> None:
        """Tell who is there: this process's consumers by their names, others by the id they pick with."""
        history, now = self._history, self._now
        lanes: dict[Any, dict[str, Any]] = history.tables["lanes"]
        mine = {} if self._target.read_only else dict(session.consumers)
        names = _names(self._target)
        taken = {
            lane["name"]: key
            for key, lane in lanes.items()
            if lane.get("state") == "starting" and key not in names
        }
        holding = Counter(card.get("worker") for card in self._jobs.values() if card["status"] == "picked")
        if +holding:
            for row in await connection.fetch(self._tables.beats):
                lane = lanes.get(row["worker"])
                if lane is not None and row["beat"] - history.begin > lane.get("beat", 0):
                    history.put(now, "lanes", row["worker"], beat=row["beat"])
        # One that starts has told of no id yet: the last one of its name may be that of a dead one.
        own = {
            name: taken.get(name, name) if consumer.state == "starting" else _manager_of(name) or name
            for name, consumer in mine.items()
        }
        limits: dict[str, int] = {}
        for name, consumer in mine.items():
            lane = lanes.get(own[name], {})
            if consumer.state == lane.get("state", "stopped") == "stopped" and not holding[own[name]]:
                history.drop(now, "lanes", own[name])
            else:
                timeout = consumer.heartbeat_timeout
                history.put(now, "lanes", own[name], name=name, state=consumer.state, timeout=timeout)
            for entrypoint, limit in consumer.limits.items() if consumer.alive else ():
                limits[entrypoint] = max(limits.get(entrypoint, 0), limit)
        for key, lane in list(lanes.items()):
            self._say_silence(key, lane, bool(holding[key]))
            if key in own.values() or key.startswith("elsewhere"):
                continue
            if key in names:  # one of this process's, before it was started again
                over = lane.get("state") in ("killed", "failed", "stopped", "paused")
                history.put(now, "lanes", key, name=names[key], state=lane["state"] if over else "gone")
            elif key in taken.values() and key not in mine:  # it is not the one that starts
                history.put(now, "lanes", key, name=f"worker {key}", state="working")
            quiet = now - history.begin - (lane.get("beat") or 0)
            if key in mine or (not holding[key] and (key in names or quiet > STAYS)):
                history.drop(now, "lanes", key)
        for gone in history.tables["limits"].keys() - limits.keys():
            history.drop(now, "limits", gone)
        for entrypoint, limit in limits.items():
            history.put(now, "limits", entrypoint, n=limit)

    def _say_silence(self, key: Any, lane: dict[str, Any], holds: bool) -> None:
        """Note whether a worker has been silent for so long that another one takes its jobs."""
        usual = max(
            (one["timeout"] for one in self._history.tables["lanes"].values() if "timeout" in one), default=30
        )
        quiet = self._now - self._history.begin - lane.get("beat", 0)
        silent = holds and "beat" in lane and quiet > lane.get("timeout", usual)
        if silent != lane.get("silent", False):
            self._history.put(self._now, "lanes", key, silent=silent)

    async def _look_for_others(self, connection: asyncpg.Connection) -> None:
        """Look for other programs' consumers. Nothing ties their connections to the ids they pick with."""
        mine = [] if self._target.read_only else list(session.known_backends())
        _, others = await consumers_connected(connection, mine)
        # Seen consuming, it is a consumer as long as its connection lasts, whatever it asks next. One that is
        # seen for the first time may be a worker of this process that has not told of its connection yet.
        new = {other.pid for other in others} - self._known - set(mine)
        there = "SELECT pid FROM pg_stat_activity WHERE pid = ANY($1::int[]) AND NOT pid = ANY($2::int[])"
        known = [*self._known, *(new & self._new)]
        self._known = {row["pid"] for row in await connection.fetch(there, known, mine)} if known else set()
        self._new = new
        lanes: dict[Any, dict[str, Any]] = self._history.tables["lanes"]
        strangers = 0
        for key, lane in lanes.items():
            if lane.get("state") in ("working", "gone"):
                self._alone[key] = 0 if self._known else self._alone[key] + 1  # it may come between two looks
                state = "gone" if self._alone[key] > 1 else "working"
                strangers += state == "working"
                self._history.put(self._now, "lanes", key, state=state)
        wanted = {f"elsewhere {number}" for number in range(strangers, len(self._known))}
        for key in wanted:
            self._history.put(self._now, "lanes", key, name="another program", state="connected")
        for key in {key for key in lanes if key.startswith("elsewhere")} - wanted:
            self._history.drop(self._now, "lanes", key)


def _trouble(error: BaseException) -> str:
    if tables_are_missing(error.__cause__):
        return NO_TABLES
    reason = error.reason if isinstance(error, Unreachable) else one_line(error)
    return f"The board has lost Postgres ({reason}) and tries again every second."


def _identity(row: asyncpg.Record) -> tuple[int, int, float]:
    """Return what tells a row of the log from another of the same number, after the log was emptied."""
    return row["number"], row["job_id"], row["at"]


def _names(target: Target) -> dict[str, str]:
    """Return what this process's consumers of ``target`` are called, by the ids they pick with, shortened."""
    return {} if target.read_only else {key[:8]: name for key, name in list(session.managers.items())}


def _manager_of(consumer: str) -> str | None:
    """Return the id that a consumer of this process picks with now, shortened."""
    ids = [key for key, name in list(session.managers.items()) if name == consumer]
    return ids[-1][:8] if ids else None


def _facts(row: asyncpg.Record, known: dict[str, Any]) -> dict[str, Any]:
    """Return what a job's row in the queue tells beside its status."""
    put_off = row["status"] == "queued" and row["due"] > row["created"] + 0.01
    facts: dict[str, Any] = {"due": row["due"] if put_off else None}
    if row["tries"] or "tries" in known:
        facts["tries"] = row["tries"]
    if row["status"] == "picked":
        facts["worker"] = row["worker"]
    return facts | ({} if "payload" in known else _payload(row))


def _payload(row: asyncpg.Record) -> dict[str, Any]:
    return {} if row["payload"] is None else {"payload": payloads.beginning(row["payload"], row["size"])}
