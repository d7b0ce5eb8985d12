"""README and the project's addresses as the package's page needs them: no link there is a path.

``python -m tests.published ADDRESS`` writes them into README.md and pyproject.toml of this checkout, before a
release is built. The address, such as ``https://github.com/owner/name``, is that of whoever publishes.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)")


def readme(text: str, address: str, tag: str) -> str:
    """Return README with links to files as they are at this tag; a picture is linked to as a picture."""
    return LINK.sub(
        lambda link: f"{link[1]}[{link[2]}]({address}/{'raw' if link[1] else 'blob'}/{tag}/{link[3]})", text
    )


def project(text: str, address: str, tag: str) -> str:
    """Return pyproject.toml with the addresses of this project before PGQueuer's."""
    ours = {
        "Source": address,
        "Issues": f"{address}/issues",
        "Changes": f"{address}/blob/{tag}/kit/CHANGELOG.md",
    }
    lines = "".join(f'{name} = "{url}"\n' for name, url in ours.items())
    head = "[project.urls]\n"
    assert head in text
    return text.replace(head, head + lines)


def main() -> None:
    """Write both files."""
    address = sys.argv[1].rstrip("/")
    file, ours = ROOT / "README.md", ROOT / "pyproject.toml"
    tag = f"v{tomllib.loads(ours.read_text('utf-8'))['project']['version']}"
    file.write_text(readme(file.read_text("utf-8"), address, tag), "utf-8")
    ours.write_text(project(ours.read_text("utf-8"), address, tag), "utf-8")


if __name__ == "__main__":
    main()
