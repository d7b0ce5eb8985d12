"""``kit class doctor``: what a class needs, tried on the day before on the teacher's machine and a learner's.

A check is its name, and three values: ``good``, ``note`` or ``broken``, what was found, and what mends it.
"""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeAlias

import psutil

from kit.classroom import identity, sending, wire
from kit.classroom.store import Store
from kit.database.target import Target
from kit.errors import KitError
from kit.sources import processes
from kit.threads import run_sync

Found: TypeAlias = tuple[Literal["good", "note", "broken"], str, str]
Check: TypeAlias = tuple[str, Found]
START = 90.0  # seconds until a collector must answer, its Postgres included
APART = 60.0  # seconds between two clocks that somebody should know of
LEARNER = 300  # MB of a learner on a hub: JupyterLab, a kernel and a Postgres
OPEN = "let its firewall open the port"
HAND_IN = "use `kit class hand-in`, which needs no network"


def examine(line: str) -> Iterator[Check]:
    """Yield the checks of a learner's machine, if there is a join line, else of the teacher's."""
    try:
        yield from _learner(line) if line else _teacher()
    except KitError as error:
        yield "Class", ("broken", str(error), "")


def _learner(line: str) -> Iterator[Check]:
    found, clock = _ask(line)
    yield "Class", found
    if clock is not None:
        yield _compared(clock, "the teacher's machine")


def _teacher() -> Iterator[Check]:
    if not identity.known():
        yield "Class", ("broken", "there is none", "run `kit class start --name NAME --listen ADDRESS` first")
        return
    with _started(identity.known()[0]) as one:
        yield "Class", ("good", f"{one.name!r} starts here", "")
        found, _ = _ask(one.line)
        yield "Address", found
        if identity.only_here(one):
            yield "Network", ("note", identity.who_reaches(one), "")
        else:
            other = f"see that from another machine: `kit class doctor {one.line}`"
            yield "Network", ("note", identity.firewall(one.port), other)
        database = one.postgres()
        try:
            clock, events = run_sync(_results(database.target, one.code))
        finally:
            database.stop()
        yield "Results", ("good", f"{events:,} events are in {database}", "")
        yield _compared(clock, "its Postgres")
    free = psutil.virtual_memory().available // 2**20
    fits = free >= LEARNER
    says = f"{free:,} MB are free; a learner, here or on a hub, takes about {LEARNER}"
    yield "Memory", ("good" if fits else "note", says, "" if fits else "close other programs")


@contextlib.contextmanager
def _started(one: identity.Class) -> Iterator[identity.Class]:
    """Let the class run for a block, and start it for that where it does not."""
    if one.running():
        yield one
        return
    command = [sys.executable, "-m", "kit.cli.app", "class", "start"]
    told: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, text=True, **told, **processes.apart()) as process:
        try:
            deadline = time.monotonic() + START
            while not one.running():
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    said = process.communicate()[0].strip()
                    raise KitError(said or f"`kit class start` does not answer within {START:g} s.")
                time.sleep(0.1)
            yield one
        finally:
            process.terminate()


async def _results(target: Target, code: str) -> tuple[datetime, int]:
    """Return what time it is in a class's Postgres, and how many events of the class there are."""
    store = Store(target, code)
    try:
        events = await store.after(0)
    finally:
        await store.close()
    async with target.connect() as connection:
        return await connection.fetchval("SELECT clock_timestamp()"), len(events)


def _ask(line: str) -> tuple[Found, datetime | None]:
    """Ask a collector whether a join line is its own, and what time it is there. Nobody joins."""
    where, code = sending.read_line(line)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=sending.ANSWER)
    try:
        connection.request("POST", wire.JOIN, b"", {wire.SIGNATURE: wire.signature(code.encode(), b"")})
        answer = connection.getresponse()
        said, date = wire.short(answer.read(4096).decode(errors="replace")), answer.headers["Date"]
    except ConnectionRefusedError:
        mend = f"run `kit class start --listen {where.hostname}` on the teacher's machine, or {OPEN}"
        return ("broken", f"{where.netloc} refuses connections", mend), None
    except (OSError, http.client.HTTPException) as error:
        says = f"{where.netloc} does not answer ({error or type(error).__name__})"
        return ("broken", says, f"{OPEN}, or {HAND_IN}"), None
    finally:
        connection.close()
    if answer.status == 400:  # signed rightly, and no request
        clock = parsedate_to_datetime(date) if date else None
        return ("good", f"{where.netloc} answers, and knows the code of the join line", ""), clock
    return ("broken", f"{where.netloc} answers: {said}", ""), None


def _compared(clock: datetime, whose: str) -> Check:
    here = datetime.now().astimezone()
    apart = (here - clock).total_seconds()
    says = f"{here:%A %H:%M}, as on {whose}"
    if abs(apart) < APART:
        return "Clock", ("good", says, "")
    ahead = f"{abs(apart) / 60:.0f} min {'ahead of' if apart > 0 else 'behind'}"
    return "Clock", ("note", f"{here:%A %H:%M}, {ahead} that of {whose}", "set the one that is wrong")
