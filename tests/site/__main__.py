"""Build the site: ``python -m tests.site``; names of notebooks behind it build only those pages.

Everything that is wrong fails it: a cell that raises, a link that leads nowhere, a warning of Sphinx, and
whatever `checks` finds in the pages.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.site import checks
from tests.site.pages import ARTIFACTS, PAGES, write, write_contents

HERE = Path(__file__).parent


def build(names: list[str], target: Path = ARTIFACTS / "site") -> Path:
    """Build the pages of these notebooks, and return their folder.

    Raises:
        subprocess.CalledProcessError: Sphinx has warned.
        AssertionError: a page is not as it must be.
    """
    source = target.with_name(f"{target.name}-source")
    for folder in (source, target):
        shutil.rmtree(folder, ignore_errors=True)
    source.mkdir(parents=True)
    for name in names:
        write(name, source, names)
    write_contents(names, source)
    shutil.copytree("notebooks/images", source / "images")
    shutil.copytree(HERE / "static", source / "static")
    shutil.copy(HERE / "conf.py", source)
    options = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(source / "doctrees")]
    subprocess.run([sys.executable, "-m", "sphinx", *options, str(source), str(target)], check=True)
    checks.examine(target, names)
    return target


if __name__ == "__main__":
    print(build(sys.argv[1:] or PAGES))
