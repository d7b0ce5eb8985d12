"""``kit class read``: files that learners handed in go the same way as reports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from kit.classroom import identity, wire
from kit.classroom.collector import EVENTS, Collector
from kit.classroom.store import Store
from kit.classroom.wire import Refused
from kit.errors import KitError
from kit.threads import run_sync

LARGEST = 8 * 1024 * 1024  # bytes


def read(paths: Sequence[Path], say: Callable[[str], None]) -> None:
    """Take files that were handed in, and say of each what was new.

    Raises:
        KitError: one of them was not taken; the others were.
    """
    refused = []
    for path in paths:
        try:
            if path.stat().st_size > LARGEST:
                raise Refused(413, f"It has more than {LARGEST} bytes.")
            say(f"{path}: {run_sync(_take(path.read_bytes()))}")
        except (Refused, wire.Malformed, OSError) as error:
            refused.append(f"{path}: {getattr(error, 'strerror', None) or error}")
    if refused:
        raise KitError("Not taken:\n" + "\n".join(refused))


async def _take(text: bytes) -> str:
    try:
        said = json.loads(text)
        joins, report = said["kit_class"].encode(), said["report"].encode()
        signed, signature = said["signed"], said["signature"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Refused(400, "This is no file that `kit class hand-in` wrote.") from None
    for one in identity.known():
        if wire.is_signed(one.code.encode(), joins, signed):
            break
    else:
        raise Refused(403, "It is of no class of yours, or was changed.")
    database = await asyncio.to_thread(one.postgres)
    store = Store(database.target, one.code)
    collector = Collector(one, store, ())
    try:
        await collector.catch_up()
        key, name = wire.read_join(joins)
        await collector.join(joins, signed)
        new = await collector.report(wire.learner_of(key), report, signature, most=EVENTS)
        return f"{new} new events of {name!r}, in the class {one.name!r}."
    finally:
        await store.close()
        await asyncio.to_thread(database.stop)
