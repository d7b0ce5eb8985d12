"""Whether an answer is still the stub, told without running anything of it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from pathlib import Path
from types import CodeType
from typing import Any

from kit.exercises.exercise import Exercise
from kit.session import session

_NONE = object()


def why_not_attempted(
    exercise: Exercise, namespace: Mapping[str, Any], guess: Mapping[str, Any] | None
) -> str | None:
    """Return, in a sentence, why there is nothing to check yet; None when there is an answer."""
    if exercise.breaks is not None:
        if session.drill is None or session.drill.exercise.id != exercise.id:
            return f"This drill is not open. Run kit.drill({exercise.id!r}), find the cause, and mend it."
        return None
    if exercise.kind == "predict":
        if guess is None:
            return (
                f"There is no prediction yet. Put yours into kit.predict({exercise.id!r}, …), run that cell."
            )
        return None
    if exercise.file is not None:
        if not Path(exercise.file).exists():
            return f"There is no file {exercise.file!r} yet. Run the cell that writes it."
        if _same_file(Path(exercise.file).read_text("utf-8", errors="replace"), exercise.stub):
            return "The cell is still as it was. Change it, run it, and check again."
        return None
    for name in exercise.names:
        if name not in namespace:
            return f"There is no {name!r} in this notebook yet. Run the cell of the exercise first."
    if all(_is_stub(namespace, name, exercise.stub) for name in exercise.names):
        return "The cell is still as it was. Change it, run it, and check again."
    return None


def without_magic(source: str) -> str:
    """Return a cell's Python, without the line that writes it to a file."""
    return source.partition("\n")[2] if source.startswith("%%") else source


def _same_file(text: str, stub: str) -> bool:
    try:
        return ast.dump(ast.parse(text)) == ast.dump(ast.parse(without_magic(stub)))
    except (SyntaxError, ValueError):
        return False


def _is_stub(namespace: Mapping[str, Any], name: str, stub: str) -> bool:
    value = namespace[name]
    for node in ast.parse(stub).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return _code_of(value) in _compiled(stub, name)
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _is_stub_class(value, node)
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in node.targets
        ):
            if isinstance(node.value, ast.Name):  # another name for the same thing
                return _is_stub(namespace, node.value.id, stub) and value is namespace.get(node.value.id)
            return _is_value(value, node.value) or _is_made_alike(namespace, name, stub)
    return False


def _compiled(source: str, name: str) -> list[Any]:
    """Return what a function of the source does, compiled as a whole and by itself, as IPython compiles it.

    The two differ where the source imports a module that the function calls.
    """
    tree = ast.parse(source)
    alone = ast.Module([node for node in tree.body if getattr(node, "name", None) == name], [])
    signatures = []
    for part in (tree, alone):
        module = compile(part, "<stub>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        codes = [const for const in module.co_consts if isinstance(const, CodeType)]
        signatures.append(_signature([code for code in codes if code.co_name == name][-1]))
    return signatures


def _code_of(value: Any) -> Any:
    code = getattr(inspect.unwrap(value) if callable(value) else value, "__code__", None)
    return _signature(code) if code is not None else _NONE


def _signature(code: CodeType) -> Any:
    """Return what a function does, without where it stands."""
    consts = tuple(
        _signature(const) if isinstance(const, CodeType) else (type(const), const) for const in code.co_consts
    )
    return code.co_code, code.co_names, code.co_varnames, consts


def _is_stub_class(value: Any, node: ast.ClassDef) -> bool:
    """Compare what a class declares: its annotations, and the names of its methods and values."""
    if not isinstance(value, type):
        return False
    annotated, own = {}, set()
    for part in node.body:
        if isinstance(part, ast.AnnAssign):
            annotated[ast.unparse(part.target)] = ast.unparse(part.annotation)
        elif isinstance(part, ast.Assign):
            own |= {ast.unparse(target) for target in part.targets}
        elif isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            own.add(part.name)
    has = {
        name: getattr(kind, "__name__", str(kind)) for name, kind in inspect.get_annotations(value).items()
    }
    # What begins with an underscore or `model_` is Python's or pydantic's machinery.
    there = {name for name in vars(value) if not name.startswith(("_", "model_"))}
    return has == annotated and there <= own | annotated.keys()


def _is_made_alike(namespace: Mapping[str, Any], name: str, stub: str) -> bool:
    """Make what the stub makes, a pipeline for one, and compare the two part by part."""
    names = dict(namespace)
    try:
        exec(compile(stub, "<stub>", "exec", dont_inherit=True), names)
    except Exception:  # it awaits, or needs what is not there
        return False
    return bool(_parts(namespace[name]) == _parts(names[name]))


def _parts(value: Any, depth: int = 4) -> Any:
    if (code := getattr(value, "__code__", None)) is not None:
        return _signature(code)
    if isinstance(value, dict):
        return [(key, _parts(each, depth)) for key, each in value.items()]
    if depth and hasattr(value, "__dict__") and not isinstance(value, type):
        return type(value), _parts(vars(value), depth - 1)
    return repr(value)


def _is_value(value: Any, node: ast.expr) -> bool:
    try:
        literal = ast.literal_eval(node)
    except ValueError:
        return False
    return type(value) is type(literal) and bool(value == literal)
