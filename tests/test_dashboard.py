"""`kit.web` serves PGQueuer's own dashboard, to whoever has the login, for as long as its process lives."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest

import kit
from kit.dashboard import Dashboard
from kit.session import session
from kit.sources import Postgres


def answer(dashboard: Dashboard, password: str | None) -> tuple[int, str]:
    asked = urllib.request.Request(dashboard.url)
    if password is not None:
        login = base64.b64encode(f"{dashboard.user}:{password}".encode()).decode()
        asked.add_header("Authorization", f"Basic {login}")
    try:
        with urllib.request.urlopen(asked, timeout=20) as page:
            return page.status, page.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, ""


def listening(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) == 0


def test_only_the_login_gets_in_and_it_is_made_up_anew_and_stop_ends_it(queue_database: Postgres) -> None:
    before = dict(os.environ)
    with kit.web() as first:
        assert answer(first, None)[0] == answer(first, "wrong")[0] == 401
        status, page = answer(first, first.password)
        assert (status, "pgqueuer" in page.lower()) == (200, True)
        with kit.web() as second:
            assert not first.running
            assert not listening(first.url)
            assert second.password != first.password
            assert second.password in repr(second)
    assert not second.running
    assert not listening(second.url)
    assert "stopped" in repr(second)
    second.stop()
    assert dict(os.environ) == before
    session.dashboard = None


def test_without_postgres_it_says_so(queue_database: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGDATABASE"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(session, "_opened", [])
    with pytest.raises(kit.KitError, match=r"kit\.postgres"):
        kit.web()


def test_it_is_gone_after_its_process_was_killed(queue_database: Postgres) -> None:
    code = "import kit, time; print(kit.web().url, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert listening(url)
        process.send_signal(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
    deadline = time.monotonic() + 10
    while listening(url):
        assert time.monotonic() < deadline, f"something still listens at {url}"
        time.sleep(0.05)
