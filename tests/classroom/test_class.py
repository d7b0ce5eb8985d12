"""A class: what learners do reaches the teacher's board, once each, whatever is killed, away or forged."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect
from typer.testing import CliRunner

from kit.classroom import identity, sending, wire
from kit.cli.classes import app as command
from kit.errors import KitError
from kit.exercises import course, record
from kit.session import session
from tests.classroom.conftest import Teacher, wrong
from tests.jupyterlab import barriers, browser_page
from tests.waiting import wait_until

BecomeLearner = Callable[[str], Path]


def ran(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.output


def test_what_learners_do_from_when_they_joined_is_on_the_board(
    teacher: Teacher, learner: BecomeLearner
) -> None:
    learner("Grace")
    wrong(5)  # hers alone: before she joined
    assert "joined the class 'Databases, Monday' as 'Grace'" in ran("join", teacher.line, "--name", "Grace")
    wrong()
    record.write("thank", "hint", number=1)
    record.write("order", "check", outcome="passed")
    record.write("greet", "check", outcome="not attempted")
    learner("Edsger")
    ran("join", teacher.line, "--name", "Edsger")
    wrong(2)
    wait_until("Edsger's two wrong checks", lambda: teacher.wrong("Edsger") == 2)
    wait_until("what Grace has passed", lambda: (teacher.learner("Grace") or {"passed": 0})["passed"])
    grace = teacher.learner("Grace")
    assert grace is not None
    assert grace["work"] == {
        "thank": {"state": "tried", "wrong": 1, "hints": 1},
        "order": {"state": "passed", "wrong": 0, "hints": 0},
    }
    board = json.loads(teacher.see())
    assert [one["count"] for one in board["common"] if one["title"] == course.find("thank").title] == [2]
    assert board["common"][0]["says"] == course.find("thank").messages["thanked-again"]
    assert board["common"][0]["mistakes"]
    assert board["help"][0]["wrong"] == 2
    rows = list(csv.reader(io.StringIO(teacher.see("results.csv").removeprefix("\ufeff"))))
    assert ["Grace", "priorities", "order", "passed", "0", "0", "0"] in rows


def test_a_learner_who_leaves_sends_nothing_more(teacher: Teacher, learner: BecomeLearner) -> None:
    file = learner("Alan")
    ran("join", teacher.line, "--name", "Alan")
    wrong()
    wait_until("Alan's wrong check", lambda: teacher.wrong("Alan") == 1)
    wait_until("nothing to wait", lambda: sending.waiting(file) == "")
    assert "left the class" in ran("leave")
    wrong()
    sending.send(file)
    assert teacher.wrong("Alan") == 1
    assert sorted(path.name for path in file.parent.iterdir()) == ["progress.jsonl", "progress.jsonl.lock"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_collector_killed_in_the_middle_goes_on_with_the_same_line_and_nothing_is_lost_or_twice(
    teacher: Teacher, tmp_path: Path
) -> None:
    line, password, each = teacher.line, teacher.password, 60
    files = [tmp_path / str(number) / "progress.jsonl" for number in range(6)]

    killed = threading.Event()

    def work(file: Path) -> None:
        for number in range(each):
            if file is files[0] and number == each // 2:
                killed.wait(60)
            event = {"at": datetime.now().astimezone().isoformat(), "id": "thank", "event": "check"}
            with open(file, "a") as out:
                out.write(json.dumps(event | {"outcome": "not yet", "seconds": number}) + "\n")
            while True:
                with contextlib.suppress(sending.Away):
                    sending.send(file)
                    break
                time.sleep(0.05)

    for file in files:
        file.parent.mkdir()
        file.touch()
        sending.join(line, f"of {file.parent.name}", file)
    threads = [threading.Thread(target=work, args=[file]) for file in files]
    for thread in threads:
        thread.start()
    wait_until("some of the events", lambda: teacher.wrong("of 0") > 5)
    teacher.kill()
    killed.set()
    teacher.start()
    for thread in threads:
        thread.join(60)
    assert (teacher.line, teacher.password) == (line, password)
    assert [teacher.wrong(f"of {number}") for number in range(6)] == [each] * 6


def signed(who: sending.Member, body: bytes, key: bytes) -> dict[str, str]:
    return {wire.LEARNER: wire.learner_of(who.secret), wire.SIGNATURE: wire.signature(key, body)}


@pytest.fixture
def mallory(teacher: Teacher, learner: BecomeLearner) -> sending.Member:
    file = learner("Mallory")
    ran("join", teacher.line, "--name", "Mallory")
    who = sending.member(file)
    assert who is not None
    return who


def event(place: int = 0, **more: str) -> tuple[str, dict[str, str]]:
    at = datetime.now().astimezone().isoformat()
    base = {"at": at, "id": "thank", "event": "check", "outcome": "not yet", "message": "thanked-again"}
    return wire.reference(place, b"a line"), base | more


def test_forged_and_replayed_and_malformed_and_huge_requests_are_refused_with_a_word(
    teacher: Teacher, mallory: sending.Member
) -> None:
    key, another = mallory.secret, secrets.token_bytes(32)
    body = mallory.report([event()])
    assert teacher.ask("events", body, **signed(mallory, body, key)) == (200, "1 new")
    assert teacher.ask("events", body, **signed(mallory, body, key))[0] == 409
    again = mallory.report([event()])
    assert teacher.ask("events", again, **signed(mallory, again, key)) == (200, "0 new")
    assert teacher.ask("events", again, **signed(mallory, body, another)) == (403, "The signature is wrong.")
    assert teacher.ask("events", again)[0] == 401
    asks = json.dumps({"key": another.hex(), "name": "a stranger"}).encode()
    assert teacher.ask("join", asks, **{wire.SIGNATURE: wire.signature(b"guessed", asks)})[0] == 403
    for bad in (
        b"", b"\xff", b"[]", b"null", b"[" * 100_000, b'{"now": 1, "events": []}', mallory.report([[1, 2]]),
        mallory.report([("x' OR 1=1", event()[1])]), mallory.report([event(at="yesterday")]),
        mallory.report([event()] * (wire.MOST + 1)), json.dumps({"key": "00", "name": ""}).encode(),
    ):  # fmt: skip
        assert teacher.ask("events", bad, **signed(mallory, bad, key))[0] == 400, bad[:100]
        sign = {wire.SIGNATURE: wire.signature(mallory.code.encode(), bad)}
        assert teacher.ask("join", bad, **sign)[0] == 400, bad[:100]
    odd = mallory.report([event(1, id="no exercise \x00\ud800", outcome="x" * 100_000)])
    assert teacher.ask("events", odd, **signed(mallory, odd, key)) == (200, "1 new")
    huge = b"x" * (wire.LARGEST + 1)
    assert teacher.ask("events", huge, **signed(mallory, huge, key))[0] == 413
    many = [
        teacher.ask("events", some, **signed(mallory, some, key))[0]
        for some in map(mallory.report, [[]] * 80)
    ]
    assert many.count(429) > 5
    assert teacher.wrong("Mallory") == 1
    for path in ("", "results.json", "results.csv"):
        assert teacher.ask(path)[0] == teacher.ask(path, Authorization="Basic eA==")[0] == 401


def test_a_request_that_does_not_come_to_its_end_is_refused(teacher: Teacher) -> None:
    where = (urlsplit(teacher.url).hostname, urlsplit(teacher.url).port)
    begun = b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
    with socket.create_connection(where, 20) as head, socket.create_connection(where, 20) as body:
        head.sendall(begun)
        body.sendall(begun + b"\r\n{")
        with socket.create_connection(where, 20) as gone:  # the end of the tests sees that it says nothing
            gone.sendall(begun + b"\r\n{")
        assert head.recv(1000) == b""
        assert b"408" in body.recv(1000)


@pytest.fixture
def swallows() -> Iterator[tuple[str, Callable[[], int]]]:
    """A teacher's machine that takes connections and says nothing: its join line, and how many came."""
    came: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def count() -> int:
            listening.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                while True:
                    came.append(listening.accept()[0])
            return len(came)

        yield f"http://127.0.0.1:{listening.getsockname()[1]}/abcdefghjkmn", count
        for each in came:
            each.close()


def test_a_learner_whose_teacher_is_silent_goes_on_and_new_checks_do_not_hurry_what_waits(
    swallows: tuple[str, Callable[[], int]], learner: BecomeLearner, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, came = swallows
    monkeypatch.setattr(sending, "ANSWER", 0.3)
    monkeypatch.setattr(sending, "PAUSES", (600.0, 600.0))
    file = learner("Barbara")
    assert "is not there now" in ran("join", line, "--name", "Barbara")
    joined = came()
    wrong()
    wait_until("the first attempt to fail", lambda: "does not answer" in sending.waiting(file))
    wrong(20)
    assert came() == joined + 1
    assert sending.waiting(file).startswith("21 of your events, because 127.0.0.1:")
    assert record.read().of("thank").checks == 21


def test_what_could_not_be_sent_is_sent_later_by_itself_and_also_what_another_kernel_left(
    teacher: Teacher, learner: BecomeLearner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PAUSES", (0.2, 0.2))
    file = learner("Ken")
    ran("join", teacher.line.replace(f":{urlsplit(teacher.url).port}", ":9"), "--name", "Ken")
    home = os.environ | {"KIT_HOME": str(file.parent)}
    code = "from kit.exercises import record; record.write('thank', 'check', outcome='not yet')"
    ended = subprocess.run([sys.executable, "-c", code], env=home, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    wrong()
    wait_until("an attempt to fail", lambda: "127.0.0.1:9 does not answer" in sending.waiting(file))
    ran("join", teacher.line, "--name", "Ken")  # the same class, at another address
    wait_until("both events", lambda: teacher.wrong("Ken") == 2)
    wait_until("nothing to wait", lambda: sending.waiting(file) == "")


def test_a_file_that_is_handed_in_twice_counts_once_and_a_changed_one_not_at_all(
    teacher: Teacher, learner: BecomeLearner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sending, "PAUSES", (0.2, 0.2))
    record_of = learner("Margaret Hamilton")
    away = teacher.line.replace(f":{urlsplit(teacher.url).port}", ":9")
    ran("join", away, "--name", "Margaret Hamilton")
    wrong(300)
    record.write("order", "predict", guess={"order": "her own guess"})
    ran("hand-in")
    (file,) = tmp_path.glob("margaret-hamilton-*.json")
    assert "her own guess" in record_of.read_text()
    assert "her own guess" not in file.read_text()
    assert "301 new events of 'Margaret Hamilton'" in ran("read", str(file))
    assert "0 new events" in ran("read", str(file))
    assert teacher.wrong("Margaret Hamilton") == 300
    ran("join", teacher.line, "--name", "Margaret Hamilton")  # the same learner, now in the network
    wrong()
    wait_until("her last check", lambda: teacher.wrong("Margaret Hamilton") == 301)
    changed = tmp_path / "changed.json"
    changed.write_text(file.read_text().replace("not yet", "passed"))
    nothing = tmp_path / "nothing.json"
    nothing.write_text("[]")
    forged = tmp_path / "forged.json"
    forged.write_text('{"kit_class": "{}", "report": "", "signed": "\\ud800", "signature": ""}')
    with pytest.raises(
        KitError, match=r"(?s)signature is wrong.*no file that `kit class hand-in` wrote.*of no class"
    ):
        ran("read", str(changed), str(nothing), str(forged))
    with pytest.raises(KitError, match="another file"):
        ran("hand-in", str(nothing))


def test_who_is_in_no_class_has_no_thread_and_a_wrong_line_is_told(
    teacher: Teacher, learner: BecomeLearner, tmp_path: Path
) -> None:
    learner("Nobody")
    wrong()
    assert session.sender is None
    assert "in no class" in ran("leave")
    with pytest.raises(KitError, match="no join line"):
        ran("join", "somewhere")
    with pytest.raises(KitError, match="Say who you are"):
        ran("join", teacher.line, "--name", " ")
    with pytest.raises(KitError, match="not the code of this class"):
        ran("join", teacher.line[:-3] + "zzz", "--name", "Nobody")
    with pytest.raises(KitError, match="in no class"):
        ran("hand-in")


def test_the_class_is_closed_to_other_accounts(teacher: Teacher) -> None:
    kept = list((teacher.home / "classes").iterdir())
    assert teacher.password in kept[0].read_text()
    assert sys.platform == "win32" or {path.stat().st_mode & 0o077 for path in kept} == {0}
    here = f"Databases, Monday: {teacher.url}  (login teacher / {teacher.password})\n"
    assert ran("board") == here
    another = replace(identity.known()[0], name="Tuesday", password="another")
    another.save()
    assert ran("board") == f"Tuesday: does not run\n{here}"
    another.path.unlink()


def test_it_listens_at_loopback_and_where_it_is_asked_to_and_nowhere_else() -> None:
    one = identity.Class("any", "code", "password", "embedded")
    for listen in ("", "127.0.0.1", "0.0.0.0"):
        sockets = identity.listening(replace(one, listen=listen))
        assert [each.getsockname()[0] for each in sockets] == [listen or "127.0.0.1"]
        for each in sockets:
            each.close()
    assert "://127.0.0.1:0/code" in one.line
    for wrong_one in ("here", "192.0.2.99"):
        with pytest.raises(KitError, match="Addresses of this machine: "):
            identity.listening(replace(one, listen=wrong_one))
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(KitError, match="run already"):
        identity.listening(replace(one, port=taken.getsockname()[1]))


PATIENCE = 30_000  # milliseconds
HOSTILE = "<img src=x onerror=\"document.title='run'\"></script><script>document.title='run'</script>"


@pytest.mark.browser
def test_a_hostile_name_runs_nothing_and_names_are_hidden_and_news_come_by_themselves(
    teacher: Teacher, learner: BecomeLearner
) -> None:
    learner("Linus")
    ran("join", teacher.line, "--name", "Linus")
    learner(HOSTILE)
    ran("join", teacher.line, "--name", HOSTILE)
    wrong(3)
    wait_until("the wrong checks", lambda: teacher.wrong(HOSTILE[:60]) == 3)
    with browser_page(width=800) as page:
        page.set_extra_http_headers({"Authorization": teacher.login})
        page.goto(teacher.url)
        row = page.get_by_role("row", name="<img src=x")
        expect(row).to_contain_text("↻ tried, 3 wrong", timeout=PATIENCE)
        expect(page.locator("#silent")).to_contain_text("or at all: Linus.")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert barriers(page, "main") == []
        record.write("thank", "check", outcome="passed")
        expect(row).to_contain_text("✓ passed", timeout=PATIENCE)
        page.keyboard.press("n")
        expect(row).to_have_count(0, timeout=PATIENCE)
        assert "Learner 1" in page.inner_text("#rows")
        page.reload()
        expect(page.locator("#rows")).to_contain_text("Learner 1", timeout=PATIENCE)
        assert page.title() == "Databases, Monday"
        assert page.locator("img, main script").count() == 0
        page.route("**/results.json", lambda route: route.abort())
        expect(page.get_by_role("status")).to_contain_text("does not answer", timeout=PATIENCE)
        page.unroute("**/results.json")
        expect(page.get_by_role("status")).to_be_hidden(timeout=PATIENCE)
