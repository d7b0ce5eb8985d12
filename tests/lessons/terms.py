"""The words a beginner does not know, and where each is explained.

Before that place, in the order in which lessons and their cells are read, a lesson that uses the word links
its first use to the glossary: ``[heartbeat](glossary.ipynb)``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.lessons.notebook import LESSONS, Lesson

GLOSSARY = "glossary.ipynb"


@dataclass(frozen=True)
class Term:
    """A word, and the text that explains it.

    Attributes:
        word: a pattern for its forms, in text and in code.
        lesson: the lesson that explains it.
        explained: words of the markdown cell that does.
    """

    word: str
    lesson: str
    explained: str

    def place(self, lesson: Lesson) -> int:
        """Return which cell of the lesson explains it."""
        found = [
            place
            for place, cell in enumerate(lesson.cells)
            if cell.cell_type == "markdown" and self.explained in cell.source
        ]
        assert found, f"{self.word!r}: lesson {self.lesson} does not say {self.explained!r}"
        return found[0]

    def used_too_early(self, lesson: Lesson) -> str | None:
        """Return the cell that uses the word before it is explained or linked; None when none does."""
        if LESSONS.index(lesson.name) > LESSONS.index(self.lesson):
            return None
        until = self.place(lesson) if lesson.name == self.lesson else len(lesson.cells)
        for cell in lesson.cells[:until]:
            if re.search(rf"\[[^\]]*\b(?:{self.word})\b[^\]]*\]\({GLOSSARY}", cell.source):
                return None
            if found := re.search(rf"\b(?:{self.word})\b", _without_addresses(cell)):
                return f"{found[0]!r} in {cell.source!r}"
        return None


def _without_addresses(cell: object) -> str:
    """Return the cell's text without the links' addresses and the imports, which use nothing yet."""
    source: str = cell.source  # type: ignore[attr-defined]
    return re.sub(r"^(from \S+ )?import .*$|\]\([^)]*\)", "]", source, flags=re.MULTILINE)


TERMS = [
    Term(r"drivers?", "00_start_here", "`AsyncpgDriver`, a [driver]"),
    Term(r"jobs?", "00_start_here", "[**job**]"),
    Term(r"producers?", "00_start_here", "[**producer**]"),
    Term(r"consumers?", "00_start_here", "[**consumer**]"),
    Term(r"queues?", "00_start_here", "[**queue**]"),
    Term(r"entrypoints?", "00_start_here", "[**entrypoint**]"),
    Term(r"payloads?", "00_start_here", "[**payload**]"),
    Term(r"heartbeat", "00_start_here", "when that one last said that it is alive"),
    Term(r"headers", "00_start_here", "facts *about* the job"),
    Term(r"dedupe_key", "00_start_here", "no second job with this key"),
    Term(r"factory|factories", "00_start_here", "is a [factory]"),
    Term(r"handlers?", "00_start_here", "[**handler**]"),
    Term(r"panels?", "00_start_here", "**panel**"),
    Term(r"log", "00_start_here", "[**log**]"),
    Term(r"picked", "00_start_here", "*Picked* means"),
    Term(r"trigger", "00_start_here", "A **trigger**"),
    Term(r"event loop", "01_entrypoints", "the [event loop]"),
    Term(r"to_thread", "01_entrypoints", "in a thread of its own"),
    Term(r"resources", "01_entrypoints", "put it into [`resources`]"),
    Term(r"priority|priorities", "00_start_here", "which **priority**"),
    Term(r"concurrency[_ ]limit", "03_priorities", "With `concurrency_limit=1`, **one job**"),
    Term(r"batch_size", "03_priorities", "`batch_size` says how many jobs a consumer *fetches*"),
    Term(r"dequeue_timeout", "03_priorities", "at the latest after its `dequeue_timeout`"),
    Term(r"starve\w*|starvation", "03_priorities", "This is called **starvation**"),
    Term(r"attempts", "00_start_here", "how often the job was tried again"),
    Term(r"RetryRequested", "04_staged_jobs", "`RetryRequested`. It asks PGQueuer to put the job back"),
    Term(r"guard", "04_staged_jobs", "is called a **guard**"),
    Term(r"transactions?", "04_staged_jobs", "A **transaction** is a group of statements"),
    Term(r"at least once", "04_staged_jobs", "a job is delivered **at least once**"),
    Term(r"workers?", "04_staged_jobs", "A [**worker**]"),
    Term(r"idempotent", "06_crashes", "[**idempotent**]"),
    Term(r"dual writes?", "10_transactions", "called a **dual write**"),
    Term(r"durability", "13_to_production", "called [**durability**]"),
    Term(r"rollback", "10_transactions", "That is a **rollback**"),
    Term(r"pool", "01_entrypoints", "pool](glossary.ipynb#pool) of connections"),
    Term(r"branch|branches", "07_pipelines", "as **branches**"),
    Term(r"kit\.stages|Pipeline", "07_pipelines", "the kit has it as `kit.stages`"),
]
