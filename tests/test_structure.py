"""How the kit's files hang together, as far as the contracts in pyproject.toml cannot say it."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kit

KIT = Path(__file__).parents[1] / "kit"
MODULES = sorted(KIT.rglob("*.py"))
CHANGES = {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "popleft"}
CHANGES |= {"remove", "setdefault", "sort", "update", "acquire"}


def name_of(path: Path) -> str:
    return str(path.relative_to(KIT))


def changed_state(tree: ast.Module) -> Iterator[str]:
    """Yield the module-level names that a function of the same module changes."""
    names = {
        target.id
        for node in tree.body
        for target in (getattr(node, "targets", None) or [getattr(node, "target", None)])
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield from node.names
        changed: ast.expr | None = None
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name() as changed, attr=attr)) if attr in CHANGES:
                pass
            case ast.Subscript(value=ast.Name() as changed, ctx=ast.Store() | ast.Del()):
                pass
            case _:
                continue
        if isinstance(changed, ast.Name) and changed.id in names - {"session"}:
            yield changed.id


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_holds_state_that_is_changed_while_the_kit_runs(path: Path) -> None:
    found = sorted(set(changed_state(ast.parse(path.read_text("utf-8")))))
    assert not found, f"{name_of(path)} changes {found}; what a process has running is kit.session's"


# Exercises are queries on these tables themselves, and staged jobs work without the rest of the kit.
ASKS = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+(?:\{[^}]*(?:queue|log)[^}]*\}|pgqueuer\w*)")
ASKING = [one for one in MODULES if name_of(one).split("/")[0] not in ("exercises", "stages")]


def test_what_is_asked_of_pgqueuers_tables_stands_in_one_file() -> None:
    asking = [name_of(path) for path in ASKING if ASKS.search(path.read_text("utf-8"))]
    assert asking == ["database/queue_tables.py"]


# A ratchet: whoever raises a number says why in the commit. Exercises and the class are courses of their own.
LINES = 16_000
LINES_OF_THE_CORE = 9_510
BESIDE_THE_CORE = ("stages", "pictures", "cli", "looking.py", "dashboard.py", "__main__.py")


def test_the_kit_does_not_grow_unnoticed() -> None:
    lines = {
        name_of(path): len(path.read_text("utf-8").splitlines())
        for ending in ("py", "js", "css")
        for path in KIT.rglob(f"*.{ending}")
        if name_of(path).split("/")[0] not in ("exercises", "classroom")
    }
    core = [name for name in lines if name.split("/")[0] not in BESIDE_THE_CORE]
    assert sum(lines.values()) <= LINES
    assert sum(lines[name] for name in core) <= LINES_OF_THE_CORE


def test_state_that_is_changed_is_found() -> None:
    source = "count = 0\nseen = []\nLABELS = {}\ndef f():\n    global count\n    seen.append(1)\n"
    source += "    LABELS['a'] = 1\n"
    assert sorted(set(changed_state(ast.parse(source)))) == ["LABELS", "count", "seen"]


def test_importing_the_kit_imports_neither_pandas_nor_ipython() -> None:
    slow = ("pandas", "IPython", "testcontainers", "matplotlib", "asyncpg")
    code = f"import sys, kit; print([name for name in {slow!r} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_staged_jobs_in_production_import_nothing_that_shows_tables_or_pictures() -> None:
    shown = ("pandas", "numpy", "matplotlib", "IPython", "anywidget", "kit.session", "kit.notebook")
    code = f"import sys, kit.stages; print([name for name in {shown!r} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def keyword_only_parameters() -> Iterator[tuple[str, str]]:
    """Yield each public call, or method of a public class, with each of its keyword-only parameters."""
    public = {name: getattr(kit, name) for name in kit.__all__}
    public |= {f"stages.{name}": getattr(kit.stages, name) for name in kit.stages.__all__}
    for name, value in public.items():
        if inspect.isclass(value):
            methods = {each: call for each, call in vars(value).items() if not each.startswith("_")}
            calls = {f"{name}.{each}": call for each, call in methods.items() if inspect.isfunction(call)}
        else:
            calls = {name: value} if inspect.isfunction(value) else {}
        for call, function in calls.items():
            for parameter in inspect.signature(function).parameters.values():
                if parameter.kind is parameter.KEYWORD_ONLY:
                    yield call, parameter.name


@pytest.mark.parametrize(("call", "name"), list(keyword_only_parameters()))
def test_an_option_is_used_in_a_notebook_or_named_in_the_readme(call: str, name: str) -> None:
    root = KIT.parent
    texts = [(root / "README.md").read_text("utf-8")]
    texts += [path.read_text("utf-8") for path in (root / "notebooks").rglob("*.ipynb")]
    assert any(re.search(rf"\b{name}=", text) for text in texts), f"who needs {name}= of kit.{call}?"


def rows_of_the_map() -> list[tuple[list[str], list[str]]]:
    """Each row of the README's map: the files it names, and the names to look for in them."""
    text = (KIT.parent / "README.md").read_text("utf-8").split("## For those who change the kit")[1]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [
        (
            re.findall(r"`((?:kit|notebooks|tests)/[\w/.-]+)`", row[1]),
            re.findall(r"`(_?[A-Za-z]\w*)`", row[2]),
        )
        for row in rows[1:]
        if len(row) == 3 and not row[0].startswith("---")
    ]


@pytest.mark.parametrize(("files", "names"), rows_of_the_map())
def test_the_map_for_contributors_names_files_and_what_to_look_for_in_them(
    files: list[str], names: list[str]
) -> None:
    root = KIT.parent
    assert 1 <= len(files) <= 3
    assert names
    missing = [file for file in files if not (root / file).is_file()]
    assert not missing, f"the README sends contributors to {missing}, which are not there"
    text = "\n".join((root / file).read_text("utf-8") for file in files)
    for name in names:
        made = (
            rf"^(\s*(async )?def|\s*class|export (default )?function|(const|function)) {name}\b|^{name}\b.* ="
        )
        assert re.search(made, text, re.MULTILINE), f"{files} define no {name!r}"


def test_the_page_on_the_kits_inside_names_what_is_there() -> None:
    text = (KIT / "README.md").read_text("utf-8")
    named = re.findall(r"`(\w+(?:/\w+)*\.py)`((?:,?\s+`\w+`)*)", text)
    assert len(named) > 10
    for file, names in named:
        source = (KIT / file).read_text("utf-8")
        for name in re.findall(r"\w+", names):
            assert re.search(rf"\b(def|class) {name}\b", source), f"{file} has no {name!r}"


@pytest.mark.parametrize(
    ("argument", "call"),
    [("database=", "postgres"), ("main", "run"), ("target", "spawn"), ("timeout", "wait")],
)
def test_the_page_on_the_kits_inside_follows_an_argument_to_its_effect(argument: str, call: str) -> None:
    text = (KIT / "README.md").read_text("utf-8")
    walk = text.split(f"- **`{argument}` of `kit.{call}`**")[1].split("\n- ")[0].split("\n\n")[0]
    assert len(re.findall(r"`\w+(?:/\w+)*\.py`", walk)) >= 3
