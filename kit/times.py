"""Times as Postgres sends them: whole numbers, exact from 4713 BC to the year 294246, and with infinity.

asyncpg makes ``datetime`` objects of them instead, which take most of the time of reading a big table, end at
the year 9999 and know no infinity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from typing import Any

import asyncpg
import numpy as np
import pandas as pd

_EPOCH = datetime(2000, 1, 1)  # Postgres counts its times from here, numpy from 1970
_DAYS = 10_957  # between the two
_MICROSECONDS = _DAYS * 86_400_000_000
_INFINITE = (-(2**31), 2**31 - 1, -(2**63), 2**63 - 1)  # how a date and a timestamp say so
_LAST = 2**63 - 1 - _MICROSECONDS  # numpy ends here, in the year 294247


class Instant(int):
    """A timestamptz inside an array or a row, where it could be taken for a number."""

    def timestamp(self) -> Any:
        """Return it as a ``pandas.Timestamp`` in UTC, or ``NaT``."""
        return pd.Timestamp(_moment(self), tz="UTC")


async def set_codecs(connection: asyncpg.Connection) -> None:
    """Let ``connection`` hand out a timestamptz as the number Postgres sent, other times as numpy's.

    Never on a connection that PGQueuer uses too. Costs no round trip.
    """
    for name, (encode, decode) in _CODECS.items():
        await _set(connection, name, encode, decode)


async def tell_apart(connection: asyncpg.Connection) -> None:
    """Let ``connection`` hand out a timestamptz as :class:`Instant`, which takes longer."""
    await _set(connection, "timestamptz", _CODECS["timestamptz"][0], lambda raw: Instant(raw[0]))


def moments(values: Sequence[int | None]) -> np.ndarray[Any, np.dtype[np.datetime64]]:
    """Return timestamptz values as ``datetime64[us]`` in UTC; NULL and infinity are ``NaT``."""
    if None in values:
        values = [_INFINITE[-1] if value is None else value for value in values]
    numbers = np.fromiter(values, np.int64, len(values))
    outside = (numbers > _LAST) | (numbers == _INFINITE[-2])
    numbers[outside] = 0
    result = (numbers + _MICROSECONDS).view("M8[us]")
    result[outside] = np.datetime64("NaT")
    return result


async def _set(
    connection: asyncpg.Connection, name: str, encode: Callable[[Any], Any], decode: Callable[[Any], Any]
) -> None:
    await connection.set_type_codec(name, schema="pg_catalog", format="tuple", encoder=encode, decoder=decode)


def _moment(number: int) -> np.datetime64:
    if number in _INFINITE or number > _LAST:
        return np.datetime64("NaT")
    return np.datetime64(number + _MICROSECONDS, "us")


def _day(number: int) -> np.datetime64:
    return np.datetime64("NaT") if number in _INFINITE else np.datetime64(number + _DAYS, "D")


def _duration(raw: tuple[int, int, int]) -> np.timedelta64:
    months, days, microseconds = raw
    years = int(months / 12)
    total = years * 31_557_600_000_000 + ((months - 12 * years) * 30 + days) * 86_400_000_000 + microseconds
    return np.timedelta64(total, "us") if abs(total) < 2**63 else np.timedelta64("NaT")


def _checked(kind: type[Any], encode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def encode_checked(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError(f"expected a datetime.{kind.__name__}, got {type(value).__name__!r}")
        return encode(value)

    return encode_checked


def _send(value: date) -> tuple[int]:
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    return ((value - _EPOCH) // timedelta(microseconds=1),)


def _send_instant(value: date) -> tuple[int]:
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    # Without a zone it means local time, as in asyncpg.
    return _send(value.astimezone(UTC).replace(tzinfo=None))


_CODECS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "timestamptz": (_checked(date, _send_instant), itemgetter(0)),
    "timestamp": (_checked(date, _send), lambda raw: _moment(raw[0])),
    "date": (
        _checked(date, lambda value: (value.toordinal() - _EPOCH.toordinal(),)),
        lambda raw: _day(raw[0]),
    ),
    "interval": (
        _checked(timedelta, lambda value: (0, value.days, value.seconds * 1_000_000 + value.microseconds)),
        _duration,
    ),
}
