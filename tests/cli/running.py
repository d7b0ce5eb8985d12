"""A running ``kit lab``."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.error import URLError
from urllib.request import Request, urlopen

import psutil

from tests.cli.command import KIT
from tests.waiting import wait_until


def command_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:  # it has ended meanwhile
        return []


class Server:
    """The HTTP interface of a Jupyter server."""

    def __init__(self, base: str, token: str) -> None:
        self.base = base
        self.token = token

    def answers(self) -> bool:
        try:
            return bool(self.ask("/api/status"))
        except URLError:
            return False

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        return json.loads(self.read(path, method, body) or "null")

    def read(self, path: str, method: str = "GET", body: Any = None) -> bytes:
        headers = {"Authorization": f"token {self.token}"}
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.base + path, data, headers, method=method), timeout=30) as answer:
            return bytes(answer.read())

    def kernel_below(self, pid: int) -> psutil.Process:
        """Return the kernel that has been asked for, once it is a process below that one."""
        found = wait_until(
            "the kernel's process",
            lambda: [each for each in below(pid) if "ipykernel_launcher" in command_of(each)],
        )
        return cast(psutil.Process, found[0])


def below(pid: int) -> list[psutil.Process]:
    return list(psutil.Process(pid).children(recursive=True))


class Lab(Server):
    """A running `kit lab` and its HTTP interface."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        address = wait_until("JupyterLab's address in the output of kit lab", self._address, 90)
        assert address is not None
        base, self.page, token = map(str, address.groups())
        super().__init__(base, token)
        wait_until("JupyterLab to answer at the address it has shown", self.answers)

    def _address(self) -> re.Match[str] | None:
        assert self.process.poll() is None, self.log.read_text()
        return re.search(r"(http://\w+:\d+)(/\S*)\?token=(\w+)", self.log.read_text())

    def start_kernel(self) -> psutil.Process:
        self.ask("/api/kernels", "POST")
        return self.kernel_below(self.process.pid)

    def below(self) -> list[psutil.Process]:
        return below(self.process.pid)


@contextlib.contextmanager
def started_lab(folder: Path, *arguments: str) -> Iterator[Lab]:
    """Run ``kit lab`` with ``arguments``; its files, and a learner's own of Jupyter, are in ``folder``."""
    variables = {
        "TMPDIR": "tmp",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    for name in variables.values():
        (folder / name).mkdir(exist_ok=True)
    places = {variable: str(folder / name) for variable, name in variables.items()}
    environment = os.environ | places | {"KIT_POSTGRES": "embedded"}
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [KIT, "lab", *arguments, "--no-browser"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    children: list[psutil.Process] = []
    try:
        yield Lab(process, log)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            children = below(process.pid)
        process.kill()
        process.wait()
        for child in children:  # only where the test failed is one still there
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
