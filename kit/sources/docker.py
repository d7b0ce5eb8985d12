"""The container: PostgreSQL from an image, through testcontainers, shared like the embedded server."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.errors import KitError
from kit.sources import shared
from kit.sources.shared import Address
from kit.sync import run_sync

IMAGE = "postgres:18-alpine"
ENGINE_TIMEOUT = 2.0  # seconds for an engine to answer
START_TIMEOUT = 120.0  # seconds for the server in the container to accept logins
LABEL = "pgqueuer-kit"
SETTINGS = (
    "max_connections=300",
    "fsync=off",
    "full_page_writes=off",
)  # the embedded server's, for its reasons
HINT = "Start Docker and run the cell again, or use the server that needs none: kit.postgres('embedded')."
PULL_HINT = (
    "Check the network, name an image that is there with KIT_POSTGRES_IMAGE, or use the server that needs "
    "none: kit.postgres('embedded')."
)


class NotUsable(KitError):
    """Docker cannot be used here. ``problem`` says why in a few words, without the next step."""

    def __init__(self, problem: str, hint: str = HINT) -> None:
        super().__init__(f"{problem[0].upper()}{problem[1:]}. {hint}")
        self.problem = problem


@dataclass(frozen=True)
class Engine:
    """What answered: the engine's version, or why there is none, in a few words. One of the two is None."""

    version: str | None
    problem: str | None


def image() -> str:
    """Return the image: ``KIT_POSTGRES_IMAGE``, else the official one."""
    return os.environ.get("KIT_POSTGRES_IMAGE") or IMAGE


@contextlib.contextmanager
def client(timeout: float) -> Iterator[Any]:
    """Open a client of the engine that testcontainers would use: its settings and Docker's contexts count."""
    from testcontainers.core.docker_client import DockerClient

    opened = DockerClient(timeout=timeout).client
    try:
        yield opened
    finally:
        opened.close()


def engine() -> Engine:
    """Ask the Docker engine who it is; takes 2 s at most."""
    if not _is_installed():
        return Engine(None, "no Docker engine answered")
    import docker.errors  # type: ignore[import-untyped]
    import requests

    try:
        with client(ENGINE_TIMEOUT) as opened:
            return Engine(str(opened.version()["Version"]), None)
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        said = str(error)
    if "Permission denied" in said or "PermissionError" in said:
        return Engine(None, "this account may not use the Docker engine")
    if "timed out" in said.lower():
        return Engine(None, f"the Docker engine did not answer within {ENGINE_TIMEOUT:.0f} s")
    return Engine(None, "no Docker engine answered")


def _is_installed() -> bool:
    """Return whether anything here speaks of Docker: without it, nothing slow need be imported to ask."""
    files = ("/var/run/docker.sock", "~/.docker", "~/.testcontainers.properties")
    return (
        sys.platform == "win32"
        or "DOCKER_HOST" in os.environ
        or any(Path(f).expanduser().exists() for f in files)
    )


def has_image(name: str) -> bool:
    """Return whether the engine has the image already."""
    import docker.errors

    with client(30) as opened:
        try:
            opened.images.get(name)
        except docker.errors.ImageNotFound:
            return False
        return True


def pull(name: str) -> None:
    """Pull an image and show how far it is.

    Raises:
        KitError: it cannot be pulled; the message says why.
    """
    import docker.errors
    import requests

    sizes: dict[str, tuple[int, int]] = {}
    shown = 0.0
    try:
        with client(60) as opened:
            repository, colon, tag = name.rpartition(":")
            if not colon or "/" in tag:
                repository, tag = name, "latest"
            for step in opened.api.pull(repository, tag=tag, stream=True, decode=True):
                if "error" in step:
                    raise NotUsable(f"the image {name!r} could not be pulled: {step['error']}", PULL_HINT)
                detail = step.get("progressDetail") or {}
                if step.get("status") == "Downloading" and detail.get("total"):
                    sizes[step["id"]] = (detail["current"], detail["total"])
                elif step.get("status") in ("Download complete", "Pull complete") and step["id"] in sizes:
                    sizes[step["id"]] = (sizes[step["id"]][1],) * 2
                if sizes and time.monotonic() - shown > 0.5:
                    shown = time.monotonic()
                    _show(name, sizes, end="")
            if sizes:
                _show(name, sizes, end="\n")
    except (docker.errors.DockerException, requests.RequestException) as error:
        reason = getattr(error, "explanation", None) or error
        raise NotUsable(f"the image {name!r} could not be pulled: {reason}", PULL_HINT) from None


def _show(name: str, sizes: dict[str, tuple[int, int]], end: str) -> None:
    done, total = (sum(column) / 1e6 for column in zip(*sizes.values(), strict=True))
    print(f"\rPulling {name}: {done:.0f} of {total:.0f} MB", end=end, flush=True)


class Container:
    """The container of this user, with PostgreSQL from ``image``."""

    source = "docker"

    def __init__(self, folder: str, image: str) -> None:
        self.folder = Path(folder)
        self.image = image

    def arguments(self) -> list[str]:
        """Return what the class takes to make the same server again."""
        return [str(self.folder), self.image]

    def running(self) -> Address | None:
        """Return where the server answers, or None when nothing accepts connections there."""
        state = self._state()
        if state is None:
            return None
        try:
            socket.create_connection((state["host"], state["port"]), timeout=1).close()
        except OSError:
            return None
        return self._address(state)

    def start(self) -> Address:
        """Start the container, make it where there is none, and return once the server accepts logins."""
        import docker.errors
        import requests

        state = self._state()
        try:
            if state is not None:
                with client(30) as opened, contextlib.suppress(docker.errors.NotFound):
                    opened.containers.get(state["id"]).start()  # does nothing to one that runs
                    return self._ready(state)
            return self._ready(self._make(state))
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            reason = getattr(error, "explanation", None) or error
            raise NotUsable(f"the container with {self.image!r} did not start: {reason}") from None

    def stop(self) -> None:
        """Remove the container and its volume."""
        import docker.errors
        import requests

        state = self._state()
        if state is None:
            return
        try:
            with client(30) as opened, contextlib.suppress(docker.errors.NotFound):
                opened.containers.get(state["id"]).remove(force=True, v=True)
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise KitError(f"The container {state['id'][:12]} could not be removed: {error}") from None
        self._record.unlink()

    @property
    def _record(self) -> Path:
        return self.folder / "container.json"

    def _state(self) -> dict[str, Any] | None:
        try:
            state: dict[str, Any] = json.loads(self._record.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return state

    def _address(self, state: dict[str, Any]) -> Address:
        return Address(state["host"], state["port"], "postgres", state["password"])

    def _make(self, before: dict[str, Any] | None) -> dict[str, Any]:
        """Make and start a container; a second one gets the first one's port, where clients look for it."""
        with _testcontainers() as PostgresContainer:
            password = before["password"] if before else secrets.token_urlsafe(24)
            options = [part for setting in SETTINGS for part in ("-c", setting)]
            container = PostgresContainer(
                self.image,
                username="postgres",
                password=password,
                dbname="postgres",
                driver=None,
                command=options,
            )
            container.with_kwargs(
                labels={LABEL: str(self.folder)},
                restart_policy={"Name": "on-failure"},  # the engine brings back a server that was killed
            )
            port = before["port"] if before else _free_port()
            here = container.get_docker_client().host() in ("localhost", "127.0.0.1")
            container.ports["5432"] = (
                ("127.0.0.1", port) if here else port
            )  # nobody else's business on this network
            try:
                container.start()
                state = {
                    "id": container.get_wrapped_container().id,
                    "host": container.get_container_host_ip(),
                    "port": int(container.get_exposed_port(5432)),
                    "password": password,
                }
                self._record.touch(mode=0o600)
                self._record.write_text(json.dumps(state), "utf-8")
            except BaseException:
                container.stop()
                raise
            container.get_docker_client().client.close()
            return state

    def _ready(self, state: dict[str, Any]) -> Address:
        """Wait until the server lets the kit in: the port is open before it is ready."""
        from kit.sources import databases

        address = self._address(state)

        async def log_in() -> None:
            async with databases.connection(address.dsn("postgres")):
                pass

        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                run_sync(log_in())
                return address
            except databases.NotThere as error:
                if time.monotonic() > deadline:
                    raise NotUsable(f"the server in the container did not answer: {error}") from None
                time.sleep(0.1)


@contextlib.contextmanager
def _testcontainers() -> Iterator[Any]:
    """Yield ``PostgresContainer``, set up for a shared container.

    testcontainers' own reaper would remove the container with the process that started it, and is one more
    image to pull; the keeper does its work. Its settings are put back, for the learner's own containers.
    """
    from testcontainers.core.config import testcontainers_config as config

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its newer home is missing in older releases
        from testcontainers.postgres import PostgresContainer

    before = config.ryuk_disabled, config.sleep_time
    config.ryuk_disabled, config.sleep_time = True, 0.1
    try:
        yield PostgresContainer
    finally:
        config.ryuk_disabled, config.sleep_time = before


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server() -> Container:
    """Return this user's container, running or not, once its image is there.

    Raises:
        KitError: no engine answers, or the image can neither be found nor pulled.
    """
    found = engine()
    if found.problem:
        raise NotUsable(found.problem)
    name = image()
    made = Container(str(shared.home() / "docker"), name)
    if made.running() is None and not has_image(name):
        pull(name)
    return made
