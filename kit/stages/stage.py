"""`Stage`: a stage as it was declared; `Step`: the argument of its handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from kit.stages.store.schema import Connection


@dataclass
class Step:
    """The argument of a stage's handler.

    Attributes:
        run: the run's id.
        stage: the stage's name.
        data: what the run knows so far, as a dict; an instance of the stage's ``model``, if it has one.
        connection: a connection in the transaction that commits with this step. What you write through it is
            there exactly once. Do not end the transaction yourself. If a statement waits 5 seconds for a
            lock that somebody else holds, the step is undone and comes again a little later.
        attempt: 1 at the first try, and one more each time this stage is tried again.
        item: the item of this branch (an instance of the stage's ``model``, if it has one); else None.
        branch: the item's place in the list, from 0; None outside of a branch.
        next: the stage that follows. Where ``then=`` names several, set it to one of them; None ends the run.
    """

    run: int
    stage: str
    data: Any
    connection: Connection
    attempt: int
    item: Any
    branch: int | None
    next: str | None


Handler: TypeAlias = Callable[[Step], Awaitable[Any]]


@dataclass(frozen=True)
class Stage:
    """A stage as it was declared; `Pipeline.stage` explains its parts."""

    name: str
    handler: Handler
    then: tuple[str | None, ...]
    each: str | None
    model: Any
    retries: int
    backoff: float
    deadline: float | None
    crashes: int
