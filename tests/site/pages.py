"""What Sphinx reads: the executed notebooks, chapters of README, and the reference."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat

import kit
from kit.exercises import course
from kit.pictures.publish import without_widgets
from tests.lessons.notebook import COMPANIONS, LESSONS

# Where the project is published, such as https://github.com/owner/name: each page then has a link to edit it,
# and one to run it on Binder.
REPOSITORY = os.environ.get("KIT_REPOSITORY", "")
README = Path(__file__).parents[2] / "README.md"
GLOSSARY = "glossary"
NOTEBOOKS = [*LESSONS, *COMPANIONS, GLOSSARY]
CHAPTERS = {
    "start": "Start",
    "postgres": "Where Postgres comes from",
    "terminal": "In a terminal",
    "staged_jobs_on_a_server": "Staged jobs on a server",
    "your_tests": "In your own tests",
    "exercises": "Exercises",
    "class": "Teach a class",
    "without_a_clone": "Without a clone: pip, uv, conda, Binder, a hub",
    "trouble": "When something does not work",
}
LINK = re.compile(r"\[([^\]]+)\]\((?:notebooks/)?(\w+)\.ipynb(#[\w-]+)?\)")
HINTS = {one.id: one.hints for one in course.all_exercises()}


def pages(notebooks: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each of Sphinx's sources; ``notebooks`` are executed."""
    for name, notebook in notebooks.items():
        yield f"{name}.ipynb", _page(name, notebook, [*notebooks])
    readme = README.read_text("utf-8")
    opening = readme.partition("\n## ")[0].replace("notebooks/images/", "images/")
    parts = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL))
    for name, title in CHAPTERS.items():
        yield f"{name}.md", f"# {title}\n{_edit('README.md')}\n{parts[title]}"
    yield "reference.md", "\n".join(_reference())
    contents = {
        "Begin": ["start"],
        "Lessons": [name for name in notebooks if name in LESSONS],
        "Beside them": [name for name in notebooks if name not in LESSONS],
        "The kit": [*[name for name in CHAPTERS if name != "start"], "reference"],
    }
    trees = (
        "\n".join(["```{toctree}", ":hidden:", ":maxdepth: 1", f":caption: {caption}", *names, "```"])
        for caption, names in contents.items()
        if names
    )
    chapters = [f"## {title}\n{parts[title]}" for title in ("The lessons", "The kit in a minute")]
    yield (
        "index.md",
        "\n".join([_linked(opening, notebooks), *(_linked(one, notebooks) for one in chapters), *trees]),
    )


def _page(name: str, notebook: Any, names: Sequence[str]) -> str:
    cells = []
    for cell in without_widgets(notebook).cells:
        cells.append(cell)
        if cell.cell_type == "markdown":
            cell.source = _linked(cell.source, names)
            if name == GLOSSARY:  # no level is left out
                cell.source = re.sub(r"^###", "##", cell.source, flags=re.MULTILINE)
            continue
        tags = cell.metadata.setdefault("tags", [])
        exercises = [tag.removeprefix("check:") for tag in tags if tag.startswith("check:")]
        cells += [_markdown(f"hints-{exercise}", _hints(exercise)) for exercise in exercises]
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            tags.append("hide-input")
    if name != GLOSSARY:
        cells.insert(1, _markdown("run-it", _run_it(name)))
    notebook.cells = cells
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}  # `!pgq` in a cell
    return str(nbformat.writes(notebook))


def _markdown(name: str, text: str) -> Any:
    return nbformat.v4.new_markdown_cell(text, id=name)


def _linked(text: str, names: Sequence[str]) -> str:
    """Return Markdown whose links lead to pages that there are."""
    return LINK.sub(
        lambda link: f"[{link[1]}]({link[2]}.ipynb{link[3] or ''})" if link[2] in names else link[1], text
    )


def _hints(exercise: str) -> str:
    return "\n".join(
        f"<details><summary>Hint {number}</summary>\n\n{hint}\n\n</details>"
        for number, hint in enumerate(HINTS[exercise], 1)
    )


def _run_it(name: str) -> str:
    lesson = name[:2] if name in LESSONS else name
    line = f"Run it: `python3 -m kit lab {lesson}`, as [Start](start.md) says"
    if REPOSITORY:
        path = REPOSITORY.removeprefix("https://github.com/")
        line += f", or [on Binder](https://mybinder.org/v2/gh/{path}/HEAD?urlpath=lab/tree/notebooks/{name}.ipynb)"
    return f"{line}. {_edit(f'notebooks/{name}.ipynb')}"


def _edit(path: str) -> str:
    return f"[Edit this page]({REPOSITORY}/edit/main/{path})" if REPOSITORY else ""


def _reference() -> Iterator[str]:
    """Yield the reference: the names of `kit`, calls first, what `kit.look` returns, and `kit.stages`."""
    yield f"# Reference\n\nWhat `import kit` has.\n{_edit('kit/__init__.py')}"
    names = sorted(kit.__all__, key=lambda name: (isinstance(getattr(kit, name), type), name))
    for module, public in (("kit", names), ("kit.looking", ["Look"]), ("kit.stages", kit.stages.__all__)):
        body = [f".. py:currentmodule:: {module}"]
        for name in public:
            thing = getattr(importlib.import_module(module), name)
            if isinstance(thing, type):
                body.append(f".. autoclass:: {name}\n   :members:\n   :exclude-members: __init__")
            elif callable(thing):
                body.append(f".. autofunction:: {name}")
        yield "\n".join([f"\n## {module}\n\n```{{eval-rst}}", "\n\n".join(body), "```"])
