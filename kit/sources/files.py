"""The folders and files of the kit's servers: this user's own, and closed to other users."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from io import FileIO
from pathlib import Path

import platformdirs

from kit.errors import KitError

RECORD = "server.json"  # in a server's folder: which one it is
MADE = "start.lock"  # the first file that the kit makes in a server's folder


def is_root() -> bool:
    """Return whether this is root on Linux or macOS. PostgreSQL refuses to run as root."""
    return sys.platform != "win32" and os.geteuid() == 0


def home() -> Path:
    """Return the folder of the kit's servers: ``KIT_HOME``, else the user's data folder.

    For root it is the machine's data folder: the embedded server then runs as another account, which cannot
    enter root's own home.

    Raises:
        KitError: PostgreSQL cannot work with the path in ``KIT_HOME``.
    """
    asked = os.environ.get("KIT_HOME")
    if asked:
        try:
            if not asked.isprintable():
                raise RuntimeError("it has a character in it that cannot be printed, such as a line break")
            return Path(asked).expanduser().resolve()
        except (RuntimeError, OSError) as error:
            raise KitError(
                f"KIT_HOME is {asked!r}, which cannot be used: {error}. Set it to the plain path of a folder "
                "of yours, or unset it."
            ) from None
    if is_root():
        return Path(platformdirs.site_data_dir("pgqueuer-kit", appauthor=False))
    return Path(platformdirs.user_data_dir("pgqueuer-kit", appauthor=False)).resolve()


def is_own(path: Path) -> bool:
    """Return whether ``path`` and what it links to are this user's, and no other account can change them."""
    if sys.platform == "win32":  # there the folders above close it to other users
        return path.exists()
    try:
        facts = (path.lstat(), path.stat())
    except OSError:
        return False
    return all(each.st_uid == os.geteuid() for each in facts) and not facts[1].st_mode & 0o022


def make_closed(folder: Path) -> None:
    """Make a folder that is closed to others, if it does not exist."""
    folder.mkdir(_mode(), parents=True, exist_ok=True)


def _mode() -> int:
    # Root's server runs as another account, which may pass through this folder, but not list it.
    return 0o711 if is_root() else 0o700


def make_own(folder: Path) -> None:
    """Make a server's folder, which is closed to others, if it does not exist.

    Raises:
        KitError: there is another account's folder, a link, or one that the kit did not make.
        OSError: it cannot be made or closed.
    """
    mode = _mode()
    if not folder.parent.exists():
        make_closed(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode)
    if sys.platform != "win32" and folder.lstat().st_uid != os.geteuid():
        what = f"belongs to {_owner(folder)}"
    elif folder.is_symlink():
        what = "is a link"
    elif any(folder.iterdir()) and not (folder / MADE).exists():  # in this order: another may just make it
        what = "is a folder that the kit did not make"
    else:
        if stat.S_IMODE(folder.stat().st_mode) != mode:  # a umask may have closed more
            folder.chmod(mode)
        return
    raise KitError(
        f"{str(folder)!r} {what}, so the kit leaves it alone. Set KIT_HOME to a folder of yours, or unset it."
    )


def _owner(path: Path) -> str:
    try:
        return f"the account {path.owner()!r}"
    except (KeyError, OSError):
        return f"the account number {path.lstat().st_uid}"


def write(path: Path, text: str) -> None:
    """Write a file that only this user can read. It gets the whole text, or stays as it was."""
    descriptor, name = tempfile.mkstemp(prefix="writing-", dir=path.parent)  # for this user alone
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read(path: Path) -> str:
    """Return a file's text without space at its ends; empty if the file is missing."""
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""


def open_log(path: Path, *, empty: bool = False) -> FileIO:
    """Open a log that only this user can read, to append to it; emptied first, if ``empty``."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if empty else os.O_APPEND)
    return FileIO(os.open(path, flags, 0o600), "w")
