"""What every test shares: which of Docker and Chromium must be there, and that nothing is left behind."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from kit.sources import Postgres

pytest_plugins = ["kit.pytest_plugin"]

# A shell lets what it runs in the background ignore an interrupt, and all that is started from there.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# jsonschema takes it for addresses that no notebook has, and it takes seconds to import.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

# What tests see and start depends on no setting of whoever runs them: of a tool, of Postgres, or of the kit.
SETTINGS = r"PYTEST_(PLUGINS|DISABLE_.*)|PYTHON(WARNINGS|DONTWRITEBYTECODE)|GIT_.*"
SETTINGS += r"|.*COLORS?(_FORCE)?|COLUMNS|LINES|PAGER|PIP_(QUIET|VERBOSE|USER|REQUIRE_VIRTUALENV)"
SETTINGS += r"|PG.*|KIT_(POSTGRES|DSN)"
for name in list(os.environ):
    if re.fullmatch(SETTINGS, name):
        del os.environ[name]
sys.dont_write_bytecode = False  # or each program that is started compiles pandas and the rest anew

REQUIRED = {name.strip() for name in os.environ.get("KIT_REQUIRE", "").split(",") if name.strip()}


@pytest.fixture(scope="session", autouse=True)
def home() -> Iterator[Path]:
    """Keep the tests' Postgres apart from a learner's, and fail when it outlives the tests."""
    os.environ.pop("PYTEST_ADDOPTS", None)  # not before: xdist's workers read `--dist` from it
    folder = Path(tempfile.mkdtemp(prefix="kit-tests-"))
    folder.chmod(0o755)  # root's embedded server runs as another account, which must get in
    before = os.environ.get("KIT_HOME")
    os.environ["KIT_HOME"] = str(folder)
    yield folder
    if before is None:
        del os.environ["KIT_HOME"]
    else:
        os.environ["KIT_HOME"] = before
    deadline = time.monotonic() + 20
    while left := processes_about(folder):
        assert time.monotonic() < deadline, f"these outlived the tests by 20 s: {left}"
        time.sleep(0.1)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def queue_server(home: Path) -> Iterator[Postgres]:
    """The embedded server for `queue_database`, also where Docker is: that has tests of its own."""
    from kit.sources import open_database

    server = open_database("embedded", "pytest")
    yield server
    server.drop()
    server.stop()


def processes_about(folder: Path) -> list[str]:
    """Return the command lines of the servers and keepers that live in ``folder``."""
    lines = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            lines.append(" ".join(process.cmdline()))
    return [line for line in lines if str(folder) in line]


@pytest.fixture(autouse=True)
def no_thread_is_left_behind() -> Iterator[None]:
    """Fail the test that leaves one of the kit's threads running."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("kit"):
            thread.join(timeout=5)
            assert not thread.is_alive(), f"the test left the thread {thread.name!r} running"


@pytest.fixture
def no_consumer_stays() -> Iterator[None]:
    """Stop what consumes when the test is over, and forget who did."""
    yield
    from kit.session import session

    for consumer in session.consumers.values():
        consumer.stop(timeout=0)
    session.consumers.clear()
    session.began.clear()
    session.ended.clear()
    session.managers.clear()


@pytest.fixture
def database_and_no_consumers(request: pytest.FixtureRequest, no_consumer_stays: None) -> None:
    """A fresh database for each test that awaits, and no consumer that outlives its test."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("queue_database")


def chromium() -> str | None:
    """Return the Chromium the browser tests drive: ``KIT_CHROMIUM``, or one on the PATH."""
    named = os.environ.get("KIT_CHROMIUM")
    names = (named,) if named else ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


def why_no_docker() -> str | None:
    """Return why no Postgres can be run in Docker, in one line; None when it can."""
    if shutil.which("docker") is None:
        return "there is no `docker` command on this machine"
    image = os.environ.get("KIT_POSTGRES_IMAGE", "postgres:18-alpine")
    if not docker("info"):
        return "no Docker engine answers: start Docker, then run the tests again"
    if not docker("image", "inspect", image) and not docker("pull", image):
        return f"the image {image!r} is not there and cannot be pulled: name another with KIT_POSTGRES_IMAGE"
    return None


def docker(*arguments: str) -> bool:
    """Return whether a docker command succeeds within five minutes."""
    try:
        return subprocess.run(["docker", *arguments], capture_output=True, timeout=300).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def why_no_browser() -> str | None:
    """Return why no browser can be driven, in one line; None when one is there."""
    if chromium() is not None:
        return None
    return "there is no Chromium: install it, or name one with KIT_CHROMIUM"


def firefox() -> str | None:
    """Return the Firefox that a test drives, as it is released."""
    return next((found for name in ("firefox-esr", "firefox") if (found := shutil.which(name))), None)


def why_no_firefox() -> str | None:
    """Return why no Firefox can be driven, in one line; None when one is there."""
    return None if firefox() is not None else "there is no Firefox on the PATH of this machine"


def why_no_pgbouncer() -> str | None:
    """Return why no pooler can be run, in one line; None when one is there."""
    if shutil.which("pgbouncer") is not None:
        return None
    return "there is no `pgbouncer` on the PATH of this machine"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares a server or a kernel, and mark what each test needs."""
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        shared = [str(parameters.get(fixture, "")) for fixture in ("learner", "run")]
        if "run" in parameters:  # once on each source, for all tests of that lesson
            shared.append(re.findall(r"\d\d", parameters.get("name", item.name))[0])
        item.add_marker(pytest.mark.xdist_group(" ".join([str(item.path), *shared])))
        for marker in groups(item):
            item.add_marker(marker)


# Fixtures and files of tests that start programs: kernels, workers, servers, commands.
STARTS = {"own_home", "teacher", "learner", "hub", "run", "kernel", "lab", "wheel"}
STARTING = (
    "tests/classroom/test_marks.py",
    "tests/errors/test_hints.py",
    "tests/exercises/",
    "tests/lessons/test_crashes_hurt_nobody.py",
    "tests/lessons/test_companions.py",
    "tests/lessons/test_deployment.py",
    "tests/lessons/test_new.py",
    "tests/sources/",
    "tests/stages/test_chaos.py",
    "tests/stages/test_workers.py",
    "tests/test_start.py",
    "tests/worker/",
)
# What waits, on purpose: for a consumer that hangs or has lost Postgres, for a heartbeat, for all its faults.
WAITING = (
    "tests/consumer/test_bad_jobs.py",
    "tests/consumer/test_connection.py",
    "tests/consumer/test_elsewhere.py",
    "tests/consumer/test_hanging.py",
    "tests/consumer/test_run.py",
    "tests/consumer/test_stopping.py",
    "tests/consumer/test_wait.py",
    "tests/lessons/test_what_is_said_beside_the_cells.py",
    "tests/pictures/test_board_published.py",
    "tests/pictures/test_feed.py",
    "tests/pictures/test_panel.py",
    "tests/stages/test_away.py",
    "tests/stages/test_databases.py",
    "tests/stages/test_failures.py",
    "tests/stages/test_properties.py",
    "tests/test_mistakes.py",
)
CONNECTS = {"queue_server", "server", "database_and_no_consumers"}


def groups(item: pytest.Item) -> list[str]:
    """Return the markers that say what a test needs: one of those below, and whether it is `fast`."""
    fixtures = set(getattr(item, "fixturenames", ()))
    if any(item.get_closest_marker(name) for name in ("docker", "browser", "firefox", "pgbouncer")):
        return []
    if fixtures & STARTS or item.nodeid.startswith(STARTING):
        return ["processes"]
    quick = () if item.nodeid.startswith(WAITING) else ("fast",)
    return ["postgres" if fixtures & CONNECTS else "nothing", *quick]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Ask for Docker, a browser and PgBouncer only where a test that was chosen needs them."""
    _skip_what_cannot_run(session.items)


def _skip_what_cannot_run(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run and say why; fail where KIT_REQUIRE says that it must run."""
    reasons = {
        "docker": why_no_docker,
        "browser": why_no_browser,
        "firefox": why_no_firefox,
        "pgbouncer": why_no_pgbouncer,
    }
    for marker, reason_of in reasons.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        if not marked or (reason := reason_of()) is None:
            continue
        if marker in REQUIRED:
            pytest.exit(f"KIT_REQUIRE names {marker!r}, but {reason}", returncode=1)
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))
