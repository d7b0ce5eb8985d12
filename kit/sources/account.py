"""The account that runs the embedded server: this one; for root another, as PostgreSQL refuses root.

Nobody's rights are changed and no account is made. Every folder that root writes to stays root's own.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from kit.errors import KitError
from kit.sources.binaries import says_version
from kit.sources.files import is_own, is_root

NAME = "nobody"


def options() -> dict[str, Any]:
    """Return the options for ``subprocess`` that name the account; none, where it is this one."""
    if sys.platform == "win32" or not is_root():
        return {}
    import pwd

    account = pwd.getpwnam(NAME)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def give(*paths: Path) -> None:
    """Give files that this process has just made to the account; what is in a folder first."""
    chosen = options()
    for path in paths if chosen else ():
        os.chown(path, chosen["user"], chosen["group"], follow_symlinks=False)


def can_enter(folder: Path) -> bool:
    """Return whether the account can enter ``folder``."""
    return not options() or all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))


def is_place(folder: Path) -> bool:
    """Return whether ``folder`` is one that `new_place` made, and not another account's by that name."""
    return folder.is_absolute() and folder.is_dir() and not folder.is_symlink() and is_own(folder)


def new_place() -> Path:
    """Make and return a temporary folder that the account can enter.

    Raises:
        KitError: there is no place for one.
    """
    parent = next((path for path in (tempfile.gettempdir(), "/var/tmp") if can_enter(Path(path))), None)
    if parent is None:
        raise KitError(
            f"PostgreSQL refuses to run as root, and the account {NAME!r}, which the kit uses then, can "
            "enter neither the kit's folder nor a temporary one. Set KIT_HOME to a folder that all can enter."
        )
    place = Path(tempfile.mkdtemp(prefix="pgqueuer-kit-", dir=parent))
    place.chmod(0o711)
    return place


def programs(folder: Path, place: Path) -> Path:
    """Return a ``bin`` folder whose programs the account can run: this one, or a copy in ``place``."""
    if not options():
        return folder
    version = says_version(folder)
    if says_version(folder, **options()) == version:
        return folder
    package = folder.parents[1]  # a wheel's programs find its libraries in a folder beside the package
    copy = place / f"programs-{version.split()[2]}"
    if not copy.exists():
        for old in place.glob("programs-*"):
            shutil.rmtree(old)
        making = place / "programs-half-made"
        for source in (folder.parent, package.with_name(f"{package.name}.libs")):
            if source.exists():
                target = making / source.relative_to(package.parent)
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("include", "*.a"))
        making.rename(copy)
    return copy / folder.relative_to(package.parent)
