"""A PGQueuer consumer in the background of this process: `run` starts it, `wait` waits for the queue."""

from kit.consumer.thread import Consumer, run
from kit.consumer.waiting import wait

__all__ = ["Consumer", "run", "wait"]
