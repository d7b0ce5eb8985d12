"""For those who write exercises: ``python -m kit.exercises try ID``; ``stubs`` and ``guide`` write cells."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

from kit.errors import KitError
from kit.exercises import course
from kit.exercises.authoring import guide, proving, stubs


def main(arguments: list[str] | None = None) -> int:
    """Run the command that the arguments name, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m kit.exercises", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    trying = commands.add_parser(
        "try", help="prove exercises: stub, solution, right, wrong and mutated answers"
    )
    trying.add_argument("ids", nargs="+", metavar="ID", help="an exercise, or a lesson")
    trying.add_argument("--no-mutants", action="store_true", help="leave the mutants out")
    writing = commands.add_parser("stubs", help="write the cells of the exercises into their notebooks")
    teaching = commands.add_parser("guide", help="write the plans and the wrong answers into the guide")
    for command in (writing, teaching):
        command.add_argument("--check", action="store_true", help="only say which notebooks differ")
        command.add_argument(
            "--notebooks", type=Path, default=Path("notebooks"), help="the folder that they are in"
        )
    for command in (trying, writing):
        command.add_argument("--course", default=course.KIT, help="the package of exercises")
    given = parser.parse_args(arguments)
    sys.path.insert(0, os.getcwd())
    try:
        if given.command == "try":
            return _try(given.ids, given.course, mutants=not given.no_mutants)
        folder = given.notebooks
        texts = _with_stubs(given.course, folder) if given.command == "stubs" else guide.written(folder)
        return _write(texts, only_check=given.check)
    except KitError as error:
        print(error, file=sys.stderr)
        return 2


def _try(ids: list[str], package: str, *, mutants: bool) -> int:
    from kit.exercises import scratch
    from kit.sources import open_database

    course.add(package)
    chosen = []
    for name in ids:
        lesson = [one for one in course.lessons(package) if one.name == name]
        chosen += list(lesson[0].exercises) if lesson else [course.find(name)]
    failed = 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(open_database(database="trying_exercises"))
        stack.callback(scratch.drop)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="kit-try-"))
        stack.enter_context(contextlib.chdir(folder))
        for exercise in chosen:
            print(f"{exercise.id}: {exercise.title}")
            for proof in proving.proofs(exercise):
                failed += not proof.holds
                print(f"  {proof}", flush=True)
            for proof in proving.mutant_proofs(exercise) if mutants else ():
                failed += not proof.holds
                if not proof.holds:
                    print(f"  {proof}", flush=True)
    print(f"{failed} failed" if failed else "all hold")
    return int(bool(failed))


def _with_stubs(package: str, folder: Path) -> dict[Path, str]:
    texts = {}
    for lesson in course.lessons(package):
        path = stubs.notebook_of(lesson, folder)
        texts[path] = stubs.written(path.read_text("utf-8"), lesson, folder)
    return texts


def _write(texts: dict[Path, str], *, only_check: bool) -> int:
    changed = {path: new for path, new in texts.items() if path.read_text("utf-8") != new}
    for path, new in changed.items():
        print(f"{'differs' if only_check else 'wrote'}: {path}")
        if not only_check:
            path.write_text(new, "utf-8", newline="\n")
    return int(bool(changed and only_check))


if __name__ == "__main__":
    sys.exit(main())
