"""What a cell shows of what consumers have to say: the unseen lines, once, and not without bounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from kit import notebook
from kit.consumer.console import Unseen
from kit.session import session

SHOWN_LINES = 2_000
SHOWN_BYTES = 200_000


class Screen:
    """The cell that runs: it is shown the first lines, and how many more there were."""

    def __init__(self) -> None:
        self._lines = SHOWN_LINES
        self._bytes = SHOWN_BYTES
        self._more = 0

    def show(self, unseen: Unseen) -> None:
        """Print lines into the cell, as long as there is room for them."""
        shown = []
        for line in map(str, unseen.lines):
            self._bytes -= len(line.encode()) + 1
            if self._lines == 0 or self._bytes < 0:
                self._bytes = 0  # the lines after one that does not fit are not shown either
                break
            self._lines -= 1
            shown.append(line)
        self._more += len(unseen.lines) - len(shown) + unseen.missed
        if shown:
            print("\n".join(shown))

    def close(self, last_words: Iterable[str] = ()) -> None:
        """Say how much was too much to show, and what else there is to say."""
        if self._more:
            lines = "1 more line" if self._more == 1 else f"{self._more} more lines"
            print(f"… and {lines}: see the consumer's .output")
        for line in last_words:
            print(line)


def unseen(*, notices_only: bool = False) -> Unseen:
    """Return, in order, what this process's consumers have to say and nobody has seen."""
    taken = [consumer.unseen(notices_only) for consumer in list(session.consumers.values())]
    lines = [line for each in taken for line in each.lines]
    return Unseen(sorted(lines, key=lambda line: line.order), sum(each.missed for each in taken))


def show(unseen: Unseen) -> None:
    """Print lines into the running cell."""
    screen = Screen()
    screen.show(unseen)
    screen.close()


@contextmanager
def looking() -> Iterator[None]:
    """Mark that somebody is about to show what is unseen, so that a notice need not be said elsewhere."""
    session.watching += 1
    try:
        yield
    finally:
        session.watching -= 1


def show_notices_after_cells() -> None:
    """Let every cell of a notebook end with the notices nobody has seen; a second call changes nothing."""
    notebook.after_each_cell(_after_a_cell)


def _after_a_cell(_result: object) -> None:
    show(unseen(notices_only=True))
