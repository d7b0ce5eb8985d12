"""Columns of pandas, one kind for each type of Postgres.

A column is built from Python values, or straight from the bytes that Postgres sends: :class:`Numbers` and
:class:`Labels` all at once, with numpy; :class:`Objects` value by value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias
from uuid import UUID

import asyncpg
import numpy as np
import pandas as pd

from kit import times

Values: TypeAlias = Sequence[Any]


class Column(Protocol):
    """How the values of one type become a column."""

    @property
    def reads_bytes(self) -> bool:
        """Whether :meth:`from_bytes` can be used."""

    def from_values(self, values: Values) -> Any:
        """Return the column of these Python values, which are as asyncpg returns them."""

    def from_bytes(self, block: bytes, starts: times.Array, sizes: times.Array) -> Any:
        """Return the column of the values that are at ``starts`` in ``block``; the size of a NULL is -1."""


@dataclass(frozen=True)
class Numbers:
    """A type whose values have one size.

    Attributes:
        sent: the numpy dtype of what Postgres sends.
        dtype: the numpy dtype to work with.
        build: makes the column of the numbers, and of a mask that says which are NULL.
    """

    sent: str
    dtype: str
    build: Callable[[times.Array, times.Array], Any]
    reads_bytes: ClassVar[bool] = True

    def from_values(self, values: Values) -> Any:  # noqa: D102
        missing = np.fromiter((value is None for value in values), bool, len(values))
        present = [0 if value is None else value for value in values]
        return self.build(np.fromiter(present, np.dtype(self.dtype), len(values)), missing)

    def from_bytes(self, block: bytes, starts: times.Array, sizes: times.Array) -> Any:  # noqa: D102
        missing = sizes < 0
        numbers = look(block, self.sent)[np.where(missing, 0, starts)]
        return self.build(numbers.astype(self.dtype), missing)


@dataclass(frozen=True)
class Labels:
    """An enum with these labels."""

    labels: list[str]
    reads_bytes: ClassVar[bool] = True

    def from_values(self, values: Values) -> Any:  # noqa: D102
        return pd.Categorical(values, categories=self.labels)

    def from_bytes(self, block: bytes, starts: times.Array, sizes: times.Array) -> Any:  # noqa: D102
        codes = np.full(len(sizes), -1, np.int64)
        sent = [label.encode() for label in self.labels]
        for size in {len(label) for label in sent}:
            as_long = np.flatnonzero(sizes == size)
            words = look(block, f"S{size}")[starts[as_long]]
            for code, label in enumerate(sent):
                if len(label) == size:
                    codes[as_long[words == label]] = code
        return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(self.labels))


@dataclass(frozen=True)
class Objects:
    """Any other type.

    Attributes:
        build: makes the column of an object array.
        convert: makes what the column holds of what asyncpg returns.
        decode: makes what the column holds of what Postgres sends; None where only asyncpg knows how.
    """

    build: Callable[[times.Array], Any]
    convert: Callable[[Any], Any] | None = None
    decode: Callable[[list[bytes]], Iterable[Any]] | None = None

    @property
    def reads_bytes(self) -> bool:  # noqa: D102
        return self.decode is not None

    def from_values(self, values: Values) -> Any:  # noqa: D102
        if self.convert is not None:
            values = [None if value is None else self.convert(value) for value in values]
        return self.build(_array(values, len(values)))

    def from_bytes(self, block: bytes, starts: times.Array, sizes: times.Array) -> Any:  # noqa: D102
        assert self.decode is not None
        there = np.flatnonzero(sizes >= 0)
        begins = starts[there]
        ends = begins + sizes[there]
        sent = [block[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
        values = np.full(len(sizes), None, object)
        values[there] = _array(self.decode(sent), len(sent))
        return self.build(values)


def look(block: bytes, dtype: str) -> times.Array:
    """Return what ``block`` holds at each of its bytes, read as ``dtype``."""
    places = len(block) - np.dtype(dtype).itemsize + 1
    return np.ndarray(max(places, 0), dtype, block, strides=1 if places > 0 else None)


def column(type_: asyncpg.Type, labels: dict[int, list[str]]) -> Column:
    """Return the kind of column for ``type_``; ``labels`` has those of each enum, by its oid."""
    if type_.oid in labels:
        return Labels(labels[type_.oid])
    return _COLUMNS.get(type_.name, _OTHER) if type_.schema == "pg_catalog" else _OTHER


def text(values: Values | times.Array) -> Any:
    """Return a column of ``str``; None is ``<NA>``."""
    words = np.array(values, object)
    words[pd.isna(words)] = pd.NA
    # Named with its storage: with pyarrow installed the default dtype would not fit these values.
    return pd.array(words, dtype=pd.StringDtype("python"))


def _array(values: Iterable[Any], count: int) -> times.Array:
    return np.fromiter(values, object, count)  # np.array would make lists of one length a second dimension


def _objects(values: times.Array) -> Any:
    # A Series, because a bare array of str or datetime would get another dtype in a frame.
    return pd.Series(values, dtype=object, copy=False)


def _words(sent: list[bytes]) -> Iterable[str]:
    # The same few words come again and again in a table of jobs: one object each will do.
    known = {word: word.decode() for word in set(sent)}
    return map(known.__getitem__, sent)


def _readable(value: Any) -> Any:
    """Return ``value`` with the times and rows inside it as Python knows them."""
    match value:
        case times.Time():
            return value.timestamp()
        case asyncpg.Record():
            return {key: _readable(part) for key, part in value.items()}
        case list():
            return [_readable(part) for part in value]
        case asyncpg.Range() if not value.isempty:
            lower, upper = _readable(value.lower), _readable(value.upper)
            return asyncpg.Range(lower, upper, lower_inc=value.lower_inc, upper_inc=value.upper_inc)
    return tuple(map(_readable, value)) if type(value) is tuple else value


def _float(numbers: times.Array, missing: times.Array) -> Any:
    return np.where(missing, np.nan, numbers)


def _instants(numbers: times.Array, missing: times.Array) -> Any:
    return pd.DatetimeIndex(times.moments(numbers, missing), tz="UTC").array


_COLUMNS: dict[str, Column] = {
    "int2": Numbers(">i2", "i8", pd.arrays.IntegerArray),
    "int4": Numbers(">i4", "i8", pd.arrays.IntegerArray),
    "int8": Numbers(">i8", "i8", pd.arrays.IntegerArray),
    "oid": Numbers(">u4", "i8", pd.arrays.IntegerArray),
    "float4": Numbers(">f4", "f8", _float),
    "float8": Numbers(">f8", "f8", _float),
    "numeric": Objects(lambda values: values.astype("f8")),
    "bool": Numbers("?", "?", pd.arrays.BooleanArray),
    "timestamptz": Numbers(">i8", "i8", _instants),
    "timestamp": Numbers(">i8", "i8", times.moments),
    "date": Numbers(">i4", "i8", times.days),
    "interval": Objects(lambda values: values.astype("m8[us]")),
    **dict.fromkeys(("text", "varchar", "bpchar", "name"), Objects(text, None, _words)),
    "uuid": Objects(text, str, lambda sent: [str(UUID(bytes=value)) for value in sent]),
    "json": Objects(_objects, json.loads, lambda sent: [json.loads(value.decode()) for value in sent]),
    # The first byte is the format's version.
    "jsonb": Objects(_objects, json.loads, lambda sent: [json.loads(value[1:].decode()) for value in sent]),
    "bytea": Objects(_objects, None, lambda sent: sent),
}
_OTHER = Objects(_objects, _readable)
