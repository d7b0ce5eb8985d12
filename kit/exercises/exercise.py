"""What an author writes: an `Exercise`, its `Wrong` answers, and `NotYet`, which a check raises."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["predict", "mend", "complete", "query", "design", "read"]


@dataclass(frozen=True)
class Wrong:
    """An answer that people really give, and what they must be told.

    Attributes:
        why: what the mistake is, in a few words.
        answer: the source of the cell.
        gets: the key of the message: one of the exercise's, or of `kit.exercises.judging.COMMON`.
    """

    why: str
    answer: str
    gets: str


@dataclass(frozen=True)
class Exercise:
    """One exercise: the cell to work in, the check of what is in there, and the proofs of that check.

    Attributes:
        id: one plain word, unique in the course: ``kit.check("thank")``.
        kind: what is to be done: predict, mend, complete, query, design or read.
        title: what the card and `kit.progress` call it.
        minutes: how long it takes.
        task: the text above the cell, in Markdown.
        stub: the source of the cell as a learner finds it.
        solution: a model answer: the whole source of the cell.
        check: an ``async def`` that is given a `kit.exercises.answers.Answer`, and raises `NotYet`.
        hints: three, from a nudge to almost the answer.
        why: what the answer shows, told after a pass.
        wrong: at least three.
        messages: the sentence for each key that the check raises `NotYet` with.
        names: what the cell assigns and the check looks at; what a prediction names; nothing for a file.
        file: what the cell writes, for an answer that is a file.
        given: source that stands for what the lesson has defined before the cell. For the proofs only.
        also: other right answers.
        processes: how many processes the check runs, started ahead; 0 where it only asks Postgres.
        lent: whether connections, pools and Queries of the notebook that the answer uses are replaced by the
            check's own. Otherwise an answer that uses one is told so.
        after: the id of the cell after which the cells stand; without it, or where the notebook has no such
            cell, they stand in its section *Practice*.
        cell: the id of a cell of the lesson that is this exercise's: the stub is written there, and the check
            at the end of its section.
        equivalent: for each mutant of the solution that is as right, its name and the reason.
        breaks: for a drill, what makes its broken queue, in the database of the lesson: it is given a
            `kit.exercises.drills.Incident`. The check is then of that database, and the stub has nothing to
            change: `kit.drill` opens it, and whatever the learner does is the answer.
        long: whether its check takes a minute: of mutants there are none, and its proofs stand by themselves.
        alarm: for a drill, a query that would have told: one number, 0 when all is well.
    """

    id: str
    kind: Kind
    title: str
    minutes: int
    task: str
    stub: str
    solution: str
    check: Callable[[Any], Awaitable[None]]
    hints: tuple[str, str, str]
    why: str
    wrong: tuple[Wrong, ...]
    messages: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    file: str | None = None
    given: str = ""
    also: tuple[str, ...] = ()
    processes: int = 1
    lent: bool = False
    after: str = ""
    cell: str = ""
    equivalent: Mapping[str, str] = field(default_factory=dict)
    breaks: Callable[[Any], None] | None = None
    alarm: str = ""
    long: bool = False

    @property
    def mistakes(self) -> dict[str, list[str]]:
        """For each key of a message, the wrong answers that get it, in a few words each."""
        keys = dict.fromkeys(wrong.gets for wrong in self.wrong)
        return {key: [wrong.why for wrong in self.wrong if wrong.gets == key] for key in keys}


class NotYet(Exception):
    """The answer is not right yet. Only this is the learner's; whatever else a check raises is its own fault.

    Args:
        message: the key of the sentence that says what is wrong.
        expected, actual: rows to be shown side by side; one of one column may be given bare.
        columns: what their columns are called.
        words: what stands in the sentence for each ``{name}``.
    """

    def __init__(
        self,
        message: str,
        *,
        expected: Sequence[Any] = (),
        actual: Sequence[Any] = (),
        columns: Sequence[str] = (),
        **words: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.expected = [row_of(each) for each in expected]
        self.actual = [row_of(each) for each in actual]
        self.columns = tuple(columns)
        self.words = words


def row_of(given: Any) -> tuple[Any, ...]:
    """Return a row as a tuple; one of one column may be given bare."""
    return tuple(given) if isinstance(given, tuple | list) else (given,)
