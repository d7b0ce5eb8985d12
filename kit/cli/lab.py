"""``kit lab``: JupyterLab, open on a lesson, with a Postgres that stays as long as it does."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kit.errors import KitError

NOTIFICATIONS = "@jupyterlab/apputils-extension:notification"  # the plugin that asks whether to fetch news


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
        "the project: clone it, run `pip install -e .` in its folder, then `kit lab` again."
    )


def find_lesson(wanted: str | None = None) -> Path:
    """Return the notebook of a lesson.

    ``wanted`` is its number (``"03"``, ``"3"``), its name (``"priorities"``) or its file
    (``"03_priorities"``, with or without folder and ``.ipynb``); the first lesson when there is none.

    Raises:
        KitError: no lesson is called that. The message lists the lessons and the closest one.
    """
    lessons = sorted(lessons_folder().glob("[0-9][0-9]_*.ipynb"))
    if wanted is None:
        return lessons[0]
    asked = Path(wanted).name.removesuffix(".ipynb").lower()
    by_word: dict[str, Path] = {}
    for lesson in lessons:
        number, _, name = lesson.stem.partition("_")
        by_word |= {number: lesson, str(int(number)): lesson, name: lesson, lesson.stem: lesson}
    if asked in by_word:
        return by_word[asked]
    close = difflib.get_close_matches(asked, by_word, n=1, cutoff=0.5)
    hint = f" Did you mean {by_word[close[0]].stem!r}?" if close else ""
    known = "\n".join(f"  {lesson.stem}" for lesson in lessons)
    raise KitError(f"There is no lesson {wanted!r}.{hint} The lessons are:\n{known}")


@contextmanager
def _settings_without_news() -> Iterator[Path]:
    """Yield a folder of JupyterLab settings: those of this environment, without the question about news."""
    try:
        from jupyterlab.commands import get_app_dir  # type: ignore[import-untyped]
    except ImportError as error:
        raise KitError(
            f"JupyterLab cannot be opened with {sys.executable}: {error}. "
            "Run `pip install -e .` in the project's folder; `kit doctor` tells more."
        ) from None

    with tempfile.TemporaryDirectory(prefix="kit-lab-") as temporary:
        folder = Path(temporary) / "settings"
        environment = Path(get_app_dir()) / "settings"
        if environment.is_dir():
            shutil.copytree(environment, folder)
        folder.mkdir(exist_ok=True)
        path = folder / "overrides.json"
        settings = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        settings.setdefault(NOTIFICATIONS, {})["fetchNews"] = "false"
        path.write_text(json.dumps(settings), "utf-8")
        yield folder


def _arguments(lesson: Path, settings: Path, *, browser: bool, port: int | None) -> list[str]:
    from kit.sources.files import is_root

    arguments = [
        *(sys.executable, "-m", "jupyterlab"),
        f"--ServerApp.root_dir={lesson.parent}",
        f"--LabApp.default_url=/lab/tree/{lesson.name}",
        f"--LabServerApp.app_settings_dir={settings}",
        "--ServerApp.answer_yes=True",  # one Ctrl-C is enough
        # Whoever opens it by hand needs the address from the log; with a browser, only trouble matters.
        "--log-level=WARN" if browser else "--no-browser",
    ]
    if port is not None:
        arguments.append(f"--port={port}")
    if is_root():
        arguments.append(
            "--allow-root"
        )  # JupyterLab refuses root without it, and a container often has only root
    return arguments


def _environment(source: str) -> dict[str, str]:
    """Return JupyterLab's environment: its kernels are this Python, find `pgq` and use one source."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), *filter(None, [os.environ.get("PATH")])])
    ours = {"PATH": path, "JUPYTER_PREFER_ENV_PATH": "1"}
    if source != "external":  # KIT_DSN says that one, and the kernels inherit it
        ours["KIT_POSTGRES"] = source
    return os.environ | ours


@contextmanager
def _when_asked_to_stop(handler: Callable[[int], None]) -> Iterator[None]:
    """Call ``handler`` on Ctrl-C, when the terminal is closed and on SIGTERM."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, lambda number, _: handler(number)) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _leave(_number: int) -> None:
    sys.exit(0)


def _run(arguments: list[str], environment: dict[str, str]) -> int:
    """Run JupyterLab until it ends, and return its exit code; asked to stop, stop JupyterLab first."""
    process = subprocess.Popen(arguments, env=environment)
    asked = False

    def stop(number: int) -> None:
        nonlocal asked
        asked = True
        # On Windows a Ctrl-C reaches JupyterLab as well, and terminate() there would cut its kernels off.
        if sys.platform != "win32" or number != signal.SIGINT:
            process.terminate()

    with _when_asked_to_stop(stop):
        code = process.wait()
    return 0 if asked else code


def open_lab(lesson: str | None, database: str, *, browser: bool = True, port: int | None = None) -> int:
    """Open JupyterLab on a lesson, with Postgres up as long as it runs; return JupyterLab's exit code.

    ``database`` is made where it is missing; each lesson makes its own.

    Raises:
        KitError: there is no such lesson, or no Postgres can be started.
    """
    from kit.sources import open_database

    notebook = find_lesson(lesson)
    with _when_asked_to_stop(_leave), _settings_without_news() as settings:
        held = open_database(database=database)
        try:
            print(f"PostgreSQL {held.version}, {held.source}: {held.why}. Ctrl-C stops the lab.", flush=True)
            return _run(_arguments(notebook, settings, browser=browser, port=port), _environment(held.source))
        finally:
            held.stop()
