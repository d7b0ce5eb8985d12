"""Settings of every Jupyter server in this environment, whether or not ``kit lab`` started it.

Its kernels find ``pgq``, and show hints from the first cell on. Jupyter loads this file because of
``settings/server.json``, which is installed where Jupyter looks.
"""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path
from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(_server: Any) -> None:
    path = [sysconfig.get_path("scripts"), *filter(None, [os.environ.get("PATH")])]
    os.environ["PATH"] = os.pathsep.join(path)
    startup = Path(__file__).with_name("startup.py")
    os.environ.setdefault("PYTHONSTARTUP", str(startup))  # a learner's own stays
