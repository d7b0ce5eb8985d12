"""Declaring a pipeline: its stages in order, and the entrypoints that serve them."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
from pgqueuer import PgQueuer

from kit.errors import KitError
from kit.stages.checks import to_json
from kit.stages.runner import StageRunner
from kit.stages.stage import Handler, Stage
from kit.stages.store import calls, people, schema
from kit.stages.store.schema import Connection
from kit.stages.tables import runs

H = TypeVar("H", bound=Handler)


class Pipeline:
    """Stages in the order in which a run goes through them.

    Args:
        name: the first half of each entrypoint: stage ``pack`` of ``orders`` is entrypoint ``orders.pack``.
    """

    def __init__(self, name: str) -> None:
        self.name = _checked(name)
        self.declared: dict[str, Stage] = {}

    def __repr__(self) -> str:
        return f"<Pipeline {self.name!r}: {', '.join(self.declared) or 'no stages yet'}>"

    def stage(
        self,
        name: str | None = None,
        *,
        then: str | Sequence[str | None] = (),
        each: str | None = None,
        model: Any = None,
        retries: int = 0,
        backoff: float = 1.0,
        deadline: float | None = None,
        crashes: int = 3,
    ) -> Callable[[H], H]:
        """Declare the next stage: a decorator for its handler, an ``async def`` that takes a `Step`.

        The handler returns a dict (or a pydantic model, or None) that is added to the run's data.

        Args:
            name: the stage's name; the function's, if left out.
            then: the stage that follows, or several to choose from with ``step.next`` (the first, if the
                handler does not set it; None ends the run). They stand below this one. Left out: the next.
            each: the key of a list in the data. The stage runs once for each item, in branches beside each
                other. The next stage begins when all are done, and finds what they returned, in the list's
                order, in the data under this stage's name.
            model: a pydantic model that the data (in a branch: the item) must fit.
            retries: how often the stage is tried again when its handler raises, before the run is held.
            backoff: seconds before the first of these tries. Each later one waits twice as long, at most an
                hour.
            deadline: seconds that one try may take.
            crashes: how many tries may be cut short because their worker died (killed, out of memory), before
                the run is held. A consumer that is stopped, or loses Postgres, does not count.

        Raises:
            KitError: the handler is not async, or the stage's name is taken.
        """
        if callable(name):
            raise KitError(
                f"A stage is declared with parentheses: @….stage() above `async def {name.__name__}`."
            )
        following = (then,) if isinstance(then, str) else tuple(then)
        if each is not None and len(following) > 1:
            raise KitError(
                f"Branches cannot choose the next stage: each={each!r} goes with one stage in then=."
            )

        def declare(handler: H) -> H:
            is_async: bool = inspect.iscoroutinefunction(handler)
            if not is_async:
                raise KitError(f"A stage's handler is an `async def` that takes the step, not {handler!r}.")
            stage = _checked(name or handler.__name__)
            known = self.declared.get(stage)
            # The same function again is a notebook cell that was run again: it takes the old one's place.
            if known and _origin(known.handler) != _origin(handler):
                raise KitError(f"{self.name!r} has a stage {stage!r} already. Give this one another name=.")
            self.declared[stage] = Stage(
                stage, handler, following, each, model, retries, backoff, deadline, crashes
            )
            return handler

        return declare

    @property
    def stages(self) -> dict[str, tuple[str | None, ...]]:
        """Each stage, in order of declaration, with those that may follow it (None: the run ends).

        Raises:
            KitError: there is no stage, or ``then=`` names one that does not stand below it.
        """
        if not self.declared:
            raise KitError(
                f"Pipeline {self.name!r} has no stages yet. Declare one with its .stage decorator."
            )
        names = [*self.declared, None]
        flow = {}
        for place, stage in enumerate(self.declared.values(), start=1):
            flow[stage.name] = stage.then or (names[place],)
            if strange := [name for name in flow[stage.name] if name not in names[place:]]:
                below = " or ".join(map(repr, names[place:]))
                raise KitError(
                    f"Stage {stage.name!r} has then={strange[0]!r}, and that is no stage declared below it. "
                    f"A run goes only forward, here to {below}."
                )
        return flow

    async def start(self, connection: Connection, data: Any = None, *, deadline: float | None = None) -> int:
        """Begin a run: its row and the job of its first stage, in one transaction (yours, if one is open).

        Args:
            connection: an asyncpg connection of your own, not the one a consumer works with.
            data: what the run knows at the start: a dict that JSON can hold, or a pydantic model.
            deadline: seconds from now within which the run must end; after that it is held.

        Returns:
            The run's id.

        Raises:
            KitError: this is no such connection, JSON cannot hold the data, the stages make no sense, or
                Postgres is away. When it does not answer within 10 seconds, the connection is closed.
        """
        if not (hasattr(connection, "transaction") and hasattr(connection, "terminate")):
            raise KitError(
                f"start(…) takes a connection of asyncpg's first, not {connection!r:.60}, and then the data: "
                "start(await asyncpg.connect(), {…})."
            )
        first, text = next(iter(self.stages)), to_json(data, "The data of a run")
        async with calls.limited(connection):
            await schema.install(connection)
            async with connection.transaction():
                return await people.new_run(connection, self.name, first, text, deadline)

    @asynccontextmanager
    async def serve(
        self, pgq: PgQueuer, *, dsn: str | None = None, connections: int = 10
    ) -> AsyncIterator[PgQueuer]:
        """Register an entrypoint for each stage on ``pgq``, and serve it as long as the block lasts.

        Yields ``pgq``. The steps work on connections of their own, because ``pgq``'s belongs to PGQueuer.

        Args:
            dsn: where they lead; to the database that ``PG*`` name, if left out.
            connections: how many there may be, which is how many steps this consumer does at once.

        Raises:
            KitError: ``pgq`` serves a pipeline of this name already, or the stages make no sense.
        """
        entrypoints = [f"{self.name}.{stage}" for stage in self.stages]
        if taken := [name for name in entrypoints if name in pgq.qm.entrypoint_registry]:
            raise KitError(
                f"This PgQueuer has an entrypoint {taken[0]!r} already: two pipelines are named "
                f"{self.name!r}. Give one of them another name."
            )
        async with asyncpg.create_pool(dsn, min_size=0, max_size=connections, timeout=calls.LIMIT) as pool:
            async with pool.acquire() as connection, calls.limited(connection):
                await schema.install(connection)
                async with connection.transaction():
                    await people.adopt(connection, self.name, list(self.declared))
            runner = StageRunner(self.name, self.declared, self.stages, pgq, pool)
            for entrypoint in entrypoints:
                # A failing stage puts its job away itself. What is left to hold is a payload without a run.
                pgq.entrypoint(entrypoint, on_failure="hold")(runner.deliver)
            yield pgq

    def picture(self) -> Any:
        """Return a picture of this pipeline's runs, each at its stage, and beside it the same in words."""
        from kit.stages.picture import draw

        return draw(self.name, self.stages, runs(self.name))


def _checked(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
        raise KitError(f"The name of a pipeline or a stage is letters, digits, - and _, not {name!r}.")
    return name


def _origin(handler: Any) -> tuple[str, str]:
    return handler.__module__, handler.__qualname__
