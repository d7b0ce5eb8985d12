"""Times as Postgres sends them: whole numbers, exact from 4713 BC to the year 294246, and infinity.

asyncpg turns them into ``datetime`` objects, which end at the year 9999 and have no infinity.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import numpy as np
import pandas as pd

Array: TypeAlias = Any  # a numpy array; the docstrings name its dtype

_EPOCH = datetime(2000, 1, 1)  # Postgres counts its times from here, numpy from 1970
_DAYS = 10_957  # between the two
_DAY = 86_400_000_000  # microseconds
_LAST = 2**63 - 1 - _DAYS * _DAY  # numpy ends here, in the year 294247


def moments(numbers: Array, missing: Array) -> Array:
    """Turn microseconds since 2000 into ``datetime64[us]``, in place.

    Infinity becomes ``NaT``, and so do ``missing`` values.
    """
    outside = missing | (numbers > _LAST) | (numbers == -(2**63))
    numbers[outside] = 0
    numbers += _DAYS * _DAY
    return _without(numbers.view("M8[us]"), outside)


def days(numbers: Array, missing: Array) -> Array:
    """Turn days since 2000 into ``datetime64[s]``, in place.

    Infinity becomes ``NaT``, and so do ``missing`` values.
    """
    outside = missing | (numbers == 2**31 - 1) | (numbers == -(2**31))
    numbers += _DAYS
    numbers *= 86_400
    return _without(numbers.view("M8[s]"), outside)


def _without(times: Array, outside: Array) -> Array:
    times[outside] = np.datetime64("NaT")
    return times


class Time(int):
    """A time as a number; it has a class of its own to be found inside an array or a row."""

    def timestamp(self) -> Any:
        """Return a ``pandas.Timestamp``, or ``NaT``."""
        return pd.Timestamp(moments(*_alone(self))[0])


class Instant(Time):
    """A timestamptz."""

    def timestamp(self) -> Any:
        """Return a ``pandas.Timestamp`` in UTC, or ``NaT``."""
        return pd.Timestamp(super().timestamp(), tz="UTC")


class Day(Time):
    """A date."""

    def timestamp(self) -> Any:
        """Return the ``pandas.Timestamp`` at which the day begins, or ``NaT``."""
        return pd.Timestamp(days(*_alone(self))[0])


def _alone(number: int) -> tuple[Array, Array]:
    return np.array([number], np.int64), np.array([False])


async def set_codecs(connection: asyncpg.Connection) -> None:
    """Let ``connection`` return times as above, and intervals as ``timedelta64[us]``.

    Never use it on a connection of PGQueuer's. It costs no round trip.
    """
    codecs: list[tuple[str, type[Any], Callable[[Any], Any], Callable[[Any], Any]]] = [
        ("timestamptz", date, _send_instant, lambda raw: Instant(raw[0])),
        ("timestamp", date, _send, lambda raw: Time(raw[0])),
        ("date", date, lambda day: (day.toordinal() - _EPOCH.toordinal(),), lambda raw: Day(raw[0])),
        ("interval", timedelta, lambda span: (0, span.days, span.seconds * 10**6 + span.microseconds), _span),
    ]
    for name, kind, encode, decode in codecs:
        await connection.set_type_codec(
            name, schema="pg_catalog", format="tuple", encoder=_checked(kind, encode), decoder=decode
        )


def _span(raw: tuple[int, int, int]) -> np.timedelta64:
    months, days, microseconds = raw
    years = int(months / 12)
    total = round(years * 365.25 * _DAY) + ((months - 12 * years) * 30 + days) * _DAY + microseconds
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
