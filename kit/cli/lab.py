"""``kit lab``: JupyterLab, open on a lesson, with a Postgres that stays as long as it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kit import extras
from kit.cli import lessons
from kit.cli.jupyter import PATIENCE, end_children
from kit.cli.programs import become, progress
from kit.errors import KitError

LABEXTENSIONS = Path(__file__).with_name("labextensions")  # as they are now, not as they were installed


def _arguments(folder: Path, lesson: str, *, browser: bool, port: int | None) -> list[str]:
    from kit.sources.files import is_root

    arguments = [
        *(sys.executable, "-m", "kit.cli.jupyter"),
        f"--ServerApp.root_dir={folder}",
        f"--LabApp.default_url=/lab/tree/{lesson}",
        f"--LabApp.extra_labextensions_path={LABEXTENSIONS}",
    ]
    if not browser:
        arguments.append("--no-browser")
    if port is not None:
        arguments.append(f"--port={port}")
    if is_root():
        arguments.append("--allow-root")  # a container often has only root, which JupyterLab refuses
    return arguments


def _environment(source: str) -> dict[str, str]:
    """Return JupyterLab's environment: kernels are this Python, and use one source."""
    ours = {"JUPYTER_PREFER_ENV_PATH": "1"}
    if source != "external":  # KIT_DSN names that one, and the kernels inherit it
        ours["KIT_POSTGRES"] = source
    return os.environ | ours


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise SystemExit on Ctrl-C, on SIGTERM and when the terminal is closed."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, _leave) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _leave(_number: int, _frame: object) -> None:
    sys.exit(0)


def _run(arguments: list[str], environment: dict[str, str]) -> int:
    """Run JupyterLab until it or this call ends, and return its exit code."""
    options: dict[str, Any] = {"start_new_session": True}  # the terminal's Ctrl-C is for this process alone
    if sys.platform == "win32":
        options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    process = subprocess.Popen(arguments, env=environment, stdin=subprocess.PIPE, **options)
    try:
        return process.wait()
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let JupyterLab end by itself, and kill it with its kernels if it does not, or on a second Ctrl-C."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(PATIENCE + 5)
    except BaseException as error:
        end_children(process.pid)
        process.kill()
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


def open_lab(
    lesson: str | None,
    database: str,
    *,
    browser: bool = True,
    port: int | None = None,
    fresh: bool = False,
    originals: bool = False,
) -> int:
    """Open JupyterLab on a lesson, with Postgres up as long as it runs; return JupyterLab's exit code.

    ``database`` is made if it is missing; each lesson makes its own. The lesson is the learner's own copy, or
    with ``originals`` the original; ``fresh`` makes the copy as it was at first.

    Raises:
        KitError: there is no such lesson, no JupyterLab, or no Postgres can be started.
    """
    notebook = lessons.find(lesson)
    if find_spec("jupyterlab") is None and "UV" in os.environ:  # as in `uvx --from pgqueuer-kit kit lab`
        return become([os.environ["UV"], "tool", "run", "--from", extras.requirement(), "kit", *sys.argv[1:]])
    extras.need("jupyterlab", "`kit lab`")
    if originals and not lessons.is_clone():
        raise KitError("The lessons' originals are in a clone of the project. Here is only what it installs.")
    name = notebook.relative_to(lessons.originals()).as_posix()
    folder = lessons.originals() if originals else _own_copy(name, fresh)
    with stopped_by_signals():
        with progress(lambda: "Postgres is starting"):
            from kit.sources import open_database

            held = open_database(database=database)
        try:
            print(f"PostgreSQL {held.version}, {held.source}: {held.why}. Ctrl-C stops the lab.", flush=True)
            return _run(_arguments(folder, name, browser=browser, port=port), _environment(held.source))
        finally:
            held.stop()


def _own_copy(lesson: str, fresh: bool) -> Path:
    """Return the folder of the learner's copy, with ``lesson`` in it, and say what has changed."""
    folder = lessons.own_copy()
    is_new = not folder.exists()
    newer = lessons.update(folder)
    kept = lessons.renew(folder / lesson, lessons.originals() / lesson) if fresh else None
    if is_new:
        print(f"Your own copy of the lessons, to change as you like: {folder}", flush=True)
    if newer:
        print(f"There are newer lessons. You have changed yours, so they are beside them: {', '.join(newer)}")
    if kept:
        print(f"{lesson} is as it was at first. Yours is kept as {kept}.")
    return folder
