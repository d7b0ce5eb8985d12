"""A server that several processes of one user share: the first one in starts it, the last one out stops it.

Everything about it is in one folder, which no other account can look into::

    start.lock     held while the server is started, joined or stopped
    server.json    which server this is, for the keeper and for ``kit stop``; `registry` reads it
    users/         two files for each lease: one is locked as long as its process lives, one says who that is
    keeper.lock    held by the keeper, the process that waits until nobody is left
    keeper.log     what the keeper said; its last line is why it gave up, if it did
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
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock
import psutil

from kit.database.target import Target
from kit.errors import KitError
from kit.sources import files, processes
from kit.sources.server import Address, Server, Status
from kit.threads import run_sync

PATIENCE = 180.0  # seconds to wait for another process that starts or stops the server
SOON = 1.0  # seconds of them until a keeper that holds us up is looked at: it may be frozen
LATE = 10.0  # seconds more until whoever waits is told what for
KEEPER_END = 3.0  # seconds for the keeper to end by itself once the server was stopped
KEEPER = "kit.sources.keeper"

# Runs the keeper again when it was killed. The keeper is not named here but in the environment, so that
# `pkill -f` with its name, or with Python's, spares this.
_SUPERVISE = (
    'for each in 1 2 3 4 5; do "$KIT_KEEPER_PYTHON" -m "$KIT_KEEPER" "$0/server.json" && exit; sleep 1; done'
)


@dataclass(frozen=True)
class User:
    """Who has a lease.

    Attributes:
        pid: the process; None when its file does not tell.
        terminal: the process of the terminal that it keeps the server up for, if that is all it does.
    """

    pid: int | None
    terminal: int | None = None


class Lease:
    """One use of a shared server: it keeps the server up until it is released or its process ends."""

    def __init__(self, folder: Path, terminal: int | None = None) -> None:
        self.folder = folder
        users = folder / "users"
        users.mkdir(0o700, exist_ok=True)
        self._path = users / f"{secrets.token_hex(8)}.lock"
        files.write(self._path.with_suffix(".json"), json.dumps(asdict(User(os.getpid(), terminal))))
        self._lock = _lock(self._path)
        self._lock.acquire()

    def release(self) -> None:
        """Let the server go; it stops when nobody else uses it."""
        self._lock.release()
        _forget(self._path)


def _lock(path: Path, timeout: float = -1) -> filelock.BaseFileLock:
    return filelock.FileLock(path, timeout=timeout, mode=0o600, thread_local=False)


def _forget(lease: Path) -> None:
    for path in (lease, lease.with_suffix(".json")):
        with contextlib.suppress(OSError):
            path.unlink()


def join(server: Server) -> tuple[Address, Lease]:
    """Adopt the running server or start it, and keep it up until the returned lease is released.

    Raises:
        KitError: it cannot be started; the message says why.
    """
    with locked(server.folder):
        lease = Lease(server.folder)
        try:
            (server.folder / "stopped").unlink(missing_ok=True)
            record = {"source": server.source, "runs": server.runs}
            files.write(server.folder / "server.json", json.dumps(record))
            if not is_held(server.folder / "keeper.lock"):
                start_keeper(
                    server.folder
                )  # before the server: it also cleans up after a start that is cut off
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
        _end_keeper(server.folder)


def _end_keeper(folder: Path) -> None:
    """Wait for the end of the keeper, which sees that the server was stopped; end one that is frozen."""
    deadline = time.monotonic() + KEEPER_END
    while is_held(folder / "keeper.lock") and (folder / "stopped").exists():
        if time.monotonic() > deadline:
            _kill_keeper(folder)
            return
        time.sleep(0.05)


def _kill_keeper(folder: Path, only_frozen: bool = False) -> None:
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        keeper = psutil.Process(int(files.read(folder / "keeper.pid")))
        if only_frozen and keeper.status() != psutil.STATUS_STOPPED:
            return
        if KEEPER in processes.command_line(keeper):
            keeper.kill()


def log_in(address: Address) -> None:
    """Log in to the server and leave again.

    Raises:
        Unreachable: no server answers, or it does not let the kit in.
    """

    async def enter() -> None:
        async with Target(address.dsn("postgres")).connect():
            pass

    run_sync(enter())


def is_password_refused(error: BaseException) -> bool:
    """Return whether a login failed because of the password, which waiting does not mend."""
    import asyncpg

    return isinstance(error.__cause__, asyncpg.InvalidAuthorizationSpecificationError)


def status(server: Server) -> Status:
    """Return whether a server runs, where, and how many use it."""
    address = server.running()
    where = f"{address.host}:{address.port}" if address else None
    return Status(server.source, str(server.folder), where, len(users(server.folder)))


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's start lock: nobody else starts, joins or stops the server meanwhile.

    Raises:
        KitError: the lock is not to be had, or the folder is another account's or cannot be written to.
    """
    try:
        files.make_own(folder)
        lock = _lock(folder / "start.lock")
        _acquire(lock, folder)
        try:
            yield
        finally:
            lock.release()
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


def _acquire(lock: filelock.BaseFileLock, folder: Path) -> None:
    with contextlib.suppress(filelock.Timeout):
        lock.acquire(timeout=SOON)
        return
    _kill_keeper(folder, only_frozen=True)
    with contextlib.suppress(filelock.Timeout):
        lock.acquire(timeout=LATE)
        return
    print("Waiting for another process, which starts or stops the same Postgres.", file=sys.stderr)
    lock.acquire(timeout=PATIENCE)


def users(folder: Path) -> list[User]:
    """Return who uses the server of ``folder`` now: one for each lease that is alive."""
    return [_user(path) for path in sorted((folder / "users").glob("*.lock")) if is_held(path)]


def _user(lease: Path) -> User:
    try:
        said = User(**json.loads(lease.with_suffix(".json").read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return User(None)
    return said if isinstance(said.pid, int) and isinstance(said.terminal, int | None) else User(None)


def forget_the_dead(folder: Path) -> None:
    """Remove the files of leases whose processes were killed. Call it inside `locked`."""
    for lease in (folder / "users").glob("*.lock"):
        if not is_held(lease):
            _forget(lease)


def is_held(path: Path) -> bool:
    """Return whether some process holds the lock ``path``."""
    if not path.exists():  # asking a lock would make its file
        return False
    try:
        with _lock(path).acquire(blocking=False):
            return False
    except filelock.Timeout:
        return True


def start_keeper(folder: Path) -> None:
    """Start the keeper, and below a shell that runs it again when it is killed.

    So a server whose programs and keeper were all killed is stopped a second or two later. Windows has no
    such shell: there a killed keeper is replaced by whoever joins next.
    """
    root = str(Path(__file__).resolve().parents[2])  # a kit that is not installed is found where this one is
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    if sys.platform == "win32":
        command = [sys.executable, "-m", KEEPER, str(folder / "server.json")]
    else:
        command = ["/bin/sh", "-c", _SUPERVISE, str(folder)]
    ours = {"PYTHONPATH": path, "KIT_KEEPER_PYTHON": sys.executable, "KIT_KEEPER": KEEPER}
    with files.open_log(folder / "keeper.log", empty=True) as log:
        processes.start(command, log, cwd=folder, env=os.environ | ours)
