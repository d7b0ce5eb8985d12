"""What a class is on the teacher's machine: its name, code and login, and where it listens."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import ipaddress
import json
import os
import secrets
import socket
import sys
from base64 import b64encode
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from kit.classroom.store import DATABASE
from kit.errors import KitError
from kit.sources import Postgres, files, open_database
from kit.sources.choosing import asked_source

LOOPBACK = "127.0.0.1"
PORTS = range(8890, 8990)
USER = "teacher"
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # a code is read off a wall


@dataclass(frozen=True)
class Class:
    """A class's identity, which a file closed to others keeps.

    Attributes:
        name: what it is called.
        code: what the join line ends with.
        password: of the board.
        source: where its Postgres comes from.
        listen: the address it listens at beside loopback; empty: none.
        port: where it listens; 0: not chosen yet.
        plan: the plan it goes by, as `kit.classroom.plans` keeps it; empty: none.
    """

    name: str
    code: str
    password: str
    source: str
    listen: str = ""
    port: int = 0
    plan: dict[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The join line."""
        host = self.listen or LOOPBACK
        if ipaddress.ip_address(host).is_unspecified:
            host = next(iter(own_addresses()), LOOPBACK)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/{self.code}"

    @property
    def url(self) -> str:
        """Where its pages are, on this machine."""
        return f"http://{LOOPBACK}:{self.port}/"

    @property
    def board(self) -> str:
        """Where the board is, on this machine, and its login."""
        return f"{self.url}  (login {USER} / {self.password})"

    @property
    def login(self) -> str:
        """The header with which a browser logs in."""
        return f"Basic {b64encode(f'{USER}:{self.password}'.encode()).decode()}"

    def running(self) -> bool:
        """Return whether this class, and no other one, answers there."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=2)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", "/", headers={"Authorization": self.login})
            return connection.getresponse().status == 200
        return False

    def postgres(self) -> Postgres:
        """Return the database of its results, as `open_database` does."""
        return open_database(self.source, DATABASE)

    @property
    def path(self) -> Path:
        """The file that it is kept in."""
        return files.home() / "classes" / f"{hashlib.sha256(self.name.encode()).hexdigest()[:16]}.json"

    def save(self) -> None:
        """Keep it."""
        files.make_closed(files.home())
        self.path.parent.mkdir(0o700, exist_ok=True)
        files.write(self.path, json.dumps(asdict(self)))


def known() -> list[Class]:
    """Return the classes of this user, the one that was started last first.

    Raises:
        KitError: a file is damaged.
    """
    paths = sorted((files.home() / "classes").glob("*.json"), key=lambda path: -path.stat().st_mtime)
    try:
        return [Class(**json.loads(path.read_text("utf-8"))) for path in paths]
    except (ValueError, TypeError) as error:
        raise KitError(f"A file in {str(paths[0].parent)!r} is damaged: {error}.") from None


def own_addresses() -> list[str]:
    """Return the addresses at which other machines may reach this one."""
    found = [
        each for some in psutil.net_if_addrs().values() for each in some if each.family == socket.AF_INET
    ]
    return [each.address for each in found if not ipaddress.ip_address(each.address).is_loopback]


def _source() -> str:
    """Return where a new class's Postgres comes from.

    Raises:
        KitError: from Docker, whose container is removed with all that is in it.
    """
    asked = asked_source(None)
    if asked == "docker":
        raise KitError(
            "A container of the kit's is removed with all its databases, and the results would go with it. "
            "Set KIT_POSTGRES to embedded, or KIT_DSN to a Postgres of yours."
        )
    return (
        "external" if asked == "external" or (asked == "auto" and os.environ.get("KIT_DSN")) else "embedded"
    )


def find(name: str | None) -> Class:
    """Return the class of this name, or a new one; without a name the one that was started last.

    Raises:
        KitError: a new one's Postgres would not keep its results.
    """
    for one in known():
        if name in (None, one.name):
            return one
    code = "".join(secrets.choice(LETTERS) for _ in range(12))
    return Class(name or "My class", code, secrets.token_urlsafe(12), _source())


def listening(one: Class) -> list[socket.socket]:
    """Return sockets at loopback and at the address that was asked for.

    Raises:
        KitError: that is no address of this machine, or its port is taken.
    """
    hosts = [LOOPBACK]
    try:
        if one.listen and not ipaddress.ip_address(one.listen).is_loopback:
            everywhere = ipaddress.ip_address(one.listen) == ipaddress.ip_address("0.0.0.0")
            hosts = [one.listen] if everywhere else [LOOPBACK, one.listen]
    except ValueError:
        raise KitError(f"--listen {one.listen!r} is no address. {_addresses()}") from None
    problem: OSError | None = None
    others = {other.port for other in known()}
    for port in [one.port] if one.port else sorted({*PORTS} - others):
        made: list[socket.socket] = []
        try:
            for host in hosts:
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                made.append(socket.create_server((host, port), family=family, backlog=512))
                # Connections inherit it. Without it an answer waits 40 ms; asyncio sets it on its own.
                made[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            problem = error
            for each in made:
                each.close()
        else:
            return made
    raise KitError(
        f"The class cannot listen at port {one.port or PORTS[0]} of {hosts[-1]}: {problem}. Does "
        f"`kit class start` run already? Else --port takes another, which changes the join line. "
        f"{_addresses()}"
    )


def _addresses() -> str:
    return f"Addresses of this machine: {', '.join(own_addresses()) or 'none but loopback'}."


def only_here(one: Class) -> bool:
    """Return whether only this machine reaches it."""
    return not one.listen or ipaddress.ip_address(one.listen).is_loopback


def who_reaches(one: Class) -> str:
    """Say which machines can reach it, what may be in their way, and where the join line is on paper."""
    more = f"{_addresses()} Slips with the join line, to print: {one.url}slips"
    if only_here(one):
        return f"Only this machine reaches it. For others start it with --listen ADDRESS. {more}"
    return f"Everybody in this network reaches it, without encryption. {firewall(one.port)} {more}"


def firewall(port: int) -> str:
    """Say what this machine's firewall must be told."""
    return {
        "win32": "When Windows asks, allow Python on private networks.",
        "darwin": "When macOS asks, let Python accept incoming connections.",
    }.get(sys.platform, f"A firewall must let TCP port {port} in (`sudo ufw allow {port}/tcp` with ufw).")
