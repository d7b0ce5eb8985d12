"""A PGQueuer consumer in the background of this process: `run` starts it, `wait` waits for the queue."""

from kit.consumer.starting import run
from kit.consumer.thread import Consumer
from kit.consumer.waiting import wait

__all__ = ["Consumer", "run", "wait"]
