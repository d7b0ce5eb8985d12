"""``kit class``: a teacher's board of what a class has done, and a learner's way into it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kit.classroom.results import Task

app = typer.Typer(help="Share the results of exercises with a teacher.", no_args_is_help=True)


@app.command()
def start(
    name: Annotated[
        str | None, typer.Option(help="What the class is called. Without it, the one that was started last.")
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(help="This machine's address in the learners' network. Without it, no network."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Where it listens: 8890, or the next.")
    ] = None,
    plan: Annotated[
        str | None, typer.Option(help="What the class goes by from now on, or half-day@9:00 from nine.")
    ] = None,
) -> None:
    """For a teacher: collect results, and show the board. Ctrl-C ends it, and what it has is kept."""
    from kit.classroom import collector, plans
    from kit.cli import lab, lessons

    timed = plans.find(plan, lessons.originals()) if plan else None
    with lab.stopped_by_signals():
        collector.start(name, listen, port, _tasks(), lambda line: print(line, flush=True), timed)


def _tasks() -> list[Task]:
    """Return what the board says of each exercise."""
    from kit.classroom.results import Task
    from kit.exercises import course, judging

    return [
        Task(one.id, one.title, lesson.name.replace("_", " "), judging.messages(one), one.mistakes)
        for lesson in course.all_lessons()
        for one in lesson.exercises
    ]


@app.command()
def board() -> None:
    """For a teacher: say where the board of each class is, and its login."""
    from kit.classroom import identity

    for one in identity.known():
        typer.echo(f"{one.name}: {one.board}" if one.running() else f"{one.name}: does not run")
    if not identity.known():
        typer.echo("There is no class yet. `kit class start` makes one.")


@app.command()
def read(
    files: Annotated[list[Path], typer.Argument(help="What learners handed in.", metavar="FILE...")],
) -> None:
    """For a teacher: take files that learners handed in. One that is read twice counts once."""
    from kit.classroom import handed_in

    handed_in.read(files, typer.echo)


@app.command()
def bundle(
    folder: Annotated[Path, typer.Argument(help="It is made, or completed.")],
    python: Annotated[list[str] | None, typer.Option(help="3.13, say. This one's without it.")] = None,
    platform: Annotated[list[str] | None, typer.Option(help="windows, macos, linux. This one.")] = None,
) -> None:
    """For a teacher: put all that learners install into a folder, for a room without internet."""
    from kit.classroom import bundle
    from kit.cli.lessons import originals

    bundle.make(folder, python or [], platform or [], originals(), lambda line: print(line, flush=True))


@app.command()
def doctor(
    line: Annotated[str, typer.Argument(help="On a learner's machine: the join line.")] = "",
) -> None:
    """Try, on the day before, what a class needs: on the teacher's machine, and on a learner's."""
    from kit.classroom import trial
    from kit.cli.doctor import Finding, examine, tell

    code = tell(examine())
    of_class = ((name, Finding(*found)) for name, found in trial.examine(line))
    raise typer.Exit(tell(of_class) or code)


@app.command()
def join(
    line: Annotated[str, typer.Argument(help="What the teacher's machine shows.")],
    name: Annotated[
        str | None, typer.Option(help="Your name on the board. Your account's without it.")
    ] = None,
) -> None:
    """For a learner: from now on send what you do in exercises to the teacher's board."""
    import os

    from kit.classroom import sending
    from kit.exercises import record

    account = os.environ.get("USER") or os.environ.get("USERNAME") or ""
    typer.echo(sending.join(line, account if name is None else name, record.path()))


@app.command("hand-in")
def hand_in(
    file: Annotated[
        Path | None, typer.Argument(help="The file to write. It is named after you without it.")
    ] = None,
) -> None:
    """For a learner whose machine does not reach the teacher's: write what you have done into a file."""
    from kit.classroom import sending
    from kit.exercises import record

    typer.echo(
        f"{sending.hand_in(file, record.path())} is for the teacher alone, who runs `kit class read` on it."
    )


@app.command()
def leave() -> None:
    """For a learner: send nothing any more."""
    from kit.classroom import sending
    from kit.exercises import record

    typer.echo(sending.leave(record.path()))
