"""Kernels for tests. They listen in files: a free port may be another's by the time a kernel takes it."""

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

SECONDS_A_CELL = 60


def addresses() -> dict[str, str]:
    """Return where the next kernel listens, as options of a kernel manager."""
    if os.name != "posix":
        return {}
    return {"transport": "ipc", "ip": str(Path(tempfile.gettempdir(), f"kit-kernel-{uuid.uuid4().hex[:12]}"))}


def notebook_client(notebook: nbformat.NotebookNode, **options: Any) -> NotebookClient:
    """Return what runs a notebook, or single cells of it, in a kernel of its own."""
    config = Config({"KernelManager": addresses()})
    return NotebookClient(notebook, timeout=SECONDS_A_CELL, kernel_name="python3", config=config, **options)
