"""A running ``kit lab``."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import psutil

from tests.cli.command import KIT, eventually


def command_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:  # it has ended meanwhile
        return []


class Lab:
    """A running `kit lab` and its HTTP interface."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        address = eventually(self._address, "JupyterLab's address in the output of kit lab", 90)
        self.base, self.page, self.token = address.groups()
        eventually(self._answers, "JupyterLab to answer at the address it has shown")

    def _answers(self) -> bool:
        try:
            return bool(self.ask("/api/status"))
        except URLError:
            return False

    def _address(self) -> re.Match[str] | None:
        assert self.process.poll() is None, self.log.read_text()
        return re.search(r"(http://\w+:\d+)(/\S*)\?token=(\w+)", self.log.read_text())

    def start_kernel(self) -> psutil.Process:
        self.ask("/api/kernels", "POST")
        found = eventually(
            lambda: [each for each in self.below() if "ipykernel_launcher" in command_of(each)],
            "the kernel's process",
        )
        return found[0]

    def below(self) -> list[psutil.Process]:
        below: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return below

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        headers = {"Authorization": f"token {self.token}"}
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.base + path, data, headers, method=method)
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)


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
    below: list[psutil.Process] = []
    try:
        yield Lab(process, log)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        for child in below:  # only where the test failed is one still there
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
