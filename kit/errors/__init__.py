"""The kit's one exception: what happened, in plain words, and the next step."""

from __future__ import annotations


class KitError(Exception):
    """Something a learner can mend.

    The message says what happened, names the bad value and gives the next step. In a notebook it is
    shown without a traceback, because the traceback would only show the kit's own code.
    """

    def _render_traceback_(self) -> list[str]:
        # IPython asks an exception for this before it formats one itself.
        return [f"{KitError.__name__}: {self}"]
