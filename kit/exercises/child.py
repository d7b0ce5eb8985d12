"""What runs in a process of the check's own: a learner's handlers, or a function of theirs.

Started by its path, and imports nothing of the kit: it must be ready soon, and small. Work comes by standard
input: its length, eight bytes, then one pickle. What becomes of it is told on what was standard output, an
object of JSON a line. What is printed goes to standard error.

Started as `PARENT` it does no work: it forks a process for each request of `kit.exercises.forked`.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import Any

MEMORY = 4 * 2**30  # bytes of address space: an endless list ends in a MemoryError, not with the machine
PROCESSOR = 20  # seconds: what holds Python's lock is beyond the reach of a thread
USUAL = 0.8  # seconds of a processor in which a machine of today has imported what is needed
PARENT = "parent"
UNUSED = 300.0  # seconds without a request after which the parent ends, and gives its memory back


class Channel:
    """Where the process tells the kernel something; a copy that a handler has forked tells nothing."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._to = os.dup(1)
        os.dup2(2, 1)

    def tell(self, **what: Any) -> None:
        """Tell one thing, a line of JSON."""
        if os.getpid() == self._pid:
            data = json.dumps(what, default=repr).encode() + b"\n"
            while data:
                data = data[os.write(self._to, data) :]


def main() -> None:
    """Do the one work that comes, and end."""
    sys.path[:] = json.loads(sys.argv[1])
    import asyncpg  # noqa: F401
    import cloudpickle  # noqa: F401
    import pgqueuer  # noqa: F401

    slow = time.process_time() / USUAL
    if sys.argv[2:] == [PARENT]:
        _fork_for_each_request()
    channel = Channel()
    sys.stdout = io.TextIOWrapper(
        io.FileIO(1, "w"), encoding="utf-8", errors="backslashreplace", write_through=True
    )
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    source = io.FileIO(0, closefd=False)
    data = _exactly(source, int.from_bytes(_exactly(source, 8), "big"))
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    _bound()
    slowness = min(4.0, max(1.0, slow) * _share())
    threading.Thread(target=_end_with_the_kernel, daemon=True).start()
    channel.tell(began=slowness)
    ended: dict[str, Any] = {}
    try:
        ended["value"] = asyncio.run(_work(data, channel, slowness))
    except BaseException as error:  # SystemExit too: whatever ends the work is told
        ended["error"] = _told_of(error)
    channel.tell(ended=ended)
    os._exit(0)


def _fork_for_each_request() -> None:
    """Return in a new process for each request; end with the kernel, or when none came for long."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=os.dup(0)) as requests:
        requests.settimeout(UNUSED)
        while True:
            try:
                request, descriptors, *_ = socket.recv_fds(requests, 1, 4)
            except TimeoutError:
                request = b""
            if not request:
                os._exit(0)
            if not os.fork():
                break
            for descriptor in descriptors:
                os.close(descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *standard, reports = descriptors
    if pid := os.fork():  # this one only waits for the other, and reports its end
        for descriptor in (0, *standard):  # 0 is the requests: without their reader they must be refused
            os.close(descriptor)
        status = os.waitpid(pid, 0)[1]
        os.write(reports, b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    os.setsid()
    os.write(reports, b"%d\n" % os.getpid())
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
    os.closerange(3, max(descriptors) + 1)


def _share() -> float:
    """Return how many times longer a calculation takes now than on a machine that is not busy."""
    began, used = time.monotonic(), time.process_time()
    while (taken := time.process_time() - used) < 0.02:
        pass
    return (time.monotonic() - began) / taken


def _exactly(source: io.FileIO, count: int) -> bytes:
    parts = []
    while count:
        part = source.read(count)
        if not part:
            os._exit(0)  # nobody has work for it
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _bound() -> None:
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR, PROCESSOR + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_with_the_kernel() -> None:
    os.read(0, 1)
    os._exit(1)


def _end_after(seconds: float, channel: Channel) -> None:
    """End the process when the time is up, and tell where it was: only this ends `while True` and `sleep`."""
    main_thread, loop = threading.main_thread().ident or 0, asyncio.get_running_loop()
    ended = threading.Event()

    def watch() -> None:
        ended.wait(seconds)
        lines: list[str] = []
        with suppress(Exception):
            for task in asyncio.all_tasks(loop):
                awaiting: Any = task.get_coro()
                while frame := getattr(awaiting, "cr_frame", None):
                    lines += traceback.StackSummary.extract([(frame, frame.f_lineno)]).format()
                    awaiting = awaiting.cr_await
        lines += traceback.format_stack(sys._current_frames()[main_thread])
        channel.tell(time_is_up="".join(lines))
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _told_of(error: BaseException) -> dict[str, Any]:
    """Return an exception as a dict: its type, its text, and where it was raised."""
    with suppress(Exception):
        return {
            "type": type(error).__name__,
            "message": str(error),
            "traceback": "".join(traceback.format_exception(error)),
        }
    return {"type": type(error).__name__, "message": "", "traceback": ""}


class _Unpickler(pickle.Unpickler):
    """Puts the check's own connections where the notebook's stood."""

    def __init__(self, data: bytes, lent: dict[tuple[str, int], Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._lent = lent

    def persistent_load(self, name: Any) -> Any:
        return self._lent[tuple(name)]


async def _work(data: bytes, channel: Channel, slowness: float) -> Any:
    head = pickle.loads(data)
    sys.path[:] = head["path"]
    os.chdir(head["folder"])
    os.environ.clear()
    os.environ.update(head["environment"])
    _end_after(head["limit"] * slowness, channel)
    async with AsyncExitStack() as stack:
        lent = await _lend(head["lent"])
        work = _Unpickler(head["pickle"], lent).load()
        if "calls" in work:
            return await _call(work["calls"], work["at_once"])
        await _consume(stack, **work)
    return None


async def _lend(wanted: list[tuple[str, int]]) -> dict[tuple[str, int], Any]:
    """Return, for each thing of the notebook's that cannot go along, one of the kind here."""
    import asyncpg
    from pgqueuer import AsyncpgDriver, Queries

    made: dict[tuple[str, int], Any] = {}
    for kind, number in sorted(wanted):
        if ("connection", number) not in made and kind != "pool":
            made["connection", number] = await asyncpg.connect()
        if kind == "pool":
            made[kind, number] = await asyncpg.create_pool(min_size=1)
        elif kind != "connection":
            driver = made.setdefault(("driver", number), AsyncpgDriver(made["connection", number]))
            made["queries", number] = Queries(driver)
    return made


async def _call(calls: list[tuple[Any, tuple[Any, ...]]], at_once: bool) -> list[dict[str, Any]]:
    """Call each function with its arguments, and return what it gave or raised."""

    async def one(function: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
        try:
            value = function(*arguments)
            return {"value": await value if inspect.isawaitable(value) else value}
        except Exception as error:
            return {"error": _told_of(error)}

    if at_once:
        return list(await asyncio.gather(*(one(*call) for call in calls)))
    return [await one(*call) for call in calls]


async def _consume(
    stack: AsyncExitStack,
    main: Any,
    handlers: list[tuple[str, Any, dict[str, Any]]],
    options: dict[str, Any],
    schedule: str | None,
) -> None:
    """Run a consumer until its queue is empty: the learner's own, or one with these handlers."""
    import asyncpg
    from pgqueuer import AsyncpgDriver, PgQueuer, Queries
    from pgqueuer.types import QueueExecutionMode

    if main is None:
        driver = AsyncpgDriver(await asyncpg.connect())
        manager: Any = PgQueuer(driver, resources={"q": Queries(driver)})
        for name, handler, how in handlers:
            manager.entrypoint(name, **how)(handler)
    else:
        manager = main()
        if hasattr(manager, "__aenter__"):
            manager = await stack.enter_async_context(manager)
        elif inspect.isawaitable(manager):
            manager = await manager
        if not hasattr(manager, "entrypoint_registry") and not hasattr(manager, "qm"):
            raise TypeError(f"the factory gave {type(manager).__name__}, not a PgQueuer")
    if schedule is not None:
        return await _run_schedule(manager, schedule)
    seconds = {key: timedelta(seconds=options.pop(key)) for key in list(options) if key.endswith("_timeout")}
    await manager.run(mode=QueueExecutionMode.drain, **seconds, **options)
    return None


async def _run_schedule(manager: Any, name: str) -> None:
    """Run a schedule's function once, as if it were due now."""
    scheduler = getattr(manager, "sm", manager)
    keys = [key for key in scheduler.registry if key.entrypoint == name]
    if not keys:
        raise LookupError(f"no schedule is called {name!r}")
    await scheduler.queries.insert_schedule({key: timedelta(seconds=-1) for key in keys})
    due = await scheduler.queries.fetch_schedule({key: timedelta(hours=1) for key in keys})
    executor = scheduler.registry[keys[0]]
    from pgqueuer.models import ScheduleContext

    await executor.execute(due[0], ScheduleContext(resources=scheduler.resources))


if __name__ == "__main__":
    main()
