"""Checks for a run's row: a job's reference to it, data as JSON, and an error's message as text."""

from __future__ import annotations

import json
import re
import traceback
from contextlib import suppress
from typing import Any

from pgqueuer import Job

from kit.errors import KitError
from kit.errors.text import storable_text


def no_stage(pipeline: str, stage: str, stages: list[str]) -> str:
    """Return the message about a run in a stage that its pipeline does not have."""
    return (
        f"Pipeline {pipeline!r} has no stage {stage!r}, it has {', '.join(stages)}. Declare it (again), "
        "serve the pipeline, then kit.stages.retry(run)."
    )


def reference(job: Job) -> int:
    """Return the run that a job's payload names.

    Raises:
        KitError: the payload is something else, or names another stage.
    """
    stage = job.entrypoint.rpartition(".")[2]
    with suppress(ValueError, TypeError, KeyError):
        found = json.loads(job.payload or b"")
        if type(found["run"]) is int and 0 < found["run"] < 2**31 and found["stage"] == stage:
            return int(found["run"])
    raise KitError(
        f"The payload of job {job.id} of {job.entrypoint!r} is {job.payload!r:.200}, and that names no run "
        f'in this stage, as {{"run": 1, "stage": "{stage}"}} does. Runs begin with `await pipeline.start(…)`.'
    )


def to_json(value: Any, what: str) -> str:
    """Return a dict, a pydantic model or None as the text of a JSON object that jsonb takes.

    Raises:
        KitError: jsonb cannot hold it; ``what`` says what it is.
    """
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    if not isinstance(value, dict | None):
        raise KitError(f"{what} is a dict, a pydantic model or None, not {value!r:.200}.")
    try:
        text = json.dumps(value or {}, allow_nan=False, ensure_ascii=False)
        text.encode()
        if re.search(r"(?<!\\)(\\\\)*\\u0000", text):
            raise ValueError("Postgres keeps no NUL character in text")
    except (TypeError, ValueError, RecursionError) as error:
        raise KitError(f"{what} is {value!r:.200}, and jsonb cannot hold that: {error}.") from None
    return text


def message(error: Exception) -> str:
    """Return an error's message in a form that Postgres takes."""
    lines = [str(error)] if isinstance(error, KitError) else traceback.format_exception_only(error)
    return storable_text("".join(lines).strip())
