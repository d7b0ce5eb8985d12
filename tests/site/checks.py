"""What each built page must be: it loads nothing from another host, and its pictures have their words."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
NO_FILES = ("canonical", "search", "next", "prev", "index", "author", "license")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        had: dict[str, Any] = dict(attributes)
        if tag == "img" and not had.get("alt"):
            self.problems.append(f"an image without alternative text: {str(had.get('src'))[:60]}")
        if tag == "link" and had.get("rel") in NO_FILES:
            return
        address = str(had.get(LOADS.get(tag, ""), ""))
        if address.startswith(("http:", "https:", "//")):
            self.problems.append(f"it loads {address}")


def examine(site: Path, names: list[str]) -> None:
    """Look at every page.

    Raises:
        AssertionError: with all that was found.
    """
    found = []
    for path in sorted(site.glob("*.html")):
        page = _Page()
        page.feed(path.read_text("utf-8"))
        found += [f"{path.name}: {problem}" for problem in page.problems]
    missing = [name for name in names if not (site / f"{name}.html").exists()]
    assert not found + missing, "\n".join(found + missing)
