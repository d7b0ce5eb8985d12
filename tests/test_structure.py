"""How the kit's files hang together, as far as the contracts in pyproject.toml cannot say it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

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


def test_the_map_for_contributors_names_files_that_are_there() -> None:
    root = KIT.parent
    text = (root / "README.md").read_text("utf-8").split("## For those who change the kit")[1]
    named = set(re.findall(r"`((?:kit|notebooks|tests)/[\w/]+\.\w+)`", text))
    assert len(named) > 20
    missing = sorted(name for name in named if not (root / name).is_file())
    assert not missing, f"the README sends contributors to {missing}, which are not there"


def test_the_page_on_the_kits_inside_names_what_is_there() -> None:
    text = (KIT / "README.md").read_text("utf-8")
    named = re.findall(r"`(\w+(?:/\w+)*\.py)`(?: `(\w+))?", text)
    assert len(named) > 10
    for file, name in named:
        source = (KIT / file).read_text("utf-8")
        assert not name or re.search(rf"\b(def|class) {name}\b", source), f"{file} has no {name!r}"
