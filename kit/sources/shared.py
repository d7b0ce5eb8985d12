"""A server that several processes of one user share: the first one in starts it, the last one out stops it.

Everything about it is in one folder::

    start.lock     held while the server is started, joined or stopped
    server.json    which server this is, for the keeper and for ``kit stop``
    users/         a file for each use of the server, locked as long as the process that uses it lives
    keeper.lock    held by the keeper, the process that waits until nobody is left
    stopped        there after `stop`: the keeper ends, although somebody still uses the server

The operating system frees a lock however its process ends, so a user that was killed is gone as surely as
one that left.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import filelock
import platformdirs

from kit.errors import KitError

PATIENCE = 180.0  # seconds to wait for another process that starts or stops the server


@dataclass(frozen=True)
class Address:
    """Where a server answers, and as whom to log in."""

    host: str
    port: int
    user: str
    password: str

    def dsn(self, database: str) -> str:
        """Return the DSN of one database of this server."""
        user, password, name = (quote(part, safe="") for part in (self.user, self.password, database))
        return f"postgresql://{user}:{password}@{self.host}:{self.port}/{name}"


class Server(Protocol):
    """What a server must offer to be shared. It is made from strings, so that the keeper can make it, too."""

    @property
    def source(self) -> str:
        """What kind of server it is, as `kit.postgres` calls it."""
        ...

    @property
    def folder(self) -> Path:
        """The folder this module keeps its files in."""
        ...

    def arguments(self) -> list[str]:
        """Return what the class takes to make the same server again."""
        ...

    def running(self) -> Address | None:
        """Return where the server answers, or None when it does not run. Cheap: asked twice a second."""
        ...

    def start(self) -> Address:
        """Start the server, make it where there is none, and return once it accepts logins."""
        ...

    def stop(self) -> None:
        """Stop the server and return once it has ended; do nothing when it does not run."""
        ...


def is_root() -> bool:
    """Return whether this is root on Linux or macOS, as whom PostgreSQL refuses to run."""
    return sys.platform != "win32" and os.geteuid() == 0


def home() -> Path:
    """Return the folder of the kit's servers: ``KIT_HOME``, else the user's data folder.

    For root it is the machine's data folder: the embedded server runs as another account then, which
    cannot enter root's own home.
    """
    if os.environ.get("KIT_HOME"):
        return Path(os.environ["KIT_HOME"]).expanduser().resolve()
    if is_root():
        return Path(platformdirs.site_data_dir("pgqueuer-kit", appauthor=False))
    return Path(platformdirs.user_data_dir("pgqueuer-kit", appauthor=False)).resolve()


class Use:
    """One use of a shared server: it keeps the server up until it is released or its process ends."""

    def __init__(self, folder: Path) -> None:
        users = folder / "users"
        users.mkdir(exist_ok=True)
        self._path = users / f"{os.getpid()}-{secrets.token_hex(4)}.lock"
        self._lock = filelock.FileLock(self._path, thread_local=False)
        self._lock.acquire()

    def release(self) -> None:
        """Let the server go; it stops when nobody else uses it."""
        self._lock.release()
        with contextlib.suppress(OSError):
            self._path.unlink()


def join(server: Server) -> tuple[Address, Use]:
    """Adopt the running server or start it, and keep it up until the returned use is released.

    Raises:
        KitError: it cannot be started; the message says why.
    """
    with locked(server.folder):
        use = Use(server.folder)
        try:
            (server.folder / "stopped").unlink(missing_ok=True)
            if not is_held(server.folder / "keeper.lock"):
                start_keeper(server)  # before the server: it also cleans up after a start that is cut off
            return server.running() or server.start(), use
        except BaseException:
            use.release()
            raise


def stop(server: Server) -> None:
    """Stop the server although it may be in use."""
    with locked(server.folder):
        (server.folder / "stopped").touch()
        server.stop()


@dataclass(frozen=True)
class Status:
    """One of the kit's shared servers.

    Attributes:
        source: ``"embedded"`` or ``"docker"``.
        folder: where it keeps its files.
        where: ``host:port``; None when it does not run.
        users: how many uses of it are alive, in all processes.
    """

    source: str
    folder: str
    where: str | None
    users: int


def status() -> list[Status]:
    """Return the shared servers of this user, running or not."""
    found = []
    for server in known():
        address = server.running()
        where = f"{address.host}:{address.port}" if address else None
        found.append(Status(server.source, str(server.folder), where, len(users(server.folder))))
    return found


def stop_all() -> list[Status]:
    """Stop every shared server of this user, also one that is in use, and return those that ran."""
    before = [each for each in status() if each.where is not None]
    for server in known():
        stop(server)
    return before


def known() -> list[Server]:
    """Return the servers that have been made for this user, running or not."""
    found = []
    for record in sorted(home().glob("*/server.json")):
        with contextlib.suppress(OSError, ValueError, KeyError):  # one that a full disk cut short
            found.append(load(record))
    return found


def load(record: Path) -> Server:
    """Make the server that a ``server.json`` describes."""
    description = json.loads(record.read_text("utf-8"))
    kind = getattr(importlib.import_module(description["module"]), description["class"])
    server: Server = kind(*description["arguments"])
    return server


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's start lock: nobody else starts, joins or stops the server meanwhile.

    Raises:
        KitError: the lock is not to be had, or the folder cannot be written to.
    """
    lock = filelock.FileLock(folder / "start.lock", timeout=PATIENCE, thread_local=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock:
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


def users(folder: Path) -> list[Path]:
    """Return the files of the uses that are alive."""
    return [path for path in sorted((folder / "users").glob("*.lock")) if is_held(path)]


def is_held(path: Path) -> bool:
    """Return whether some process holds the lock ``path``."""
    lock = filelock.FileLock(path)
    try:
        with lock.acquire(blocking=False):
            return False
    except filelock.Timeout:
        return True


def start_keeper(server: Server) -> None:
    """Start the keeper, in a session of its own so that a kernel's interrupt does not reach it."""
    kind = type(server)
    record = server.folder / "server.json"
    description = {"module": kind.__module__, "class": kind.__name__, "arguments": server.arguments()}
    record.write_text(json.dumps(description), "utf-8")
    root = (
        Path(__file__).resolve().parents[2]
    )  # a kit that is not installed is found as this process found it
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    with (server.folder / "keeper.log").open("wb") as log:
        spawn(
            [sys.executable, "-m", "kit.sources.keeper", str(record)],
            cwd=server.folder,
            stdout=log,
            env=os.environ | {"PYTHONPATH": path},
        )


_children: list[subprocess.Popen[bytes]] = []  # kept, so that an ended one is reaped and Python warns of none


def spawn(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one and hears nothing of its terminal and its signals."""
    reap()
    if sys.platform == "win32":
        options["creationflags"] = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    else:
        options["start_new_session"] = True
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, **options)
    _children.append(child)
    return child


def reap() -> None:
    """Forget the processes started here that have ended."""
    _children[:] = [child for child in _children if child.poll() is None]
