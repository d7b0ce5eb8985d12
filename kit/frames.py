"""Rows of Postgres to a typed DataFrame.

================================== ======================= ==========
Postgres                           pandas                  NULL is
================================== ======================= ==========
int2, int4, int8, oid              Int64                   ``<NA>``
float4, float8, numeric            float64                 ``nan``
bool                               boolean                 ``<NA>``
text, varchar, char, name, uuid    string                  ``<NA>``
an enum                            category                ``nan``
timestamptz                        datetime64[us, UTC]     ``NaT``
timestamp                          datetime64[us]          ``NaT``
date                               datetime64[s]           ``NaT``
interval                           timedelta64[us]         ``NaT``
json, jsonb                        object (dict, list, …)  ``None``
bytea                              object (bytes)          ``None``
any other                          object (as in asyncpg)  ``None``
================================== ======================= ==========

A column's type alone decides, not its values: an integer is ``Int64`` also where no NULL came by, a category
has all labels in the enum's order, and a table without rows has the same dtypes. Microseconds are what
Postgres stores. Times that are infinite, or past what 64 bits hold, are ``NaT``. pandas has no exact decimal:
write ``::text`` behind a numeric that must stay exact. In an interval a month counts 30 days and a year
365.25, as Postgres' ``extract(epoch FROM …)`` counts them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, TypeAlias

import asyncpg
import numpy as np
import pandas as pd

from kit import times

Values: TypeAlias = Sequence[Any]
Convert: TypeAlias = Callable[[Values], Any]

# Rows fetched at a time: enough that a round trip does not matter, few enough for Python's garbage collector,
# which looks at all rows that are there, again and again.
BATCH = 2_000
CELLS = 100_000  # turned into arrays at a time; each array costs some microseconds

_SHOWN = 60  # characters of a cell in a notebook


class DataFrame(pd.DataFrame):
    """A ``pandas.DataFrame`` that a notebook draws for reading; in every other way the same.

    Drawn are times to the millisecond, long values cut, None for every kind of NULL, and no column of row
    numbers, which would look like job ids.
    """

    @property
    def _constructor(self) -> type[DataFrame]:
        return DataFrame

    def _repr_html_(self) -> str | None:
        if not pd.get_option("display.notebook_repr_html"):
            return None
        most, least = pd.get_option("display.max_rows"), pd.get_option("display.min_rows")
        if most and len(self) > most:
            most = min(least or most, most)
        numbered = self.index.name is None and self.index.dtype.kind == "i"
        html = self.to_html(
            max_rows=most,
            max_cols=pd.get_option("display.max_columns"),
            show_dimensions=pd.get_option("display.show_dimensions"),
            formatters=[_cell] * self.shape[1],
            index=not numbered,
            classes="kit",
            notebook=True,
        )
        return f"<style>.dataframe.kit td {{ white-space: nowrap; }}</style>{html}"


def _cell(value: Any) -> str:
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "None"
    if isinstance(value, pd.Timestamp):
        day, _, time = str(value).removesuffix("+00:00").partition(" ")
        return f"{day} {time[:12]}" + (" UTC" if value.tz is not None else "")
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value[:_SHOWN] if isinstance(value, bytes | str) else value)
    cut = len(text) > _SHOWN or (isinstance(value, bytes | str) and len(value) > _SHOWN)
    return f"{text[: _SHOWN - 1]}…" if cut else text


async def frame(connection: asyncpg.Connection, query: str, *args: Any) -> DataFrame:
    """Run ``query`` and return its rows, each column with the dtype of its Postgres type.

    Args:
        connection: a connection that :func:`kit.times.set_codecs` has seen and nobody else uses.
        query: one statement; ``$1``, ``$2``, … stand for ``args``.
        args: the values for them.

    Returns:
        One row a row, in the query's order; a repeated column name gets ``.1``, ``.2``, … as
        ``pandas.read_csv`` does it. A statement that returns no rows gives one row with the column
        ``command``, in which stands what Postgres did: ``UPDATE 3``.

    Raises:
        asyncpg.PostgresError, asyncpg.InterfaceError: what asyncpg raises.
        ValueError, OverflowError: a value that Python cannot hold.
    """
    statement = await connection.prepare(query)
    types = [attribute.type for attribute in statement.get_attributes()]
    if not types:  # outside a transaction, because VACUUM and CREATE DATABASE refuse to run in one
        await statement.fetch(*args)
        done = statement.get_statusmsg()
        return DataFrame({"command": _text([done] if done else [])})
    if any(type_.kind != "scalar" or type_.name == "record" for type_ in types):
        await times.tell_apart(connection)
        statement = await connection.prepare(query)
    labels = await _labels(connection, types)
    converters = [_converter(type_, labels) for type_ in types]
    pieces: list[list[Any]] = [[] for _ in types]
    cells: list[Any] = []

    def convert() -> None:
        for number, converter in enumerate(converters):
            pieces[number].append(converter(cells[number :: len(converters)]))
        cells.clear()

    async with connection.transaction():
        cursor = await statement.cursor(*args)
        while rows := await cursor.fetch(BATCH):
            cells.extend(chain.from_iterable(rows))  # half the time of zip(*rows)
            if len(cells) >= CELLS:
                convert()
    if cells or not pieces[0]:
        convert()
    columns: dict[str, Any] = {}
    for attribute, piece in zip(statement.get_attributes(), pieces, strict=True):
        columns[_unused(attribute.name, columns)] = _joined(piece)
        piece.clear()
    return DataFrame(columns, copy=False)


async def _labels(connection: asyncpg.Connection, types: Iterable[asyncpg.Type]) -> dict[int, list[str]]:
    """Return the labels of those of ``types`` that are enums."""
    made_here = {type_.oid for type_ in types if type_.schema != "pg_catalog"}
    if not made_here:
        return {}
    found: list[Any] = await connection.fetch(
        "SELECT enumtypid, array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_catalog.pg_enum"
        " WHERE enumtypid = ANY($1::oid[]) GROUP BY enumtypid",
        list(made_here),
    )
    return dict(found)


def _converter(type_: asyncpg.Type, labels: dict[int, list[str]]) -> Convert:
    if type_.oid in labels:
        return _categories(labels[type_.oid])
    return _CONVERTERS.get(type_.name, _objects) if type_.schema == "pg_catalog" else _objects


def _joined(pieces: list[Any]) -> Any:
    if len(pieces) == 1:
        return pieces[0]
    return pd.concat([pd.Series(piece, copy=False) for piece in pieces], ignore_index=True)


def _unused(name: str, taken: Iterable[str]) -> str:
    free, number = name, 0
    while free in taken:
        number += 1
        free = f"{name}.{number}"
    return free


def _integers(values: Values) -> Any:
    missing = np.zeros(len(values), bool)
    if None in values:
        missing = np.fromiter((value is None for value in values), bool, len(values))
        values = [value or 0 for value in values]
    return pd.arrays.IntegerArray(np.fromiter(values, np.int64, len(values)), missing)


def _booleans(values: Values) -> Any:
    missing = np.zeros(len(values), bool)
    if None in values:
        missing = np.fromiter((value is None for value in values), bool, len(values))
    return pd.arrays.BooleanArray(np.fromiter(values, bool, len(values)), missing)


def _floats(values: Values) -> Any:
    return np.array(values, np.float64)


def _instants(values: Values) -> Any:
    return pd.DatetimeIndex(times.moments(values), tz="UTC").array


def _times(unit: str) -> Convert:
    return lambda values: np.array(values, unit)


def _text(values: Values) -> Any:
    # The same few words come again and again in a table of jobs: one object each will do.
    once: dict[Any, Any] = {}
    return pd.array(_array(map(once.setdefault, values, values), len(values)), pd.StringDtype("python"))


def _uuids(values: Values) -> Any:
    return _text([None if value is None else str(value) for value in values])


def _documents(values: Values) -> Any:
    return _bytes([None if value is None else json.loads(value) for value in values])


def _categories(labels: list[str]) -> Convert:
    dtype = pd.CategoricalDtype(labels)
    codes: dict[str | None, int] = {label: code for code, label in enumerate(labels)} | {None: -1}
    return lambda values: pd.Categorical.from_codes(
        np.fromiter(map(codes.__getitem__, values), np.int32, len(values)), dtype=dtype
    )


def _bytes(values: Values) -> Any:
    # An object Series, because a bare array of str or datetime would get another dtype in the frame.
    return pd.Series(_array(values, len(values)), dtype=object, copy=False)


def _objects(values: Values) -> Any:
    return _bytes(list(map(_readable, values)))


def _readable(value: Any) -> Any:
    """Return ``value`` with the instants and rows inside it as Python knows them."""
    match value:
        case times.Instant():
            return value.timestamp()
        case asyncpg.Record():
            return {key: _readable(part) for key, part in value.items()}
        case list():
            return [_readable(part) for part in value]
        case asyncpg.Range() if not value.isempty:
            return asyncpg.Range(
                _readable(value.lower),
                _readable(value.upper),
                lower_inc=value.lower_inc,
                upper_inc=value.upper_inc,
            )
    return tuple(map(_readable, value)) if type(value) is tuple else value


def _array(values: Iterable[Any], count: int) -> Any:
    return np.fromiter(values, object, count)  # np.array would make lists of one length a second dimension


_CONVERTERS: dict[str, Convert] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), _integers),
    **dict.fromkeys(("float4", "float8", "numeric"), _floats),
    **dict.fromkeys(("text", "varchar", "bpchar", "name"), _text),
    **dict.fromkeys(("json", "jsonb"), _documents),
    "bool": _booleans,
    "bytea": _bytes,
    "timestamptz": _instants,
    "timestamp": _times("M8[us]"),
    "date": _times("M8[s]"),
    "interval": _times("m8[us]"),
    "uuid": _uuids,
}
