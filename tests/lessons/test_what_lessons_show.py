"""A lesson, run top to bottom on each source, shows what its text says."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.lessons.notebook import LESSONS, Lesson, one_with_id, read


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_shows_what_its_text_tells_the_learner_to_look_for(
    name: str, run: Callable[[str], Lesson]
) -> None:
    """Each `value` of a paragraph that begins with **Look** stands in what its cell showed, in that order."""
    looks = [look for section in run(name).sections for look in section.looks()]
    assert len(looks) >= 5, "a lesson has more to look at than this"
    for look in looks:
        look.check()


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_and_each_section_shows_something_within_three_cells(
    name: str, run: Callable[[str], Lesson]
) -> None:
    """The lesson's first cell, the same in all, and the folded one are not counted."""
    lesson = run(name)
    sections = [one for one in lesson.sections if one.title != "Your turn"]
    for title, cells in [(name, lesson.read_code[1:]), *((one.title, one.code) for one in sections)]:
        assert any(cell.outputs for cell in cells[:3]), f"{title!r} shows nothing in its first three cells"


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_leaves_no_warning_behind(name: str, run: Callable[[str], Lesson]) -> None:
    for cell in run(name).code:
        for output in cell.outputs:
            assert output.get("name") != "stderr", f"{cell.source!r} wrote to stderr: {output.text}"


def test_00_the_queue_is_empty_before_the_first_job_and_after_the_last(
    run: Callable[[str], Lesson],
) -> None:
    lesson = run("00_start_here")
    assert "Empty DataFrame" in lesson.shown_by("kit.jobs()", occurrence=0)
    assert "queued" in lesson.shown_by("kit.jobs()", occurrence=1)
    assert lesson.shown_by("len(kit.jobs())") == "0"


def test_00_the_older_form_in_its_fold_is_the_one_of_two_programs() -> None:
    shown = one_with_id(read("00_start_here").cells, "00-5dd7b0").source
    older = one_with_id(read("two_programs").cells, "old-consumer").source
    newer = one_with_id(read("00_start_here").cells, "main").source
    differences = re.findall(r"^[+-] *(\S.*)$", shown, re.MULTILINE)
    assert differences == ["@asynccontextmanager", "return pgq", "yield pgq"]
    assert [line in older for line in differences] == [False, True, False]
    assert [line in newer for line in differences] == [True, False, True]


def test_00_four_jobs_leave_four_rows_of_each_status(run: Callable[[str], Lesson]) -> None:
    counts = run("00_start_here").shown_by("agg(")
    for status in ("queued", "picked", "successful"):
        assert re.search(rf"{status}\s+4\b", counts)


def test_00_pgqueuer_is_four_tables(run: Callable[[str], Lesson]) -> None:
    shown = run("00_start_here").shown_by("FROM pg_tables")
    assert re.findall(r"pgqueuer\w*", shown) == [
        "pgqueuer",
        "pgqueuer_log",
        "pgqueuer_schedules",
        "pgqueuer_statistics",
    ]


def test_01_a_job_with_an_unknown_name_waits_and_is_then_done(run: Callable[[str], Lesson]) -> None:
    lesson = run("01_entrypoints")
    assert re.search(r"queued\s+welcom\s+Linus", lesson.shown_by("kit.jobs()"))
    assert "[welcom #3] Welcome, Linus!" in lesson.sections[0].shown("run-corrected")


def test_01_a_taken_name_and_a_plain_function_are_refused_in_plain_words(
    run: Callable[[str], Lesson],
) -> None:
    lesson = run("01_entrypoints")
    assert "welcome" in lesson.sections[0].shown("taken-name")
    assert "async" in lesson.sections[1].shown("refused")


def test_01_blocking_handlers_run_one_by_one_and_threads_side_by_side(run: Callable[[str], Lesson]) -> None:
    def events(shown: str) -> list[str]:
        return re.findall(r"starts|is done", shown)

    lesson = run("01_entrypoints")
    assert events(lesson.sections[1].shown("one-by-one")) == ["starts", "is done"] * 3
    assert events(lesson.sections[1].shown("side-by-side"))[:3] == ["starts"] * 3


def test_01_a_handler_without_the_annotation_misses_its_context(run: Callable[[str], Lesson]) -> None:
    shown = run("01_entrypoints").shown_by("job: Job, context) -> None")
    assert "missing 1 required positional argument: 'context'" in shown


def test_02_two_of_three_mails_are_sent_past_the_poison_payload(run: Callable[[str], Lesson]) -> None:
    lesson = run("02_payloads")
    sent = re.findall(r"To (\w+)@example.org: Hello", lesson.shown_by("for email in emails"))
    assert sent == ["ada", "cleo"]
    assert "KeyError: 'subject'" in lesson.shown_by('== "exception"')


def test_02_the_wrong_key_cannot_leave_the_producer(run: Callable[[str], Lesson]) -> None:
    assert "Field required" in run("02_payloads").shown_by("ValidationError as error")


def test_03_the_report_is_the_last_of_all_until_waiting_counts(run: Callable[[str], Lesson]) -> None:
    lesson = run("03_priorities")
    ran = r"urgent \d|report"
    urgent = [f"urgent {number}" for number in range(1, 9)]
    starved = lesson.section("4 · A busy shop").shown("run-busy")
    cured = lesson.section("5 · A cure: let waiting count").shown("run-ageing")
    assert re.findall(ran, starved) == [*urgent, "report"]
    assert re.findall(ran, cured) == [*urgent[:4], "report", *urgent[4:]]


def test_05_a_repaired_run_is_not_charged_again_and_only_the_held_branch_goes_on(
    run: Callable[[str], Lesson],
) -> None:
    history = run("07_pipelines").sections[1].shown("repair")
    after = history.rpartition("waiting")[2]
    assert re.findall(r"(\S+) +(\w+) +(\w+)$", after, re.MULTILINE) == [
        *(("1", "pack", status) for status in ("pending", "running", "done")),
        *(("<NA>", "ship", status) for status in ("pending", "running", "done")),
    ]
