"""A wheel as people install it: in a virtual environment of its own, outside the project, from the network.

Run ``python tests/installed.py WHEEL`` with a Python that the kit supports. The base install must run a test
of a queue, and ``kit lab`` of the whole must serve the first lesson, which must run through.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

SCRIPTS = "Scripts" if sys.platform == "win32" else "bin"
PYTEST_INI = "[pytest]\nasyncio_mode = auto\n"
TEST = """
import asyncpg
import kit
from pgqueuer import AsyncpgDriver, Queries


async def test_a_job_is_enqueued(queue_database):
    connection = await asyncpg.connect()
    await Queries(AsyncpgDriver(connection)).enqueue("greet", b"Ada")
    await connection.close()
    assert list(kit.jobs().entrypoint) == ["greet"]
"""


def environment(folder: Path, requirement: str) -> Path:
    """Install into a new virtual environment, and return where its programs are."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / SCRIPTS / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", requirement], check=True)
    return folder / SCRIPTS


def run_a_test(programs: Path, folder: Path) -> None:
    """Run one test with the kit's fixture."""
    folder.mkdir()
    for name, content in {"pytest.ini": PYTEST_INI, "test_it.py": TEST}.items():
        (folder / name).write_text(content)
    subprocess.run([str(programs / "python"), "-m", "pytest", "-q"], cwd=folder, check=True)


def serve_a_lesson(programs: Path, folder: Path) -> None:
    """Open ``kit lab`` in an empty folder until its page is there."""
    folder.mkdir()
    command = [str(programs / "kit"), "lab", "--no-browser"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as lab:
        assert lab.stdout is not None
        address = next((found[0] for line in lab.stdout if (found := re.search(r"http://\S+", line))), None)
        assert address, "`kit lab` ended without an address"
        page = urllib.request.urlopen(address).read().decode()
        assert "kit-docked-board" in page, "JupyterLab does not know the board"
        lab.terminate()
    assert (folder / "pgqueuer-lessons" / "00_start_here.ipynb").is_file()


def main() -> None:
    """Try the wheel that is named on the command line."""
    wheel = Path(sys.argv[1]).resolve()
    os.environ |= {"KIT_POSTGRES": "embedded", "PYTHONUTF8": "1"}
    with tempfile.TemporaryDirectory(prefix="kit-wheel-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)  # root's embedded server runs as another account, which must get in
        os.environ["KIT_HOME"] = str(folder / "home")
        base = environment(folder / "base", str(wheel))
        run_a_test(base, folder / "tests")
        answer = subprocess.run([str(base / "kit"), "lab"], capture_output=True, text=True, cwd=folder)
        assert "pip install" in answer.stderr, answer.stderr
        lab = environment(folder / "lab", f"{wheel}[lab]")
        serve_a_lesson(lab, folder / "learner")
        lesson = folder / "learner" / "pgqueuer-lessons" / "00_start_here.ipynb"
        subprocess.run([str(lab / "jupyter"), "execute", str(lesson)], check=True)
        subprocess.run([str(lab / "kit"), "stop", "--force"], check=True)
    print("The wheel works: a test of a queue, `kit lab`, and lesson 00.")


if __name__ == "__main__":
    main()
