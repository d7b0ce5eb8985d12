"""What stands beside the numbered lessons: the primer, the two programs, and the glossary."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.lessons.conftest import postgres_from
from tests.lessons.learner import Learner, learner_of
from tests.lessons.notebook import COMPANIONS, FOLDER, LESSONS, blank, one_with_id, read, text_of
from tests.lessons.reading import code_lines, minutes

GLOSSARY = "glossary"
MOST_LINES = 12  # of a cell: a whole program, as a blog post prints it


def test_each_notebook_is_a_lesson_a_companion_or_the_glossary() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {*LESSONS, *COMPANIONS, GLOSSARY}


@pytest.fixture(scope="module", params=COMPANIONS)
def companion(request: pytest.FixtureRequest, home: Path) -> Iterator[Learner]:
    """A learner with a kernel for a companion."""
    with postgres_from("embedded"), learner_of(request.param) as learner:
        yield learner


def test_each_section_shows_what_its_text_says_and_again_when_its_cells_are_run_twice(
    companion: Learner,
) -> None:
    companion.run(companion.lesson.setup, times=2)
    for section in companion.lesson.sections:
        for look in companion.run_section(section).looks():
            look.check()
        companion.run_section(section, times=2)
    for section in companion.lesson.sections:
        for look in companion.run_section(section).looks():
            look.check()


def test_a_program_that_a_cell_ran_has_ended_and_left_no_warning(companion: Learner) -> None:
    cells = [*companion.lesson.setup, *(cell for one in companion.lesson.sections for cell in one.cells)]
    executed = companion.run(cells)
    errors = [
        output.text
        for cell in executed
        for output in cell.get("outputs", [])
        if output.get("name") == "stderr"
    ]
    assert errors == []
    folder = companion.client.resources["metadata"]["path"]  # other tests run such programs, too
    left = [process for process in psutil.process_iter(["cmdline"]) if _is_a_program_in(folder, process)]
    assert left == []


def _is_a_program_in(folder: str, process: psutil.Process) -> bool:
    line = " ".join(process.info["cmdline"] or [])
    with suppress(psutil.Error):  # it has ended meanwhile, or is somebody else's
        return bool(re.search(r"pgq run (old_)?consumer:main|producer\.py", line)) and process.cwd() == folder
    return False


@pytest.mark.parametrize("name", [*COMPANIONS, GLOSSARY])
def test_it_is_stored_without_outputs_has_short_cells_and_says_how_long_it_takes(name: str) -> None:
    lesson = read(name)
    assert not any(cell.outputs or cell.execution_count for cell in lesson.code)
    assert [cell.id for cell in lesson.read_code if code_lines(cell) > MOST_LINES] == []
    assert [cell.id for cell in lesson.code if max(map(len, cell.source.splitlines())) > 72] == []
    if name != GLOSSARY:
        assert f"**Takes** about {minutes(lesson)} minutes" in lesson.prose[0]
        assert lesson.code[0].source == f'import kit\n\nkit.postgres(database="{name}")'


def test_the_two_consumers_differ_only_in_the_lines_that_are_marked() -> None:
    cells = read("two_programs").cells
    older, imports, rest = (
        one_with_id(cells, name).source.splitlines()[1:]
        for name in ("old-consumer", "consumer-imports", "consumer")
    )
    lines = [line for line in difflib.ndiff(older, imports + rest) if line[0] in "+-" and line[2:].strip()]
    assert [line for line in lines if line[0] == "-"] == ["-     return pgq"]
    added = [line for line in lines if line[0] == "+"]
    assert len(added) == 4
    assert all(re.search("# (new|differs)", line) for line in added)


def test_what_two_programs_shows_of_the_old_form_is_what_pgq_run_says(home: Path) -> None:
    """Mended, it shows no error: the cell does not say the word by itself."""
    with postgres_from("embedded"), learner_of("two_programs") as learner:
        cells = [cell for cell in learner.lesson.code if cell.id not in ("producer", "run-producer")]
        mended = [blank(cell) for cell in cells]
        one_with_id(mended, "old-consumer").source = one_with_id(mended, "consumer").source.replace(
            "%%writefile -a programs/consumer.py",
            "%%writefile programs/old_consumer.py\n"
            "from contextlib import asynccontextmanager\nimport asyncpg\n"
            "from pgqueuer import AsyncpgDriver, Job, PgQueuer",
        )
        for cells_, fails in ((cells, True), (mended, False)):
            shown = text_of(one_with_id(learner.run(cells_), "run-old-consumer"))
            assert ("TypeError" in shown) is fails, shown


@pytest.mark.parametrize("name", [*LESSONS, *COMPANIONS, GLOSSARY])
def test_a_link_into_the_glossary_leads_to_a_word_that_is_there(name: str) -> None:
    """A heading's address is its text with hyphens for spaces, in JupyterLab and in nbconvert's pages."""
    words = re.findall(r"^### (.+)$", "\n".join(read(GLOSSARY).prose), re.MULTILINE)
    there = {word.replace(" ", "-") for word in words}
    address = r"\]\(#([^)]+)\)" if name == GLOSSARY else r"\]\(glossary\.ipynb#([^)]+)\)"
    assert set(re.findall(address, "\n".join(read(name).prose))) <= there


@pytest.mark.parametrize("name", COMPANIONS)
def test_links_to_other_notebooks_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", "\n".join(read(name).prose)):
        assert (FOLDER / link).exists(), link


def test_the_glossary_is_in_the_order_of_the_alphabet() -> None:
    words = re.findall(r"^### (.+)$", "\n".join(read(GLOSSARY).prose), re.MULTILINE)
    assert words == sorted(words, key=str.lower)
    assert len(words) == len(set(words))
