"""Slides made from a lesson, one idea each: ``python -m kit.classroom.slides 04_staged_jobs.ipynb``.

A paragraph, a list, a table or a cell is a slide, so a prediction stands apart from what is to be seen. The
page is one file that needs no network. What is folded in the lesson is left out.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.errors import KitError

_FOLDED = re.compile(r"<details>.*?</details>", re.DOTALL)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
_BLOCK = re.compile(
    r"```.*?```|\S(?:(?!\n\s*\n).)*", re.DOTALL
)  # a fence, or what stands between empty lines
_ITEM = re.compile(r"\n(?=(?:[-*]|\d+\.) )")
LONG_LIST = 320  # characters, above which each item has a slide
_CHECKS = ("check:", "open:")


@dataclass(frozen=True)
class Slide:
    """One slide.

    Attributes:
        heading: what stands small above it: the section.
        kind: ``title``, ``text``, ``code``, ``predict`` or ``look``.
        body: Markdown, or the code.
    """

    heading: str
    kind: str
    body: str


def slides(notebook: dict[str, Any]) -> Iterator[Slide]:
    """Yield the slides of a notebook."""
    heading = ""
    for cell in notebook["cells"]:
        source, tags = "".join(cell["source"]), cell["metadata"].get("tags", ())
        if cell["cell_type"] == "code":
            folded = cell["metadata"].get("jupyter", {}).get("source_hidden")
            about_nothing = cell.get("id") == "setup" or any(tag.startswith(_CHECKS) for tag in tags)
            if source.strip() and not folded and not about_nothing:
                yield Slide(heading, "code", source)
            continue
        for block in _BLOCK.findall(_FOLDED.sub("", source)):
            text = _LINK.sub(r"\1", block.strip())
            if match := re.fullmatch(r"(#+) (.*)", text, re.DOTALL):
                heading = match[2] if len(match[1]) > 1 else ""
                if len(match[1]) < 3:
                    yield Slide("", "title", match[2])
            elif text:
                yield from _ideas(heading, text)


def _ideas(heading: str, text: str) -> Iterator[Slide]:
    """Yield the slides of a block: a question is apart from its answer, as a prediction is from its look."""
    kinds = {"**Predict.**": "predict", "**Look": "look"}
    kind = next((kind for begins, kind in kinds.items() if text.startswith(begins)), "text")
    if text.startswith("**What would happen if…**") and "? " in text:
        question, _, answer = text.partition("? ")
        yield Slide(heading, "predict", f"{question}?")
        yield Slide(heading, "look", answer)
    elif len(text) > LONG_LIST and len(items := _ITEM.split(text)) > 1:
        yield from (Slide(heading, kind, item) for item in items)
    else:
        yield Slide(heading, kind, text)


def page(notebook: dict[str, Any]) -> str:
    """Return the slides of a notebook as a page."""
    made = list(slides(notebook))
    title = next((one.body for one in made if one.kind == "title"), "Slides")
    sections = "\n".join(_section(one) for one in made)
    text = Path(__file__).with_name("slides.html").read_text("utf-8")
    return text.replace("/* title */", html.escape(title)).replace("/* slides */", sections)


def _section(slide: Slide) -> str:
    from nbconvert.filters import Highlight2HTML, markdown2html

    if slide.kind == "code":
        coloured: Any = Highlight2HTML  # which has no types
        body = coloured(pygments_lexer="python")(slide.body)
    else:
        body = markdown2html(f"# {slide.body}" if slide.kind == "title" else slide.body)
    heading = f"<header>{html.escape(slide.heading)}</header>" if slide.heading else ""
    return f'<section class="{slide.kind}">{heading}<div>{body}</div></section>'


def main(arguments: list[str] | None = None) -> int:
    """Write the slides of each notebook beside it, and say where."""
    parser = argparse.ArgumentParser(prog="python -m kit.classroom.slides", description=__doc__)
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK")
    try:
        for path in parser.parse_args(arguments).notebooks:
            print(write(path))
    except KitError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def write(path: Path) -> Path:
    """Write the slides of a notebook beside it, so that its pictures are found, and return the file.

    Raises:
        KitError: it is no notebook, or cannot be read or written.
    """
    try:
        notebook = json.loads(path.read_text("utf-8"))
        made = path.with_suffix(".slides.html")
        made.write_text(page(notebook), "utf-8")
    except OSError as error:
        raise KitError(f"No slides of {str(path)!r}: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise KitError(f"{str(path)!r} is no notebook. Name a file that ends with .ipynb.") from None
    return made


if __name__ == "__main__":
    sys.exit(main())
