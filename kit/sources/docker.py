"""The Docker engine: whether one answers, why it cannot be used, and its images."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kit.errors import KitError
from kit.errors.text import one_line

IMAGE = "postgres:18-alpine"
ENGINE_TIMEOUT = 2.0  # seconds for an engine to answer
SOCKET = "/var/run/docker.sock"
_OTHERWISE = "use the server that needs none: kit.postgres('embedded')."
HINT = f"Start Docker and run the cell again, or {_OTHERWISE}"
PULL_HINT = f"Check the network, name an image that is there with KIT_POSTGRES_IMAGE, or {_OTHERWISE}"


class NotUsable(KitError):
    """Docker cannot be used here. ``problem`` says why in a few words, without the next step."""

    def __init__(self, problem: str, hint: str = HINT) -> None:
        super().__init__(f"{problem[0].upper()}{problem[1:]}. {hint}")
        self.problem = problem


def image() -> str:
    """Return the image: ``KIT_POSTGRES_IMAGE``, else the official one."""
    return os.environ.get("KIT_POSTGRES_IMAGE") or IMAGE


@contextlib.contextmanager
def client(timeout: float) -> Iterator[Any]:
    """Open a client of the engine that testcontainers would use, by its settings and Docker's contexts."""
    with _testcontainers(timeout) as opened:
        yield opened.client


def host() -> str:
    """Return the host on which the engine's containers open their ports."""
    with _testcontainers(ENGINE_TIMEOUT) as opened:
        return str(opened.host())


@contextlib.contextmanager
def _testcontainers(timeout: float) -> Iterator[Any]:
    from testcontainers.core.docker_client import DockerClient

    opened = DockerClient(timeout=timeout)
    try:
        yield opened
    finally:
        opened.client.close()


def problem() -> NotUsable | None:
    """Return why no Docker engine can be used, or None. The engine has 2 s to answer."""
    if not _is_installed():
        return NotUsable("no Docker engine answered")
    import docker.errors  # type: ignore[import-untyped]
    import requests

    try:
        with client(ENGINE_TIMEOUT) as opened:
            opened.version()
    except (docker.errors.DockerException, requests.RequestException, OSError, ValueError) as error:
        return _why_not(str(error))
    return None


def _why_not(error: str) -> NotUsable:
    named = os.environ.get("DOCKER_HOST")
    if "Permission denied" in error or "PermissionError" in error:
        return _not_allowed(named)
    where = f" at {named!r}, which DOCKER_HOST names" if named else ""
    hint = f"Start Docker there, mend DOCKER_HOST or unset it, or {_OTHERWISE}" if named else HINT
    if "timed out" in error.lower():
        return NotUsable(f"the Docker engine did not answer within {ENGINE_TIMEOUT:.0f} s{where}", hint)
    return NotUsable(f"no Docker engine answered{where}", hint)


def _not_allowed(named: str | None) -> NotUsable:
    """Return the error that this account may not use the engine, with the group that may."""
    path = Path(urlsplit(named).path if named and named.startswith("unix:") else SOCKET)
    problem = f"this account may not use the Docker engine's socket {str(path)!r}"
    try:
        group = path.group()
    except (OSError, KeyError, NotImplementedError):
        return NotUsable(problem, f"Ask an administrator for the right to use it, or {_OTHERWISE}")
    return NotUsable(
        f"{problem}, which is for the group {group!r}",
        f"An administrator adds you with `sudo usermod -aG {group} {getpass.getuser()}`; log in again "
        f"afterwards. Or {_OTHERWISE}",
    )


def _is_installed() -> bool:
    """Return whether there is any sign of Docker here. Without one, no slow import is needed to ask."""
    files = (SOCKET, "~/.docker", "~/.testcontainers.properties")
    return (
        sys.platform == "win32"
        or "DOCKER_HOST" in os.environ
        or any(Path(f).expanduser().exists() for f in files)
    )


def has_image(name: str) -> bool:
    """Return whether the engine has the image already.

    Raises:
        NotUsable: no image can have that name, or the engine does not answer.
    """
    import docker.errors
    import requests

    try:
        with client(30) as opened:
            opened.images.get(name)
    except docker.errors.ImageNotFound:
        return False
    except (docker.errors.DockerException, requests.RequestException) as error:
        reason = why(error)
        if "invalid reference" in reason:
            detail = reason.rpartition("invalid reference format: ")[2]
            raise NotUsable(
                f"{name!r} cannot be the name of an image: {detail}",
                f"Write KIT_POSTGRES_IMAGE like {IMAGE!r}, or unset it.",
            ) from None
        raise NotUsable(f"the Docker engine does not tell whether it has {name!r}: {reason}") from None
    return True


def why(error: Exception | str) -> str:
    """Return the engine's message about an error, without the request; plainer if it has no network."""
    text = str(getattr(error, "explanation", None) or (error if isinstance(error, str) else one_line(error)))
    away = re.search(r'"https?://([^/"]+)[^"]*": .*\b(?:dial tcp|lookup|i/o timeout|Client\.Timeout)\b', text)
    return f"{away[1]} cannot be reached from here" if away else text


def pull(name: str) -> None:
    """Pull an image and show the progress.

    Raises:
        NotUsable: it cannot be pulled; the message says why.
    """
    import docker.errors
    import requests

    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, "latest"
    try:
        with client(60) as opened:
            _show_progress(name, opened.api.pull(repository, tag=tag, stream=True, decode=True))
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise NotUsable(f"the image {name!r} could not be pulled: {why(error)}", PULL_HINT) from None


def _show_progress(name: str, steps: Iterator[dict[str, Any]]) -> None:
    sizes: dict[str, tuple[int, int]] = {}
    shown = 0.0
    for step in steps:
        if "error" in step:
            raise NotUsable(f"the image {name!r} could not be pulled: {why(step['error'])}", PULL_HINT)
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


def _show(name: str, sizes: dict[str, tuple[int, int]], end: str) -> None:
    done, total = (sum(column) / 1e6 for column in zip(*sizes.values(), strict=True))
    print(f"\rPulling {name}: {done:.0f} of {total:.0f} MB", end=end, flush=True)
