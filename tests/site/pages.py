"""What Sphinx reads: the executed notebooks, chapters of README, and the reference."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat

import kit
from kit.exercises import course
from kit.pictures.publish import without_widgets
from tests.lessons.notebook import COMPANIONS, FOLDER, LESSONS

# Where the project is published, such as https://github.com/owner/name: each page then has a link to edit it,
# and a lesson one to run it on Binder.
REPOSITORY = os.environ.get("KIT_REPOSITORY", "")
README = Path(__file__).parents[2] / "README.md"
GLOSSARY = "glossary"
NOTEBOOKS = [*LESSONS, *COMPANIONS, GLOSSARY]
CHAPTERS = [
    "Start",
    "Where Postgres comes from",
    "In a terminal",
    "Staged jobs on a server",
    "In your own tests",
    "Exercises",
    "Teach a class",
    "Without a clone: pip, uv, conda, Binder, a hub",
    "When something does not work",
]
TEACHING = {path.stem: path for path in sorted((FOLDER / "teaching").glob("*.ipynb"))}  # read, not executed
LINK = re.compile(r"\[([^\]]+)\]\((?:[\w./]*/)?(\w+)\.ipynb(#[\w-]+)?\)")
DRAWN = re.compile(r"^\+-[+-]+\+\r?$", re.MULTILINE)  # a line of a table that a command has printed
FILE = re.compile(r"\[([^\]]+)\]\(((?:kit|tests)/[\w./]+)\)")
HINTS = {one.id: one.hints for one in course.all_exercises()}


def pages(notebooks: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the file name and the text of each of Sphinx's sources; ``notebooks`` are executed."""
    every = {**notebooks, **{name: nbformat.read(path, as_version=4) for name, path in TEACHING.items()}}
    for name, notebook in every.items():
        yield f"{name}.ipynb", _page(name, notebook, every)
    readme = README.read_text("utf-8").replace("notebooks/images/", "images/")
    parts = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL))
    start, *others = (title.partition(":")[0].lower().replace(" ", "_") for title in CHAPTERS)
    for file, title in zip([start, *others], CHAPTERS, strict=True):
        yield f"{file}.md", f"# {title}\n{_edit('README.md')}\n{_chapter(parts[title], every)}"
    yield "reference.md", "\n".join(_reference())
    opening = [readme.partition("\n## ")[0]]
    opening += [f"## {title}\n{parts[title]}" for title in ("The lessons", "The kit in a minute")]
    contents = {
        "Begin": [start],
        "Lessons": [name for name in notebooks if name in LESSONS],
        "Beside them": [name for name in notebooks if name not in LESSONS],
        "Teaching": [*TEACHING],
        "The kit": [*others, "reference"],
    }
    for caption, files in contents.items():
        listed = "\n".join(files)
        opening.append(f"```{{toctree}}\n:hidden:\n:maxdepth: 1\n:caption: {caption}\n{listed}\n```")
    yield "index.md", _linked("\n\n".join(opening), every)


def _page(name: str, notebook: Any, names: Mapping[str, Any]) -> str:
    cells = []
    for cell in without_widgets(notebook).cells:
        tags = cell.metadata.setdefault("tags", [])
        if "remove-input" in tags:
            cells.append(_markdown(f"about-{cell.id}", "The queue of this section, played again:"))
        cells.append(cell)
        if cell.cell_type == "markdown":
            cell.source = _linked(cell.source, names)
            if name == GLOSSARY:
                cell.source = _raised(cell.source)
        exercises = [tag.removeprefix("check:") for tag in tags if tag.startswith("check:")]
        cells += [_markdown(f"hints-{exercise}", _hints(exercise)) for exercise in exercises]
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            tags.append("hide-input")
        if any(DRAWN.search(output.get("text", "")) for output in cell.get("outputs", [])):
            tags.append("drawn")
    cells.insert(1, _markdown("run-it", _run_it(name)))
    notebook.cells = cells
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}  # `!pgq` in a cell
    return str(nbformat.writes(notebook))


def _markdown(name: str, text: str) -> Any:
    return nbformat.v4.new_markdown_cell(text, id=name)


def _linked(text: str, names: Mapping[str, Any]) -> str:
    """Return Markdown whose links lead to pages that there are."""

    def link(found: re.Match[str]) -> str:
        words, name, place = found.groups(default="")
        return f"[{words}]({name}.ipynb{place.lower()})" if name in names else words

    return LINK.sub(link, text)


def _chapter(text: str, names: Mapping[str, Any]) -> str:
    """Return a part of README as a page by itself; files of the project are where it is published."""
    link = rf"[\1]({REPOSITORY}/blob/main/\2)" if REPOSITORY else r"\1"
    return _raised(FILE.sub(link, _linked(text, names)))


def _raised(text: str) -> str:
    """Return Markdown whose headings of the third level are of the second, so that none is left out."""
    return re.sub(r"^###", "##", text, flags=re.MULTILINE)


def _hints(exercise: str) -> str:
    return "\n".join(
        f"<details><summary>Hint {number}</summary>\n\n{hint}\n\n</details>"
        for number, hint in enumerate(HINTS[exercise], 1)
    )


def _run_it(name: str) -> str:
    if name in TEACHING:
        return _edit(f"notebooks/teaching/{name}.ipynb")
    if name == GLOSSARY:
        return _edit(f"notebooks/{name}.ipynb")
    lesson = name[:2] if name in LESSONS else name
    line = f"Run it: `python3 -m kit lab {lesson}`, as [Start](start.md) says"
    if REPOSITORY:
        project = REPOSITORY.removeprefix("https://github.com/")
        binder = f"https://mybinder.org/v2/gh/{project}/HEAD?urlpath=lab/tree/notebooks/{name}.ipynb"
        line += f", or [on Binder]({binder})"
    return f"{line}. {_edit(f'notebooks/{name}.ipynb')}"


def _edit(path: str) -> str:
    return f"[Edit this page]({REPOSITORY}/edit/main/{path})" if REPOSITORY else ""


def _reference() -> Iterator[str]:
    """Yield the reference: the names of `kit`, calls first, what `kit.look` returns, and `kit.stages`."""
    yield f"# Reference\n\nWhat `import kit` has. {_edit('kit/__init__.py')}"
    names = sorted(kit.__all__, key=lambda name: (isinstance(getattr(kit, name), type), name))
    for module, public in (("kit", names), ("kit.looking", ["Look"]), ("kit.stages", kit.stages.__all__)):
        body = [f".. py:currentmodule:: {module}"]
        for name in public:
            thing = getattr(importlib.import_module(module), name)
            if isinstance(thing, type):
                body.append(f".. autoclass:: {name}\n   :members:")
            elif callable(thing):
                body.append(f".. autofunction:: {name}")
        yield "\n".join([f"\n## {module}\n\n```{{eval-rst}}", "\n\n".join(body), "```"])
