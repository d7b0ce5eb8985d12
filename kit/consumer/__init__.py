"""A PGQueuer consumer in the background of this process: `run` starts it, `wait` waits for the queue."""

from kit.consumer.consumer import Consumer
from kit.consumer.run import run
from kit.consumer.wait import wait

__all__ = ["Consumer", "run", "wait"]
