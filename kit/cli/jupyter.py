"""JupyterLab as ``kit lab`` runs it: a program of its own that ends with the process that started it.

Its standard input is a pipe from that process. The operating system closes the pipe however that process
ends, so JupyterLab and its kernels go with it even when it was killed.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from kit.cli.programs import progress

PATIENCE = 10.0  # seconds that JupyterLab may take to end its kernels and itself


def serve(arguments: list[str]) -> None:
    """Run JupyterLab until it ends, or until standard input is closed; print its address once."""
    # jsonschema would use it for addresses that Jupyter does not have, and it takes seconds to import.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory(prefix="kit-lab-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        with progress(lambda: "JupyterLab is starting"):
            from jupyterlab.labapp import LabApp  # type: ignore[import-untyped]

            options = [
                f"--LabApp.workspaces_dir={folder}",  # a learner's own layouts stay as they are
                "--log-level=ERROR",  # a learner can do nothing about Jupyter's warnings
                "--LabApp.log_level=ERROR",
            ]
            server = LabApp.initialize_server([*options, *_encryption(), *arguments])
        print(f"JupyterLab: {server.public_url}", flush=True)
        server.identity_provider.token_generated = False  # or it prints its address again, in three forms
        threading.Thread(target=_end_with_the_pipe, args=(server, folder), daemon=True).start()
        server.start()


def _encryption() -> list[str]:
    """Return the option to encrypt messages of kernels, if it is possible: a kernel without it warns."""
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
