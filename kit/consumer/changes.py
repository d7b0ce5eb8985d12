"""Telling that something has changed, cheaply, from any thread."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable
from contextlib import suppress


class Changes:
    """Whether something has changed since one looked, for those who poll and for those who listen.

    Attributes:
        version: differs from before after every change.
    """

    def __init__(self) -> None:
        self.version = 0
        # From a counter, so that two threads at once can never leave the version as it was.
        self._versions = itertools.count(1)
        self._listeners: list[Callable[[], None]] = []

    def tell(self) -> None:
        """Note a change, and call who listens; one that raises is not called again."""
        self.version = next(self._versions)
        for listener in tuple(self._listeners):
            try:
                listener()
            except Exception:
                # What changed is a consumer in the midst of its work, and no fault of its own.
                self._forget(listener)
                traceback.print_exc()

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` after every change, on whichever thread that happened; return what ends it."""
        self._listeners.append(listener)
        return lambda: self._forget(listener)

    def _forget(self, listener: Callable[[], None]) -> None:
        with suppress(ValueError):
            self._listeners.remove(listener)
