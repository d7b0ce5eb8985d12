"""The account that runs the embedded server. PostgreSQL refuses root, so for root it is ``nobody``.

No rights are changed and no account is made. Every folder that root writes to stays root's own.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from kit.errors import KitError
from kit.sources.binaries import says_version
from kit.sources.files import is_root

NAME = "nobody"


def options() -> dict[str, Any]:
    """Return the options for ``subprocess`` that name the account; none, if it is this process's own."""
    if sys.platform == "win32" or not is_root():
        return {}
    import pwd

    account = pwd.getpwnam(NAME)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def give(*paths: Path) -> None:
    """Give files that this process has just made to the account. Name a folder after its files."""
    chosen = options()
    for path in paths if chosen else ():
        os.chown(path, chosen["user"], chosen["group"], follow_symlinks=False)


def check_entry(folder: Path) -> None:
    """Raise an error if the account cannot enter ``folder``.

    Raises:
        KitError: it cannot.
    """
    if options() and not all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents)):
        raise KitError(
            f"PostgreSQL refuses to run as root, and the account {NAME!r}, which the kit uses then, cannot "
            f"enter {str(folder)!r}. Set KIT_HOME to a folder that all accounts can enter, or unset it."
        )


def programs(folder: Path, home: Path) -> Path:
    """Return a ``bin`` folder whose programs the account can run: ``folder``, or a copy in ``home``."""
    if not options():
        return folder
    version = says_version(folder)
    if says_version(folder, **options()) == version:
        return folder
    package = folder.parents[1]  # a wheel's programs find its libraries in a folder beside the package
    copy = home / f"programs-{version.split()[2]}"
    if not copy.exists():
        for old in home.glob("programs-*"):
            shutil.rmtree(old)
        making = home / "programs-half-made"
        for source in (folder.parent, package.with_name(f"{package.name}.libs")):
            if source.exists():
                target = making / source.relative_to(package.parent)
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("include", "*.a"))
        making.rename(copy)
    return copy / folder.relative_to(package.parent)
