"""Pictures of the queue: ``board()``, live, and ``timeline()``, a plot."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kit.pictures.live import board as board
    from kit.pictures.plot import timeline as timeline

_HOMES = {"board": "kit.pictures.live", "timeline": "kit.pictures.plot"}

__all__ = ["board", "timeline"]


def __getattr__(name: str) -> Any:
    # The two need very different libraries, so each is imported when it is first asked for.
    if name not in _HOMES:
        raise AttributeError(f"module 'kit.pictures' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
