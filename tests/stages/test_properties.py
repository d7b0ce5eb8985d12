"""Random pipelines and faults: every run ends as its faults say, and each step's effect is there once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import pgqueuer
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pgqueuer import AsyncpgDriver, PgQueuer

import kit.stages
from kit.sources import Postgres
from kit.stages import Pipeline, Step

PATIENCE = 60.0
MISHAPS = ("none", "cut", "deadlock", "stop")  # what keeps a try from its end, and is no failure

Place = tuple[int, str, int | None]  # run, stage, branch


@dataclass
class Plan:
    """One stage: what it is declared with, and what it does."""

    name: str
    items: int | None  # None: a plain stage
    following: list[str | None]
    choice: str | None
    retries: int


@dataclass
class Story:
    """A pipeline; for each step of each run how often its handler raises, and what mishaps its tries meet."""

    plans: list[Plan]
    runs: int
    raises: dict[Place, int] = field(default_factory=dict)
    mishaps: dict[Place, list[str]] = field(default_factory=dict)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    names = [f"s{number}" for number in range(draw(st.integers(1, 5)))]
    plans = []
    for place, name in enumerate(names, start=1):
        later: list[str | None] = [*names[place:], None]
        items = draw(st.none() | st.integers(0, 3))
        most = 1 if items is not None else len(later)
        following = draw(st.lists(st.sampled_from(later), min_size=1, max_size=most, unique=True))
        plans.append(Plan(name, items, following, draw(st.sampled_from(following)), draw(st.integers(0, 2))))
    story = Story(plans, draw(st.integers(1, 3)))
    for run in range(1, story.runs + 1):
        for plan in plans:
            for branch in [None] if plan.items is None else range(plan.items):
                story.raises[run, plan.name, branch] = draw(st.integers(0, 3))
                story.mishaps[run, plan.name, branch] = draw(st.lists(st.sampled_from(MISHAPS), max_size=3))
    return story


def expect(story: Story, order: int, *, repaired: bool) -> tuple[str, str, Counter[tuple[str, int | None]]]:
    """Return the stage and status in which a run ends, and its effects."""
    plans = {plan.name: plan for plan in story.plans}
    effects: Counter[tuple[str, int | None]] = Counter()
    name: str | None = story.plans[0].name
    while name is not None:
        plan = plans[name]
        held = False
        for branch in [None] if plan.items is None else range(plan.items):
            if not repaired and story.raises[order, name, branch] > plan.retries:
                held = True
            else:
                effects[name, branch] += 1
        if held:
            return name, "failed", effects
        last, name = name, plan.choice
    return last, "done", effects


class Machine:
    """Runs a story: its pipeline, and a consumer that is started again when a fault stops it."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.tries: Counter[Place] = Counter()
        self.repaired = False
        self.stop = asyncio.Event()
        self.pipeline = Pipeline("p")
        for plan in story.plans:
            self.declare(plan)

    def declare(self, plan: Plan) -> None:
        async def handler(step: Step) -> dict[str, Any]:
            await step.connection.execute(
                "INSERT INTO effects VALUES ($1, $2, $3)", step.run, step.stage, step.branch
            )
            place = (step.data["order"], step.stage, step.branch)
            if not self.repaired:
                await self.fail(place, step)
            step.next = plan.choice
            return {plan.name: step.item if plan.items is not None else "did"}

        self.pipeline.stage(
            plan.name,
            then=plan.following,
            each=None if plan.items is None else f"list_{plan.name}",
            retries=plan.retries,
            backoff=0,
            crashes=50,  # a busy machine may deliver a job again, as if its worker had died
        )(handler)

    async def fail(self, place: Place, step: Step) -> None:
        mishaps, self.tries[place] = self.story.mishaps[place], self.tries[place] + 1
        mishap = next(iter(mishaps[self.tries[place] - 1 :]), "none")
        if mishap == "deadlock":
            raise asyncpg.DeadlockDetectedError("a mishap")
        if mishap == "cut":
            await step.connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        if mishap == "stop":
            self.stop.set()
            await asyncio.sleep(3600)
        failures = await step.connection.fetchval(
            """SELECT failures FROM kit_runs
               WHERE coalesce(parent, id) = $1 AND branch IS NOT DISTINCT FROM $2 AND stage = $3""",
            *(step.run, step.branch, step.stage),
        )
        if failures < self.story.raises[place]:
            raise ValueError(f"failure {failures + 1}")

    @asynccontextmanager
    async def main(self) -> AsyncIterator[PgQueuer]:
        connection = await asyncpg.connect()
        try:
            async with self.pipeline.serve(PgQueuer(AsyncpgDriver(connection)), connections=4) as pgq:
                yield pgq
        finally:
            await connection.close()

    async def drain(self, connection: asyncpg.Connection[Any]) -> None:
        """Consume until the queue is empty, with another consumer whenever a fault has stopped this one."""
        async with asyncio.timeout(PATIENCE):
            empty = False
            while not empty:
                self.stop.clear()
                shutdown = asyncio.Event()
                consumer = asyncio.create_task(
                    pgqueuer.run(
                        self.main,
                        dequeue_timeout=timedelta(seconds=0.05),
                        heartbeat_timeout=timedelta(seconds=0.5),
                        shutdown=shutdown,
                    )
                )
                while not (empty or self.stop.is_set() or consumer.done()):
                    await asyncio.sleep(0.01)
                    empty = await connection.fetchval("SELECT NOT EXISTS (SELECT FROM pgqueuer)")
                shutdown.set()
                while self.stop.is_set() and not consumer.done():  # first the loop, then its handlers
                    consumer.cancel()
                    await asyncio.sleep(0.01)
                with suppress(asyncio.CancelledError):
                    await consumer


async def play(story: Story) -> None:
    machine = Machine(story)
    connection = await asyncpg.connect()
    try:
        await connection.execute(
            """DROP TABLE IF EXISTS effects, copies, kit_runs, kit_run_history;
            TRUNCATE pgqueuer, pgqueuer_log;
            CREATE TABLE effects (run bigint, stage text, branch int);
            CREATE TABLE copies (LIKE pgqueuer);
            CREATE OR REPLACE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS
            $$BEGIN INSERT INTO copies SELECT NEW.*; RETURN NULL; END$$;
            CREATE OR REPLACE TRIGGER copy AFTER INSERT ON pgqueuer FOR EACH ROW EXECUTE FUNCTION copy()"""
        )
        for order in range(1, story.runs + 1):
            data = {f"list_{plan.name}": list(range(plan.items or 0)) for plan in story.plans}
            assert await machine.pipeline.start(connection, {"order": order, **data}) == order
        await machine.drain(connection)
        await compare(connection, story, repaired=False)

        # Every job there ever was comes again, as if its worker had died before PGQueuer put it away.
        before = await connection.fetch("SELECT * FROM kit_runs ORDER BY id")
        await connection.execute(
            """ALTER TABLE pgqueuer DISABLE TRIGGER copy;
            INSERT INTO pgqueuer SELECT * FROM copies ON CONFLICT DO NOTHING;
            ALTER TABLE pgqueuer ENABLE TRIGGER copy"""
        )
        await machine.drain(connection)
        assert await connection.fetch("SELECT * FROM kit_runs ORDER BY id") == before
        await compare(connection, story, repaired=False)

        machine.repaired = True
        for run in await connection.fetch(
            "SELECT id FROM kit_runs WHERE status = 'failed' AND parent IS NULL"
        ):
            await asyncio.to_thread(kit.stages.retry, run["id"])
        await machine.drain(connection)
        await compare(connection, story, repaired=True)
    finally:
        await connection.close()


async def compare(connection: asyncpg.Connection[Any], story: Story, *, repaired: bool) -> None:
    """Compare each run's row, its data and its effects with what the story leads to."""
    for order in range(1, story.runs + 1):
        stage, status, effects = expect(story, order, repaired=repaired)
        row = await connection.fetchrow("SELECT * FROM kit_runs WHERE id = $1", order)
        assert row is not None
        assert (row["stage"], row["status"], row["job"]) == (stage, status, None)
        found = await connection.fetch("SELECT stage, branch FROM effects WHERE run = $1", order)
        assert Counter((effect["stage"], effect["branch"]) for effect in found) == effects
        data = json.loads(row["data"])
        for plan in story.plans:
            if plan.items is not None and (plan.name in data):
                assert data[plan.name] == [{plan.name: item} for item in range(plan.items)]
    assert await connection.fetchval("SELECT count(*) FROM pgqueuer") == 0


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(story=stories())
def test_every_run_ends_as_its_faults_say_and_each_effect_is_there_once(
    queue_database: Postgres, monkeypatch: pytest.MonkeyPatch, story: Story
) -> None:
    monkeypatch.setattr("kit.stages.runner.PAUSE", 0.01)
    asyncio.run(play(story))
