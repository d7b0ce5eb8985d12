"""``kit lab``: which lesson it opens, and how it starts and ends what it runs."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import psutil
import pytest

from kit import extras
from kit.cli import lab
from kit.cli import server as extension
from kit.sources import files
from tests.cli.command import SCRIPTS, nothing_runs, run
from tests.cli.running import Lab, Server, started_lab
from tests.waiting import wait_until

# kit lab: what it is asked for


@pytest.mark.parametrize("port", ["99999", "0", "-1", "8888x", "²", ""])
def test_what_is_no_port_is_refused(port):
    answer = run("lab", f"--port={port}")
    assert answer.returncode == 2
    assert re.search(r"Invalid value for '--port': .*(not a valid int|1<=x<=65535)", answer.stderr)
    assert "Usage: kit lab" in answer.stderr


# kit lab: JupyterLab


def test_jupyterlab_is_asked_for_a_browser_a_port_and_root_only_where_they_are_wanted():
    lesson = Path("lessons"), "00_start_here.ipynb"
    bare = lab._arguments(*lesson, browser=True, port=None)
    assert not any(argument.startswith(("--no-browser", "--port")) for argument in bare)
    asked = lab._arguments(*lesson, browser=False, port=9999)
    assert {"--no-browser", "--port=9999"} <= set(asked)
    assert ("--allow-root" in bare) is files.is_root()
    guide = lab._arguments(Path("lessons"), "teaching/guide.ipynb", browser=True, port=None)
    assert {"--ServerApp.root_dir=lessons", "--LabApp.default_url=/lab/tree/teaching/guide.ipynb"} <= set(
        guide
    )


def test_a_kit_that_uvx_runs_without_jupyterlab_is_run_once_more_with_it(monkeypatch):
    became: list[list[str]] = []
    monkeypatch.setattr(lab, "find_spec", lambda _: None)
    monkeypatch.setattr(lab, "become", became.append)
    monkeypatch.setattr(sys, "argv", ["kit", "lab", "03", "--no-browser"])
    monkeypatch.setenv("UV", "/bin/uv")
    lab.open_lab("03", "playground")
    start = ["/bin/uv", "tool", "run", "--from", extras.requirement(), "kit"]
    assert became == [[*start, "lab", "03", "--no-browser"]]


@pytest.fixture
def running_lab(tmp_path: Path) -> Iterator[Lab]:
    with started_lab(tmp_path, "priorities", "--originals") as lab:
        yield lab


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to a single process")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_lab_opens_on_its_lesson_and_one_signal_stops_it_its_kernels_and_postgres(
    running_lab, tmp_path, name
):
    assert running_lab.page == "/lab/tree/03_priorities.ipynb"
    assert {entry["name"] for entry in running_lab.ask("/api/contents")["content"]} >= {"00_start_here.ipynb"}

    settings = running_lab.ask("/lab/api/settings/@jupyterlab/apputils-extension:notification")
    assert settings["schema"]["properties"]["fetchNews"]["default"] == "false"

    kernel = running_lab.start_kernel()
    assert os.path.samefile(kernel.exe(), sys.executable)
    assert kernel.environ()["KIT_POSTGRES"] == "embedded"
    assert kernel.environ()["PATH"].startswith(SCRIPTS)
    assert not nothing_runs()

    running_lab.process.send_signal(getattr(signal, name))
    assert running_lab.process.wait(30) == 0
    with pytest.raises(URLError):
        running_lab.ask("/api/status")
    psutil.wait_procs([kernel], timeout=15)
    assert not kernel.is_running()
    wait_until("Postgres to stop after the lab", nothing_runs)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert "lab.py" not in running_lab.log.read_text(), "a traceback of the kit's own"


def test_a_lab_says_where_it_is_once_and_little_else(running_lab):
    running_lab.start_kernel()
    opening, address = running_lab.log.read_text().splitlines()
    assert opening.startswith("PostgreSQL")
    assert address == f"JupyterLab: {running_lab.base}{running_lab.page}?token={running_lab.token}"


def test_a_lab_that_is_killed_leaves_no_jupyterlab_and_no_kernel(running_lab, tmp_path):
    running_lab.start_kernel()
    below = running_lab.below()
    running_lab.process.kill()
    _, left = psutil.wait_procs(below, timeout=30)
    assert left == []
    wait_until("Postgres to stop after the lab", nothing_runs)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_jupyterlab_that_the_kit_did_not_start_has_the_board_the_settings_and_the_hints_too(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += [
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=secret",
        "--ServerApp.log_level=ERROR",
    ]
    places = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    server = Server(f"http://127.0.0.1:{port}", "secret")
    with subprocess.Popen(command, cwd=tmp_path, env=os.environ | places) as process:
        try:
            wait_until("JupyterLab to answer", server.answers, 90)
            settings = server.ask("/lab/api/settings/@jupyterlab/apputils-extension:notification")
            assert settings["schema"]["properties"]["fetchNews"]["default"] == "false"
            page = server.read("/lab").decode()
            config = re.search(r'<script id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.DOTALL)
            assert config is not None
            extensions = json.loads(config[1])["federated_extensions"]
            (docked,) = (each for each in extensions if each["name"] == "kit-docked-board")
            assert b"docked" in server.read(f"/lab/extensions/kit-docked-board/{docked['load']}")
            server.ask("/api/kernels", "POST")
            kernel = server.kernel_below(process.pid)
            assert kernel.environ()["PATH"].startswith(SCRIPTS)
            assert kernel.environ()["PYTHONSTARTUP"] == str(Path(extension.__file__).with_name("startup.py"))
            server.ask("/api/shutdown", "POST")
            process.wait(30)
        finally:
            process.kill()


STUBBORN = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("patience", [-4.5, 600], ids=["in its time", "before a second Ctrl-C"])
def test_a_jupyterlab_that_does_not_end_is_killed_with_what_it_started(patience, monkeypatch):
    monkeypatch.setattr(lab, "PATIENCE", patience)
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        if patience > 0:
            threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()
            with pytest.raises(KeyboardInterrupt):
                lab._end(process)
        else:
            lab._end(process)
    assert process.returncode not in (None, 0)
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()
