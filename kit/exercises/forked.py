"""Processes forked from one that has imported PGQueuer already: they are ready in a moment, not in a second.

There is one such parent a kernel, where the system can fork: Windows cannot. It ends with its kernel, and
where it was not needed for some minutes.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from kit.exercises import child
from kit.session import session
from kit.sources.processes import apart

REPORTS = 3  # the pipe on which a process tells its id, and then its parent how it ended


class Parent:
    """The process that the others are forked from.

    Attributes:
        process: the running program, to be waited for.
    """

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair()
        command = [sys.executable, "-P", child.__file__, json.dumps(sys.path), child.PARENT]
        nowhere = subprocess.DEVNULL
        with theirs:
            self.process = subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=nowhere, stderr=nowhere, **apart()
            )

    def fork(self, descriptors: Sequence[int]) -> None:
        """Let it fork a process with these as standard input, output and error, and as `REPORTS`.

        Raises:
            OSError: the parent is gone.
        """
        socket.send_fds(self._requests, [b"f"], descriptors)

    def end(self) -> None:
        """Let it end, if it has not."""
        self._requests.close()
        self.process.wait()


class Forked(asyncio.BaseTransport):
    """A forked process, with what `asyncio.SubprocessTransport` has."""

    def __init__(self, protocol: asyncio.SubprocessProtocol) -> None:
        super().__init__()
        self._protocol = protocol
        self._pipes: dict[int, Any] = {}
        self._reports = b""
        self._gone = False

    @classmethod
    async def start(cls, protocol: asyncio.SubprocessProtocol) -> None:
        """Let a process be forked for ``protocol``; it is ready when its parent is."""
        process, loop = cls(protocol), asyncio.get_running_loop()
        pipes = [os.pipe() for _ in range(REPORTS + 1)]
        (its_input, our_input), *outputs = pipes
        theirs = [its_input, *(write for _, write in outputs)]
        try:
            _fork(theirs)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        process._pipes[0], _ = await loop.connect_write_pipe(
            asyncio.BaseProtocol, os.fdopen(our_input, "wb", 0)
        )
        for number, (read, _) in enumerate(outputs, 1):
            file = os.fdopen(read, "rb", 0)
            process._pipes[number], _ = await loop.connect_read_pipe(partial(_End, process, number), file)
        protocol.connection_made(process)

    def take(self, number: int, data: bytes) -> None:
        """Take what came on one of its pipes."""
        if number == REPORTS:
            self._reports += data
            self._protocol.process_exited()
        else:
            self._protocol.pipe_data_received(number, data)

    def closed(self, number: int, error: Exception | None) -> None:
        """Take that one of its pipes was closed."""
        if number == REPORTS:
            self._gone = True
            self._protocol.process_exited()
        else:
            self._protocol.pipe_connection_lost(number, error)

    def get_pid(self) -> int | None:
        """Return its process id; None where it is not forked yet."""
        return next(iter(self._numbers()), None)

    def get_returncode(self) -> int | None:
        """Return its exit code, negative for a signal; None while it runs."""
        numbers = self._numbers()
        return numbers[1] if len(numbers) > 1 else 255 if self._gone else None

    def _numbers(self) -> list[int]:
        return [int(line) for line in self._reports.split(b"\n")[:-1]]

    def get_pipe_transport(self, fd: int) -> Any:
        """Return the transport of one of its pipes."""
        return self._pipes[fd]

    def close(self) -> None:
        """Close all its pipes."""
        for pipe in self._pipes.values():
            pipe.close()


class _End(asyncio.Protocol):
    """This end of a pipe that a process writes to."""

    def __init__(self, process: Forked, number: int) -> None:
        self._process = process
        self._number = number

    def data_received(self, data: bytes) -> None:
        self._process.take(self._number, data)

    def connection_lost(self, error: Exception | None) -> None:
        self._process.closed(self._number, error)


def _fork(descriptors: Sequence[int]) -> None:
    if session.parent is not None:
        with suppress(OSError):
            session.parent.fork(descriptors)
            return
        session.parent.end()
    session.parent = Parent()
    session.parent.fork(descriptors)
