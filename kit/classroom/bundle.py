"""``kit class bundle``: all that learners install, in a folder for a room without internet.

uv chooses the packages for each system and Python, and says where their wheels are; a lock keeps that, so the
same folder made again downloads only what it lacks. How uv reaches its index is the user's own setting.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import requests
from packaging import tags
from packaging.utils import parse_wheel_filename

from kit.errors import KitError
from kit.extras import DISTRIBUTION

KIT = Path(__file__).resolve().parents[1]
WAIT = 60.0  # seconds without a byte
EVERY = 10.0  # seconds from one word to the next
# What an installation adds to a wheel, or writes anew.
ASIDE = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json", "uv_build.json")


@dataclass(frozen=True)
class System:
    """What there is to install for.

    Attributes:
        title: as README calls it.
        uv: as uv calls it.
        wheels: as its wheels call it, the best first.
        python: the command that is a Python there; ``{}`` is its version.
        programs: where an environment has its programs.
    """

    title: str
    uv: str
    wheels: Sequence[str]
    python: str = "python{}"
    programs: str = "env/bin/"


_LINUX = [f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)]
_LINUX += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]
# `--platform` names what stands before the hyphen: a teacher need not know which Macs will come.
SYSTEMS = {
    "windows": System("Windows", "x86_64-pc-windows-msvc", ["win_amd64"], "py -{}", "env\\Scripts\\"),
    "macos-arm": System(
        "macOS 13 or newer, Apple M1 or newer",
        "aarch64-apple-darwin",
        [*tags.mac_platforms((13, 0), "arm64")],
    ),
    "macos-intel": System(
        "macOS 13 or newer, Intel", "x86_64-apple-darwin", [*tags.mac_platforms((13, 0), "x86_64")]
    ),
    "linux": System("Linux, such as Ubuntu 20.04 or newer", "x86_64-manylinux_2_28", _LINUX),
}


def make(
    folder: Path,
    pythons: Sequence[str],
    platforms: Sequence[str],
    lessons: Path,
    say: Callable[[str], None],
) -> None:
    """Make the folder, or complete it: wheels, a lock for each system and Python, the lessons, and README.

    ``pythons`` are versions such as ``"3.13"``, and ``platforms`` windows, macos or linux; this machine's
    without one.

    Raises:
        KitError: uv is missing, a package has no wheel for a system, or something cannot be downloaded.
    """
    pythons = pythons or [f"3.{sys.version_info.minor}"]
    platforms = platforms or [{"win32": "windows", "darwin": "macos"}.get(sys.platform, "linux")]
    systems = {name: [each for each in SYSTEMS if each.split("-")[0] == name] for name in platforms}
    for name, found in systems.items():
        if not found:
            known = ", ".join(dict.fromkeys(each.split("-")[0] for each in SYSTEMS))
            raise KitError(f"There is no platform {name!r}. There are: {known}.")
    try:
        wheels = folder / "wheels"
        wheels.mkdir(parents=True, exist_ok=True)
        say("The kit's own wheel is made.")
        own = own_wheel(wheels)
        for python in pythons:
            for system in (each for found in systems.values() for each in found):
                _add(folder, own.name, system, python, say)
        ignored = shutil.ignore_patterns(".*", "programs")
        shutil.copytree(lessons, folder / "lessons", dirs_exist_ok=True, ignore=ignored)
        (folder / "README.md").write_text(readme(folder), "utf-8")
    except OSError as error:
        raise KitError(f"The bundle cannot be made: {error}. Run this again: it goes on.") from None
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    say(f"{str(folder)!r} is complete, {size / 1e6:,.0f} MB. Its README.md says how to install from it.")


def _add(folder: Path, own: str, system: str, python: str, say: Callable[[str], None]) -> None:
    """Choose the packages for a system and a Python, and bring their wheels."""
    what = f"{system}, Python {python}"
    lock = folder / "locks" / f"pylock.{system}-{python.replace('.', '-')}.toml"  # uv keeps what it says
    lock.parent.mkdir(exist_ok=True)
    _uv(
        *("pip", "compile", "-", f"--python-platform={SYSTEMS[system].uv}", f"--python-version={python}"),
        f"--python={sys.executable}",  # or it looks for all there are
        *("--only-binary=:all:", "--format=pylock.toml", "--no-header", "--quiet", "-o", str(lock)),
        task=f"choose the packages for {what}",
        says=f"./wheels/{own}[lab]",
        cwd=folder,
    )
    packages = tomllib.loads(lock.read_text("utf-8"))["packages"]
    ranks = _ranks(SYSTEMS[system].wheels, python)
    chosen = [_best(each, ranks, what) for each in packages if each["name"] != DISTRIBUTION]
    say(f"{what}: {len(packages)} packages, {sum(each.get('size', 0) for each in chosen) / 1e6:,.0f} MB.")
    spoke = time.monotonic()
    with requests.Session() as session:
        for number, wheel in enumerate(chosen):
            if time.monotonic() - spoke > EVERY:
                say(f"{what}: {number} are here.")
                spoke = time.monotonic()
            _bring(wheel, folder, session)
    pins = [f"{each['name']}=={each['version']}\n" for each in packages]
    (folder / f"{system}-{python}.txt").write_text("".join(pins), "utf-8")


def _uv(*words: str, task: str, says: str = "", cwd: Path | None = None) -> None:
    """Run uv, which reads ``says``.

    Raises:
        KitError: it is missing, or it fails; the message ends with what it said.
    """
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    uv = shutil.which("uv", path=path)
    if uv is None:
        raise KitError(
            "`kit class bundle` needs uv, which knows the packages of other systems. "
            "Run `python -m pip install uv`, and this command again."
        )
    options: dict[str, Any] = {"capture_output": True, "text": True, "encoding": "utf-8"}
    ran = subprocess.run([uv, *words], input=says, cwd=cwd, **options)
    if ran.returncode:
        raise KitError(f"uv cannot {task}. It says:\n{ran.stderr.strip()}")


def _ranks(platforms: Sequence[str], python: str) -> dict[tags.Tag, int]:
    """Return what the wheels that such a Python installs there are called, and their rank: the best is 0."""
    version = [int(part) for part in python.split(".")[:2]]
    name = "cp" + "".join(map(str, version))
    fit = [*tags.cpython_tags(version, [name], platforms), *tags.compatible_tags(version, name, platforms)]
    return {tag: rank for rank, tag in enumerate(fit)}


def _best(package: Mapping[str, Any], ranks: Mapping[tags.Tag, int], where: str) -> Mapping[str, Any]:
    """Return the wheel to take of a package."""
    found: dict[int, Mapping[str, Any]] = {}
    for wheel in package.get("wheels", ()):
        if fits := parse_wheel_filename(_name(wheel))[3] & ranks.keys():
            found.setdefault(min(ranks[tag] for tag in fits), wheel)
    if not found:
        raise KitError(f"{package['name']} {package['version']} has no wheel for {where}.")
    return found[min(found)]


def _name(wheel: Mapping[str, Any]) -> str:
    return unquote(urlsplit(wheel.get("url") or wheel["path"]).path.rsplit("/", 1)[-1])


def _bring(wheel: Mapping[str, Any], folder: Path, session: requests.Session) -> None:
    """Download a wheel, or what is missing of it; one that is there and whole stays."""
    name, digest = _name(wheel), wheel["hashes"]["sha256"]
    path = folder / "wheels" / name
    if path.exists() and _digest(path) == digest:
        return
    part = path.with_name(f".{name}.part")
    address = wheel.get("url", "")
    if address.startswith(("http:", "https:")):
        try:
            _download(address, part, session)
        except requests.RequestException as error:
            raise KitError(f"{name} cannot be downloaded: {error}. Run this again: it goes on.") from None
    else:  # from a folder that the user's settings name
        local = url2pathname(urlsplit(address).path) if address else folder / "locks" / wheel["path"]
        shutil.copyfile(local, part)
    if _digest(part) != digest:
        part.unlink()
        raise KitError(f"{name} came damaged. Run this again.")
    part.replace(path)


def _download(address: str, part: Path, session: requests.Session) -> None:
    have = part.stat().st_size if part.exists() else 0
    asks = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"}
    with session.get(address, headers=asks, stream=True, timeout=WAIT) as answer:
        if answer.status_code == 416:  # nothing is missing
            return
        answer.raise_for_status()
        with part.open("ab" if answer.status_code == 206 else "wb") as out:
            for piece in answer.iter_content(2**16):
                out.write(piece)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def own_wheel(folder: Path) -> Path:
    """Put the kit's own wheel into a folder: built from a clone, else put together from what is installed.

    Raises:
        KitError: it cannot be built.
        OSError: an installed file is gone, or the folder cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        if (KIT.parent / "pyproject.toml").is_file():
            _uv("build", "--wheel", str(KIT.parent), "--out-dir", temporary, task="build the kit's wheel")
            (made,) = Path(temporary).glob("*.whl")
        else:
            made = _put_together(Path(temporary))
        return made.replace(folder / made.name)


def _put_together(folder: Path) -> Path:
    """Write the wheel that the running kit was installed from, of the files that are installed."""
    kit = metadata.distribution(DISTRIBUTION)
    base = f"{DISTRIBUTION.replace('-', '_')}-{kit.version}"
    path = folder / f"{base}-py3-none-any.whl"
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in kit.files or ():
            name = file.as_posix()
            if file.parts[0] == "..":  # beside the packages: data, and programs, which are made anew
                place = next(
                    (file.parts.index(each) for each in ("share", "etc") if each in file.parts), None
                )
                if place is None:
                    continue
                name = "/".join([f"{base}.data", "data", *file.parts[place:]])
            elif file.suffix == ".pyc" or file.name in ASIDE:
                continue
            content = Path(str(file.locate())).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(content)}\n")
            wheel.writestr(name, content)
        name = f"{base}.dist-info/RECORD"
        wheel.writestr(name, "".join([*record, f"{name},,\n"]))
    return path


def readme(folder: Path) -> str:
    """Return how to install from the folder, for each system and Python that it has."""
    parts = [
        "# The PGQueuer lessons, without internet\n\n"
        "Copy this folder to the laptop, open a terminal in the copy, and run the lines for its system. The\n"
        "Python that they name must be there: it is not in here. `lessons` is for reading; `kit lab` makes\n"
        "a copy to work in.\n"
    ]
    for name, system in SYSTEMS.items():
        for lock in sorted(folder.glob(f"{name}-3.*.txt")):
            python = lock.stem.removeprefix(f"{name}-")
            install = f"install --no-index --find-links wheels --no-deps -r {lock.name}"
            parts.append(
                f"\n## {system.title}, Python {python}\n\n"
                f"    {system.python.format(python)} -m venv env\n"
                f"    {system.programs}python -m pip {install}\n"
                f"    {system.programs}kit lab\n\n"
                f"or, where uv is, in place of the first two\n\n"
                f"    uv venv --offline --python {python} env\n"
                f"    uv pip {install} --python env\n"
            )
    return "".join(parts)
