"""Columns of pandas, one class for each kind of Postgres type.

A column is filled with Python values, or directly with the bytes that Postgres sends: :class:`Numbers` and
:class:`Labels` all at once, with numpy; :class:`Objects` value by value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar, TypeAlias
from uuid import UUID

import asyncpg
import numpy as np
import pandas as pd

from kit.tables import times

Values: TypeAlias = Sequence[Any]


class Numbers:
    """A type whose values have one size.

    Args:
        sent: the numpy dtype of what Postgres sends.
        dtype: the numpy dtype to work with.
        finish: makes the column from the numbers and a mask of NULLs.
    """

    reads_bytes: ClassVar[bool] = True

    def __init__(self, sent: str, dtype: str, finish: Callable[[times.Array, times.Array], Any]) -> None:
        self._sent, self._dtype, self._finish = sent, dtype, finish
        # They grow in place, which takes half the memory of many arrays that are joined in the end.
        self._numbers, self._missing = bytearray(), bytearray()

    def add(self, values: Values) -> None:
        """Add Python values, as asyncpg returns them."""
        present = [0 if value is None else value for value in values]
        self._numbers += np.fromiter(present, np.dtype(self._dtype), len(values)).tobytes()
        self._missing += bytes(value is None for value in values)

    def add_bytes(self, block: bytes, starts: times.Array, sizes: times.Array) -> None:
        """Add the values at ``starts`` in ``block``; the size of a NULL is -1."""
        missing = sizes < 0
        numbers = at_every_byte(block, self._sent)[np.where(missing, 0, starts)]
        self._numbers += numbers.astype(self._dtype).tobytes()
        self._missing += missing.tobytes()

    def build(self) -> Any:
        """Return the column for pandas; after that nothing can be added."""
        return self._finish(np.frombuffer(self._numbers, self._dtype), np.frombuffer(self._missing, bool))


class Labels:
    """An enum with these labels."""

    reads_bytes: ClassVar[bool] = True

    def __init__(self, labels: list[str]) -> None:
        self._labels, self._codes = labels, bytearray()

    def add(self, values: Values) -> None:  # noqa: D102
        codes: dict[str | None, int] = {label: code for code, label in enumerate(self._labels)} | {None: -1}
        self._codes += np.array([codes[value] for value in values], np.int16).tobytes()

    def add_bytes(self, block: bytes, starts: times.Array, sizes: times.Array) -> None:  # noqa: D102
        codes = np.full(len(sizes), -1, np.int16)
        sent = [label.encode() for label in self._labels]
        for size in {len(label) for label in sent}:
            as_long = np.flatnonzero(sizes == size)
            words = at_every_byte(block, f"S{size}")[starts[as_long]]
            for code, label in enumerate(sent):
                if len(label) == size:
                    codes[as_long[words == label]] = code
        self._codes += codes.tobytes()

    def build(self) -> Any:  # noqa: D102
        codes = np.frombuffer(self._codes, np.int16)
        return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(self._labels))


class Objects:
    """Any other type.

    Args:
        finish: makes the column from an object array.
        convert: turns asyncpg's value into the column's.
        decode: turns bytes from Postgres into the column's values; None where only asyncpg can do it.
    """

    def __init__(
        self,
        finish: Callable[[times.Array], Any],
        convert: Callable[[Any], Any] | None = None,
        decode: Callable[[list[bytes]], Iterable[Any]] | None = None,
    ) -> None:
        self._finish, self._convert, self._decode = finish, convert, decode
        self._values: list[Any] = []

    @property
    def reads_bytes(self) -> bool:
        """Whether :meth:`add_bytes` can be used."""
        return self._decode is not None

    def add(self, values: Values) -> None:  # noqa: D102
        convert = self._convert
        self._values += (
            values if convert is None else [None if each is None else convert(each) for each in values]
        )

    def add_bytes(self, block: bytes, starts: times.Array, sizes: times.Array) -> None:  # noqa: D102
        assert self._decode is not None
        there = np.flatnonzero(sizes >= 0)
        begins = starts[there]
        ends = begins + sizes[there]
        sent = [block[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
        values = np.full(len(sizes), None, object)
        values[there] = _array(self._decode(sent), len(sent))
        self._values += values.tolist()

    def build(self) -> Any:  # noqa: D102
        values = _array(self._values, len(self._values))
        self._values.clear()
        return self._finish(values)


Column: TypeAlias = Numbers | Labels | Objects


def at_every_byte(block: bytes, dtype: str) -> times.Array:
    """Return, for each byte of ``block``, the value that begins there, read as ``dtype``."""
    places = len(block) - np.dtype(dtype).itemsize + 1
    return np.ndarray(max(places, 0), dtype, block, strides=1 if places > 0 else None)


def column(type_: asyncpg.Type, labels: dict[int, list[str]]) -> Column:
    """Return an empty column for ``type_``; ``labels`` has the labels of each enum, by its oid."""
    if type_.oid in labels:
        return Labels(labels[type_.oid])
    return _COLUMNS.get(type_.name, _OTHER)() if type_.schema == "pg_catalog" else _OTHER()


def text(values: Values | times.Array) -> Any:
    """Return a column of ``str``, with ``<NA>`` for None. An array is changed in place, a list copied."""
    words = np.asarray(values, object)
    words[pd.isna(words)] = pd.NA
    # With its storage named: where pyarrow is installed, the default's .isin() and .query() fail.
    return pd.array(words, dtype=pd.StringDtype("python"))


def _array(values: Iterable[Any], count: int) -> times.Array:
    return np.fromiter(values, object, count)  # np.array would make lists of one length a second dimension


def _objects(values: times.Array) -> Any:
    # A Series, because a bare array of str or datetime would get another dtype in a frame.
    return pd.Series(values, dtype=object, copy=False)


def _words(sent: list[bytes]) -> Iterable[str]:
    # A table of jobs has the same few words again and again: one object for each is enough.
    known = {word: word.decode() for word in set(sent)}
    return map(known.__getitem__, sent)


def _readable(value: Any) -> Any:
    """Return ``value`` with the times and rows inside it as ordinary Python objects."""
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


_COLUMNS: dict[str, Callable[[], Column]] = {
    "int2": partial(Numbers, ">i2", "i8", pd.arrays.IntegerArray),
    "int4": partial(Numbers, ">i4", "i8", pd.arrays.IntegerArray),
    "int8": partial(Numbers, ">i8", "i8", pd.arrays.IntegerArray),
    "oid": partial(Numbers, ">u4", "i8", pd.arrays.IntegerArray),
    "float4": partial(Numbers, ">f4", "f8", _float),
    "float8": partial(Numbers, ">f8", "f8", _float),
    "numeric": partial(Objects, lambda values: values.astype("f8")),
    "bool": partial(Numbers, "?", "?", pd.arrays.BooleanArray),
    "timestamptz": partial(Numbers, ">i8", "i8", _instants),
    "timestamp": partial(Numbers, ">i8", "i8", times.moments),
    "date": partial(Numbers, ">i4", "i8", times.days),
    "interval": partial(Objects, lambda values: values.astype("m8[us]")),
    **dict.fromkeys(("text", "varchar", "bpchar", "name"), partial(Objects, text, None, _words)),
    "uuid": partial(Objects, text, str, lambda sent: [str(UUID(bytes=value)) for value in sent]),
    "json": partial(
        Objects, _objects, json.loads, lambda sent: [json.loads(value.decode()) for value in sent]
    ),
    # The first byte is the format's version.
    "jsonb": partial(
        Objects, _objects, json.loads, lambda sent: [json.loads(value[1:].decode()) for value in sent]
    ),
    "bytea": partial(Objects, _objects, None, lambda sent: sent),
}
_OTHER = partial(Objects, _objects, _readable)
