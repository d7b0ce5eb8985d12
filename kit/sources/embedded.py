"""The embedded server: a real PostgreSQL of this user's own, without Docker and without an administrator.

One cluster for each major version of PostgreSQL, made once and kept. Only the binaries of a package are used;
the server is started directly, in a session of its own.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from kit.errors import KitError
from kit.sources import account, files, processes
from kit.sources.binaries import find, program
from kit.sources.server import SETTINGS, Address

START_TIMEOUT = 60.0  # seconds until the server must accept logins; recovery after a kill -9 included
STOP_TIMEOUT = 15.0  # seconds for each of the three ways to stop it, the polite one first
NEEDED = 100  # MB of disk for a cluster with a lesson in it

_SETTINGS = SETTINGS | {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path may have 107 bytes at most, a home can be longer
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_LAST_RESORT = (
    "When nothing else helps, delete that folder: the next kit.postgres() makes a new server, without the "
    "databases of this one."
)


class Embedded:
    """The embedded server in ``folder``, run by the programs in ``bin_folder``."""

    source = "embedded"
    why = "it comes with the kit"
    after_stop = "The embedded Postgres is stopped. Its databases are kept."

    def __init__(self, folder: Path, programs: str) -> None:
        self.folder = folder
        self.runs = programs
        self.bin = Path(programs)
        self.data = folder / "data"

    @classmethod
    def find(cls) -> Embedded:
        """Return this user's embedded server, running or not.

        Raises:
            KitError: there are no PostgreSQL binaries that run here.
        """
        found = find()
        return cls(files.home() / f"embedded-{found.major}", str(found.folder))

    def running(self) -> Address | None:
        """Return where the server answers, or None when it does not run."""
        lines = self._postmaster()
        if len(lines) < 8 or lines[7].strip() != "ready" or not lines[3].isdecimal() or not self._process():
            return None
        return Address(_SETTINGS["listen_addresses"], int(lines[3]), files.read(self.folder / "password"))

    def start(self) -> Address:
        """Start the server, make its cluster where there is none, and return once it accepts logins."""
        account.check_entry(self.folder)
        self.bin = account.programs(self.bin, self.folder)
        if not self.data.exists():
            self._initialise()
        self._clear_pid_file()
        log = self.folder / "server.log"
        if log.exists() and log.stat().st_size > 1_000_000:
            log.unlink()
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            # A server that another process has begun to start will be ready soon, or end.
            address = self._until_ready(lambda: self._process() is not None, deadline)
            if address is not None:
                return address
            port = self._free_port()
            before = log.stat().st_size if log.exists() else 0
            address = self._launch(port, log, deadline)
            if address is not None:
                files.write(self.folder / "port", str(port))
                return address
            output = log.read_bytes()[before:].decode(errors="replace").strip()
            # What is left of a killed server may take a moment to end, and another process may be faster.
            passing = any(
                each in output for each in ("shared memory block", "could not bind", "already exists")
            )
            if not passing or time.monotonic() > deadline:
                raise self._failure("The embedded server did not start", output, _LAST_RESORT)
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the server and return once it has ended."""
        process = self._process()
        if process is not None:
            self._end(process)

    def password_refused(self) -> KitError:
        """Return the error for a server that refuses its own password: what to delete."""
        return KitError(
            f"The embedded server refuses the password in {str(self.folder / 'password')!r}, so it was "
            f"changed or is damaged. Run `kit stop --force`, delete the folder {str(self.folder)!r} with all "
            "databases in it, and start again: the kit makes a new server."
        )

    def _until_ready(self, lives: Callable[[], bool], deadline: float) -> Address | None:
        """Wait for a server to be ready as long as it ``lives``; None when it does not become so."""
        while time.monotonic() < deadline and lives():
            if (address := self.running()) is not None:
                return address
            time.sleep(0.005)
        return None

    def _launch(self, port: int, log: Path, deadline: float) -> Address | None:
        settings = _SETTINGS | {"port": str(port)}
        major = files.read(self.data / "PG_VERSION")
        if major.isdecimal() and int(major) >= 18:
            settings["io_method"] = "sync"  # no processes that only read ahead
        options = [f"-c{name}={value}" for name, value in settings.items()]
        command = [program(self.bin, "postgres"), "-D", str(self.data), *options]
        if sys.platform == "win32":  # there pg_ctl alone can give up an administrator's rights
            pg_ctl = program(self.bin, "pg_ctl")
            command = [pg_ctl, "start", "-W", "-D", str(self.data), "-o", " ".join(options)]
        with files.open_log(log) as output:
            child = processes.start(command, output, **self._surroundings())

        soon = time.monotonic() + 5

        def lives() -> bool:  # pg_ctl ends before the server has written who it is
            starts = sys.platform == "win32" and (self._process() is not None or time.monotonic() < soon)
            return processes.is_alive(child) or starts

        try:
            return self._until_ready(lives, deadline)
        except BaseException:
            if child is not None:
                child.kill()
            raise

    def _end(self, process: psutil.Process) -> None:
        """Stop the server: without waiting for clients, then without a checkpoint, then by force."""
        if sys.platform == "win32":
            ways = [lambda mode=mode: self._pg_ctl_stop(mode) for mode in ("fast", "immediate")]
        else:
            ways = [
                lambda number=number: process.send_signal(number)
                for number in (signal.SIGINT, signal.SIGQUIT)
            ]
        for way in [*ways, process.kill]:
            with contextlib.suppress(psutil.NoSuchProcess):
                way()
            deadline = time.monotonic() + STOP_TIMEOUT
            while processes.is_alive(process) and time.monotonic() < deadline:
                time.sleep(0.01)
            if not processes.is_alive(process):
                return

    def _pg_ctl_stop(self, mode: str) -> None:
        command = [program(self.bin, "pg_ctl"), "stop", "-W", "-m", mode, "-D", str(self.data)]
        subprocess.run(command, capture_output=True, check=False)

    def _postmaster(self) -> list[str]:
        """Return the lines of ``postmaster.pid``: pid, data folder, start, port, socket, host, key, state."""
        try:
            return (self.data / "postmaster.pid").read_text(errors="replace").splitlines()
        except OSError:
            return []

    def _process(self) -> psutil.Process | None:
        """Return the server's process; None when it has ended, also when its pid is now another program's."""
        try:
            process = psutil.Process(int(self._postmaster()[0]))
            named = self.data in map(Path, process.cmdline())
            ours = named and process.name().startswith("postgres")  # and no editor that has it open
        except (IndexError, ValueError, psutil.Error):
            return None
        return process if ours and processes.is_alive(process) else None

    def _clear_pid_file(self) -> None:
        """Remove a ``postmaster.pid`` that postgres would refuse: it names another program, or none.

        What is left of the server then is killed. A file that names an ended process stays: postgres uses it
        to check that nothing of it is left.
        """
        file, pid = self.data / "postmaster.pid", "".join(self._postmaster()[:1])
        whole = pid.isdecimal() and len(pid) < 10
        if not file.exists() or self._process() or (whole and not psutil.pid_exists(int(pid))):
            return
        here = [each for each in psutil.process_iter(["name", "cwd"]) if each.info["cwd"] == str(self.data)]
        left = [each for each in here if (each.info["name"] or "").startswith("postgres")]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):  # it ends by itself just now
                process.kill()
        psutil.wait_procs(left, STOP_TIMEOUT)
        file.unlink()

    def _free_port(self) -> int:
        """Return the last port, so that clients find the server again; another one if it is taken."""
        remembered = files.read(self.folder / "port")
        usable = remembered.isdecimal() and 0 < int(remembered) < 65536
        for port in (int(remembered) if usable else 0, 0):
            with socket.socket() as probe:
                if sys.platform != "win32":  # there the option would allow a port that is in use
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((_SETTINGS["listen_addresses"], port))
                except OSError:
                    continue
                return int(probe.getsockname()[1])
        raise KitError("This machine has no free port on 127.0.0.1. Close some programs and try again.")

    def _surroundings(self) -> dict[str, Any]:
        """Return the options for ``subprocess`` of every program of PostgreSQL's."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {"env": environment | {"LC_ALL": "C"}, "cwd": str(self.folder), **account.options()}

    def _initialise(self) -> None:
        """Make the cluster under another name first: a half-made one never has the real name."""
        for left in self.folder.glob("making-*"):
            shutil.rmtree(left, ignore_errors=True)
        making = self.folder / f"making-{secrets.token_hex(4)}"
        making.mkdir(mode=0o700)
        try:
            password = secrets.token_urlsafe(24)
            password_file = making / "password"
            password_file.write_text(password, "utf-8")
            account.give(password_file, making)
            done = subprocess.run(
                [
                    *(program(self.bin, "initdb"), "-D", str(making / "data"), "--username=postgres"),
                    *("--auth=scram-sha-256", f"--pwfile={password_file}"),
                    *("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                **self._surroundings(),
            )
            if done.returncode != 0:
                raise self._failure(
                    "The embedded server's files could not be made",
                    done.stderr,
                    "Another way: Docker, or KIT_DSN.",
                )
            files.write(self.folder / "password", password)
            (making / "data").rename(self.data)
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _failure(self, what: str, output: str, hint: str) -> KitError:
        free = shutil.disk_usage(self.folder).free // 1_000_000
        lines = "\n".join(f"  {line}" for line in output.strip().splitlines()[-5:])
        where = str(self.folder)
        if free < NEEDED or "No space left" in output:
            return KitError(
                f"{what}: the disk is full. {where!r} has {free} MB free and about {NEEDED} MB are needed. "
                f"Free some space, or set KIT_HOME to a folder on another disk. It said:\n{lines}"
            )
        return KitError(f"{what} in {where!r}. It said:\n{lines}\n{hint}")
