"""``kit lab``: JupyterLab, open on a lesson, with a Postgres that stays as long as it does."""

from __future__ import annotations

import difflib
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kit.cli.jupyter import PATIENCE, end_children
from kit.errors import KitError

LABEXTENSIONS = Path(__file__).with_name("labextensions")  # what our JupyterLab does more than others


def lessons_folder() -> Path:
    """Return the folder that holds the lessons: beside this package, or in the current folder.

    Raises:
        KitError: neither has a ``notebooks`` folder with lessons in it.
    """
    for parent in (Path(__file__).resolve().parents[2], Path.cwd()):
        if any((parent / "notebooks").glob("[0-9][0-9]_*.ipynb")):
            return parent / "notebooks"
    raise KitError(
        f"There are no lessons beside the kit, and none in {str(Path.cwd() / 'notebooks')!r}. They come with "
        "the project: clone it, and run `python3 -m kit lab` in its folder."
    )


def find_lesson(wanted: str | None = None) -> Path:
    """Return the notebook of a lesson, or one that stands beside the lessons.

    ``wanted`` is a lesson's number (``"03"``, ``"3"``), its name (``"priorities"``) or its file
    (``"03_priorities"``, with or without folder and ``.ipynb``), or the name of another notebook in the
    lessons' folder (``"glossary"``); the first lesson when there is none.

    Raises:
        KitError: no notebook is called that. The message lists them, and names the closest one.
    """
    folder = lessons_folder()
    lessons = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if wanted is None:
        return lessons[0]
    others = sorted(set(folder.glob("*.ipynb")) - set(lessons))
    by_word = {other.stem.lower(): other for other in others}
    for lesson in lessons:
        number, _, name = lesson.stem.partition("_")
        by_word |= {number: lesson, str(int(number)): lesson, name: lesson, lesson.stem: lesson}
    asked = Path(wanted).name.removesuffix(".ipynb").lower()
    if asked in by_word:
        return by_word[asked]
    close = difflib.get_close_matches(asked, by_word, n=1, cutoff=0.5)
    hint = f" Did you mean {by_word[close[0]].stem!r}?" if close else ""
    known = f"The lessons are:\n{_listed(lessons)}"
    if others:
        known += f"\nBeside them there are:\n{_listed(others)}"
    raise KitError(f"There is no lesson {wanted!r}.{hint} {known}")


def _listed(notebooks: list[Path]) -> str:
    return "\n".join(f"  {notebook.stem}" for notebook in notebooks)


def _arguments(lesson: Path, *, browser: bool, port: int | None) -> list[str]:
    from kit.sources.files import is_root

    arguments = [
        *(sys.executable, "-m", "kit.cli.jupyter"),
        f"--ServerApp.root_dir={lesson.parent}",
        f"--LabApp.default_url=/lab/tree/{lesson.name}",
        f"--LabApp.extra_labextensions_path={LABEXTENSIONS}",
    ]
    if not browser:
        arguments.append("--no-browser")
    if port is not None:
        arguments.append(f"--port={port}")
    if is_root():
        arguments.append("--allow-root")  # or JupyterLab refuses, and a container often has only root
    return arguments


def _environment(source: str) -> dict[str, str]:
    """Return JupyterLab's environment: kernels are this Python, find `pgq`, use one source, give hints."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), *filter(None, [os.environ.get("PATH")])])
    ours = {"PATH": path, "JUPYTER_PREFER_ENV_PATH": "1"}
    if "PYTHONSTARTUP" not in os.environ:  # a learner's own stays
        ours["PYTHONSTARTUP"] = str(Path(__file__).with_name("startup.py"))
    if source != "external":  # KIT_DSN says that one, and the kernels inherit it
        ours["KIT_POSTGRES"] = source
    return os.environ | ours


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Leave by SystemExit on Ctrl-C, when the terminal is closed and on SIGTERM."""
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
    """Run JupyterLab until it ends, and return its exit code; it ends when this is left, too."""
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


def open_lab(lesson: str | None, database: str, *, browser: bool = True, port: int | None = None) -> int:
    """Open JupyterLab on a lesson, with Postgres up as long as it runs; return JupyterLab's exit code.

    ``database`` is made where it is missing; each lesson makes its own.

    Raises:
        KitError: there is no such lesson, no JupyterLab, or no Postgres can be started.
    """
    from kit.sources import open_database

    notebook = find_lesson(lesson)
    _check_jupyterlab()
    with _stopped_by_signals():
        held = open_database(database=database)
        try:
            print(f"PostgreSQL {held.version}, {held.source}: {held.why}. Ctrl-C stops the lab.", flush=True)
            return _run(_arguments(notebook, browser=browser, port=port), _environment(held.source))
        finally:
            held.stop()


def _check_jupyterlab() -> None:
    try:
        import jupyterlab  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise KitError(
            f"JupyterLab cannot be opened with {sys.executable}: {error}. "
            f"Run `{sys.executable} -m pip install -e .` in the project's folder; `kit doctor` tells more."
        ) from None
