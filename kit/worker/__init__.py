"""A PGQueuer consumer as an operating-system process: `spawn` starts a `Worker`, which can be killed."""

from kit.worker.spawn import spawn
from kit.worker.worker import Worker, Workers

__all__ = ["Worker", "Workers", "spawn"]
