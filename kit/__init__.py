"""The PGQueuer notebook kit: a Postgres, a consumer in the kernel, and tables you can see.

Every name is imported when it is first used, so that ``import kit`` and ``kit --help`` stay instant.

PYTEST_DONT_REWRITE: without it, pytest warns if the kit was imported before its fixtures were found.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kit import stages as stages
    from kit.consumer.consumer import Consumer as Consumer
    from kit.consumer.run import run as run
    from kit.consumer.wait import wait as wait
    from kit.dashboard import web as web
    from kit.errors import KitError as KitError
    from kit.exercises import check as check
    from kit.exercises import drill as drill
    from kit.exercises import hint as hint
    from kit.exercises import predict as predict
    from kit.exercises import progress as progress
    from kit.exercises import solution as solution
    from kit.looking import look as look
    from kit.pictures.board import board as board
    from kit.pictures.timeline import timeline as timeline
    from kit.reasons import why as why
    from kit.sources import Postgres as Postgres
    from kit.sources import postgres as postgres
    from kit.sources import reset as reset
    from kit.tables import jobs as jobs
    from kit.tables import log as log
    from kit.tables import schedules as schedules
    from kit.tables import sql as sql
    from kit.tables import statistics as statistics
    from kit.worker.spawn import spawn as spawn
    from kit.worker.worker import Worker as Worker

_HOMES = {
    "Consumer": "kit.consumer",
    "KitError": "kit.errors",
    "Postgres": "kit.sources",
    "Worker": "kit.worker",
    "board": "kit.pictures.board",
    "check": "kit.exercises",
    "drill": "kit.exercises",
    "hint": "kit.exercises",
    "jobs": "kit.tables",
    "log": "kit.tables",
    "look": "kit.looking",
    "postgres": "kit.sources",
    "predict": "kit.exercises",
    "progress": "kit.exercises",
    "reset": "kit.sources",
    "run": "kit.consumer",
    "schedules": "kit.tables",
    "solution": "kit.exercises",
    "spawn": "kit.worker",
    "sql": "kit.tables",
    "stages": "kit.stages",
    "statistics": "kit.tables",
    "timeline": "kit.pictures.timeline",
    "wait": "kit.consumer",
    "web": "kit.dashboard",
    "why": "kit.reasons",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kit' has no attribute {name!r}. It has: {', '.join(__all__)}")
    module = importlib.import_module(_HOMES[name])
    value = module if _HOMES[name] == f"kit.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


if "IPython" in sys.modules:  # in a notebook, hints appear before the first call of the kit, too
    from kit import notebook, pictures
    from kit.errors import hints

    notebook.forget_settings_of_tools()
    hints.show()
    pictures.follow()
