"""`kit class bundle`, with an index of this machine's that has small wheels; and a real one, by night."""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import re
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

from kit.classroom import bundle
from kit.cli import lessons
from kit.errors import KitError
from kit.sources import files
from tests.conftest import processes_about
from tests.night import SEEDS
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
UV = shutil.which("uv", path=sysconfig.get_path("scripts")) or "uv"


def wheel(folder: Path, name: str, tag: str = "py3-none-any", *needs: str, size: int = 0) -> Path:
    """Write a wheel with one module and ``size`` bytes beside it."""
    info = f"{name}-1.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\nProvides-Extra: lab\n"
    metadata += "".join(f"Requires-Dist: {each}\n" for each in needs)
    contents = {
        f"{name}/__init__.py": b"",
        f"{name}/ballast": hashlib.shake_128(b"").digest(size),
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    path = folder / f"{name}-1-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in contents.items():
            archive.writestr(each, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{each},,\n" for each in [*contents, f"{info}/RECORD"]))
    return path


class Index:
    """An index of packages, which knows what was asked of it, and can break off in the middle of a file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.asked: list[tuple[str, int]] = []  # each wheel, and from which byte on
        self.gives: int | None = None  # bytes of each answer; all without it
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.strip("/").split("/")[-1]
                if name.endswith(".metadata"):
                    with zipfile.ZipFile(index.folder / name.removesuffix(".metadata")) as archive:
                        (inside,) = (each for each in archive.namelist() if each.endswith("/METADATA"))
                        self.answer(200, archive.read(inside))
                elif name.endswith(".whl"):
                    content = (index.folder / name).read_bytes()
                    begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
                    index.asked.append((name, begin))
                    self.answer(206 if begin < len(content) else 416, content[begin:])
                else:
                    found = index.folder.glob(f"{name.replace('-', '_')}-1-*.whl")
                    self.answer(200, "".join(map(index.link, found)).encode())

            def answer(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: index.gives])

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}/"

    def link(self, path: Path) -> str:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return f'<a href="/{path.name}#sha256={digest}" data-core-metadata="true">{path.name}</a>'


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index with `pure`, and with `compiled`, which has no wheel for Macs with Intel."""
    found = Index(tmp_path / "index")
    wheel(found.folder, "pure", size=300_000)
    for tag in (
        "cp312-cp312-win_amd64",
        "cp313-cp313-win_amd64",
        "cp313-cp313-win_arm64",
        "cp311-abi3-win32",
    ):
        wheel(found.folder, "compiled", tag)
    for tag in ("cp311-abi3-manylinux_2_17_x86_64", "cp311-abi3-manylinux_2_34_x86_64"):
        wheel(found.folder, "compiled", tag)
    wheel(found.folder, "compiled", "cp311-abi3-macosx_11_0_arm64")
    for name in (
        "UV_INDEX",
        "UV_INDEX_URL",
        "UV_EXTRA_INDEX_URL",
        "UV_FIND_LINKS",
        "UV_NO_INDEX",
        "UV_OFFLINE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_DEFAULT_INDEX", found.address)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def notebooks(tmp_path: Path) -> Path:
    folder = tmp_path / "lessons"
    folder.mkdir()
    (folder / "00_start_here.ipynb").write_text("{}")
    return folder


def kit_needs(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    needs = [f'{name}; extra == "lab"' for name in names]
    monkeypatch.setattr(
        bundle, "own_wheel", lambda folder: wheel(folder, "pgqueuer_kit", "py3-none-any", *needs)
    )


def made(folder: Path, notebooks: Path, pythons: list[str], platforms: list[str]) -> list[str]:
    """Make a bundle, and return its wheels but the kit's."""
    bundle.make(folder, pythons, platforms, notebooks, lambda _: None)
    names = sorted(path.name for path in (folder / "wheels").iterdir())
    assert names.pop(names.index("pgqueuer_kit-1-py3-none-any.whl"))
    return names


def test_a_bundle_has_for_each_system_and_python_the_wheels_that_it_installs_and_no_others(
    index: Index, notebooks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit_needs(monkeypatch, "pure", "compiled")
    folder = tmp_path / "class"
    assert made(folder, notebooks, ["3.12", "3.13"], ["windows", "linux"]) == [
        "compiled-1-cp311-abi3-manylinux_2_17_x86_64.whl",
        "compiled-1-cp312-cp312-win_amd64.whl",
        "compiled-1-cp313-cp313-win_amd64.whl",
        "pure-1-py3-none-any.whl",
    ]
    pins = "compiled==1\npgqueuer-kit==1\npure==1\n"
    names = ["linux-3.12.txt", "linux-3.13.txt", "windows-3.12.txt", "windows-3.13.txt"]
    assert {path.name: path.read_text() for path in folder.glob("*.txt")} == dict.fromkeys(names, pins)
    readme = (folder / "README.md").read_text()
    assert re.findall(r"-r (\S+)$", readme, re.MULTILINE) == sorted(names[2:]) + names[:2]
    assert "    py -3.12 -m venv env\n    env\\Scripts\\python -m pip install --no-index " in readme
    assert (folder / "lessons" / "00_start_here.ipynb").exists()
    assert str(tmp_path) not in "".join(
        path.read_text() for path in folder.rglob("*") if path.suffix in (".txt", ".toml", ".md")
    )


def test_what_broke_off_goes_on_and_what_is_there_and_whole_is_not_asked_for_again(
    index: Index, notebooks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit_needs(monkeypatch, "pure")
    folder, name = tmp_path / "class", "pure-1-py3-none-any.whl"
    make = functools.partial(made, folder, notebooks, ["3.13"], ["linux"])
    download = bundle._download

    def breaks_off(*arguments: Any) -> None:
        monkeypatch.setattr(index, "gives", 200_000)
        download(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(bundle, "_download", breaks_off)
        with pytest.raises(KitError, match=rf"^{name} cannot be downloaded.*goes on"):
            make()
    assert index.asked == [(name, 0)]
    assert not (folder / "wheels" / name).exists()
    index.gives = None
    assert make() == [name]
    (_, (again, begin)) = index.asked
    assert again == name
    assert begin > 100_000
    assert make() == [name]
    assert len(index.asked) == 2
    (folder / "wheels" / name).write_bytes(b"damaged")
    assert make() == [name]
    assert index.asked[2:] == [(name, 0)]
    assert (folder / "wheels" / name).read_bytes() == (index.folder / name).read_bytes()


def test_a_package_that_has_no_wheel_for_a_system_is_named(
    index: Index, notebooks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit_needs(monkeypatch, "pure", "compiled")
    with pytest.raises(KitError, match=r"(?s)choose the packages for macos-intel, Python 3.13.*compiled"):
        made(tmp_path / "class", notebooks, ["3.13"], ["macos"])
    with pytest.raises(KitError, match=r"no platform 'solaris'.*windows, macos, linux"):
        made(tmp_path / "class", notebooks, ["3.13"], ["solaris"])


def test_without_uv_the_command_that_installs_it_is_said(
    notebooks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit_needs(monkeypatch)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(KitError, match="pip install uv"):
        made(tmp_path / "class", notebooks, ["3.13"], ["linux"])


def test_a_bundle_is_installed_as_its_readme_says_and_no_index_is_asked(
    index: Index, notebooks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit_needs(monkeypatch, "pure")
    folder = tmp_path / "class"
    made(folder, notebooks, [], [])
    index.asked.clear()
    for line in re.findall(r"^    uv (.*)", (folder / "README.md").read_text(), re.MULTILINE)[-2:]:
        subprocess.run([UV, *line.split()], cwd=folder, check=True, capture_output=True)
    python = folder / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([python, "-c", "import pure, pgqueuer_kit"], check=True)
    assert index.asked == []


def test_the_wheel_that_is_put_together_from_what_is_installed_is_the_one_that_was_installed(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = tmp_path.glob("*.whl")
    environment, again = tmp_path / "env", tmp_path / "again"
    again.mkdir()
    subprocess.run(
        [UV, "venv", "--offline", "-p", sys.executable, environment], check=True, capture_output=True
    )
    python = environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    install = [UV, "pip", "install", "--offline", "--no-deps", "--python", str(python), str(built)]
    subprocess.run(install, check=True, capture_output=True)
    code = "import pathlib, sys; sys.path.append(sys.argv[1]); from kit.classroom import bundle; "
    code += "bundle.own_wheel(pathlib.Path(sys.argv[2]))"
    subprocess.run([python, "-c", code, sysconfig.get_path("purelib"), again], cwd=tmp_path, check=True)
    assert contents(again / built.name) == contents(built)


def contents(path: Path) -> dict[str, bytes | set[bytes]]:
    with zipfile.ZipFile(path) as archive:
        return {
            name: set(archive.read(name).splitlines()) if name.endswith("RECORD") else archive.read(name)
            for name in archive.namelist()
        }


# The network is gone, and what a kernel and a Postgres say to each other on this machine is not.
CUT_OFF = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


@pytest.mark.skipif(not SEEDS, reason="it downloads all that a learner installs: KIT_NIGHT=1 runs it")
@pytest.mark.skipif(
    not files.is_root() or sys.platform != "linux", reason="only root of Linux can cut it off"
)
def test_a_real_bundle_is_installed_without_network_and_lesson_00_runs_there_from_top_to_bottom() -> None:
    with tempfile.TemporaryDirectory(prefix="kit-bundle-") as temporary:
        home, folder = Path(temporary, "home"), Path(temporary, "class")
        for each in (Path(temporary), home):
            each.mkdir(exist_ok=True)
            each.chmod(0o755)  # root's embedded server runs as another account, which must get in
        bundle.make(folder, [], [], lessons.originals(), print)
        environment = os.environ | {"KIT_HOME": str(home), "KIT_POSTGRES": "embedded"}
        environment = {
            name: value for name, value in environment.items() if not name.startswith(("PIP", "UV"))
        }

        def offline(*words: str) -> None:
            subprocess.run([*CUT_OFF, *words], cwd=folder, env=environment, check=True)

        install = re.findall(r"^    (\S+) (-m .*)", (folder / "README.md").read_text(), re.MULTILINE)
        assert [words.split()[1] for _, words in install] == ["venv", "pip"]
        for python, words in install:
            offline(python if "/" in python else sys.executable, *words.split())
        offline("env/bin/python", "-m", "pip", "check")
        offline("env/bin/jupyter", "execute", "lessons/00_start_here.ipynb")
        wait_until("its Postgres to end", lambda: not processes_about(home))
