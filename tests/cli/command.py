"""The ``kit`` command, run as a learner runs it, and what it leaves running."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Callable
from typing import Any

from kit.sources import registry, sharing

SCRIPTS = sysconfig.get_path("scripts")
KIT = shutil.which("kit", path=SCRIPTS) or "the kit command is not installed"


def eventually(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)
    return answer


def nothing_runs() -> bool:
    return all(server.running() is None for server in registry.known())


def nothing_is_used() -> bool:
    return nothing_runs() and not any(sharing.users(server.folder) for server in registry.known())


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [KIT, *arguments], capture_output=True, text=True, timeout=120, env=os.environ | environment
    )


def refused(answer: subprocess.CompletedProcess[str]) -> str:
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    return answer.stderr
