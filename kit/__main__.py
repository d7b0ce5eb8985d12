"""``python3 -m kit`` in a clone of the project: install it into ``.venv`` if needed, and run it.

``python3 -m kit lab`` and every other command of ``kit`` work so, with any Python that the kit supports and
nothing installed; ``python3 -m kit test`` runs the tests. A Python that already has the project is used as
it is.

This file uses only the standard library. An older Python can read it, too, and reports that it is too old.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from importlib.machinery import PathFinder
from pathlib import Path

from kit.cli.programs import become, progress

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
CLI = ROOT / "kit" / "cli"  # with what is copied for Jupyter to find
STAMP = ENVIRONMENT / "pgqueuer-kit"  # written after an installation: what was installed
FAST = ("-m=fast", "-n=3", "--dist=loadgroup")  # on two cores, too: many tests wait for Postgres
GET_PIP = (
    "https://bootstrap.pypa.io/get-pip.py"  # where pip's own documentation sends those without ensurepip
)


class _CannotInstallError(Exception):
    """Says why in plain words, and what helps."""


def main(words: list[str]) -> int:
    """Run ``kit`` with these words, or the tests, and return the exit code."""
    tests = words[:1] == ["test"]
    try:
        python = sys.executable if _is_installed(tests) else _install(tests)
    except _CannotInstallError as error:
        print(error, file=sys.stderr)
        return 1
    if tests:
        os.chdir(ROOT)
        words = [each for word in words[1:] for each in (FAST if word == "--fast" else (word,))]
        return become([python, "-m", "pytest", *words])
    return become([python, "-m", "kit.cli.app", *words])


def _is_installed(tests: bool) -> bool:
    """Return whether the running Python has this very project installed, with what is asked for."""
    found = PathFinder.find_spec("kit", sys.path[1:])  # the first entry is the folder this was started in
    ours = found is not None and found.origin is not None and Path(found.origin).resolve().parents[1] == ROOT
    needed = ("jupyterlab", "xdist") if tests else ("jupyterlab",)
    return ours and all(importlib.util.find_spec(name) for name in needed)


def _install(tests: bool) -> str:
    """Install the project into ``.venv``, unless that was done, and return its Python."""
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    _check_python(project)
    _check_folder()
    parts = [str(ROOT), project, *(path.read_text("utf-8") for path in sorted(CLI.rglob("*.js*")))]
    wanted = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    installed = STAMP.read_text("utf-8").split() if STAMP.exists() else []
    works = _runs(str(PYTHON), "-c", "")
    if works and wanted in installed and (not tests or "test" in installed):
        return str(PYTHON)
    print(f"Installing the kit into {ENVIRONMENT}. That takes a moment, once.", file=sys.stderr, flush=True)
    if not works or (installed and wanted not in installed):  # the project was changed, or moved
        _do(sys.executable, "-m", "venv", "--without-pip", "--clear", str(ENVIRONMENT))
    # pip goes with it, for what a learner adds later.
    _install_with_uv_or_pip("pip", "--editable", ".[test]" if tests else ".[lab]")
    STAMP.write_text(f"{wanted} {'test' if tests else ''}\n", "utf-8")
    return str(PYTHON)


def _install_with_uv_or_pip(*wishes: str) -> None:
    """Install into ``.venv`` with uv, which pip fetches if it is missing, else with pip itself."""
    own = str(PYTHON.with_name("uv"))
    found = [path for path in (shutil.which("uv"), own) if path and _runs(path, "--version")]
    if not found and _runs(*_pip(), "install", "--only-binary=uv", "uv"):
        found = [own]
    if found:
        # Reinstalled, or uv takes what it built before the project was changed.
        options = ("--reinstall-package=pgqueuer-kit", f"--python={PYTHON}")
        if _runs(found[0], "pip", "install", *options, *wishes, show=True):
            return
        print("That was uv. Now pip tries it.", file=sys.stderr, flush=True)
    _do(*_pip(), "install", *wishes)


def _pip() -> list[str]:
    """Return a pip that installs into ``.venv``: this Python's, else one that is installed there."""
    for pip in ([sys.executable, "-m", "pip", f"--python={PYTHON}"], [str(PYTHON), "-m", "pip"]):
        if _runs(*pip, "--version"):
            return pip
    if not _runs(str(PYTHON), "-m", "ensurepip"):
        _fetch_pip()
    return [str(PYTHON), "-m", "pip"]


def _check_python(project: str) -> None:
    first, beyond = map(int, re.findall(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', project)[0])
    if not (3, first) <= sys.version_info < (3, beyond):
        have = ".".join(map(str, sys.version_info[:3]))
        raise _CannotInstallError(
            f"The kit needs Python 3.{first} to 3.{beyond - 1}, and this is {have} ({sys.executable}). "
            f"Install one of those, and run this command with it: python3.{beyond - 1} -m kit …"
        )


def _check_folder() -> None:
    there = ENVIRONMENT if ENVIRONMENT.exists() else ROOT
    if not os.access(there, os.W_OK | os.X_OK):
        raise _CannotInstallError(
            f"The kit is installed into {ENVIRONMENT}, and {there} is not yours to write. "
            "Clone the project into a folder of your own, and run this command there."
        )


def _fetch_pip() -> None:
    """Install pip in ``.venv`` if this Python has none, as on a Debian or Ubuntu without python3-venv."""
    script = ENVIRONMENT / "get-pip.py"
    try:
        with urllib.request.urlopen(GET_PIP, timeout=60) as answer:
            script.write_bytes(answer.read())
    except OSError as error:
        raise _CannotInstallError(
            f"This Python comes without pip, and {GET_PIP} cannot be had: {error}. "
            "On Debian and Ubuntu, `sudo apt install python3-venv` brings it. Then run this command again."
        ) from None
    _do(str(PYTHON), str(script), "--quiet")


def _runs(*command: str, show: bool = False) -> bool:
    """Run a command in the project's folder and show its last line as progress; return whether it succeeds.

    With ``show`` its whole output is shown if it fails.
    """
    lines = [" ".join(command)]
    try:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    except OSError:
        return False
    with process, progress(lambda: lines[-1].strip()[:100]):
        for line in process.stdout or ():
            lines.append(line)  # noqa: PERF402 - progress reads them meanwhile
    if show and process.returncode:
        print("".join(lines[1:]), end="", file=sys.stderr, flush=True)
    return process.returncode == 0


def _do(*command: str) -> None:
    """Run a command that must succeed; its output says what went wrong."""
    if not _runs(*command, show=True):
        raise _CannotInstallError(
            "The kit could not be installed: the lines above say why. This command tries it again."
        )


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
