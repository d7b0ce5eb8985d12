"""A lesson, run top to bottom on each source, shows what its text says."""

from __future__ import annotations

import difflib
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


def test_00_the_older_form_of_a_consumer_works_and_its_reader_is_told_of_the_newer_one(
    run: Callable[[str], Lesson],
) -> None:
    shown = run("00_start_here").shown_by("await kit.wait()")
    assert "`yield pgq` instead of `return pgq`" in shown
    assert "Processed: b'hello world'" in shown


def test_00_the_two_forms_of_a_consumer_differ_in_the_two_lines_that_the_text_shows() -> None:
    lesson = read("00_start_here")
    older, newer = (one_with_id(lesson.cells, name).source.splitlines() for name in ("old-main", "new-main"))
    differences = [line for line in difflib.ndiff(older, newer) if line[0] in "+-"]
    assert differences == ["+ @asynccontextmanager", "-     return pgq", "+     yield pgq"]


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
    starved = lesson.section("4 · The job that never gets a turn").shown("run-busy")
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
