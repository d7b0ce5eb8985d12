"""The kernels that the tests of lessons share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import REQUIRED
from tests.lessons.learner import Learner, execute, learner_of
from tests.lessons.notebook import LESSONS, Lesson
from tests.night import LONG

# Where Docker must be there, lessons run on it; on the embedded server their sections run in any case.
ON_DOCKER = pytest.param("docker", marks=pytest.mark.docker)
SOURCES = [ON_DOCKER] if "docker" in REQUIRED else ["embedded", ON_DOCKER]


@contextmanager
def postgres_from(source: str) -> Iterator[None]:
    """Let kernels that start meanwhile take Postgres from this source."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_POSTGRES", source)
        yield


@pytest.fixture(scope="session", params=SOURCES)
def run(request: pytest.FixtureRequest, home: Path) -> Callable[[str], Lesson]:
    """Run a lesson top to bottom, once on each source; later questions read the same run."""
    runs: dict[str, Lesson | AssertionError] = {}

    def once(name: str) -> Lesson:
        if name in LONG:
            pytest.skip("it takes its time, and is run by night")
        if name not in runs:
            try:
                with postgres_from(request.param):
                    runs[name] = execute(name)
            except AssertionError as error:
                runs[name] = error
        outcome = runs[name]
        if isinstance(outcome, AssertionError):
            raise outcome
        return outcome

    return once


@pytest.fixture(scope="module", params=LESSONS)
def learner(request: pytest.FixtureRequest, home: Path) -> Iterator[Learner]:
    """A learner with one kernel for one lesson, which the tests of its sections share."""
    with postgres_from("embedded"), learner_of(request.param) as learner:
        yield learner
