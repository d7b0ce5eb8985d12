"""Exercises of the lesson *Pipelines*."""

from __future__ import annotations

import json
from textwrap import indent
from typing import Any

from kit.exercises.answers import Answer
from kit.exercises.exercise import Exercise, NotYet, Wrong

NOTEBOOK = """
import kit
import json
from contextlib import asynccontextmanager
import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer, Queries
from kit.stages import Pipeline, Step
"""


async def _drained(pipeline: Any) -> None:
    from datetime import timedelta

    import asyncpg
    from pgqueuer import AsyncpgDriver, PgQueuer
    from pgqueuer.types import QueueExecutionMode

    async with pipeline.serve(PgQueuer(AsyncpgDriver(await asyncpg.connect()))) as pgq:
        await pgq.run(mode=QueueExecutionMode.drain, dequeue_timeout=timedelta(seconds=0.05))


async def _one_run(pipeline: Any, data: Any) -> None:
    import asyncpg

    await pipeline.start(await asyncpg.connect(), data)
    await _drained(pipeline)


async def _held_at(answer: Answer) -> None:
    held = await answer.sql("SELECT stage, error FROM kit_runs WHERE status = 'failed' ORDER BY id LIMIT 1")
    if held:
        raise NotYet("held", stage=held[0][0], error=held[0][1])


async def thanked_after_charged(answer: Answer) -> None:
    await answer.run_function(_one_run, answer["small"], {"items": ["cup"]})
    await _held_at(answer)
    stages = [
        row[0]
        for row in await answer.sql("SELECT stage FROM kit_run_history WHERE status = 'running' ORDER BY id")
    ]
    ((data,),) = await answer.sql("SELECT data::text FROM kit_runs")
    if "thank" not in stages:
        raise NotYet("no-stage", expected=[("charge",), ("thank",)], actual=stages, columns=("stage",))
    if stages != ["charge", "thank"]:
        raise NotYet(
            "another-order",
            expected=["charge", "thank"],
            actual=[(stage,) for stage in stages],
            columns=("stage",),
        )
    if json.loads(data).get("thanked") is not True:
        raise NotYet("not-said", data=json.loads(data))


_SMALL = """small = Pipeline("small")

"""
_CHARGE = """@small.stage()
async def charge(step: Step):
    return {"paid": 10}

"""
_THANK = """@small.stage()
async def thank(step: Step):
    return {"thanked": True}

"""

STAGE = Exercise(
    id="one-more-stage",
    kind="complete",
    title="One more stage",
    minutes=3,
    task='This small shop only charges. Give it a second stage, `thank`, after `charge`, that returns `{"thanked": True}`.',
    given=NOTEBOOK,
    names=("small",),
    stub=_SMALL + _CHARGE.rstrip() + "\n\n# Declare the second stage here.",
    solution=_SMALL + _CHARGE + _THANK,
    also=(
        _SMALL + _CHARGE + '@small.stage("thank")\nasync def say_thanks(step):\n    return dict(thanked=True)\n',
        _SMALL + _CHARGE.replace("()", '(then="thank")') + _THANK,
    ),
    check=thanked_after_charged,
    hints=(
        "A stage is an `async def` with a decorator above it, as `charge` is.",
        "The order of declaration is the order of the stages.",
        '`@small.stage()` above `async def thank(step): return {"thanked": True}`, below `charge`.',
    ),
    why="A run goes through the stages in the order in which they are declared, and what each returns is added to what "
    "the run knows.",
    wrong=(
        Wrong("declared first", _SMALL + _THANK + _CHARGE, "another-order"),
        Wrong("returns nothing", _SMALL + _CHARGE + _THANK.replace("return ", ""), "not-said"),
        Wrong("no decorator", _SMALL + _CHARGE + _THANK.replace("@small.stage()\n", "") + "small.declared\nPipeline('small')\nsmall.stage('thanks')(thank)", "no-stage"),
        Wrong("raises", _SMALL + _CHARGE + _THANK.replace('return {"thanked": True}', "return step.data['name']"), "held"),
    ),
    messages={
        "no-stage": "The run went through no stage called `thank`.",
        "another-order": "The stages come in another order: that in which they are declared.",
        "not-said": "The stage was done, and the run has learned nothing of it. It knows {data}.",
        "held": "The run is held at {stage!r}: {error}",
    },
    equivalent={
        "dropped `return {'paid': 10}`": 'the price is not asked',
"10 is 11": "the price is not asked", "'paid' is ''": "the price is not asked"},
)  # fmt: skip

_FIRST_END_FAILS = """
CREATE SEQUENCE accident_ended;
CREATE FUNCTION accident_fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.branch = 1 AND NEW.status = 'done' AND nextval('accident_ended') = 1 THEN
        RAISE EXCEPTION 'the check lets the second branch fail once';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER accident_fail BEFORE UPDATE ON kit_runs FOR EACH ROW EXECUTE FUNCTION accident_fail();
"""


async def _twice(pipeline: Any, data: Any, accident: str) -> None:
    import asyncpg

    from kit import stages

    connection = await asyncpg.connect()
    await connection.execute("CREATE TABLE labels (run int, item text)")
    run = await pipeline.start(connection, data)
    await connection.execute(accident)
    await _drained(pipeline)
    if await connection.fetchval("SELECT status FROM kit_runs WHERE id = $1", run) == "failed":
        stages.retry(run)
        await _drained(pipeline)


async def labelled_once_an_item(answer: Answer) -> None:
    items = ["cup", "saucer", "cup"]
    await answer.run_function(_twice, answer["labelling"], {"items": items}, _FIRST_END_FAILS)
    ((branches,),) = await answer.sql("SELECT count(*) FROM kit_runs WHERE parent IS NOT NULL")
    labels = [row[0] for row in await answer.sql("SELECT item FROM labels ORDER BY item")]
    columns = ("labels",)
    want = sorted(items)
    if branches != 3:
        await _held_at(answer)
        raise NotYet("no-branches", expected=[(3,)], actual=[(branches,)], columns=("branches",))
    if "items" in labels or any(item not in items for item in labels):
        answer.same(labels, want, "not-the-item", columns=columns)
    if len(labels) > 3:
        answer.same(labels, want, "own-connection", columns=columns)
    await _held_at(answer)
    answer.same(labels, want, "labels", columns=columns)


def _labelling(stage: str, body: str) -> str:
    lines = indent(body, "    ")
    return f'labelling = Pipeline("labelling")\n\n@labelling.stage({stage})\nasync def label(step: Step):\n{lines}\n'


_INSERT = 'await step.connection.execute("INSERT INTO labels VALUES ($1, $2)", step.run, {})'

FANOUT = Exercise(
    id="fanout",
    kind="complete",
    title="A label for each item",
    minutes=4,
    task="An order has several `items`. Let the stage `label` run once for each of them, as branches, and write one row "
    "into `labels` (columns `run` and `item`). Each item has one label in the end, also when a branch has to be tried "
    "again.",
    given=NOTEBOOK,
    names=("labelling",),
    stub=_labelling("", "print(step.data)").rstrip(),
    solution=_labelling('each="items"', _INSERT.format("step.item")),
    also=(
        _labelling('"label", each="items", retries=2, backoff=0.1', 'item = step.data["items"][step.branch]\n' + _INSERT.format("item")),
    ),
    check=labelled_once_an_item,
    hints=(
        "`each=` names the list of which every item gets a branch.",
        "In a branch `step.item` is the item. Write through `step.connection`.",
        '`@labelling.stage(each="items")` and `INSERT INTO labels VALUES ($1, $2)` with `step.run, step.item`.',
    ),
    why="Each branch is a job and a transaction of its own, so one that fails is repaired alone. What is written through "
    "`step.connection` takes effect with the step, or not at all.",
    wrong=(
        Wrong("a loop in one stage", _labelling("", f'for item in step.data["items"]:\n    {_INSERT.format("item")}'), "no-branches"),
        Wrong("a connection of its own", _labelling('each="items"', 'db = await asyncpg.connect()\nawait db.execute("INSERT INTO labels VALUES ($1, $2)", step.run, step.item)\nawait db.close()'), "own-connection"),
        Wrong("another list", _labelling('each="item"', _INSERT.format("step.item")), "held"),
        Wrong("all of them in each branch", _labelling('each="items"', _INSERT.format('"items"')), "not-the-item"),
        Wrong("writes nothing", _labelling('each="items"', "return {}"), "labels"),
        Wrong("needs what is not there", _labelling('each="items"', "step.item['name']"), "held"),
    ),
    messages={
        "no-branches": "The order has three items, and so three branches are expected.",
        "own-connection": "The second branch failed once, after its handler, and was tried again. Its label is there "
        "twice: it was not written in the step's transaction.",
        "not-the-item": "A label has to name the item of its branch.",
        "labels": "Labels are missing.",
        "held": "The run is held at {stage!r}: {error}",
    },
)  # fmt: skip


async def _broken_then_repaired(pipeline: Any, repair: Any) -> Any:
    import asyncpg

    connection = await asyncpg.connect()
    await connection.execute(
        "CREATE TABLE charges (run int); CREATE TABLE mended (yes int); CREATE TABLE parcels (run int)"
    )
    run = await pipeline.start(connection, {"items": ["cup"]})
    await _drained(pipeline)
    await connection.execute("INSERT INTO mended VALUES (1)")
    given = repair(pipeline, connection, run)
    if hasattr(given, "__await__"):
        await given
    await _drained(pipeline)
    return run


def _orders() -> Any:
    from kit.stages import Pipeline

    orders = Pipeline("orders")

    @orders.stage()
    async def charge(step: Any) -> None:
        await step.connection.execute("INSERT INTO charges VALUES ($1)", step.run)

    @orders.stage()
    async def pack(step: Any) -> None:
        if not await step.connection.fetchval("SELECT count(*) FROM mended"):
            raise ValueError("no box is big enough")
        await step.connection.execute("INSERT INTO parcels VALUES ($1)", step.run)

    return orders


async def repaired(answer: Answer) -> None:
    await answer.run_function(_broken_then_repaired, _orders(), answer["repair"])
    ((charges,),) = await answer.sql("SELECT count(*) FROM charges")
    ((parcels,),) = await answer.sql("SELECT count(*) FROM parcels")
    ((status,),) = await answer.sql("SELECT status FROM kit_runs WHERE id = 1")
    columns = ("charges", "parcels", "status of the run")
    have, want = [(charges, parcels, status)], [(1, 1, "done")]
    key = "charged-again" if charges > 1 else "canceled" if status == "canceled" else "still-held"
    if status in ("pending", "running"):
        key = "no-job"
    answer.same(have, want, key, columns=columns)


def _repair(body: str) -> str:
    return f"async def repair(shop, connection, run):\n    {body}\n"


REPAIR = Exercise(
    id="repair",
    kind="mend",
    title="Let it go on from there",
    minutes=3,
    task="A run is held at its second stage, and the cause is mended by now. Somebody has written this to repair it. "
    "Make it right: the run goes on, and nobody is charged again.",
    given=NOTEBOOK,
    names=("repair",),
    stub=_repair('await shop.start(connection, {"items": ["cup"]})').rstrip(),
    solution=_repair("kit.stages.retry(run)"),
    also=("def repair(shop, connection, run):\n    from kit.stages import retry\n    retry(run, {\"by\": \"hand\"})\n",),
    check=repaired,
    hints=(
        "What has been done of this run need not be done again.",
        "`kit.stages` has a call that lets a held run go on.",
        "`kit.stages.retry(run)`.",
    ),
    why="The run knows what is done and what is not, so it goes on where it is held. Whoever starts it anew does the "
    "first stages once more, and some of them cannot be taken back.",
    wrong=(
        Wrong("twice from the beginning", _repair('await shop.start(connection, {"items": ["cup"]}); await shop.start(connection, {})'), "charged-again"),
        Wrong("the row by hand", _repair("await connection.execute(\"UPDATE kit_runs SET status = 'pending', error = NULL WHERE id = $1\", run)"), "no-job"),
        Wrong("gives it up", _repair("kit.stages.cancel(run)"), "canceled"),
        Wrong("does nothing", _repair("return run"), "still-held"),
    ),
    messages={
        "charged-again": "Another run was begun, and the customer is charged twice.",
        "no-job": "The row says that it goes on, and no job moves it. A run is moved by the one job that it names.",
        "canceled": "The run is canceled. The customer has paid, and gets no parcel.",
        "still-held": "The run is still held.",
    },
)  # fmt: skip

EXERCISES = (REPAIR, STAGE, FANOUT)
