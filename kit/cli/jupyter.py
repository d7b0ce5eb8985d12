"""JupyterLab as ``kit lab`` runs it: a program of its own that ends with the process that started it.

Its standard input is a pipe from that process. The operating system closes the pipe however that process
ends, so JupyterLab and its kernels go with it even when it was killed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

PATIENCE = 10.0  # seconds that JupyterLab may take to end its kernels and itself
NOTIFICATIONS = "@jupyterlab/apputils-extension:notification"  # the plugin that asks whether to fetch news


def serve(arguments: list[str]) -> None:
    """Run JupyterLab until it ends, or until standard input is closed; print its address once."""
    from jupyterlab.labapp import LabApp  # type: ignore[import-untyped]

    with tempfile.TemporaryDirectory(prefix="kit-lab-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        write_settings(folder / "settings")
        folders = [
            f"--LabServerApp.app_settings_dir={folder / 'settings'}",
            f"--LabApp.workspaces_dir={folder / 'workspaces'}",  # a learner's own layouts stay as they are
        ]
        quiet = ["--log-level=WARN", "--LabApp.log_level=WARN"]
        server = LabApp.initialize_server([*folders, *quiet, *_encryption(), *arguments])
        print(f"JupyterLab: {server.public_url}", flush=True)
        server.identity_provider.token_generated = False  # or it shows its address again, in three ways
        threading.Thread(target=_end_with_the_pipe, args=(server, folder), daemon=True).start()
        server.start()


def write_settings(folder: Path) -> None:
    """Write a folder of JupyterLab settings: those of this environment, without the question about news."""
    from jupyterlab.commands import get_app_dir  # type: ignore[import-untyped]

    environment = Path(get_app_dir()) / "settings"
    if environment.is_dir():
        shutil.copytree(environment, folder)
    folder.mkdir(exist_ok=True)
    path = folder / "overrides.json"
    settings = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    settings.setdefault(NOTIFICATIONS, {})["fetchNews"] = "false"
    path.write_text(json.dumps(settings), "utf-8")


def _encryption() -> list[str]:
    """Return what lets the server and its kernels encrypt what they say; a kernel that cannot warns of it."""
    import zmq
    from jupyter_client.manager import KernelManager

    if KernelManager.class_traits().get("transport_encryption") and zmq.has("curve"):
        return ["--KernelManager.transport_encryption=auto"]
    return []


def _end_with_the_pipe(server: Any, folder: Path) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    server.stop(from_signal=True)
    time.sleep(PATIENCE)  # a server that stops ends this process meanwhile, and this thread with it
    end_children()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def end_children(pid: int | None = None) -> None:
    """Kill every process below this one, or below process ``pid``."""
    import psutil

    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return
    for process in below:
        try:
            process.kill()
        except psutil.Error:
            continue


if __name__ == "__main__":
    serve(sys.argv[1:])
