"""Build the site: ``python -m tests.site``; names of notebooks behind it build only those pages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.site.pages import ARTIFACTS, PAGES, write


def build(names: list[str], target: Path = ARTIFACTS / "site") -> None:
    """Build these pages; a failed execution or a warning of Sphinx fails."""
    source = target.with_name(f"{target.name}-source")
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    for name in names:
        write(name, source)
    shutil.copytree(Path("notebooks/images"), source / "images")
    shutil.copy(Path(__file__).with_name("conf.py"), source)
    contents = "\n".join(names)
    (source / "index.md").write_text(f"# Learn PGQueuer\n\n```{{toctree}}\n{contents}\n```\n", "utf-8")
    options = ["-W", "--keep-going", "-q", "-b", "html"]
    subprocess.run([sys.executable, "-m", "sphinx", *options, str(source), str(target)], check=True)


if __name__ == "__main__":
    build(sys.argv[1:] or PAGES)
