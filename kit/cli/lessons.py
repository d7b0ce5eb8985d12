"""The lessons, and the copy of them that a learner works on.

The originals stay unchanged, so that ``git pull`` or a newer kit can replace them.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import shutil
from pathlib import Path

from kit.errors import KitError

COPY = "pgqueuer-lessons"
RECORD = ".pgqueuer-kit.json"  # in the copy: the contents of each file when it was copied, as a hash
_KIT = Path(__file__).resolve().parents[1]


def originals() -> Path:
    """Return the folder of the original lessons: beside the kit in a clone, else inside it.

    Raises:
        KitError: they are in neither place.
    """
    for folder in (_KIT.parent / "notebooks", _KIT / "notebooks"):
        if any(folder.glob("[0-9][0-9]_*.ipynb")):
            return folder
    raise KitError(f"The lessons that belong to the kit in {str(_KIT)!r} are gone. Install it again.")


def is_clone() -> bool:
    """Return whether the kit is a clone of the project, where lessons are written."""
    return originals().parent != _KIT


def find(wanted: str | None = None) -> Path:
    """Return the original of a lesson, or of a notebook that stands beside the lessons or is for teachers.

    ``wanted`` is a lesson's number (``"03"``, ``"3"``), its name (``"priorities"``) or its file
    (``"03_priorities"``, with or without folder and ``.ipynb``), or the name of another notebook
    (``"glossary"``, ``"guide"``); the first lesson when there is none.

    Raises:
        KitError: no notebook is called that. The message lists them, and names the closest one.
    """
    folder = originals()
    notebooks = [*sorted(folder.glob("*.ipynb")), *sorted(folder.glob("teaching/*.ipynb"))]
    if wanted is None:
        return notebooks[0]
    by_word = {notebook.stem.lower(): notebook for notebook in notebooks}
    for lesson in (each for each in notebooks if each.stem[:2].isdecimal()):
        number, _, name = lesson.stem.partition("_")
        by_word |= {number: lesson, str(int(number)): lesson, name: lesson}
    asked = Path(wanted).name.removesuffix(".ipynb").lower()
    if asked in by_word:
        return by_word[asked]
    close = difflib.get_close_matches(asked, by_word, n=1, cutoff=0.5)
    hint = f" Did you mean {by_word[close[0]].stem!r}?" if close else ""
    known = "".join(f"\n  {notebook.stem}" for notebook in notebooks)
    raise KitError(f"There is no lesson {wanted!r}.{hint} There are:{known}")


def own_copy() -> Path:
    """Return the folder of the learner's own copy: in the clone, else in the current folder."""
    here = Path.cwd()
    if (here / RECORD).exists():
        return here
    return (originals().parent if is_clone() else here) / COPY


def update(folder: Path) -> list[str]:
    """Make a learner's copy in ``folder``, or bring it up to date; git ignores it.

    A file that the learner has changed stays. The newer one is put beside it, and its name returned.

    Raises:
        KitError: the folder cannot be written to.
    """
    try:
        folder.mkdir(exist_ok=True)
        (folder / ".gitignore").write_text("*\n", "utf-8")
        return _update(folder, originals())
    except OSError as error:
        raise KitError(
            f"Your copy of the lessons cannot be kept in {str(folder)!r}: {error.strerror}. "
            "Change into a folder that you can write to, and run `kit lab` there."
        ) from None


def _update(folder: Path, source: Path) -> list[str]:
    before: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError, ValueError):  # without it, what differs counts as changed
        before = json.loads((folder / RECORD).read_text("utf-8"))
    now: dict[str, str] = {}
    beside = []
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if not path.is_file() or name.startswith((".", "programs/")) or "/." in name:
            continue
        own, given, new = _content(folder / name), before.get(name), _content(path)
        now[name] = new
        if own in ("", given) and own != new:
            _put(path, folder / name)
        elif new not in (own, given):
            beside.append(_put(path, _free(folder / name, "new")).name)
    for name in before.keys() - now.keys():  # the kit has it no longer
        if _content(folder / name) == before[name]:
            (folder / name).unlink()
    (folder / RECORD).write_text(json.dumps(now, indent=0), "utf-8")
    return beside


def renew(lesson: Path, original: Path) -> str | None:
    """Make a lesson of the copy as it was at first; return the new name of the learner's, if it differed."""
    if _content(lesson) == _content(original):
        return None
    kept = lesson.rename(_free(lesson, "old"))
    _put(original, lesson)
    return kept.name


def _content(path: Path) -> str:
    """Return a hash of a file's contents; empty if there is no file.

    Of a notebook only the cells and their outputs count: JupyterLab changes the rest when it opens one.
    """
    if not path.is_file():
        return ""
    content = path.read_bytes()
    if path.suffix == ".ipynb":
        try:
            cells = json.loads(content)["cells"]
            parts = [[cell["cell_type"], "".join(cell["source"]), cell.get("outputs")] for cell in cells]
            content = json.dumps(parts).encode()
        except (ValueError, KeyError, TypeError):  # a learner's file may hold anything
            pass
    return hashlib.sha256(content).hexdigest()


def _put(source: Path, target: Path) -> Path:
    """Copy a file; the target is complete at every moment, and the learner may write to it. Return it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, part)
    return part.replace(target)


def _free(path: Path, word: str) -> Path:
    """Return a name beside ``path`` that no file has yet: 03_priorities.new.ipynb, then .new2."""
    numbers = ("", *map(str, range(2, 1000)))
    beside = (path.with_name(f"{path.stem}.{word}{number}{path.suffix}") for number in numbers)
    return next(each for each in beside if not each.exists())
