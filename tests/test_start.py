"""``python3 -m kit`` in a clone where nothing is installed, run on a small project that needs no network."""

from __future__ import annotations

import ast
import functools
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit import __main__ as start
from kit.cli import programs

KIT = Path(start.__file__).parent
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "pgqueuer-kit"
version = "0"
requires-python = ">=3.11,<3.15"
"""
# What pip asks a project for, in the fewest lines: a wheel with one file that puts the project on the path.
BACKEND = """
import pathlib, zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(pathlib.Path(folder, "pgqueuer_kit-0-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("pgqueuer_kit.pth", str(pathlib.Path.cwd()))
        info = "pgqueuer_kit-0.dist-info/"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: pgqueuer-kit\\nVersion: 0\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return "pgqueuer_kit-0-py3-none-any.whl"
"""
APP = """
import os, shutil, sys
print("ran", sys.argv[1:], "in", sys.prefix, "from", os.getcwd())
sys.exit(7)
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "Schüler 1" / "a clone"
    (folder / "kit" / "cli").mkdir(parents=True)
    for name in ("__main__.py", "cli/programs.py"):
        shutil.copy(KIT / name, folder / "kit" / name)
    for package in ("kit", "kit/cli"):
        (folder / package / "__init__.py").touch()
    (folder / "kit" / "cli" / "app.py").write_text(APP)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "pyproject.toml").write_text(PROJECT)
    return folder


@pytest.fixture(autouse=True)
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds all that may be installed here: a pip, as the network would bring the newest."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel(folder, "pip")
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
        monkeypatch.setenv(f"UV_{name}", value)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    return folder


def wheel(folder: Path, name: str, **more: str) -> None:
    """Write a wheel with nothing in it but ``more``, files by their names."""
    info = f"{name}-99.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 99\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    } | more
    with zipfile.ZipFile(folder / f"{name}-99-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = 0o100755 << 16  # or a script is no program
            archive.writestr(entry, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]))


def python3(folder: Path, *words: str, path: str = "", **account: Any) -> subprocess.CompletedProcess[str]:
    """Run ``python3 -m kit`` as in a terminal, with these programs on the PATH: no uv, as it stands."""
    command = [getattr(sys, "_base_executable", sys.executable), "-m", "kit", *words]
    return run(command, folder, path=path, **account)


def run(command: list[str], folder: Path, path: str = "", **account: Any) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PYTHONUTF8": "1", "PATH": path}
    options: dict[str, Any] = {"capture_output": True, "text": True, "encoding": "utf-8"} | account
    return subprocess.run(command, cwd=folder, env=environment, check=False, **options)


def installer(clone: Path) -> str:
    """Return the name of the program that installed the project."""
    (found,) = (clone / ".venv").rglob("pgqueuer_kit-0.dist-info/INSTALLER")
    return found.read_text().strip()


def test_the_first_run_installs_the_project_and_each_run_passes_words_and_exit_code_on(clone: Path) -> None:
    first, second = python3(clone, "lab", "two words"), python3(clone, "doctor")
    assert first.returncode == second.returncode == 7, first.stderr
    assert first.stderr == f"Installing the kit into {clone / '.venv'}. That takes a moment, once.\n"
    assert f"ran ['lab', 'two words'] in {clone / '.venv'} from {clone}" in first.stdout
    assert second.stdout.startswith("ran ['doctor'] in")


def test_it_installs_again_when_the_project_has_changed_or_has_moved(clone: Path) -> None:
    python3(clone)
    (clone / "pyproject.toml").write_text(PROJECT + 'description = "newer"\n')
    assert "Installing the kit" in python3(clone).stderr
    assert "Installing the kit" not in python3(clone).stderr
    (clone / "kit" / "cli" / "settings.json").write_text("{}")  # is copied for Jupyter to find
    assert "Installing the kit" in python3(clone).stderr
    moved = clone.rename(clone.with_name("elsewhere"))
    assert f"in {moved / '.venv'}" in python3(moved).stdout
    python = moved / ".venv" / start.PYTHON.relative_to(start.ENVIRONMENT)
    answer = run([str(python), "-c", "import kit; print(kit.__file__)"], clone.parent)
    assert answer.stdout.strip() == str(moved / "kit" / "__init__.py")


def test_an_installation_that_was_cut_off_is_taken_up_again(clone: Path) -> None:
    python3(clone)
    (clone / ".venv" / start.STAMP.name).unlink()
    shutil.rmtree(next((clone / ".venv").rglob("site-packages")))
    assert python3(clone).returncode == 7


UV = sysconfig.get_path("scripts")


def test_uv_installs_where_it_is(clone: Path) -> None:
    assert python3(clone, path=UV).returncode == 7
    assert installer(clone) == "uv"
    (clone / "pyproject.toml").write_text(PROJECT + 'description = "newer"\n')
    assert python3(clone, path=UV).returncode == 7


@pytest.mark.skipif(sys.platform == "win32", reason="a script there is no program")
def test_where_there_is_no_uv_pip_fetches_it(clone: Path, wheels: Path) -> None:
    wheel(wheels, "uv", **{"uv-99.data/scripts/uv": f'#!/bin/sh\nexec {UV}/uv "$@"\n'})
    assert python3(clone).returncode == 7
    assert installer(clone) == "uv"


@pytest.mark.skipif(sys.platform == "win32", reason="a script there is no program")
@pytest.mark.parametrize("words", ["", '[ "$1" = --version ] ||'], ids=["at all", "for this project"])
def test_pip_installs_where_uv_cannot(clone: Path, tmp_path: Path, words: str) -> None:
    uv = tmp_path / "uv"
    uv.write_text(f'#!/bin/sh\n{words} {{ echo "no network"; exit 2; }}\n')
    uv.chmod(0o755)
    answer = python3(clone, path=str(tmp_path))
    assert answer.returncode == 7
    assert installer(clone) == "pip"
    assert ("no network\nThat was uv. Now pip tries it.\n" in answer.stderr) is bool(words)


def test_what_takes_long_says_so_again_and_again(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(programs, "EVERY", 0.1)
    code = "import sys; print('Downloading pandas', flush=True); sys.stdin.read()"
    with pytest.MonkeyPatch.context() as patch:
        read, write = os.pipe()
        patch.setattr(subprocess, "Popen", functools.partial(subprocess.Popen, stdin=read))
        said = ""

        def end_after_two_lines() -> None:
            nonlocal said
            while said.count("s  Downloading pandas\n") < 2:
                said += capfd.readouterr().err
            os.close(write)

        thread = threading.Thread(target=end_after_two_lines)
        thread.start()
        assert start._runs(sys.executable, "-c", code)
        thread.join()
    os.close(read)


def test_what_cannot_be_installed_says_so_and_runs_nothing(clone: Path) -> None:
    (clone / "pyproject.toml").write_text(PROJECT + 'dependencies = ["no-such-package-anywhere>=1"]\n')
    (clone / "backend.py").write_text(
        BACKEND.replace('Version: 0\\n"', 'Version: 0\\nRequires-Dist: nowhere\\n"')
    )
    answer = python3(clone)
    assert answer.returncode == 1
    assert "ran" not in answer.stdout
    assert answer.stderr.endswith(
        "The kit could not be installed: the lines above say why. This command tries it again.\n"
    )


def test_a_python_that_the_kit_does_not_support_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 6, "final", 0))
    with pytest.raises(start._CannotInstallError, match=r"needs Python 3.11 to 3.14, and this is 3.9.6 \("):
        start._check_python(PROJECT)


@pytest.mark.parametrize("name", ["__main__.py", "__init__.py", "cli/__init__.py", "cli/programs.py"])
def test_an_old_python_can_read_what_tells_it_so(name: str) -> None:
    ast.parse((KIT / name).read_text("utf-8"), feature_version=(3, 8))


@pytest.fixture
def closed(clone: Path) -> Iterator[Path]:
    """A clone that everybody can read and nobody but root can write to."""
    parent = Path(tempfile.mkdtemp(prefix="kit-closed-"))
    parent.chmod(0o755)
    folder = Path(shutil.copytree(clone, parent / "clone"))
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(parent)


@pytest.mark.skipif(sys.platform == "win32", reason="a folder there is closed in other ways")
def test_a_folder_that_cannot_be_written_to_is_named(closed: Path) -> None:
    options: dict[str, Any] = {}
    if os.geteuid() == 0:
        options = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    try:
        answer = python3(closed, **options)
    except OSError:
        pytest.skip("this Python is closed to other accounts")
    assert answer.returncode == 1
    assert f"{closed} is not yours to write. Clone the project into a folder of your own" in answer.stderr


def test_a_python_without_ensurepip_gets_pip_from_where_its_authors_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "get-it.py").write_text("import pathlib, sys; pathlib.Path(sys.argv[0] + '.ran').touch()")
    monkeypatch.setattr(start, "ENVIRONMENT", tmp_path)
    monkeypatch.setattr(start, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(start, "GET_PIP", (tmp_path / "get-it.py").as_uri())
    start._fetch_pip()
    assert (tmp_path / "get-pip.py.ran").exists()
    monkeypatch.setattr(start, "GET_PIP", "http://127.0.0.1:1/get-pip.py")
    with pytest.raises(start._CannotInstallError, match="sudo apt install python3-venv"):
        start._fetch_pip()
