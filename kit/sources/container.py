"""The container: PostgreSQL from an image, shared like the embedded server.

The keeper removes the container after the last user; a killed keeper is started again. The container stays,
running or not, if the keeper is killed together with the shell that starts it again, or if the machine or
Docker's engine is switched off. Then the next use of the kit removes it, or `kit stop`.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from kit.errors import KitError
from kit.sources import files, sharing
from kit.sources.docker import NotUsable, client, has_image, host, image, problem, pull, why
from kit.sources.server import SETTINGS, Address

START_TIMEOUT = 120.0  # seconds for the server in the container to accept logins
PATIENCE = 60.0  # seconds for one request to the engine
LABEL = "pgqueuer-kit"  # label of every container of the kit's; its value is the server's folder


@dataclass(frozen=True)
class State(Address):
    """The contents of ``container.json``. Without an id, the container was about to be made."""

    id: str | None = None


class Container:
    """The container of this user, with PostgreSQL from ``image``."""

    source = "docker"
    why = "a Docker engine answered"
    after_stop = "The Postgres in Docker is stopped, and its container with all databases is removed."

    def __init__(self, folder: Path, image: str) -> None:
        self.folder = folder
        self.runs = image
        self._record = folder / "container.json"

    @classmethod
    def find(cls) -> Container:
        """Return this user's container, running or not; pull its image first, if it is missing.

        Raises:
            NotUsable: no engine answers, or the image can neither be found nor pulled.
        """
        if (unusable := problem()) is not None:
            raise unusable
        made = cls(files.home() / "docker", image())
        if made.running() is None and not has_image(made.runs):
            pull(made.runs)
        return made

    def running(self) -> Address | None:
        """Return where the server answers, or None when nothing accepts connections there."""
        state = self._state()
        if state is None or state.id is None:
            return None
        try:
            socket.create_connection((state.host, state.port), timeout=1).close()
        except (OSError, OverflowError):
            return None
        return state

    def start(self) -> Address:
        """Start the container, make it if there is none, and return when the server accepts logins."""
        state = self._state()
        try:
            if state is not None and state.id is not None:
                with client(PATIENCE) as opened, contextlib.suppress(_not_found()):
                    opened.containers.get(state.id).start()  # does nothing to one that runs
                    return self._ready(state)
            return self._ready(self._make(state))
        except KitError:
            raise
        except Exception as error:  # an engine other than Docker may raise anything
            made = self._state()
            reason = why(error).replace((made and made.password) or "\0", "…")
            raise NotUsable(f"the container with {self.runs!r} did not start: {reason}") from None

    def stop(self) -> None:
        """Remove the container and its volume."""
        if not self._record.exists():
            return
        try:
            self._remove()
        except Exception as error:
            raise KitError(
                f"The container of {str(self.folder)!r} could not be removed: {why(error)}. "
                "Start Docker and run `kit stop` once more."
            ) from None
        self._record.unlink()

    def password_refused(self) -> KitError:
        """Return the error for a server that refuses its own password: what to delete."""
        return KitError(
            f"The Postgres in Docker refuses the password in {str(self._record)!r}: it was changed. "
            "Run `kit stop --force`, which removes the container and its databases, and start again."
        )

    def _remove(self) -> None:
        """Remove every container of this folder: a killed start may have left one that was not recorded."""
        with client(PATIENCE) as opened:
            for each in opened.api.containers(all=True, filters={"label": f"{LABEL}={self.folder}"}):
                with contextlib.suppress(_not_found()):
                    opened.api.remove_container(each["Id"], force=True, v=True)

    def _state(self) -> State | None:
        try:
            state = State(**json.loads(self._record.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        whole = all(isinstance(each, str) for each in (state.id or "", state.host, state.password))
        return state if whole and isinstance(state.port, int) else None

    def _make(self, before: State | None) -> State:
        """Make and start a container. It has the port of an earlier one, where clients look for it."""
        self._remove()
        state = replace(before or State("", _free_port(), secrets.token_urlsafe(24)), id=None)
        self._keep(state)  # written first, so that a killed start can be cleaned up
        where = host()
        here = where in ("localhost", "127.0.0.1")
        try:
            with client(PATIENCE) as opened:
                made = opened.containers.run(
                    self.runs,
                    [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")],
                    detach=True,
                    environment={"POSTGRES_PASSWORD": state.password},
                    labels={LABEL: str(self.folder)},
                    # not open to the network
                    ports={"5432/tcp": ("127.0.0.1", state.port) if here else state.port},
                    restart_policy={"Name": "on-failure"},  # the engine restarts a killed server
                )
            state = replace(state, id=made.id, host="127.0.0.1" if here else where)
            self._keep(state)
        except BaseException:
            self._remove()
            raise
        return state

    def _keep(self, state: State) -> None:
        files.write(self._record, json.dumps(asdict(state)))

    def _ready(self, state: State) -> Address:
        """Wait until the server accepts logins: its port is open before it is ready."""
        from kit.database.target import Unreachable

        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                sharing.log_in(self, state)
                return state
            except Unreachable as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(error.reason) from None
                time.sleep(0.1)


def _not_found() -> type[Exception]:
    import docker.errors  # type: ignore[import-untyped]

    found: type[Exception] = docker.errors.NotFound
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
