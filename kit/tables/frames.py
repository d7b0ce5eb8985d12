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

Only a column's type decides, not its values: an integer is ``Int64`` even without a NULL, a category has all
labels in the enum's order, and a table without rows has the same dtypes. Postgres stores microseconds. Times
that are infinite, or too large for 64 bits, are ``NaT``. pandas has no exact decimal: write ``::text`` behind
a numeric that must stay exact. In an interval a month has 30 days and a year 365.25, as in Postgres'
``extract(epoch FROM …)``.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from html import escape
from typing import Any, ClassVar

import asyncpg
import numpy as np
import pandas as pd

from kit.display.text import joined, without_commands
from kit.errors import KitError
from kit.tables import columns

BLOCK = 2_000_000  # bytes that are turned into numbers at a time, while Postgres sends the next

_SHOWN = 200  # characters of a cell in a notebook
_OPENED = 1_000  # characters of a cell that is unfolded
_WRAPPED = 50  # characters of a cell from which on it may take several lines
_STYLE = (
    ".dataframe.kit td { white-space: nowrap; } .dataframe.kit .long { white-space: normal; "
    "min-width: 20em; max-width: 40em; overflow-wrap: anywhere; text-align: left; }"
    " .dataframe.kit .long summary { list-style: none; cursor: pointer; } details.kit > summary { "
    "cursor: pointer; overflow-wrap: anywhere; } .dataframe.kit .long[open] .cut { display: none; }"
)


class DataFrame(pd.DataFrame):
    """A ``pandas.DataFrame`` that a notebook draws for reading; otherwise the same.

    Times are drawn to the millisecond, long values in several lines, very long ones folded, and every kind of
    NULL as None. Row numbers are not drawn, because they would look like job ids.

    Attributes:
        folded: columns that are drawn in a fold below the others, if the frame has all of them.
    """

    _metadata: ClassVar[list[str]] = ["folded"]  # which pandas takes along to a frame made of this one
    folded: tuple[str, ...] = ()

    @property
    def _constructor(self) -> type[DataFrame]:
        return DataFrame

    def _repr_html_(self) -> str | None:
        if not pd.get_option("display.notebook_repr_html"):
            return None
        if not self.folded or not set(self.folded) <= set(self.columns[1:]):
            return f"<style>{_STYLE}</style>{self._table()}"
        first = [name for name in self.columns if name not in self.folded]
        rest = self[[first[0], *self.folded]]._table()
        summary = f"{len(self.folded)} more columns: {', '.join(self.folded)}"
        fold = f'<details class="kit"><summary>{summary}</summary>{rest}</details>'
        return f"<style>{_STYLE}</style>{self[first]._table()}{fold}"

    def _table(self) -> str:
        rows, columns_ = self.shape
        most, least = pd.get_option("display.max_rows") or rows, pd.get_option("display.min_rows")
        cut = rows > most
        least = min(least or most, most)
        few = pd.concat([self.head(least), self.tail(least)]) if cut else self
        # As objects, because pandas does not format its own string, integer and boolean columns.
        cells = pd.DataFrame(
            {
                at: column if column.dtype.kind == "f" else column.astype(object).map(_cell)
                for at, (_, column) in enumerate(few.items())
            },
            index=few.index,
        )
        cells.columns = self.columns
        cells = cells.rename(index=_escaped, columns=_escaped)
        for axis in (cells.index, cells.columns):
            axis.names = [_escaped(name) for name in axis.names]
        with pd.option_context("display.max_colwidth", None):
            html = cells.to_html(
                max_rows=least if cut else None,
                max_cols=pd.get_option("display.max_columns"),
                index=not (self.index.name is None and self.index.dtype.kind == "i"),
                classes="kit",
                notebook=True,
                escape=False,
            )
        size = f"<p>{rows} rows × {columns_} columns</p>" if cut or not rows else ""
        return html + size


def _cell(value: Any) -> str:
    if value is None or value is pd.NaT or value is pd.NA or value != value:
        return "None"
    if isinstance(value, pd.Timestamp):
        day, _, time = str(value).removesuffix("+00:00").partition(" ")
        return f"{day} {time[:12]}" + (" UTC" if value.tz is not None else "")
    if isinstance(value, pd.Timedelta):
        span = round(value.total_seconds(), 3)
        days, seconds = divmod(abs(span), 86_400)
        return ("-" if span < 0 else "") + (f"{days:.0f} d " if days else "") + f"{seconds:.3f} s"
    short = without_commands(value) if isinstance(value, str) else value
    short = short[: _OPENED + 1] if isinstance(short, bytes | str) else short
    text = short if isinstance(short, str) else joined(str(short))
    if len(text) > _OPENED:
        text = f"{text[:_OPENED]}…"
    if len(text) <= _WRAPPED:
        return escape(text, quote=False)
    if len(text) <= _SHOWN:
        return f'<div class="long">{escape(text, quote=False)}</div>'
    first, rest = (escape(part, quote=False) for part in (text[: _SHOWN - 1], text[_SHOWN - 1 :]))
    return f'<details class="long"><summary>{first}<span class="cut">…</span></summary>{rest}</details>'


def _escaped(label: Any) -> Any:
    written = escape(str(label), quote=False)
    return label if written == str(label) else written


async def frame(connection: asyncpg.Connection, query: str, *args: Any) -> DataFrame:
    """Run ``query`` and return its rows, each column with the dtype of its Postgres type.

    Args:
        connection: a connection that :func:`kit.tables.times.set_codecs` has seen and nobody else uses.
        query: one statement; ``$1``, ``$2``, … stand for ``args``.
        args: the values for them.

    Returns:
        A row for each row of the result, in its order; a repeated column name gets ``.1``, ``.2``, … as in
        ``pandas.read_csv``. A statement that returns no rows gives one row with the column ``command``, which
        has what Postgres did: ``UPDATE 3``.

    Raises:
        asyncpg.PostgresError, asyncpg.InterfaceError: what asyncpg raises.
        KitError: a value that Python cannot hold.
    """
    statement = await connection.prepare(query)
    attributes = statement.get_attributes()
    if not attributes:
        await statement.fetch(*args)
        done = statement.get_statusmsg()
        return DataFrame({"command": columns.text([done] if done else [])})
    types = [attribute.type for attribute in attributes]
    labels = await _labels(connection, types)
    filled = [columns.column(type_, labels) for type_ in types]
    if args or not await _copy(connection, query, filled):
        rows = await _rows(statement, args)
        for at, column in enumerate(filled):
            column.add([row[at] for row in rows])
    table: dict[str, Any] = {}
    for attribute, column in zip(attributes, filled, strict=True):
        table[_unused(attribute.name, table)] = column.build()
    return DataFrame(table, copy=False)


async def _rows(statement: Any, args: tuple[Any, ...]) -> list[Any]:
    try:
        rows: list[Any] = await statement.fetch(*args)
    except (ValueError, OverflowError) as error:
        raise KitError(
            f"The result has a value that Python cannot hold ({error}). Write `::text` behind its column."
        ) from error
    return rows


async def _copy(connection: asyncpg.Connection, query: str, filled: list[columns.Column]) -> bool:
    """Fill the columns with COPY; return whether COPY can run this query.

    COPY sends bytes. numpy makes arrays of them in half the time that asyncpg takes to make Python objects.
    """
    if not all(column.reads_bytes for column in filled):
        return False
    # A row has the lengths of its values, but not where the next row begins, so each begins with this mark.
    mark = secrets.token_bytes(8)
    inner = query.rstrip("; \n")
    marked = f"SELECT decode('{mark.hex()}', 'hex'), q.* FROM (\n{inner}\n) AS q"
    try:
        async with connection.transaction():  # or a savepoint, where the caller's own transaction is open
            await connection.prepare(marked)
    except asyncpg.PostgresError:
        return False  # SHOW, EXPLAIN, INSERT … RETURNING
    waiting: list[bytes] = []
    count = size = 0

    def add() -> None:
        nonlocal count, size
        block, size = b"".join(waiting), 0
        waiting.clear()
        ends = np.flatnonzero(columns.at_every_byte(block[: -len(mark)], "u1") == mark[0])  # quick first pass
        ends = ends[columns.at_every_byte(block, "<u8")[ends] == np.frombuffer(mark, "<u8")] + len(mark)
        count += len(ends)
        lengths = columns.at_every_byte(block, ">i4")
        for column in filled:
            length, start = lengths[ends].astype(np.int64), ends + 4
            ends = start + np.maximum(length, 0)
            column.add_bytes(block, start, length)

    async def receive(data: bytes) -> None:  # whole rows, as Postgres promises
        nonlocal size
        waiting.append(data)
        size += len(data)
        if size > BLOCK:
            add()

    status = await connection.copy_from_query(marked, output=receive, format="binary")
    add()
    assert status == f"COPY {count}", f"{count} rows were read, and Postgres says {status!r}"
    return True


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


def _unused(name: str, taken: Iterable[str]) -> str:
    free, number = name, 0
    while free in taken:
        number += 1
        free = f"{name}.{number}"
    return free
