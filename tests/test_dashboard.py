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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

import kit
from kit.dashboard import Dashboard
from kit.session import session
from kit.sources import Postgres
from tests.jupyterlab import JupyterLab, browser_page, write_notebook


def answer(dashboard: Dashboard, password: str | None, path: str = "") -> tuple[int, str]:
    asked = urllib.request.Request(dashboard.url + path)
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


@pytest.mark.parametrize("user", ["", "theirs"])
def test_only_the_login_gets_in_and_it_is_made_up_anew_and_stop_ends_it(
    queue_database: Postgres, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    monkeypatch.setenv("PGQUEUER_WEB_USER", user)
    monkeypatch.setenv("PGQUEUER_WEB_PASSWORD", user)
    before = dict(os.environ)
    with kit.web() as first:
        paths = (
            "",
            "jobs",
            "docs",
            "redoc",
            "openapi.json",
            "docs/oauth2-redirect",
            "static/style.css",
            "no",
        )
        for path in paths:
            assert answer(first, None, path)[0] == answer(first, "wrong", path)[0] == 401, path
        assert answer(first, first.password, "openapi.json")[0] == 200
        status, page = answer(first, first.password)
        assert (status, "pgqueuer" in page.lower()) == (200, True)
        assert answer(first, None, f"{first.password}/jobs")[0] == 200
        assert answer(first, None, "x" * len(first.password) + "/jobs")[0] == 401
        with kit.web() as second:
            assert not first.running
            assert not listening(first.url)
            assert second.password != first.password
            assert second.password in repr(second)
            listens = urllib.request.urlopen(f"{second.url}{second.password}/events", timeout=20)
    listens.close()
    assert capfd.readouterr().err == "", "a page that listens for news is cut off without a word"
    assert not second.running
    assert not listening(second.url)
    assert "stopped" in repr(second)
    second.stop()
    assert dict(os.environ) == before
    session.dashboard = None


def test_of_many_calls_at_once_one_dashboard_stays(queue_database: Postgres) -> None:
    before = dict(os.environ)
    with ThreadPoolExecutor(6) as pool:
        dashboards = list(pool.map(lambda _: kit.web(), range(6)))
    running = [each for each in dashboards if each.running]
    assert running == [session.dashboard]
    assert [each.url for each in dashboards if listening(each.url)] == [running[0].url]
    assert answer(running[0], running[0].password)[0] == 200
    assert dict(os.environ) == before
    running[0].stop()
    session.dashboard = None


@pytest.mark.browser
def test_a_notebook_shows_it_logged_in_and_when_it_is_stopped_it_says_so(
    tmp_path: Path, queue_server: Postgres
) -> None:
    cells = [
        "import kit\np = kit.postgres('embedded', database='web')",
        "web = kit.web()\nweb",
        "web.stop()\nweb",
    ]
    write_notebook(tmp_path / "web.ipynb", *cells)
    with JupyterLab(tmp_path) as lab, browser_page() as page:
        notebook = lab.open(page, "web.ipynb")
        notebook.run_cell(0)
        notebook.run_cell(1)
        frame = page.frame_locator("iframe[title='PGQueuer dashboard']")
        frame.get_by_role("link", name="Jobs").click()
        expect(frame.get_by_text("Active queue rows only")).to_be_visible()
        notebook.screenshot("dashboard")
        notebook.run_cell(2)
        assert page.locator("iframe").count() == 0
        assert notebook.text(1).endswith("It has been stopped.")
        assert notebook.text(2).strip().endswith("stopped>")
        assert notebook.errors() == []


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
