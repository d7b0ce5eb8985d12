"""The ``kit`` command, run as a learner runs it, and what it leaves running."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig

from kit.sources import registry, sharing

SCRIPTS = sysconfig.get_path("scripts")
KIT = shutil.which("kit", path=SCRIPTS) or "the kit command is not installed"


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
