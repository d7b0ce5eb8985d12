"""Mutants of an answer: the same with one thing broken, mechanically. A check that passes one has a hole."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

from kit.exercises.untouched import without_magic

# Words of SQL, and what stands for each in a mutant.
SQL = (
    (r"\bDESC\b", "ASC"),
    (r"\bASC\b", "DESC"),
    (r"\bAND\b", "OR"),
    (r"\bOR\b", "AND"),
    (r"(?<![<>])<(?![<>=-])", ">"),
    (r"(?<![<>-])>(?![<>=])", "<"),
    (r"(?<![<>=!])=(?![>])", "<>"),
    (r"\bmax\(", "min("),
    (r"\bmin\(", "max("),
    (r"\bDISTINCT ", ""),
    (r"\bLEFT JOIN\b", "JOIN"),
    (r"\bNOT ", ""),
    (r"\bFOR UPDATE\b( SKIP LOCKED)?", ""),
    (r" ?\bSKIP LOCKED\b", ""),
    (r" ?\bON CONFLICT\b[^\"]*?\bDO NOTHING\b", ""),
    (r"(?<![\w$.'])(\d+)(?![\w.'])", lambda found: str(int(found[1]) + 1)),
)
_LOOKS_LIKE_SQL = re.compile(r"\b(SELECT|UPDATE|INSERT|DELETE|WITH|WHERE|ORDER BY)\b")


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Yield each mutant of a cell: what was done to it, and its source. No two are the same."""
    magic = source.partition("\n")[0] + "\n" if source.startswith("%%") else ""
    tree = ast.parse(without_magic(source))
    seen = {ast.unparse(tree)}
    for place, node in enumerate(ast.walk(tree)):
        for name, change in _changes(node):
            copy = ast.parse(without_magic(source))
            change(list(ast.walk(copy))[place])
            mutated = ast.unparse(ast.fix_missing_locations(copy))
            if mutated not in seen:
                seen.add(mutated)
                yield name, magic + mutated


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[ast.AST], None]]]:
    for field in ("body", "orelse", "finalbody"):
        statements = getattr(node, field, None)
        if isinstance(statements, list) and not isinstance(node, ast.Module):
            for number, statement in enumerate(statements):
                if not isinstance(statement, ast.Pass) and not _leaves_no_trace(statement):
                    yield f"dropped `{_short(statement)}`", _drop(field, number)
                if all(map(_awaits, pair := statements[number : number + 2])) and len(pair) == 2:
                    yield f"swapped `{_short(statement)}` and the next", _swap(field, number)
    if isinstance(node, ast.With | ast.AsyncWith):
        for number, item in enumerate(node.items):
            if item.optional_vars is None:
                yield f"without `{_short(item)}`", _unwrap(number)
    if isinstance(node, ast.Call):
        if len(node.args) > 1:
            yield f"swapped arguments of `{_short(node)}`", _swap("args", 0)
        for number, keyword in enumerate(node.keywords):
            yield f"without `{_short(keyword)}`", _remove("keywords", number)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.decorator_list:
        yield f"without `@{_short(node.decorator_list[0])}`", _remove("decorator_list", 0)
    if isinstance(node, ast.Compare) and (other := _OPPOSITE.get(type(node.ops[0]))):
        yield f"turned `{_short(node)}`", _set("ops", [other(), *node.ops[1:]])
    if isinstance(node, ast.BinOp) and (other_operator := _OTHER.get(type(node.op))):
        yield f"turned `{_short(node)}`", _set("op", other_operator())
    if isinstance(node, ast.Constant):
        yield from _constants(node.value)


_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
}
_OTHER: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add}


def _constants(value: object) -> Iterator[tuple[str, Callable[[ast.AST], None]]]:
    if isinstance(value, bool):
        yield f"{value} is {not value}", _set("value", not value)
    elif isinstance(value, int | float):
        yield f"{value} is {value + 1}", _set("value", value + 1)
    elif isinstance(value, str) and _LOOKS_LIKE_SQL.search(value):
        for pattern, other in SQL:
            for number, found in enumerate(re.finditer(pattern, value)):
                changed = value[: found.start()] + re.sub(pattern, other, found[0]) + value[found.end() :]
                if changed == value:  # what stands around it is part of the pattern
                    changed = value[: found.start()] + str(other) + value[found.end() :]
                where = f" ({number + 1})" if number else ""
                yield f"SQL: another word for `{found[0].strip()}`{where}", _set("value", changed)
    elif isinstance(value, str | bytes) and value:
        empty: str | bytes = "" if isinstance(value, str) else b""
        yield f"{value!r} is {empty!r}", _set("value", empty)


def _awaits(statement: ast.stmt) -> bool:
    return any(isinstance(node, ast.Await | ast.AsyncWith) for node in ast.walk(statement))


def _leaves_no_trace(statement: ast.stmt) -> bool:
    """Return whether it is a docstring, or closes a connection, which ends with its process anyway."""
    if not isinstance(statement, ast.Expr):
        return False
    return isinstance(statement.value, ast.Constant) or ast.unparse(statement).endswith(".close()")


def _short(node: ast.AST) -> str:
    return ast.unparse(node).partition("\n")[0][:60]


def _drop(field: str, number: int) -> Callable[[ast.AST], None]:
    def change(node: ast.AST) -> None:
        getattr(node, field)[number] = ast.Pass()

    return change


def _swap(field: str, number: int) -> Callable[[ast.AST], None]:
    def change(node: ast.AST) -> None:
        parts = getattr(node, field)
        parts[number], parts[number + 1] = parts[number + 1], parts[number]

    return change


def _remove(field: str, number: int) -> Callable[[ast.AST], None]:
    def change(node: ast.AST) -> None:
        del getattr(node, field)[number]

    return change


def _unwrap(number: int) -> Callable[[ast.AST], None]:
    def change(node: ast.AST) -> None:
        assert isinstance(node, ast.With | ast.AsyncWith)
        if len(node.items) > 1:
            del node.items[number]
        else:  # a block that only holds the statements
            node.items = [
                ast.withitem(ast.parse("__import__('contextlib').AsyncExitStack()", mode="eval").body)
            ]
            if isinstance(node, ast.With):
                node.items = [
                    ast.withitem(ast.parse("__import__('contextlib').ExitStack()", mode="eval").body)
                ]

    return change


def _set(field: str, value: object) -> Callable[[ast.AST], None]:
    def change(node: ast.AST) -> None:
        setattr(node, field, value)

    return change
