"""A server that several processes of one user share: the first one in starts it, the last one out stops it.

Everything about it is in one folder::

    start.lock     held while the server is started, joined or stopped
    users/         a file for each process that uses the server, locked as long as that process lives
    keeper.lock    held by the keeper, the process that waits until nobody is left

The operating system frees a lock however its process ends, so a user that was killed is gone as surely as
one that left.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import filelock
import platformdirs
import psutil

from kit.errors import KitError

START_TIMEOUT = 120.0  # seconds to wait for another process that is starting the server


@dataclass(frozen=True)
class Address:
    """Where a server answers, and as whom to log in."""

    host: str
    port: int
    user: str
    password: str


class Server(Protocol):
    """What a server must offer to be shared."""

    kind: str
    folder: Path

    def arguments(self) -> list[str]:
        """Return what the keeper needs to build the same object again."""
        ...

    def running(self) -> Address | None:
        """Return where the server answers, or None when it does not run. Cheap: asked twice a second."""
        ...

    def start(self) -> Address:
        """Start the server, make it first where that is needed, and return once it accepts logins."""
        ...

    def stop(self) -> None:
        """Stop the server and return once it has ended."""
        ...


def home() -> Path:
    """Return the folder for the kit's servers: ``KIT_HOME``, else the user's data folder.

    For root it is the machine's data folder: the embedded server runs as another account then, which
    cannot enter root's own home.
    """
    if os.environ.get("KIT_HOME"):
        return Path(os.environ["KIT_HOME"]).expanduser().absolute()
    if is_root():
        return Path(platformdirs.site_data_dir("pgqueuer-kit", appauthor=False))
    return Path(platformdirs.user_data_dir("pgqueuer-kit", appauthor=False))


def is_root() -> bool:
    """Return whether this process is root on a POSIX system."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


class Use:
    """One use of a shared server: it keeps the server up until it is released or the process ends."""

    def __init__(self, folder: Path) -> None:
        users = folder / "users"
        users.mkdir(exist_ok=True)
        self._path = users / f"{os.getpid()}-{secrets.token_hex(4)}.lock"
        self._lock = filelock.FileLock(self._path)
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
            address = server.running() or server.start()
        except BaseException:
            use.release()
            raise
        if not keeper_runs(server.folder):
            start_keeper(server)
    return address, use


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's start lock: nobody else starts, joins or stops the server meanwhile."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / "start.lock", timeout=START_TIMEOUT)
        lock.acquire()
    except filelock.Timeout:
        raise KitError(
            f"Another process has been starting or stopping the server in {str(folder)!r} for "
            f"{START_TIMEOUT:.0f} s. Run `kit doctor` in a terminal to see it."
        ) from None
    except OSError as error:
        raise KitError(
            f"The kit keeps its server's files in {str(folder)!r}, and cannot write there: {error}. "
            "Set KIT_HOME to a folder that you can write to."
        ) from None
    try:
        yield
    finally:
        lock.release()


def users(folder: Path) -> list[Path]:
    """Return the files of the processes that use the server now."""
    return [path for path in sorted((folder / "users").glob("*.lock")) if _in_use(path)]


def _in_use(path: Path) -> bool:
    text = ""
    with contextlib.suppress(OSError):
        text = path.read_text()
    if text:
        pid, created = text.split()
        return process_is(int(pid), float(created))
    return is_held(path)


def process_is(pid: int, created: float) -> bool:
    """Return whether process ``pid`` lives and is the one made at ``created`` (seconds since 1970)."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - created) < 10
    except psutil.NoSuchProcess:
        return False


def is_held(path: Path) -> bool:
    """Return whether some process holds the lock ``path``."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return True
    lock.release()
    return False


def hold_for(folder: Path, pid: int) -> None:
    """Keep the server in ``folder`` up as long as the process ``pid`` (a terminal's shell) lives too."""
    with locked(folder):
        (folder / "users").mkdir(exist_ok=True)
        path = folder / "users" / f"{pid}-shell.lock"
        path.write_text(f"{pid} {psutil.Process(pid).create_time()}")


def keeper_runs(folder: Path) -> bool:
    """Return whether a keeper watches the server in ``folder``."""
    return is_held(folder / "keeper.lock")


def start_keeper(server: Server) -> None:
    """Start the keeper, in a session of its own so that a kernel's interrupt does not reach it."""
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "kit.sources.keeper", server.kind, *server.arguments()]
    with (server.folder / "keeper.log").open("ab") as log:
        spawn(command, cwd=server.folder, stdout=log, env={**os.environ, "PYTHONPATH": path})


_children: list[subprocess.Popen[bytes]] = []  # kept, so that an ended one is reaped and none warns


def spawn(command: list[str], **options: object) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one and hears nothing of its terminal or its signals."""
    detached: dict[str, object] = {"start_new_session": True}
    if sys.platform == "win32":
        detached = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    child = subprocess.Popen(  # type: ignore[call-overload]
        command, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, **detached, **options
    )
    reap()
    _children.append(child)
    return child  # type: ignore[no-any-return]


def reap() -> None:
    """Forget the processes started here that have ended."""
    _children[:] = [child for child in _children if child.poll() is None]
