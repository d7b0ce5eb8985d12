"""A class for these tests: a collector in a process of its own, and learners with a folder each."""

from __future__ import annotations

import base64
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kit.exercises import record
from kit.session import session
from kit.sources import Postgres

# What it waits for a slow request is shorter than for a teacher.
START = "from kit.classroom import collector; collector.SLOW = 1.0; from kit.cli import app; app.main()"


class Teacher:
    """`kit class start`, which can be killed and started again."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.create_server(
            ("127.0.0.1", 0)
        ) as free:  # of its own: while it is down, the usual one may be taken
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-c", START, "class", "start", "--name", "Databases, Monday"]
        command += ["--plan", "half-day", "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = ""
        while "Ctrl-C" not in said:
            line = self.process.stdout.readline()
            assert line, self.process.communicate()[1]
            said += line
        self.line = re.findall(r"kit class join (\S+)", said)[0]
        self.url, self.password = re.findall(r"board: +(\S+) +\(login teacher / (\S+)\)", said)[0]

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        asked = urllib.request.Request(
            self.url + path, body, {k.replace("_", "-"): v for k, v in headers.items()}
        )
        try:
            with urllib.request.urlopen(asked, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()

    @property
    def login(self) -> str:
        return f"Basic {base64.b64encode(f'teacher:{self.password}'.encode()).decode()}"

    def see(self, path: str = "results.json") -> str:
        status, text = self.ask(path, Authorization=self.login)
        assert status == 200, text
        return text

    def learner(self, name: str) -> dict[str, Any] | None:
        found = [one for one in json.loads(self.see())["learners"] if one["name"] == name]
        return found[0] if found else None

    def wrong(self, name: str, exercise: str = "thank") -> int:
        return int(((self.learner(name) or {}).get("work", {}).get(exercise) or {"wrong": 0})["wrong"])


@pytest.fixture(scope="module")
def teacher(queue_server: Postgres) -> Iterator[Teacher]:
    folder = Path(tempfile.mkdtemp(prefix="kit-class-"))
    folder.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_HOME", str(folder))
        patch.setenv("KIT_DSN", queue_server.dsn)
        started = Teacher(folder)
        yield started
        if sys.platform == "win32":  # which cannot send it Ctrl-C
            started.kill()
            shutil.rmtree(folder)
            return
        started.process.send_signal(signal.SIGINT)
        out, errors = started.process.communicate(timeout=30)
        assert (started.process.returncode, errors) == (0, ""), out
    shutil.rmtree(folder)


@pytest.fixture
def learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """A learner of this name in this process; the file of their record."""

    def become(name: str) -> Path:
        if session.sender is not None:
            session.sender.stop()
            session.sender = None
        file = tmp_path / name.encode().hex()[:40] / "progress.jsonl"
        file.parent.mkdir(exist_ok=True)
        monkeypatch.setattr(record, "path", lambda: file)
        return file

    yield become
    if session.sender is not None:
        session.sender.stop(10)
        session.sender = None


def wrong(times: int = 1, exercise: str = "thank") -> None:
    for _ in range(times):
        record.write(exercise, "check", outcome="not yet", message="thanked-again", seconds=1.0)
