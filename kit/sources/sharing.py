"""A server that several processes of one user share: the first one in starts it, the last one out stops it.

Everything about it is in one folder, which no other account can look into::

    start.lock     held while the server is started, joined or stopped
    server.json    which server this is, for the keeper and for ``kit stop``; `registry` reads it
    users/         a file for each lease, locked as long as its process lives; its name says who that is
    keeper.lock    held by the keeper, the process that waits until nobody is left
    keeper.log     the keeper's messages; if it gave up, the last line is why
    stopped        there after `stop`: the keeper ends, although somebody still uses the server

The operating system frees a lock however its process ends, so a user that was killed is gone as surely as
one that left.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import filelock
import psutil

from kit.database.target import Unreachable
from kit.errors import KitError
from kit.sources import files, processes
from kit.sources.server import Address, Server
from kit.threads import run_sync

COMEBACK = 15.0  # seconds that a server may take to come back, when it was killed while it is joined
PATIENCE = 180.0  # seconds to wait for another process that starts or stops the server
SOON = 1.0  # seconds of them until a frozen keeper, which may hold the lock, is killed
LATE = 10.0  # seconds more until a message says what this process waits for
KEEPER_END = 3.0  # seconds for the keeper to end by itself once the server was stopped
KEEPER = "kit.sources.keeper"

# Restarts a killed keeper. The keeper's name is in the environment and not here: `pkill -f` with its name, or
# with Python's, does not find this shell.
_SUPERVISE = 'for each in 1 2 3 4 5; do "$KIT_KEEPER_PYTHON" -m "$KIT_KEEPER" "$0" && exit; sleep 1; done'


class User(NamedTuple):
    """The owner of a lease: a process, and the process of the terminal that it serves; 0: none."""

    pid: int
    terminal: int


class Taken(Exception):
    """Another process uses the server that this one wants for itself."""


class Lease:
    """One use of a shared server: it keeps the server up until it is released or its process ends."""

    def __init__(self, folder: Path, terminal: int = 0) -> None:
        self.folder = folder
        users = folder / "users"
        users.mkdir(0o700, exist_ok=True)
        self._path = users / f"{os.getpid()}-{terminal}-{secrets.token_hex(8)}.lock"
        self._lock = _lock(self._path)
        self._lock.acquire()

    def release(self) -> None:
        """Let the server go; it stops when nobody else uses it."""
        self._lock.release()
        with contextlib.suppress(OSError):
            self._path.unlink()


def _lock(path: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(path, mode=0o600, thread_local=False)


def join(server: Server, *, alone: bool = False) -> tuple[Address, Lease]:
    """Adopt the running server or start it, and keep it up until the returned lease is released.

    Raises:
        Taken: it is to be this process's ``alone``, and another one uses it.
        KitError: it cannot be started, or lets nobody in; the message says why.
    """
    deadline = time.monotonic() + COMEBACK
    while True:
        address, lease = _adopt_or_start(server, alone)
        try:
            log_in(server, address)
            return address, lease
        except BaseException as error:
            lease.release()
            if not isinstance(error, Unreachable):
                raise
            if time.monotonic() > deadline:
                reason = f"The {server.source} server runs, and lets nobody in: {error.reason}."
                raise KitError(reason) from None
        time.sleep(0.1)


def _adopt_or_start(server: Server, alone: bool) -> tuple[Address, Lease]:
    with locked(server.folder):
        if alone and any(user.pid != os.getpid() for user in users(server.folder)):
            raise Taken
        lease = Lease(server.folder)
        try:
            (server.folder / "stopped").unlink(missing_ok=True)
            record = {"source": server.source, "runs": server.runs}
            files.write(server.folder / files.RECORD, json.dumps(record))
            if not is_held(server.folder / "keeper.lock"):
                # before the server: the keeper also cleans up after a start that is cut off
                start_keeper(server.folder)
            return server.running() or server.start(), lease
        except BaseException:
            lease.release()
            raise


def stop(server: Server) -> None:
    """Stop the server although it may be in use, and its keeper, also one that is frozen.

    Raises:
        KitError: the server cannot be stopped; its keeper has ended all the same.
    """
    try:
        with locked(server.folder):
            (server.folder / "stopped").touch(0o600)
            server.stop()
    finally:
        deadline = time.monotonic() + KEEPER_END
        while is_held(server.folder / "keeper.lock") and (server.folder / "stopped").exists():
            if time.monotonic() > deadline:
                _kill_keeper(server.folder)
                break
            time.sleep(0.05)


def _kill_keeper(folder: Path, *, only_frozen: bool = False) -> None:
    for keeper in processes.running(KEEPER, str(folder / files.RECORD)):
        with contextlib.suppress(psutil.Error):
            if not only_frozen or keeper.status() == psutil.STATUS_STOPPED:
                keeper.kill()


def log_in(server: Server, address: Address) -> None:
    """Log in to the server, which answers at ``address``, and leave again.

    Raises:
        Unreachable: no server answers, or it does not let the kit in yet.
        KitError: it refuses the password, which waiting does not mend.
    """
    import asyncpg

    async def enter() -> None:
        async with address.target("postgres").connect():
            pass

    try:
        run_sync(enter())
    except Unreachable as error:
        if isinstance(error.__cause__, asyncpg.InvalidAuthorizationSpecificationError):
            raise server.password_refused() from None
        raise


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's start lock: nobody else starts, joins or stops the server meanwhile.

    Raises:
        KitError: the lock is not to be had, or the folder is another account's or cannot be written to.
    """
    try:
        files.make_own(folder)
        with _acquire(_lock(folder / files.MADE), folder):
            yield
    except filelock.Timeout:
        raise KitError(
            f"Another process has been starting or stopping the server in {str(folder)!r} for "
            f"{PATIENCE:.0f} s. `kit doctor` in a terminal tells more."
        ) from None
    except OSError as error:
        raise KitError(
            f"The kit keeps its server's files in {str(folder)!r}, and that failed: {error}. Free some space "
            "or mend the folder's rights, or set KIT_HOME to a folder that you can write to."
        ) from error


def _acquire(lock: filelock.BaseFileLock, folder: Path) -> AbstractContextManager[object]:
    with contextlib.suppress(filelock.Timeout):
        return lock.acquire(timeout=SOON)
    _kill_keeper(folder, only_frozen=True)
    with contextlib.suppress(filelock.Timeout):
        return lock.acquire(timeout=LATE)
    print("Waiting for another process, which starts or stops the same Postgres.", file=sys.stderr)
    return lock.acquire(timeout=PATIENCE)


def users(folder: Path) -> list[User]:
    """Return who uses the server of ``folder`` now, each once."""
    held = [path.name.split("-") for path in sorted((folder / "users").glob("*-*-*.lock")) if is_held(path)]
    found = [User(int(pid), int(terminal)) for pid, terminal, _ in held if f"{pid}{terminal}".isdecimal()]
    return list(dict.fromkeys(found))


def forget_the_dead(folder: Path) -> None:
    """Remove the files of leases whose processes were killed. Call it inside `locked`."""
    for lease in (folder / "users").iterdir():
        if not is_held(lease):
            with contextlib.suppress(OSError):
                lease.unlink()


def is_held(path: Path) -> bool:
    """Return whether some process holds the lock ``path``."""
    if not path.exists():  # to try a lock makes its file
        return False
    try:
        with _lock(path).acquire(blocking=False):
            return False
    except filelock.Timeout:
        return True


def start_keeper(folder: Path) -> None:
    """Start the keeper, below a shell that restarts it when it is killed.

    A server whose programs and keeper were all killed is stopped a second or two later. Windows has no such
    shell: there a killed keeper is replaced by whoever joins next.
    """
    root = str(Path(__file__).resolve().parents[2])  # a kit that is not installed is found where this one is
    record = str(folder / files.RECORD)
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    if sys.platform == "win32":
        command = [sys.executable, "-m", KEEPER, record]
    else:
        command = ["/bin/sh", "-c", _SUPERVISE, record]
    ours = {"PYTHONPATH": path, "KIT_KEEPER_PYTHON": sys.executable, "KIT_KEEPER": KEEPER}
    with files.open_log(folder / "keeper.log", empty=True) as log:
        processes.start(command, log, cwd=folder, env=os.environ | ours)
