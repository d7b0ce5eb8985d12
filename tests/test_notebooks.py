"""Every lesson: how it is stored, how it is built, and that it shows what its text says."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

import pytest

from tests.notebooks import FOLDER, LESSONS, Lesson, execute, read

SOURCES = ["embedded", pytest.param("docker", marks=pytest.mark.docker)]


@pytest.fixture(scope="session", params=SOURCES)
def run(request: pytest.FixtureRequest, home: object) -> Iterator[Callable[[str], Lesson]]:
    """Run a lesson once on each source; later questions read the same run."""
    before = os.environ.get("KIT_POSTGRES")
    os.environ["KIT_POSTGRES"] = request.param
    runs: dict[str, Lesson | AssertionError] = {}

    def once(name: str) -> Lesson:
        if name not in runs:
            try:
                runs[name] = execute(name)
            except AssertionError as error:
                runs[name] = error
        outcome = runs[name]
        if isinstance(outcome, AssertionError):
            raise outcome
        return outcome

    yield once
    if before is None:
        del os.environ["KIT_POSTGRES"]
    else:
        os.environ["KIT_POSTGRES"] = before


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_is_stored_without_outputs(name: str) -> None:
    for cell in read(name).code:
        assert not cell.outputs, f"strip the outputs of: {cell.source[:60]!r}"
        assert cell.execution_count is None


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_says_what_it_gives_how_long_it_takes_and_what_it_builds_on(name: str) -> None:
    opening = read(name).prose[0]
    for part in ("**You will be able to**", "**Takes** about", "**Builds on**"):
        assert part in opening


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_ends_with_a_recap_a_question_production_notes_and_the_next_lesson(name: str) -> None:
    closing = read(name).prose[-1]
    for part in ("## What you know now", "**What would happen if…**", "In production", "**Next:**"):
        assert part in closing


@pytest.mark.parametrize("name", LESSONS)
def test_the_setup_cell_is_the_same_but_for_the_database_of_the_lesson(name: str) -> None:
    assert read(name).code[0].source == f'import kit\n\nkit.postgres(database="{name[3:]}")'


@pytest.mark.parametrize("name", LESSONS)
def test_cells_are_short(name: str) -> None:
    lengths = [len([line for line in cell.source.splitlines() if line.strip()]) for cell in read(name).code]
    assert sorted(lengths)[len(lengths) // 2] <= 5
    assert max(lengths) <= 10


@pytest.mark.parametrize("name", LESSONS)
def test_links_between_lessons_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)#:]+\.ipynb)\)", "\n".join(read(name).prose)):
        assert (FOLDER / link).exists(), f"{name} links to {link!r}"


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_shows_what_its_text_tells_the_learner_to_look_for(
    name: str, run: Callable[[str], Lesson]
) -> None:
    """Each `value` of a paragraph that begins with **Look** stands in the outputs above it, in that order."""
    looks = list(run(name).looks())
    assert len(looks) >= 5, "a lesson has more to look at than this"
    for look in looks:
        assert look.values, f"this paragraph names no value: {look.paragraph!r}"
        position = 0
        for value in look.values:
            found = look.shown.find(value, position)
            assert found >= 0, f"{value!r} of {look.paragraph!r} is not (in that order) in:\n{look.shown}"
            position = found


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


def test_03_jobs_run_by_priority_then_by_arrival(run: Callable[[str], Lesson]) -> None:
    lesson = run("03_priorities")
    first = re.findall(r"\(priority (-?\d+)\)", lesson.shown_by("consumer = kit.run"))
    assert first == ["10", "5", "0", "-10"]
    tied = lesson.shown_by("kit.run(main, batch_size=1)\nawait kit.wait()", occurrence=1)
    assert re.findall(r"(queen bee|zebra|monkey|ant) \(", tied) == ["queen bee", "zebra", "monkey", "ant"]


def test_03_the_report_starves_until_waiting_counts(run: Callable[[str], Lesson]) -> None:
    lesson = run("03_priorities")
    both = '[b"the report", b"urgent 1"]'
    starved = re.findall(r"urgent \d|the report", lesson.shown_by(both, occurrence=0))
    cured = re.findall(r"urgent \d|the report", lesson.shown_by(both, occurrence=1))
    assert starved == [*(f"urgent {number}" for number in range(1, 9)), "the report"]
    assert cured.index("the report") == 4


def test_04_by_hand_an_accident_between_two_steps_loses_an_order_and_a_transaction_does_not(
    run: Callable[[str], Lesson],
) -> None:
    lesson = run("04_staged_jobs")
    lost = lesson.shown_by('"charge", "charge"')
    assert re.search(r"kettle\s+charged", lost)
    assert re.search(r"kettle\s+shipped", lesson.shown_by('q.enqueue("charge", b"2")'))


def test_04_a_second_delivery_ships_twice_until_the_step_looks_first(run: Callable[[str], Lesson]) -> None:
    lesson = run("04_staged_jobs")
    again = 'await q.enqueue("charge", b"1")'
    assert re.search(r"^0\s+1\s+2$", lesson.shown_by(again, occurrence=0), re.MULTILINE)
    assert re.search(r"^0\s+1\s+2$", lesson.shown_by(again, occurrence=1), re.MULTILINE)


def test_04_only_the_poisoned_run_is_held_and_resumes_where_it_was(run: Callable[[str], Lesson]) -> None:
    lesson = run("04_staged_jobs")
    counts = lesson.shown_by("value_counts")
    assert re.search(r"done\s+31\b", counts)
    assert re.search(r"failed\s+1\b", counts)
    history = lesson.shown_by("kit.stages.history(elephant)")
    assert history.count("charge") == 2  # pending and running, once each
    assert lesson.shown_by("conn.fetchval").strip() == "64"
