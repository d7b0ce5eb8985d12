"""The notebooks as pages: executed once for each content of theirs and of the kit."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import nbformat

import kit
from kit.exercises import course
from kit.pictures.publish import without_widgets
from tests.lessons.conftest import postgres_from
from tests.lessons.learner import learner_of
from tests.lessons.notebook import COMPANIONS, FOLDER, LESSONS

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "artifacts"
PAGES = [*LESSONS, *COMPANIONS, "glossary"]
LINK = re.compile(r"\[([^\]]+)\]\((\w+)\.ipynb(#[\w-]+)?\)")
HINTS = {one.id: one.hints for one in course.all_exercises()}


def key_of(name: str) -> str:
    """Return what changes when the notebook or the kit does."""
    digest = hashlib.sha256((FOLDER / f"{name}.ipynb").read_bytes())
    for path in sorted((ROOT / "kit").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:20]


def executed(name: str) -> Any:
    """Return the notebook with its outputs, from the cache where nothing has changed."""
    kept = ARTIFACTS / "executed" / f"{name}-{key_of(name)}.ipynb"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        notebook.cells = _executed(name)
        for old in kept.parent.glob(f"{name}-*.ipynb"):
            old.unlink()
        nbformat.write(notebook, kept)
    return nbformat.read(kept, as_version=4)


def _executed(name: str) -> list[Any]:
    """Run a notebook, and return its cells, each section as it is when it ends.

    What is live in it is brought up to date for as long as the kernel runs, and would show a later section.
    """
    ended: list[Any] = []
    section: list[Any] = []
    with postgres_from("embedded"), learner_of(name) as learner:
        for cell in learner.lesson.cells:
            if cell.cell_type == "markdown" and cell.source.startswith("## "):
                ended += copy.deepcopy(section)
                section = []
            section += learner.run([cell])
        return ended + copy.deepcopy(section)


def write(name: str, source: Path, names: Sequence[str]) -> None:
    """Write the page of a notebook into Sphinx's source folder; ``names`` are the pages there are."""
    notebook = without_widgets(executed(name))
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "markdown":
            cell.source = _for_a_page(cell.source, name, names)
            continue
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.metadata.setdefault("tags", []).append("hide-input")
        tags = cell.metadata.get("tags", ())
        cells += [_hints(tag.removeprefix("check:")) for tag in tags if tag.startswith("check:")]
    if name != "glossary":
        number = name[:2] if name in LESSONS else name
        line = f"Run it yourself: `python3 -m kit lab {number}`, as [](start.md) says."
        cells.insert(1, nbformat.v4.new_markdown_cell(line, id="run-it"))
    notebook.cells = cells
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}  # `!pgq` in a cell
    nbformat.write(notebook, source / f"{name}.ipynb")


def _for_a_page(text: str, name: str, names: Sequence[str]) -> str:
    """Return Markdown whose links lead to pages that there are, and whose headings leave no level out."""
    text = LINK.sub(lambda found: found[0] if found[2] in names else found[1], text)
    return re.sub(r"^###", "##", text, flags=re.MULTILINE) if name == "glossary" else text


def _hints(exercise: str) -> Any:
    folds = (
        f"<details><summary>Hint {number}</summary>{escape(hint)}</details>"
        for number, hint in enumerate(HINTS[exercise], 1)
    )
    return nbformat.v4.new_markdown_cell("\n".join(folds), id=f"hints-{exercise}")


def write_contents(names: Sequence[str], source: Path) -> None:
    """Write the pages that are no notebooks: how to start, the reference, and the contents."""
    readme = (ROOT / "README.md").read_text("utf-8")
    parts = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL))
    (source / "start.md").write_text(f"# Start\n{parts['Start']}", "utf-8")
    (source / "reference.md").write_text(_reference(), "utf-8")
    intro = readme.split("\n## ")[0].replace("notebooks/images/", "images/")
    pages = "\n".join(["start", *names, "reference"])
    (source / "index.md").write_text(
        f"{intro}\n\n```{{toctree}}\n:maxdepth: 1\n:hidden:\n{pages}\n```\n", "utf-8"
    )


def _reference() -> str:
    calls, classes = [], []
    for name in kit.__all__:
        thing = getattr(kit, name)
        if isinstance(thing, type):
            classes.append(f".. autoclass:: kit.{name}\n   :members:\n")
        elif callable(thing):
            calls.append(f".. autofunction:: kit.{name}\n")
    body = "\n".join([*calls, *classes])
    return f"# Reference\n\nWhat `import kit` has.\n\n```{{eval-rst}}\n{body}\n```\n"
