"""A process of the check's own, in which a learner's code runs: started early, bounded, and always ended."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pickle
import sys
from collections import ChainMap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any, ClassVar

from kit.errors.place import place_in
from kit.exercises import child
from kit.exercises.exercise import NotYet
from kit.exercises.forked import Forked
from kit.internals import connection_of
from kit.sources.processes import apart
from kit.worker import guard

LIMIT = 4.0  # seconds that the learner's code has in one process, from when the process is ready
TO_START = 30.0  # seconds for a process to be ready, on a machine that is busy
GRACE = 1.5  # seconds more until the process is killed from here: something holds Python's lock
KEPT = 100_000  # bytes of what is printed; the rest is thrown away
LARGEST = 512 * 2**20  # bytes that an answer may take along


@dataclass
class Ran:
    """What became of one process.

    Attributes:
        lines: what was printed, line by line.
        value: what came back.
        error: what ended it, as ``type``, ``message`` and ``traceback``; None when it ended well.
    """

    lines: list[str] = field(default_factory=list)
    value: Any = None
    error: dict[str, str] | None = None


class TooBusy(Exception):
    """The machine did not get a process ready in time: nobody's mistake, and nothing is known."""


class Process(asyncio.SubprocessProtocol):
    """One process. It is ready before there is work for it, and does one work."""

    def __init__(self) -> None:
        self.printed = b""
        self.told: list[dict[str, Any]] = []
        self._half = b""
        self._changed = asyncio.Event()
        self._open = 2
        self._transport: Any = None

    @classmethod
    async def start(cls) -> Process:
        """Start a process that waits for its work."""
        process = cls()
        if sys.platform == "win32":  # it cannot fork
            command = [sys.executable, "-P", child.__file__, json.dumps(sys.path)]
            await asyncio.get_running_loop().subprocess_exec(lambda: process, *command, **apart())
        else:
            await Forked.start(process)
        return process

    def connection_made(self, transport: Any) -> None:  # noqa: D102
        self._transport = transport

    def pipe_data_received(self, descriptor: int, data: bytes) -> None:  # noqa: D102
        if descriptor == 2:
            self.printed += data[: KEPT - len(self.printed)]
            self._changed.set()
            return
        *lines, self._half = (self._half + data).split(b"\n")
        self.told += [json.loads(line) for line in lines if line.startswith(b"{")]
        self._changed.set()

    def pipe_connection_lost(self, descriptor: int, error: Exception | None) -> None:  # noqa: D102
        self._open -= descriptor != 0
        self._changed.set()

    def process_exited(self) -> None:  # noqa: D102
        self._changed.set()

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._transport.get_returncode()  # type: ignore[no-any-return]

    def heard(self, what: str) -> Any:
        """Return what it told under this name; None when it has not."""
        return next((told[what] for told in self.told if what in told), None)

    async def until(self, *names: str, limit: float) -> bool:
        """Wait until it has told one of these, or has ended; return False when the time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while not any(self.heard(name) for name in names) and self.code is None:
                    self._changed.clear()
                    await self._changed.wait()
                return True
        return False

    async def do(self, work: bytes, *, limit: float) -> Ran:
        """Let it do the work, and return what became of it.

        Raises:
            NotYet: it did not end in time, or ended in a way that no learner means.
            TooBusy: it was not ready in time.
        """
        self.give(work)
        await self.until("began", limit=TO_START)
        if (slowness := self.heard("began")) is None:
            raise TooBusy
        limit *= slowness  # a machine that is busy has more time
        in_time = await self.until("ended", "time_is_up", limit=limit + GRACE)
        await self.end()
        if (stack := self.heard("time_is_up")) is not None or not in_time:
            raise NotYet("endless", seconds=f"{limit:.0f}", place=place_in(stack or ""))
        if (ended := self.heard("ended")) is None:
            raise NotYet("ended-itself", code=_how_it_ended(self.code))
        text = self.printed.decode(errors="replace")
        return Ran(text.splitlines(), ended.get("value"), ended.get("error"))

    async def until_printed(self, text: bytes, *, limit: float = TO_START) -> None:
        """Wait until this was printed, or it has ended, or the time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while text not in self.printed and self.heard("ended") is None and self.code is None:
                    self._changed.clear()
                    await self._changed.wait()

    def give(self, work: bytes) -> None:
        """Give it its work; it begins by itself."""
        pipe = self._transport.get_pipe_transport(0)
        pipe.write(len(work).to_bytes(8, "big"))
        pipe.write(work)

    async def end(self) -> None:
        """Kill it, with all that it has started, and hear its last words."""
        if (pid := self._transport.get_pid()) is None:
            self._transport.get_pipe_transport(0).close()  # it ends by itself: nobody has work for it
        elif self.code is None or sys.platform != "win32":
            guard.kill(pid)  # and what a handler has left in its group
        with suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                while self.code is None or self._open:
                    self._changed.clear()
                    await self._changed.wait()
        self._transport.close()


def _how_it_ended(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def pack(
    work: Mapping[str, Any],
    *,
    namespace: Mapping[str, Any],
    lent: bool,
    limit: float,
    environment: Mapping[str, str],
    author: str,
) -> bytes:
    """Return the work as it goes to a process: all in one pickle, so that handlers go on sharing globals.

    Functions of the module ``author`` go along as a learner's do: the process need not import it.

    Raises:
        NotYet: something in it works only in the notebook; it is named.
    """
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table: ClassVar[Any] = ChainMap(
            {CodeType: _with_its_file}, cloudpickle.Pickler.dispatch_table
        )

        def __init__(self, file: io.BytesIO) -> None:
            super().__init__(file)
            self.lent: dict[tuple[str, int], Any] = {}

        def persistent_id(self, obj: Any) -> tuple[str, int] | None:
            kind, owner = _of_the_notebook(obj)
            if kind is None:
                return None
            if not lent:
                raise _Stays(obj)
            name = (kind, id(owner))
            self.lent[name] = obj
            return name

    file = _Bounded()
    pickler = Pickler(file)
    cloudpickle.register_pickle_by_value(sys.modules[author])
    try:
        pickler.dump(dict(work))
    except _Stays as stays:
        raise NotYet("stays-here", name=_name_of(stays.thing, namespace)) from None
    except _TooLarge:
        raise NotYet("too-large", size=LARGEST // 2**20) from None
    except (TypeError, ValueError, AttributeError, RecursionError, pickle.PicklingError) as error:
        raise NotYet("stays-here", name=_cannot_go(work, str(error))) from None
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[author])
    head = {
        "path": sys.path,
        "folder": os.getcwd(),
        "environment": {**os.environ, **environment},
        "limit": limit,
        "lent": list(pickler.lent),
        "pickle": file.getvalue(),
    }
    return pickle.dumps(head)


def _with_its_file(code: CodeType) -> tuple[Any, ...]:
    """Pickle code as cloudpickle does, and keep the name of its cell, by which a line is found again."""
    import cloudpickle

    make, arguments = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return make, tuple(code.co_filename if part == "<dynamic-code>" else part for part in arguments)


class _Bounded(io.BytesIO):
    def write(self, data: Any) -> int:
        if self.tell() + len(data) > LARGEST:
            raise _TooLarge
        return super().write(data)


class _TooLarge(Exception):
    pass


class _Stays(Exception):
    def __init__(self, thing: object) -> None:
        super().__init__()
        self.thing = thing


def _of_the_notebook(thing: Any) -> tuple[str | None, Any]:
    """Return what kind of the notebook's own things this is, and the connection or pool it is made on."""
    module = type(thing).__module__
    if module.startswith("asyncpg."):
        name = type(thing).__name__
        if name in ("Connection", "PoolConnectionProxy"):
            return "connection", getattr(thing, "_con", thing)
        if name == "Pool":
            return "pool", thing
    if module.startswith("pgqueuer.") and not isinstance(thing, FunctionType | type):
        if type(thing).__name__ == "AsyncpgDriver":
            return "driver", connection_of(thing)
        if type(thing).__name__ == "Queries":
            return "queries", connection_of(thing.driver) or thing.driver
    return None, None


def _name_of(thing: object, namespace: Mapping[str, Any]) -> str:
    names = [name for name, value in namespace.items() if value is thing and not name.startswith("_")]
    return names[0] if names else type(thing).__name__


def _cannot_go(work: Mapping[str, Any], why: str) -> str:
    """Return the name of a global that the answer uses and that cannot be pickled, or what pickle said."""
    import cloudpickle

    seen: set[int] = set()
    todo: list[Any] = list(_functions(work))
    while todo:
        function = todo.pop()
        function = getattr(function, "__wrapped__", function)
        if id(function) in seen or not isinstance(function, FunctionType):
            continue
        seen.add(id(function))
        for name in function.__code__.co_names:
            if name not in function.__globals__:
                continue
            value = function.__globals__[name]
            if isinstance(value, FunctionType):
                todo.append(value)
                continue
            try:
                cloudpickle.dumps(value)
            except Exception:
                return name
    return why


def _functions(work: object) -> Sequence[Any]:
    if isinstance(work, Mapping):
        return [each for value in work.values() for each in _functions(value)]
    if isinstance(work, list | tuple):
        return [each for value in work for each in _functions(value)]
    return [work]
