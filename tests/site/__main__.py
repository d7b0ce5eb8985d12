"""Build the site: ``python -m tests.site``; names of notebooks behind it build only their pages.

Everything that is wrong fails it: a cell that raises, a link that leads nowhere, a warning of Sphinx, and
whatever `checks` finds in the pages.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.jupyterlab import ARTIFACTS
from tests.lessons.notebook import FOLDER
from tests.site import checks
from tests.site.executed import executed
from tests.site.pages import NOTEBOOKS, pages

HERE = Path(__file__).parent


def build(names: Sequence[str], folder: Path = ARTIFACTS / "site") -> Path:
    """Build the pages of these notebooks and of README below this folder; return the site's own folder.

    Raises:
        subprocess.CalledProcessError: Sphinx has warned.
        AssertionError: a cell has failed, or a page is not as it must be.
    """
    source, site, known = folder / "source", folder / "html", folder / "doctrees"
    notebooks = executed(names)
    checks.look(notebooks)
    texts = dict(pages(notebooks))
    if {path.name for path in source.glob("*.*")} != {"conf.py", *texts}:  # or an old page would stay
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "static", source / "static", dirs_exist_ok=True)
    shutil.copytree(FOLDER / "images", source / "images", dirs_exist_ok=True)
    shutil.copy2(HERE / "conf.py", source)
    for name, text in texts.items():
        if not (source / name).exists() or (source / name).read_text("utf-8") != text:
            (source / name).write_text(text, "utf-8")
    options = ["--fail-on-warning", "--keep-going", "--quiet", "-j2", "-d", str(known)]
    try:
        subprocess.run([sys.executable, "-m", "sphinx", *options, str(source), str(site)], check=True)
    except subprocess.CalledProcessError:
        shutil.rmtree(known)  # or the next build would not warn of a page that has not changed
        raise
    checks.examine(site)
    return site


if __name__ == "__main__":
    print(build(sys.argv[1:] or NOTEBOOKS) / "index.html")
