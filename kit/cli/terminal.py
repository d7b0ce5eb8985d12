"""``kit env``: the terminal's environment, and the process that keeps Postgres up as long as the terminal."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kit.errors import KitError

if TYPE_CHECKING:
    import psutil

PAUSE = 1.0  # seconds between two checks that the terminal is still there
PATIENCE = 30.0  # seconds for the process that keeps Postgres up to start


def _single_quoted(value: str, escapes: Mapping[str, str]) -> str:
    return "'" + "".join(escapes.get(character, character) for character in value) + "'"


_SET: dict[str, Callable[[str, str], str]] = {
    "sh": lambda name, value: f"export {name}={shlex.quote(value)}",
    "fish": lambda name, value: f"set -gx {name} " + _single_quoted(value, {"\\": "\\\\", "'": "\\'"}),
    "powershell": lambda name, value: f"$Env:{name} = " + _single_quoted(value, {"'": "''"}),
    "cmd": lambda name, value: f'set "{name}={value}"',
}
_REMOVE = {
    "sh": "unset {}",
    "fish": "set -e {}",
    "powershell": "Remove-Item Env:{}",
    "cmd": 'set "{}="',
}
_USE = {
    "sh": 'eval "$({command})"',
    "fish": "{command} | source",
    "powershell": "{command} | Out-String | Invoke-Expression",
    "cmd": "for /f \"delims=\" %i in ('{command}') do %i",
}
_DIALECTS = dict.fromkeys(("sh", "bash", "zsh", "dash", "ash", "ksh", "mksh", "busybox"), "sh") | {
    "fish": "fish",
    "powershell": "powershell",
    "pwsh": "powershell",
    "cmd": "cmd",
}


def shell() -> tuple[psutil.Process, str]:
    """Return the shell that started this process, and its language.

    It is the nearest process above this one that is a shell. A launcher in between (``kit.exe``, ``uv run``)
    does not count, nor does the copy of itself that a shell makes for ``$(…)``. Without a shell, it is the
    process that started this one.
    """
    import psutil

    parents = _parents()
    if not parents:
        raise KitError("`kit env` cannot see which terminal it was started from.")
    for parent, above in zip(parents, [*parents[1:], None], strict=True):
        with contextlib.suppress(psutil.Error):
            name = parent.name().lower().removesuffix(".exe").lstrip("-")
            if name in _DIALECTS:
                return (above if above and _is_copy(parent, above) else parent), _DIALECTS[name]
    return parents[0], "powershell" if sys.platform == "win32" else "sh"


def _parents() -> list[psutil.Process]:
    """Return the processes above this one, the nearest first.

    psutil's own list ends at a parent that seems younger than its child, as happens by a second while the
    system's clock is being set.
    """
    import psutil

    process, found = psutil.Process(), []
    with contextlib.suppress(psutil.Error):
        while above := process.ppid():
            process = psutil.Process(above)
            found.append(process)
    return found


def _is_copy(process: psutil.Process, above: psutil.Process) -> bool:
    import psutil

    try:
        return bool(process.cmdline() == above.cmdline())
    except psutil.Error:  # the one above is another account's, such as a login program
        return False


def lines(variables: Mapping[str, str | None], language: str) -> str:
    """Return the lines that set ``variables`` in a shell of that language; None removes a variable.

    The language is sh, fish, powershell or cmd.
    """
    setting, removing = _SET[language], _REMOVE[language]
    return "\n".join(
        removing.format(name) if value is None else setting(name, value) for name, value in variables.items()
    )


def how_to_use(language: str, command: str = "kit env") -> str:
    """Return the line that puts the output of ``command`` into effect in a terminal of that language."""
    return _USE[language].format(command=command)


def language_of(name: str) -> str:
    """Return the language of a shell by its name.

    Raises:
        KitError: the kit does not know that shell.
    """
    if name.lower() not in _DIALECTS:
        raise KitError(f"The kit does not know the shell {name!r}. It knows: {', '.join(sorted(_DIALECTS))}.")
    return _DIALECTS[name.lower()]


def enter(database: str, name: str | None = None) -> tuple[dict[str, str | None], str]:
    """Start or adopt Postgres and keep it up as long as the terminal that started this process.

    The database is made if it is missing, and never emptied. ``name`` is the shell whose language the
    terminal speaks; without it, the kit finds that out.

    Returns:
        The variables with which a program in that terminal connects to the database, None for one that must
        be removed, and the terminal's language.

    Raises:
        KitError: Postgres cannot be started, or the kit does not know that shell.
    """
    from kit.sources import open_database

    process, language = shell()
    if name is not None:
        language = language_of(name)
    opened = open_database(database=database)
    try:
        if opened.server_folder is not None:
            _hold(opened.server_folder, process.pid)
    finally:
        opened.stop()
    wanted = opened.target.environment(os.environ)
    return {name: wanted[name] for name in wanted if wanted[name] or name in os.environ}, language


def _hold(folder: Path, pid: int) -> None:
    """Start a process that uses the server of ``folder`` as long as process ``pid`` lives."""
    from kit.sources import files, processes, sharing

    def is_held() -> bool:
        return any(user.terminal == pid for user in sharing.users(folder))

    if is_held():
        return
    path = folder / "terminal.log"
    with files.open_log(path, empty=True) as log:
        holder = processes.start(
            [sys.executable, "-m", "kit.cli.terminal", str(folder), str(pid)], log, cwd=folder
        )
    deadline = time.monotonic() + PATIENCE
    while not is_held():
        if not processes.is_alive(holder) or time.monotonic() > deadline:
            raise KitError(f"Nothing keeps Postgres up for this terminal: {files.read(path)}")
        time.sleep(0.02)


def hold(folder: Path, pid: int) -> None:
    """Use the server of ``folder`` until process ``pid`` has ended."""
    import psutil

    from kit.sources import processes
    from kit.sources.sharing import Lease

    with contextlib.suppress(psutil.NoSuchProcess):
        terminal = psutil.Process(pid)
        lease = Lease(folder, terminal=pid)
        while processes.is_alive(terminal):
            time.sleep(PAUSE)
        lease.release()


if __name__ == "__main__":
    hold(Path(sys.argv[1]), int(sys.argv[2]))
