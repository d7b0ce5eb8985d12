"""What the teacher's guide takes from elsewhere: the plans, and what is behind each wrong answer."""

from __future__ import annotations

import json
from pathlib import Path

from kit.classroom import plans, results
from kit.errors import KitError
from kit.exercises import course
from kit.exercises.judging import messages

FOLDER = "teaching"  # in the lessons' one


def parts(folder: Path) -> dict[str, str]:
    """Return each cell's text, by the cell's tag. ``folder`` is where the lessons are."""
    made = {f"plan:{name}": _plan(name, folder) for name in plans.PLANS}
    return made | {f"mistakes:{one.name}": _mistakes(one) for one in course.lessons()}


def written(folder: Path) -> dict[Path, str]:
    """Return the guide's notebooks with these cells, in the form in which notebooks are stored.

    Raises:
        KitError: a plan or a lesson has no cell in the guide.
    """
    made, done = parts(folder), {}
    for path in sorted((folder / FOLDER).glob("*.ipynb")):
        notebook = json.loads(path.read_text("utf-8"))
        for cell in notebook["cells"]:
            for tag in set(cell["metadata"].get("tags", ())) & made.keys():
                cell["source"] = made.pop(tag).splitlines(keepends=True)
        done[path] = json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    if made:
        raise KitError(
            f"The guide in {str(folder / FOLDER)!r} has no cell with the tag {next(iter(made))!r}."
        )
    return done


def _plan(name: str, folder: Path) -> str:
    plan = plans.find(name, folder, 0)
    title = name.replace("-", " ").capitalize()
    lines = [
        f"### {title}: {plan.minutes} minutes",
        "",
        "| after | minutes | | exercises |",
        "| --- | --- | --- | --- |",
    ]
    for part in plan.parts:
        what = f"[{part.title}](../{part.lesson})" if part.lesson else part.title
        exercises = ", ".join(f"`{one}`" for one, _ in part.due)
        lines.append(f"| {part.begins // 60}:{part.begins % 60:02} | {part.minutes} | {what} | {exercises} |")
    return "\n".join(lines)


def _mistakes(lesson: course.Lesson) -> str:
    lines = ["**Wrong answers, and what the card says to each**"]
    for one in lesson.exercises:
        lines += ["", f"*{one.title}*, `{one.id}`, {one.minutes} min", ""]
        for key, mistakes in one.mistakes.items():
            text = results.without_places(messages(one)[key])
            lines.append(f"- **{' · '.join(mistakes)}.** {text}")
    return "\n".join(lines)
