"""``kit doctor``: check everything the kit needs, and print a plain line for each, with the remedy."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import traceback
import warnings
import webbrowser
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from kit import extras
from kit.errors import KitError
from kit.extras import DISTRIBUTION

NEEDED_MEGABYTES = 500  # a cluster, its write-ahead log and a few lessons' databases
_OTHER_HOME = "set KIT_HOME to a folder that you can write to"


@dataclass(frozen=True)
class Finding:
    """The result of one check: ``good``, a ``note`` that stops nobody, or ``broken``; and the remedy."""

    state: Literal["good", "note", "broken"]
    says: str
    mend: str = ""


_good = functools.partial(Finding, "good")
_note = functools.partial(Finding, "note")
_broken = functools.partial(Finding, "broken")


def _install(python: str = sys.executable) -> str:
    return f"run `{extras.command(python)}`"


def _python() -> Finding:
    from packaging.specifiers import SpecifierSet

    running = ".".join(map(str, sys.version_info[:3]))
    wanted = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    says = f"{running}, {sys.executable}"
    if SpecifierSet(wanted).contains(running):
        return _good(says)
    return _broken(f"{says}; the kit needs {wanted}", "make an environment with such a Python")


def _packages() -> Finding:
    from packaging.requirements import Requirement

    needs = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]
    needs = [need for need in needs if need.marker is None or need.marker.evaluate({"extra": "lab"})]
    wrong = []
    for need in needs:
        try:
            have = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{need.name} is missing")
        else:
            if not need.specifier.contains(have, prereleases=True):
                wrong.append(f"{need.name} is {have}, and the kit needs {need.specifier}")
    if wrong:
        return _broken("; ".join(wrong), _install())
    return _good(f"all {len(needs)} are here, PGQueuer {metadata.version('pgqueuer')}")


def _name() -> Finding:
    """Check that no other package has replaced this `kit`, or hides it."""
    others = set(metadata.packages_distributions().get("kit", ())) - {DISTRIBUTION}
    if not others:
        return _good("`import kit` means this kit")
    named = ", ".join(sorted(others))
    mend = f"run `{sys.executable} -m pip uninstall {' '.join(sorted(others))}`, then {_install()}"
    return _broken(f"{named} brings a package `kit`, too, and one hides the other", mend)


def _commands() -> Finding:
    missing = [name for name in ("kit", "pgq", "jupyter") if shutil.which(name) is None]
    if not missing:
        return _good("kit, pgq and jupyter are found in this terminal")
    says = f"this terminal does not find {', '.join(missing)}"
    mend = f"activate the environment, or put {sysconfig.get_path('scripts')!r} on the PATH"
    return _note(says, mend)


def _settings() -> Finding:
    """Check the values of ``KIT_POSTGRES`` and ``KIT_DSN``."""
    from kit.sources.registry import SOURCES

    asked = os.environ.get("KIT_POSTGRES", "auto")
    if asked not in SOURCES:
        mend = "set it to auto, embedded or docker, or remove it"
        return _broken(f"KIT_POSTGRES is {asked!r}", mend)
    if os.environ.get("KIT_DSN"):
        return _external(os.environ["KIT_DSN"])
    if asked == "external":
        way_out = "set KIT_DSN, or remove KIT_POSTGRES"
        return _broken("KIT_POSTGRES asks for an external server, and no KIT_DSN names one", way_out)
    named = sorted(name for name in os.environ if name.startswith("KIT_"))
    return _good(", ".join(f"{name}={os.environ[name]}" for name in named) or "none are set")


def _external(dsn: str) -> Finding:
    from kit.sources import external
    from kit.threads import run_sync

    async def version() -> str:
        async with external.reach(external.target(dsn, "KIT_DSN"), "KIT_DSN") as connection:
            return str(await connection.fetchval("SHOW server_version"))

    try:
        return _good(f"KIT_DSN names a PostgreSQL {run_sync(version())}, which answers")
    except KitError as error:
        return _broken(str(error), "mend KIT_DSN, or remove it to use a Postgres of the kit's own")


@functools.cache
def _docker_problem() -> str | None:
    """Return why no Docker engine can be used, in a few words; None when one answers."""
    from kit.sources import docker

    unusable = docker.problem()
    return unusable.problem if unusable else None


def _docker() -> Finding:
    from kit.sources import docker

    problem = _docker_problem()
    if problem is None:
        image = docker.image()
        there = docker.has_image(image)
        return _good(f"an engine answers, and the image {image} {'is here' if there else 'will be pulled'}")
    if os.environ.get("KIT_POSTGRES") == "docker":
        return _broken(f"KIT_POSTGRES asks for it, and {problem}", "start Docker, or unset KIT_POSTGRES")
    return _note(f"{problem}; the embedded Postgres, which needs none, is used instead")


def _binaries() -> Finding:
    from kit.sources import binaries

    try:
        found = binaries.find()
    except KitError as error:
        spare = os.environ.get("KIT_DSN") or _docker_problem() is None
        needed = os.environ.get("KIT_POSTGRES") == "embedded" or not spare
        return (_broken if needed else _note)(str(error))
    return _good(f"PostgreSQL {found.version} from {found.origin}")


def _server() -> Finding:
    """Log in to each server that runs; if none does, start the one that a lesson would use."""
    from kit.cli.servers import describe
    from kit.sources import registry, sharing

    servers: list[str] = []
    wrong: list[str] = []
    try:
        for server in registry.known(say=wrong.append):
            if server.running() is not None:
                where, lease = sharing.join(server)
                lease.release()
                who = ", ".join(map(describe, sharing.users(server.folder))) or "nobody"
                servers.append(f"{server.source} on {where.host}:{where.port}, used by {who}")
        if wrong:
            return _broken("; ".join([*servers, *wrong]))
        return _good("; ".join(servers)) if servers else _start()
    except KitError as error:
        return _broken(str(error))


def _start() -> Finding:
    from kit.sources import choosing, docker

    asked = choosing.asked_source(None)
    if asked == "external" or (os.environ.get("KIT_DSN") and asked == "auto"):
        return _good("none of the kit's own is needed")
    if asked != "embedded" and _docker_problem() is None and not docker.has_image(docker.image()):
        return _note("not tried, because its image must be pulled first; a lesson does that")
    joined = choosing.join_one(None)
    joined.lease.release()  # which stops it
    return _good(f"{joined.server.source} starts here and lets the kit in; it stops until a lesson needs it")


def _ports() -> Finding:
    """Check that this machine can talk to itself, as a browser, a kernel and a Postgres do."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        socket.create_connection(listening.getsockname(), timeout=5).close()
    return _good("this machine reaches itself")


def _disk() -> Finding:
    from kit.sources import files

    home = files.home()
    there = next(folder for folder in (home, *home.parents) if os.path.exists(folder))
    free = shutil.disk_usage(there).free // 2**20
    if not os.access(there, os.W_OK | os.X_OK):
        return _broken(f"{str(there)!r}, where Postgres keeps its files, is not yours to write", _OTHER_HOME)
    says = f"{free:,} MB are free in {str(home)!r}"
    if free < NEEDED_MEGABYTES:
        return _broken(f"only {says}", f"free {NEEDED_MEGABYTES} MB, or set KIT_HOME to another disk")
    return _good(says)


def _lab() -> Finding:
    if importlib.util.find_spec("jupyterlab") is None:
        return _broken("it is not installed", _install())
    version = metadata.version("jupyterlab")
    try:
        webbrowser.get()
    except webbrowser.Error:
        says = f"{version}; there is no browser here"
        mend = "run `kit lab --no-browser`, and open the address it shows"
        return _note(says, mend)
    return _good(f"{version}, and a browser to open it in")


def _kernel() -> Finding:
    """Check that the kernel a lesson asks for can import the kit."""
    from jupyter_client.kernelspec import KernelSpecManager

    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # as `kit lab` does
    program = KernelSpecManager().get_kernel_spec("python3").argv[0]
    if Path(program).name.startswith("python") and not Path(program).is_absolute():
        program = sys.executable  # as jupyter_client does
    command = [program, "-c", "import ipykernel; from kit import postgres"]
    elsewhere = tempfile.gettempdir()  # not where the kit's folder happens to be
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=elsewhere)
    if answer.returncode == 0:
        return _good("a notebook's Python finds the kit")
    says = f"a notebook runs {program}, which says: {answer.stderr.strip().splitlines()[-1]}"
    return _broken(says, _install(program))


_CHECKS: dict[str, Callable[[], Finding]] = {
    "Python": _python,
    "Packages": _packages,
    "Name": _name,
    "Commands": _commands,
    "Settings": _settings,
    "Docker": _docker,
    "Binaries": _binaries,
    "Postgres": _server,
    "Ports": _ports,
    "Disk": _disk,
    "JupyterLab": _lab,
    "Kernel": _kernel,
}


def examine() -> Iterator[tuple[str, Finding]]:
    """Yield the name and the finding of each check. A check that fails itself is a finding, too."""
    for name, check in _CHECKS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # warnings of libraries are no findings
                finding = check()
        except Exception as error:
            what = traceback.format_exception_only(error)[-1].strip()
            finding = _broken(f"this could not be looked at: {what}", _install())
        yield name, finding


def tell(findings: Iterable[tuple[str, Finding]]) -> int:
    """Print findings as they come, with their remedies. Return the exit code: 1 when something is broken."""
    signs = {"good": "✓", "note": "–", "broken": "✗"}
    try:
        "".join(signs.values()).encode(sys.stdout.encoding)
    except UnicodeEncodeError:  # an old Windows code page
        signs = {"good": "ok", "note": "--", "broken": "NO"}
    code = 0
    for name, finding in findings:
        mend = f"\n{'':14}To mend it: {finding.mend}." if finding.mend else ""
        print(f"{signs[finding.state]} {name:<11} {finding.says}{mend}", flush=True)
        code = 1 if finding.state == "broken" else code
    return code
