"""The lessons: which one is meant, and the copy of them that a learner works on."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit.cli import lab, lessons
from kit.errors import KitError
from kit.sources.files import is_root
from tests.cli.command import nothing_runs, refused, run
from tests.cli.running import started_lab

ROOT = Path(lessons.__file__).parents[2]

# Which lesson


@pytest.mark.parametrize(
    "wanted",
    [
        "03",
        "3",
        "priorities",
        "Priorities",
        "03_priorities",
        "03_priorities.ipynb",
        "notebooks/03_priorities.ipynb",
    ],
)
def test_a_lesson_is_found_by_its_number_its_name_or_its_file(wanted):
    assert lessons.find(wanted).name == "03_priorities.ipynb"


@pytest.mark.parametrize("wanted", ["primer", "Glossary", "notebooks/two_programs.ipynb", "guide"])
def test_what_stands_beside_the_lessons_is_found_by_its_name(wanted):
    assert lessons.find(wanted).stem == Path(wanted).stem.lower()


def test_without_a_name_the_first_lesson_is_opened():
    assert lessons.find().name == "00_start_here.ipynb"


def test_an_unknown_lesson_is_refused_with_the_closest_one_and_the_list_and_starts_nothing():
    message = refused(run("lab", "prioritys"))
    assert "There is no lesson 'prioritys'. Did you mean '03_priorities'?" in message
    assert "There are:\n  00_start_here\n" in message
    assert "\n  glossary\n  in_production\n  primer\n  two_programs\n" in message
    assert nothing_runs()


# The learner's copy


def write(path: Path, *cells: str, **metadata: str) -> Path:
    made = [{"cell_type": "code", "source": [cell], "outputs": [], "metadata": {}} for cell in cells]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": made, "metadata": metadata}))
    return path


def cells(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of a small project, where a learner stands."""
    folder = tmp_path / "clone"
    write(folder / "notebooks" / "00_start.ipynb", "start")
    write(folder / "notebooks" / "01_more.ipynb", "more")
    for name in (
        "images/board.png",
        "teaching/guide.ipynb",
        "programs/shop.py",
        ".ipynb_checkpoints/00_start.ipynb",
    ):
        (folder / "notebooks" / name).parent.mkdir(exist_ok=True)
        (folder / "notebooks" / name).write_text(name)
    monkeypatch.setattr(lessons, "_KIT", folder / "kit")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def copy(clone: Path) -> Path:
    folder = lessons.own_copy()
    assert lessons.update(folder) == []
    return folder


def files_in(folder: Path) -> set[str]:
    """Return the names of what a learner sees there."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {
        ".gitignore",
        lessons.RECORD,
    }


def test_the_copy_has_the_lessons_and_their_pictures_and_nothing_that_running_them_made(clone, copy):
    assert copy == clone / "pgqueuer-lessons"
    assert files_in(copy) == {"00_start.ipynb", "01_more.ipynb", "images/board.png", "teaching/guide.ipynb"}


def test_a_notebook_in_a_folder_is_copied_and_a_newer_one_is_put_beside_it_there(clone, copy):
    guide = write(clone / "notebooks" / "teaching" / "guide.ipynb", "guide")
    lessons.update(copy)
    write(copy / "teaching" / "guide.ipynb", "with notes of mine")
    write(guide, "newer")
    assert lessons.update(copy) == ["guide.new.ipynb"]
    assert cells(copy / "teaching" / "guide.new.ipynb") == ["newer"]


def test_git_does_not_see_the_copy(clone, copy):
    git = ["git", "-C", str(clone)]
    subprocess.run([*git, "init", "-q"], check=True)
    status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    assert status.stdout.split() == ["??", "notebooks/"]


def test_a_newer_lesson_takes_the_place_of_one_that_the_learner_has_not_changed(clone, copy):
    write(clone / "notebooks" / "00_start.ipynb", "newer")
    assert lessons.update(copy) == []
    assert cells(copy / "00_start.ipynb") == ["newer"]


@pytest.mark.parametrize("mine", ["changed", "run"])
def test_a_newer_lesson_is_put_beside_one_that_the_learner_has_changed_or_run_and_named_once(
    clone, copy, mine
):
    lesson = json.loads((copy / "00_start.ipynb").read_text())
    lesson["cells"][0] |= {"source": "mine"} if mine == "changed" else {"outputs": [{"text": "hello"}]}
    (copy / "00_start.ipynb").write_text(json.dumps(lesson))
    write(clone / "notebooks" / "00_start.ipynb", "newer")
    assert lessons.update(copy) == ["00_start.new.ipynb"]
    assert json.loads((copy / "00_start.ipynb").read_text()) == lesson
    assert cells(copy / "00_start.new.ipynb") == ["newer"]
    assert lessons.update(copy) == []
    write(clone / "notebooks" / "00_start.ipynb", "newest")
    assert lessons.update(copy) == ["00_start.new2.ipynb"]


def test_a_lesson_that_was_only_opened_counts_as_not_changed(clone, copy):
    write(copy / "00_start.ipynb", "start", language_info="what JupyterLab writes there")
    write(clone / "notebooks" / "00_start.ipynb", "newer")
    assert lessons.update(copy) == []
    assert cells(copy / "00_start.ipynb") == ["newer"]


def test_what_a_learner_has_changed_is_left_as_it_is_as_long_as_the_lesson_is(copy):
    write(copy / "00_start.ipynb", "mine", language_info="kept")
    before = (copy / "00_start.ipynb").read_bytes()
    assert lessons.update(copy) == []
    assert (copy / "00_start.ipynb").read_bytes() == before


def test_a_file_of_the_learners_own_and_one_that_is_no_notebook_any_more_stay(clone, copy):
    write(copy / "mine.ipynb", "mine")
    (copy / "01_more.ipynb").write_text("{ cut sh")
    write(clone / "notebooks" / "01_more.ipynb", "newer")
    assert lessons.update(copy) == ["01_more.new.ipynb"]
    assert (copy / "01_more.ipynb").read_text() == "{ cut sh"
    assert cells(copy / "mine.ipynb") == ["mine"]


def test_a_lesson_with_a_new_number_leaves_no_old_one_behind_that_was_not_changed(clone, copy):
    for name in ("00_start.ipynb", "01_more.ipynb"):
        shutil.move(clone / "notebooks" / name, clone / "notebooks" / name.replace("0", "1", 1))
    write(copy / "01_more.ipynb", "mine")
    lessons.update(copy)
    notebooks = {name for name in files_in(copy) if name.endswith(".ipynb")}
    assert notebooks == {"10_start.ipynb", "11_more.ipynb", "01_more.ipynb", "teaching/guide.ipynb"}


def test_a_lesson_that_was_removed_from_the_copy_comes_back(clone, copy):
    (copy / "00_start.ipynb").unlink()
    lessons.update(copy)
    assert cells(copy / "00_start.ipynb") == ["start"]


def test_a_copy_whose_record_is_lost_keeps_what_a_learner_has_changed(clone, copy):
    write(copy / "00_start.ipynb", "mine")
    for content in (None, "{ cut sh"):
        (copy / lessons.RECORD).unlink()
        if content:
            (copy / lessons.RECORD).write_text(content)
        assert len(lessons.update(copy)) == 1
        assert cells(copy / "00_start.ipynb") == ["mine"]


def test_a_fresh_lesson_is_as_it_was_at_first_and_the_learners_own_is_kept(clone, copy):
    assert lessons.renew(copy / "00_start.ipynb", clone / "notebooks" / "00_start.ipynb") is None
    for kept in ("00_start.old.ipynb", "00_start.old2.ipynb"):
        write(copy / "00_start.ipynb", f"mine, {kept}")
        assert lessons.renew(copy / "00_start.ipynb", clone / "notebooks" / "00_start.ipynb") == kept
        assert cells(copy / kept) == [f"mine, {kept}"]
        assert cells(copy / "00_start.ipynb") == ["start"]


def test_who_asks_for_a_fresh_lesson_is_told_where_their_own_is(copy, capsys):
    write(copy / "01_more.ipynb", "mine")
    assert lab._own_copy("01_more.ipynb", fresh=True) == copy
    assert (
        capsys.readouterr().out
        == "01_more.ipynb is as it was at first. Yours is kept as 01_more.old.ipynb.\n"
    )
    write(copy / "teaching" / "guide.ipynb", "mine")
    lab._own_copy("teaching/guide.ipynb", fresh=True)
    assert cells(copy / "teaching" / "guide.old.ipynb") == ["mine"]


@pytest.fixture
def installed(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as a wheel installs it, and a learner in a folder of their own."""
    site = tmp_path / "site-packages"
    shutil.copytree(clone / "notebooks", site / "kit" / "notebooks")
    monkeypatch.setattr(lessons, "_KIT", site / "kit")
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    return site


def test_the_lessons_of_an_installed_kit_are_copied_where_the_learner_stands(installed, tmp_path):
    before = files_in(installed)
    folder = lessons.own_copy()
    lessons.update(folder)
    assert folder == tmp_path / "mine" / "pgqueuer-lessons"
    assert files_in(folder) == {
        *("00_start.ipynb", "01_more.ipynb"),
        *("images/board.png", "teaching/guide.ipynb"),
    }
    assert files_in(installed) == before


def test_who_stands_in_the_copy_gets_no_second_one_inside(installed, monkeypatch):
    folder = lessons.own_copy()
    lessons.update(folder)
    monkeypatch.chdir(folder)
    assert lessons.own_copy() == folder


def test_lessons_that_the_installation_protects_are_the_learners_to_write_in_the_copy(installed):
    (installed / "kit" / "notebooks" / "00_start.ipynb").chmod(0o444)
    folder = lessons.own_copy()
    lessons.update(folder)
    assert (folder / "00_start.ipynb").stat().st_mode & 0o200


@pytest.mark.skipif(is_root(), reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_named(installed, tmp_path):
    (tmp_path / "mine").chmod(0o555)
    with pytest.raises(
        KitError, match=r"mine.*Permission denied.*Change into a folder that you can write to"
    ):
        lessons.update(lessons.own_copy())


def test_a_file_in_the_way_of_the_copy_is_named_and_stays(installed, tmp_path):
    (tmp_path / "mine" / "pgqueuer-lessons").write_text("mine")
    with pytest.raises(KitError, match="pgqueuer-lessons"):
        lessons.update(lessons.own_copy())
    assert (tmp_path / "mine" / "pgqueuer-lessons").read_text() == "mine"


def test_the_originals_are_opened_where_there_is_a_clone_and_not_inside_an_installed_package(installed):
    with pytest.raises(KitError, match="in a clone of the project"):
        lab.open_lab(None, "playground", originals=True)
    assert nothing_runs()


# `git pull` over a learner's edits


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (tmp_path / "gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.org\n")

    def run_git(folder: Path, *words: str) -> str:
        answer = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    return run_git


def save(lab: Any, name: str, cell: str) -> None:
    """Change a lesson's first code cell as JupyterLab does when it saves."""
    model = lab.ask(f"/api/contents/{name}")
    first = next(each for each in model["content"]["cells"] if each["cell_type"] == "code")
    first |= {"source": cell, "outputs": [{"output_type": "stream", "name": "stdout", "text": "mine"}]}
    lab.ask(f"/api/contents/{name}", "PUT", model)


def test_the_project_is_updated_over_a_learners_edits(tmp_path, git, monkeypatch):
    project, clone, files = tmp_path / "project", tmp_path / "clone", tmp_path / "files"
    files.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "kit", "notebooks", "README.md", ".gitignore"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("this is no clone, so what belongs to the project is not known")
    for name in filter(None, listed.stdout.splitlines()):
        if (ROOT / name).is_file():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, project / name)
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "as it is"]):
        git(project, *words)
    git(tmp_path, "clone", "-q", str(project), str(clone))
    monkeypatch.setenv("PYTHONPATH", str(clone))
    monkeypatch.chdir(clone)

    with started_lab(files, "03") as lab:
        save(lab, "03_priorities.ipynb", "mine")
    assert git(clone, "status", "--porcelain") == ""

    for name in ("03_priorities", "04_staged_jobs"):
        path = project / "notebooks" / f"{name}.ipynb"
        path.write_text(path.read_text("utf-8").replace("You will be able to", "Newer: you will"), "utf-8")
    git(project, "commit", "-qam", "newer")
    git(clone, "pull", "-q")

    with started_lab(files, "03") as lab:
        assert "so they are beside them: 03_priorities.new.ipynb\n" in lab.log.read_text()
        assert lab.page == "/lab/tree/03_priorities.ipynb"
        mine = lab.ask("/api/contents/03_priorities.ipynb")["content"]["cells"]
        assert next(cell["source"] for cell in mine if cell["cell_type"] == "code") == "mine"
    for name in ("03_priorities.new", "04_staged_jobs"):
        assert "Newer: you will" in (clone / "pgqueuer-lessons" / f"{name}.ipynb").read_text("utf-8")
    assert git(clone, "status", "--porcelain") == ""
