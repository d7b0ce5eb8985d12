"""A lesson, run top to bottom on each source, shows what its text says."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.lessons.notebook import LESSONS, Lesson


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
    assert "Empty DataFrame" in lesson.shown_by("kit.jobs()", occurrence=2)


def test_00_the_blog_consumer_processes_the_blog_job(run: Callable[[str], Lesson]) -> None:
    shown = run("00_start_here").shown_by("await kit.wait()")
    assert "Processed: Job(id=1" in shown
    assert "payload=b'hello world'" in shown


def test_00_four_jobs_leave_four_rows_of_each_status(run: Callable[[str], Lesson]) -> None:
    counts = run("00_start_here").shown_by("value_counts")
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
    assert "welcom" in lesson.shown_by("kit.jobs()")
    assert lesson.shown_by("len(kit.jobs())") == "0"


def test_01_a_taken_name_and_a_plain_function_are_refused_in_plain_words(
    run: Callable[[str], Lesson],
) -> None:
    lesson = run("01_entrypoints")
    assert "welcome" in lesson.shown_by("kit.run(twice)")
    assert "async" in lesson.shown_by("kit.run(not_async)")


def test_01_blocking_handlers_run_one_by_one_and_threads_side_by_side(run: Callable[[str], Lesson]) -> None:
    def events(shown: str) -> list[str]:
        return re.findall(r"starts|is done", shown)

    lesson = run("01_entrypoints")
    assert events(lesson.shown_by('"holds_up"] * 3')) == ["starts", "is done"] * 3
    assert events(lesson.shown_by('"in_a_thread"] * 3'))[:3] == ["starts"] * 3


def test_01_a_handler_without_the_annotation_misses_its_context(run: Callable[[str], Lesson]) -> None:
    shown = run("01_entrypoints").shown_by("job: Job, context) -> None")
    assert "missing 1 required positional argument: 'context'" in shown


def test_02_two_of_three_mails_are_sent_past_the_poison_payload(run: Callable[[str], Lesson]) -> None:
    lesson = run("02_payloads")
    sent = re.findall(r"To (\w+)@example.org: Hello", lesson.shown_by("bob@example.org"))
    assert sent == ["ada", "cleo"]
    assert "KeyError: 'subject'" in lesson.shown_by("status == 'exception'")


def test_02_the_wrong_key_cannot_leave_the_producer(run: Callable[[str], Lesson]) -> None:
    assert "Field required" in run("02_payloads").shown_by("ValidationError as error")
