"""What learners and the collector agree on: signatures, sizes, and what of an event is sent.

A learner's key is made on their machine, and their id is its digest, so nobody can take another's id. The key
goes to the collector once, signed with the code of the join line; each report is signed with the key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from datetime import datetime
from typing import Any

from kit.display.text import visible

JOIN, EVENTS = "/join", "/events"
LEARNER, SIGNATURE = "X-Class-Learner", "X-Class-Signature"  # headers
LARGEST = 256 * 1024  # bytes of a report
MOST = 200  # events of a report
LONGEST = 120  # characters of a value
FIELDS = ("at", "id", "event", "outcome", "message")  # a guess, say, stays with the learner
_REFERENCE = re.compile(r"[0-9a-f]{1,16}-[0-9a-f]{16}")


class Malformed(ValueError):
    """It is not what a learner's kit sends."""


class Refused(Exception):
    """A request is not taken; its text says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def signature(key: bytes, body: bytes) -> str:
    """Return the signature of a body."""
    return hmac.new(key, body, hashlib.sha256).hexdigest()


def is_signed(key: bytes, body: bytes, by: object) -> bool:
    """Return whether ``by`` is the signature of the body."""
    return hmac.compare_digest(signature(key, body).encode(), str(by).encode(errors="replace"))


def learner_of(key: bytes) -> str:
    """Return the id of the learner who has this key."""
    return hashlib.sha256(b"learner " + key).hexdigest()[:16]


def reference(place: int, line: bytes) -> str:
    """Return the id of an event: of a line of the learner's file, and its place there in bytes."""
    return f"{place:x}-{hashlib.sha256(line).hexdigest()[:16]}"


def short(value: object) -> str:
    """Return a value as text that can be shown and stored: not long, and without characters unseen."""
    return visible(str(value)[:LONGEST]).replace("\n", " ")[:LONGEST]


def read_join(body: bytes) -> tuple[bytes, str]:
    """Return the key and the name of somebody who joins.

    Raises:
        Malformed: it says neither.
    """
    try:
        said = json.loads(body)
        key, name = bytes.fromhex(said["key"]), said["name"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Malformed("This is no request to join.") from error
    if len(key) != 32 or not isinstance(name, str) or not name.strip():
        raise Malformed("This is no request to join.")
    return key, short(name.strip())[:60]


def read_events(body: bytes, most: int, arrived: datetime) -> list[tuple[str, str]]:
    """Return the events of a report: of each its id, and what is stored, as JSON.

    ``when`` is in seconds since 1970 by the collector's clock; how long ago it was is by the learner's.

    Raises:
        Malformed: it is no report, or has more than ``most`` events.
    """
    try:
        said = json.loads(body)
        now, pairs = datetime.fromisoformat(said["now"]), said["events"]
        if not isinstance(pairs, list) or len(pairs) > most:
            raise Malformed(f"A report has at most {most} events.")
        return [_event(name, event, now, arrived) for name, event in pairs]
    except Malformed:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise Malformed("This is no report.") from error


def _event(name: object, event: dict[str, Any], now: datetime, arrived: datetime) -> tuple[str, str]:
    if not isinstance(name, str) or not _REFERENCE.fullmatch(name):
        raise Malformed("An event has no id.")
    kept = {field: short(event[field]) for field in ("id", "event")}
    kept |= {field: short(event[field]) for field in ("outcome", "message") if event.get(field) is not None}
    ago = max(0.0, (now - datetime.fromisoformat(event["at"])).total_seconds())
    return name, json.dumps(kept | {"when": arrived.timestamp() - ago})
