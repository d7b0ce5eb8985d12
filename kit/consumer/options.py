"""How a consumer is to run, checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from pgqueuer.types import QueueExecutionMode

from kit.errors import KitError


@dataclass(frozen=True)
class Options:
    """What `kit.run` was told, each as it says there.

    Raises:
        KitError: PGQueuer would refuse it.
    """

    batch_size: int
    dequeue_timeout: timedelta
    heartbeat_timeout: timedelta
    max_concurrent_tasks: int | None
    mode: QueueExecutionMode
    shutdown_on_listener_failure: bool
    restart_on_failure: bool
    restart_delay: timedelta
    start_timeout: timedelta

    def __post_init__(self) -> None:
        if type(self.batch_size) is not int or self.batch_size < 1:
            raise KitError(
                f"batch_size={self.batch_size!r}: it is how many jobs are picked at once, 1 or more."
            )
        if self.max_concurrent_tasks and self.max_concurrent_tasks < 2 * self.batch_size:
            raise KitError(
                f"max_concurrent_tasks={self.max_concurrent_tasks!r} is too small: PGQueuer wants at least "
                f"twice the batch_size, here {2 * self.batch_size}."
            )


def as_mode(value: QueueExecutionMode | Literal["continuous", "drain"]) -> QueueExecutionMode:
    """Return the argument ``mode`` as PGQueuer's own.

    Raises:
        KitError: there is no such mode.
    """
    try:
        return QueueExecutionMode(value)
    except ValueError:
        raise KitError(f"mode={value!r}: it is 'continuous' or 'drain'.") from None
