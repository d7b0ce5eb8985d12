"""Begin a lesson: ``python -m tests.lessons.new 15 "Rate limits"`` makes one that passes, to be rewritten.

It makes the notebook with one section, the table of what that section credits, and the row in the README.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import nbformat

from tests.lessons.notebook import FOLDER, LESSONS, Lesson
from tests.lessons.reading import minutes
from tests.lessons.tidy import tidied

DOCUMENTATION = "https://janbjorge.github.io/pgqueuer/"

# Each cell: its id, whether it is code, and its source.
CELLS = (
    (
        "opening",
        False,
        "# {number} · {title}\n\n**You will be able to** say which of two jobs runs first.\n\n"
        "**Takes** about {minutes} minutes. **Builds on** [{before}]({before_file}).",
    ),
    ("setup", True, 'import kit\n\nkit.postgres(database="{name}")'),
    ("about-the-consumer", False, "The next cell is folded: it has the consumer, and a producer, `q`."),
    (
        "consumer",
        True,
        "from contextlib import asynccontextmanager\n\nimport asyncpg\n"
        "from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries\n\n"
        "conn = await asyncpg.connect()\nq = Queries(AsyncpgDriver(conn))\n\n\n"
        "@asynccontextmanager\nasync def main():\n    connection = await asyncpg.connect()\n"
        "    pgq = PgQueuer(AsyncpgDriver(connection))\n"
        '    pgq.entrypoint("task", concurrency_limit=1)(task)\n    yield pgq\n'
        "    await connection.close()",
    ),
    ("handler", True, "async def task(job: Job) -> None:\n    print(job.payload.decode())"),
    (
        "need",
        False,
        "## 1 · The need\n\nTwo jobs wait. One of them is more urgent, and says so by its **priority**.",
    ),
    (
        "two-jobs",
        True,
        'kit.postgres(database="{name}")\nawait q.enqueue(["task"] * 2, [b"report", b"reset"], [0, 9])\n'
        'kit.jobs()[["id", "status", "priority", "text"]]',
    ),
    ("two-jobs-look", False, "**Look** at `status`: both are `queued`."),
    ("predict", False, "**Predict.** Which of the two is printed first?"),
    ("run", True, "kit.run(main)\nawait kit.wait()"),
    (
        "run-look",
        False,
        "**Look:** `reset`, `report`. The higher number runs first.\n\n**Change it.** Give both a 0.",
    ),
    (
        "your-turn",
        False,
        "## Your turn\n\nEnqueue two jobs of your own, so that the second of them runs first.",
    ),
    (
        "my-jobs",
        True,
        'kit.postgres(database="{name}")\nmy_priorities = [0, 0]  # change one of them\n'
        'await q.enqueue(["task"] * 2, [b"first", b"second"], my_priorities)\n'
        "kit.run(main)\nawait kit.wait()",
    ),
    (
        "recap",
        False,
        "## What you know now\n\n- The higher priority runs first.\n\n"
        "**What would happen if…** both had the same? The one that was enqueued first would run first.\n\n"
        "<details><summary>In production</summary>\n\n- Use few levels.\n\n</details>\n\n"
        f"More in [PGQueuer's documentation]({DOCUMENTATION}).\n\n"
        "**Next:** [Start here](00_start_here.ipynb), once more.",
    ),
)

INGREDIENTS = '''"""Lesson {number}: what each section credits."""

from __future__ import annotations

from tests.lessons.ingredients import Beats, Edit, Ingredient

BEATS: Beats = {{
    "1 · The need": [
        Ingredient(
            "change it: the same priority",
            (Edit("two-jobs", "[0, 9]", "[0, 0]"),),
            then={{"run": ("report", "reset")}},
        ),
    ],
    "Your turn": [
        Ingredient(
            "a solution",
            (Edit("my-jobs", "[0, 0]", "[0, 1]"),),
            then={{"my-jobs": ("second", "first")}},
        ),
    ],
}}
'''


def notebook(number: str, title: str) -> str:
    """Return a lesson in the form in which notebooks are stored."""
    before = LESSONS[-1]
    words = {
        "number": number,
        "title": title,
        "name": name_of(title),
        "before": title_of(before),
        "before_file": f"{before}.ipynb",
        "minutes": "0",
    }
    cells = []
    for cell_id, is_code, source in CELLS:
        make = nbformat.v4.new_code_cell if is_code else nbformat.v4.new_markdown_cell
        cells.append(make(source.format(**words), id=cell_id))
    by_id = {cell.id: cell for cell in cells}
    by_id["consumer"].metadata = {"jupyter": {"source_hidden": True}}
    by_id["my-jobs"].metadata = {"tags": ["exercise"], "minutes": 3}
    cells[0].source = CELLS[0][2].format(**words | {"minutes": str(minutes(Lesson(number, cells)))})
    return tidied(nbformat.writes(nbformat.v4.new_notebook(cells=cells)))


def name_of(title: str) -> str:
    """Return the title as it stands in a file's name and a database's."""
    return "_".join(re.findall(r"[a-z0-9]+", title.lower()))


def title_of(lesson: str) -> str:
    """Return a lesson's number and title, from its first line."""
    first = nbformat.read(FOLDER / f"{lesson}.ipynb", as_version=4).cells[0].source.splitlines()[0]
    return str(first).removeprefix("# ")


def with_row(readme: str, number: str, title: str, file: str) -> str:
    """Return the README with a row for the lesson below the last one's."""
    rows = list(re.finditer(r"^\| \d\d \| .*\n", readme, re.MULTILINE))
    row = f"| {number} | [{title}](notebooks/{file}) | say which of two jobs runs first |\n"
    return readme[: rows[-1].end()] + row + readme[rows[-1].end() :]


def main(arguments: list[str] | None = None) -> None:
    """Make the lesson's three parts, and say where they are."""
    parser = argparse.ArgumentParser(prog="python -m tests.lessons.new", description=__doc__)
    parser.add_argument("number", help="two digits that no lesson has, such as 15")
    parser.add_argument("title", help='its title: "Rate limits"')
    given = parser.parse_args(arguments)
    if not re.fullmatch(r"\d\d", given.number) or any(name.startswith(given.number) for name in LESSONS):
        parser.error(f"{given.number!r}: two digits that no lesson has; the last one is {LESSONS[-1]}")
    file = FOLDER / f"{given.number}_{name_of(given.title)}.ipynb"
    ingredients = Path(__file__).with_name(f"ingredients_{given.number}.py")
    readme = FOLDER.parent / "README.md"
    file.write_text(notebook(given.number, given.title), "utf-8", newline="\n")
    ingredients.write_text(INGREDIENTS.format(number=given.number), "utf-8", newline="\n")
    text = with_row(readme.read_text("utf-8"), given.number, given.title, file.name)
    readme.write_text(text, "utf-8", newline="\n")
    for made in (file, ingredients, readme):
        print(made.relative_to(FOLDER.parent))
    print(f"Look at it: kit lab {given.number}. Try it: pytest tests/lessons -k {given.number}")


if __name__ == "__main__":
    main()
