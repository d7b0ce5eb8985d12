"""A learner's side: join a class, and send what the record gains, from a thread that no check waits for.

The record, ``progress.jsonl``, is all that waits to be sent; how far it was taken stands in a file beside it.
On a JupyterHub that has a class nobody joins: the hub says with ``KIT_CLASS`` where to send.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import os
import random
import re
import secrets
import threading
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from kit.classroom import wire
from kit.errors import KitError
from kit.session import session
from kit.sources import files

MEMBER, TAKEN = "class.json", "class-taken.json"
ANSWER = 5.0  # seconds that the teacher's machine may take
PAUSES = (1.0, 60.0)  # seconds from one attempt to the next, doubled up to the second
TO_END = 0.5  # seconds that the end of a kernel waits for what is being sent
PIECE = 64 * 1024  # bytes of the record that are read at once
HAND_IN = '{"kit_class": '  # how a file to hand in begins


class Away(Exception):
    """The teacher's machine does not take it now; the text says why."""


@dataclass(frozen=True)
class Member:
    """Who this user is in a class.

    Attributes:
        address: the collector's, such as ``http://192.168.1.20:8890``.
        code: what the join line ends with.
        key: this learner's own, as hex; empty in a hub's class, which takes the hub's tokens.
        name: as the board shows it.
        begins: where the record was when they joined, in bytes; what is before is theirs alone.
    """

    address: str
    code: str
    key: str
    name: str
    begins: int

    @property
    def secret(self) -> bytes:
        """The key."""
        return bytes.fromhex(self.key)

    def to_join(self) -> bytes:
        """Return the body with which they join; it is signed with the code."""
        return json.dumps({"key": self.key, "name": self.name}).encode()

    def report(self, events: list[Any]) -> bytes:
        """Return the body with these events. No two are the same, so that one which comes again is seen."""
        now = datetime.now().astimezone().isoformat()
        return json.dumps({"now": now, "once": secrets.token_hex(8), "events": events}).encode()


def member(record: Path) -> Member | None:
    """Return who this user is in a class: the one they joined, else their hub's; None if in none.

    The file lies beside the record.

    Raises:
        KitError: the file is damaged.
    """
    path = record.with_name(MEMBER)
    text = files.read(path) if record.parent.is_dir() else ""
    try:
        return Member(**json.loads(text)) if text else _of_the_hub()
    except (ValueError, TypeError) as error:
        raise KitError(f"{str(path)!r} is damaged. Delete it, and join the class again.") from error


def _of_the_hub() -> Member | None:
    said = [os.environ.get(name, "") for name in ("KIT_CLASS", "JUPYTERHUB_USER", "JUPYTERHUB_API_TOKEN")]
    return Member(said[0].rstrip("/"), "", "", said[1], 0) if all(said) else None


def _joined(record: Path) -> Member | None:
    """Return who this user is in the class they joined; None if in none.

    Raises:
        KitError: they are in their hub's, or the file is damaged.
    """
    who = member(record)
    if who is not None and not who.key:
        raise KitError(
            "Your JupyterHub has a class, to which what you do in exercises is sent by itself. "
            "You need not join it or hand in, and who runs the hub decides whether you are in it."
        )
    return who


def read_line(line: str) -> tuple[SplitResult, str]:
    """Return the collector's address and the code of a join line.

    Raises:
        KitError: it is no join line.
    """
    parts = urlsplit(line.strip())
    code = parts.path.strip("/")
    try:
        good = parts.scheme == "http" and parts.hostname and parts.port and re.fullmatch(r"\w+", code)
    except ValueError:
        good = False
    if not good:
        raise KitError(
            f"{line!r} is no join line. The teacher's `kit class start` prints one such as "
            "http://192.168.1.20:8890/abcdefghjkmn."
        )
    return parts, code


def join(line: str, name: str, record: Path) -> str:
    """Join a class, and return what is to be said of it. Once more it changes the name, or the address.

    Raises:
        KitError: it is no join line, there is no name, the class refuses them, or they are in another class.
    """
    parts, code = read_line(line)
    if not name.strip():
        raise KitError("Say who you are: --name NAME.")
    address, before = f"http://{parts.netloc}", _joined(record)
    if before is not None and before.code != code:
        raise KitError(f"You are in the class at {before.address}. `kit class leave` first, then join.")
    size = record.stat().st_size if record.exists() else 0
    new = before or Member(address, code, secrets.token_hex(32), name, size)
    new = replace(new, address=address, name=name)
    try:
        where = f" {_join(new)!r}"
        now = "From now on each check, hint and solution you ask for is sent to the teacher's board."
    except Away as error:
        where, now = "", f"It is not there now ({error}). What you do is kept, and sent later."
    files.make_closed(record.parent)
    files.write(record.with_name(MEMBER), json.dumps(asdict(new)))
    return f"You have joined the class{where} as {name!r}. {now} `kit class leave` ends that."


def leave(record: Path) -> str:
    """Leave the class, and return what is to be said of it."""
    if _joined(record) is None:
        return "You are in no class."
    left = waiting(record)
    record.with_name(MEMBER).unlink()
    record.with_name(TAKEN).unlink(missing_ok=True)
    return f"You have left the class.{f' Not sent: {left}.' if left else ''} What you did is still yours."


def hand_in(file: Path | None, record: Path) -> Path:
    """Write all that was done since this user joined into a signed file, and return it.

    Raises:
        KitError: they are in no class, or the file cannot be written, or is another one.
    """
    who = _joined(record)
    if who is None:
        raise KitError("You are in no class. Run `kit class join` with the teacher's line first.")
    words = re.sub(r"\W+", "-", who.name.lower()).strip("-")
    file = file or Path(f"{words}-{wire.learner_of(who.secret)[:6]}.json")
    events, place = [], _within(record, who.begins)
    while True:
        some, after = _read(record, place)
        events += some
        if after == place:
            break
        place = after
    joins, report = who.to_join(), who.report(events)
    text = json.dumps(
        {
            "kit_class": joins.decode(),
            "signed": wire.signature(who.code.encode(), joins),
            "report": report.decode(),
            "signature": wire.signature(who.secret, report),
        }
    )
    try:
        if file.exists() and not file.read_text("utf-8", "replace").startswith(HAND_IN):
            raise KitError(f"{str(file)!r} is another file, which stays as it is. Name a new one.")
        files.write(file, text)
    except OSError as error:
        raise KitError(f"{str(file)!r} cannot be written: {error.strerror}.") from None
    return file


def notices(record: Path) -> list[str]:
    """Return what a learner should know of what is sent."""
    waits, who = waiting(record), member(record)
    said = [f"Not sent to your class yet: {waits}"] if waits else []
    if who is not None and not who.key:
        said.append("What you do in exercises, but no code, is sent to your JupyterHub's class")
    return said


def waiting(record: Path) -> str:
    """Return how much was not sent to the class yet and why, in a few words; empty where nothing waits."""
    if not record.exists() or (who := member(record)) is None:
        return ""
    place, problem = _taken(record, who)
    with open(record, "rb") as file:
        file.seek(place)
        count = file.read().count(b"\n")
    return f"{count} of your events, because {problem or 'no notebook is open'}" if count else ""


def wake(record: Path) -> None:
    """Let what is new in the record be sent soon. It returns at once, and does nothing outside of a class."""
    if not record.with_name(MEMBER).exists() and _of_the_hub() is None:
        return
    if session.sender is None:
        with contextlib.suppress(RuntimeError):  # this process ends, or may have no more threads
            session.sender = Sender(record)
    if session.sender is not None:
        session.sender.wake()


class Sender:
    """The thread that sends: at once what is new, and with growing pauses what could not be sent."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._new, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="kit class", daemon=True)
        self._thread.start()
        atexit.register(self.stop)

    def wake(self) -> None:
        """Say that the record has gained something. It does not shorten a pause."""
        self._new.set()

    def stop(self, patience: float = TO_END) -> None:
        """End the thread, after what it is sending, if that takes no longer than ``patience`` seconds."""
        self._end.set()
        self._new.set()
        self._thread.join(patience)
        atexit.unregister(self.stop)

    def _run(self) -> None:
        while True:
            self._new.wait()
            self._new.clear()
            pause, longest = PAUSES
            while not self._all_sent():
                if self._end.wait(pause * random.uniform(0.5, 1)):  # not all learners at the same moment
                    return
                pause = min(2 * pause, longest)
            if self._end.is_set():
                return

    def _all_sent(self) -> bool:
        try:
            send(self._record)
        except Exception as error:  # a disk that is full, say: it is told, and tried again
            with contextlib.suppress(Exception):
                if (who := member(self._record)) is not None:
                    place, _ = _taken(self._record, who)
                    _note(self._record, who, place, str(error) or type(error).__name__)
            return False
        return True


def send(record: Path) -> None:
    """Send all that was not taken yet.

    Raises:
        Away: not all of it could be sent.
        KitError: the class refuses it.
    """
    while (who := member(record)) is not None:
        place, problem = _taken(record, who)
        events, after = _read(record, place)
        if after == place:
            if problem:
                _note(record, who, place)
            return
        if events:
            body = who.report(events)
            status, said = _post(who, wire.EVENTS, body, who.secret)
            if status == 401:  # it does not know this learner, who joined while it was away
                _join(who)
                status, said = _post(who, wire.EVENTS, body, who.secret)
            _refuse(status, said)
        _note(record, who, after)


def _join(who: Member) -> str:
    """Join, and return what the class is called."""
    status, said = _post(who, wire.JOIN, who.to_join(), who.code.encode())
    _refuse(status, said)
    return said


def _refuse(status: int, said: str) -> None:
    if status == 429 or status >= 500:
        raise Away(said)
    if status != 200:
        raise KitError(f"The class refuses it: {said}")


def _post(who: Member, path: str, body: bytes, key: bytes) -> tuple[int, str]:
    parts = urlsplit(who.address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ANSWER)
    if who.key:
        headers = {wire.LEARNER: wire.learner_of(who.secret), wire.SIGNATURE: wire.signature(key, body)}
    else:
        headers = {"Authorization": f"token {os.environ['JUPYTERHUB_API_TOKEN']}"}
    try:
        connection.request("POST", parts.path + path, body, headers)
        answer = connection.getresponse()
        return answer.status, wire.short(answer.read(4096).decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        raise Away(f"{parts.netloc} does not answer") from error
    finally:
        connection.close()


def _read(record: Path, place: int) -> tuple[list[Any], int]:
    """Return the next events of the record as they are sent, and the place behind them."""
    try:
        with open(record, "rb") as file:
            file.seek(place)
            lines = file.readlines(PIECE)[: wire.MOST]
    except FileNotFoundError:
        return [], place
    events = []
    for line in lines:
        if not line.endswith(b"\n"):  # it is still being written
            break
        with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError, OverflowError, OSError):
            event = json.loads(line)  # damaged lines are left out
            sent = {field: str(event[field])[: wire.LONGEST] for field in wire.FIELDS if event.get(field)}
            sent["at"] = datetime.fromisoformat(sent["at"]).astimezone().isoformat()
            if {"id", "event"} <= sent.keys():
                events.append((wire.reference(place, line), sent))
        place += len(line)
    return events, place


def _taken(record: Path, who: Member) -> tuple[int, str]:
    """Return how far the record was taken, in bytes, and what went wrong last."""
    place, problem = who.begins, ""
    with contextlib.suppress(ValueError, TypeError, KeyError):  # there is none, or it is damaged
        said = json.loads(files.read(record.with_name(TAKEN)))
        if said["learner"] == wire.learner_of(who.secret):  # and not who they were in another class
            place, problem = int(said["place"]), str(said["problem"])
    return _within(record, place), problem


def _within(record: Path, place: int) -> int:
    """Return the place, or 0 where the record is shorter: it is another file, which began anew."""
    return place if record.exists() and place <= record.stat().st_size else 0


def _note(record: Path, who: Member, place: int, problem: str = "") -> None:
    said = {"learner": wire.learner_of(who.secret), "place": place, "problem": problem}
    files.write(record.with_name(TAKEN), json.dumps(said))
