"""What a built page must be: complete by itself, its links lead somewhere, its pictures have words."""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

from tests.lessons.notebook import Lesson

LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
ELSEWHERE = ("http:", "https:", "//")


class Page(HTMLParser):
    """The names in a page, where its links lead, and what is wrong with it by itself."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.names = {""}
        self.links: list[str] = []
        self.problems: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in an element."""
        had = {name: value or "" for name, value in attrs}
        self.names |= {had.get("id", ""), had.get("name", "")}
        if tag == "img" and not had.get("alt"):
            self.problems.append(f"an image has no alternative text: {had.get('src', '')[:60]}")
        loaded = had.get(LOADS.get(tag, ""), "")
        if loaded.startswith(ELSEWHERE) and had.get("rel") != "canonical":
            self.problems.append(f"it loads {loaded}")
        target = loaded or (had.get("href", "") if tag == "a" else "")
        if target and not target.startswith((*ELSEWHERE, "data:", "mailto:")):
            self.links.append(target)


def look(notebooks: Mapping[str, Any]) -> None:
    """Compare what executed notebooks say of their tables and pictures with these.

    Raises:
        AssertionError: a **Look** names a value that is not shown above it.
    """
    for name, notebook in notebooks.items():
        for section in Lesson(name, notebook.cells).sections:
            for paragraph in section.looks():
                paragraph.check()


def examine(site: Path) -> None:
    """Look at every page.

    Raises:
        AssertionError: with all that was found.
    """
    pages = {path: Page(path) for path in sorted(site.glob("*.html"))}
    found = [f"{path.name}: {problem}" for path, page in pages.items() for problem in page.problems]
    for path, page in pages.items():
        for link in page.links:
            file, name = urldefrag(link)
            target = (path.parent / unquote(file.partition("?")[0])).resolve() if file else path
            if not target.is_file() or (target in pages and unquote(name) not in pages[target].names):
                found.append(f"{path.name}: a link leads nowhere: {link}")
    assert not found, "\n".join(found)
