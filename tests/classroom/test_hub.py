"""A class on a JupyterHub: nobody joins, the hub says whose a report is, and who may see the board."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import yaml  # type: ignore[import-untyped]

from kit.classroom import sending
from kit.classroom.hub import whose_service
from kit.cli.classes import app as command
from kit.errors import KitError
from kit.exercises import course
from kit.sources import Postgres
from tests.classroom.conftest import START, wrong
from tests.classroom.jupyterhub import HUBS, JupyterHub, free_ports, proxy
from tests.conftest import processes_about
from tests.night import by_night, environment
from tests.waiting import wait_until


@pytest.fixture
def orphan(queue_server: Postgres, tmp_path: Path) -> Iterator[str]:
    """The address of a collector that is a hub's service, while the hub is away."""
    ours, hubs = free_ports(2)
    said = {
        "JUPYTERHUB_SERVICE_NAME": "kit",
        "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:{ours}",
        "JUPYTERHUB_API_URL": f"http://127.0.0.1:{hubs}/hub/api",
        "JUPYTERHUB_API_TOKEN": "the service's own",
        "KIT_HOME": str(tmp_path),
        "KIT_DSN": queue_server.dsn,
    }
    command = [sys.executable, "-c", START, "class", "start"]
    with subprocess.Popen(command, env=os.environ | said, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Who may see it" in line:
                break
        yield f"http://127.0.0.1:{ours}/services/kit"
        process.terminate()


def test_a_service_that_is_not_told_how_to_ask_its_hub_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUPYTERHUB_SERVICE_NAME", "kit")
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("JUPYTERHUB_API_URL", "http://127.0.0.1:2/hub/api")
    monkeypatch.delenv("JUPYTERHUB_API_TOKEN", raising=False)
    with pytest.raises(
        KitError, match=r"not set: JUPYTERHUB_API_TOKEN\. Let the hub start `kit class start`"
    ):
        whose_service()


def test_without_the_hub_nothing_is_taken_or_shown_and_what_a_learner_does_waits(
    orphan: str, learner: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = learner("ada")
    wrong()  # before there is a class, which is sent as well
    for name, value in {
        "KIT_CLASS": orphan,
        "JUPYTERHUB_USER": "ada",
        "JUPYTERHUB_API_TOKEN": "hers",
    }.items():
        monkeypatch.setenv(name, value)
    wrong()
    wait_until(
        "why it waits", lambda: "2 of your events, because The hub does not answer" in sending.waiting(file)
    )
    assert "no code, is sent to your JupyterHub's class" in sending.notices(file)[1]
    for arguments in (["join", "http://127.0.0.1:1/abc", "--name", "Ada"], ["leave"], ["hand-in"]):
        with pytest.raises(KitError, match="Your JupyterHub has a class"):
            command(arguments, standalone_mode=False)
    with httpx.Client(trust_env=False) as web:
        to_log_in = web.get(f"{orphan}/")
        assert to_log_in.status_code == 302
        page = urlsplit(to_log_in.headers["location"])
        asked = parse_qs(page.query)
        assert (page.path, asked["client_id"]) == ("/hub/api/oauth2/authorize", ["service-kit"])
        assert asked["redirect_uri"] == ["/services/kit/oauth_callback"]
        back = f"{orphan}/oauth_callback?code=any&state="
        assert web.get(back + asked["state"][0]).status_code == 503  # with the cookie of this browser
        assert web.get(f"{back}another").status_code == 403
        assert web.get(f"{orphan}/results.json").status_code == 401
        assert web.get(f"{orphan}/results.csv", headers={"Cookie": "class-token=guessed"}).status_code == 503
        assert web.post(f"{orphan}/join", content=b"{}").status_code == 404
    assert httpx.get(f"{back}{asked['state'][0]}", trust_env=False).status_code == 403


@pytest.mark.skipif(sys.platform == "win32", reason="a hub does not run on Windows")
def test_zero_to_jupyterhubs_values_name_one_class_and_a_server_begins_with_a_copy_of_the_lessons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = yaml.safe_load((HUBS / "values.yaml").read_text("utf-8"))
    (collector,) = values["hub"]["extraContainers"]
    for one in collector["env"]:
        monkeypatch.setenv(one["name"], one.get("value", "a secret"))
    hub, url = whose_service(), values["hub"]["services"]["kit"]["url"]
    assert hub is not None
    assert values["singleuser"]["extraEnv"]["KIT_CLASS"] == f"{url}{hub.prefix}"
    assert {hub.port} == {port["port"] for port in values["hub"]["service"]["extraPorts"]}
    assert urlsplit(url).port == hub.port
    server = tmp_path / "jupyterhub-singleuser"
    server.write_text('#!/bin/sh\necho "$@"\n')
    server.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    said = subprocess.check_output(
        [*values["singleuser"]["cmd"], "--one", "an other"],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        text=True,
    )
    assert said == "--one an other\n"
    assert (tmp_path / values["singleuser"]["defaultUrl"].removeprefix("/lab/tree/")).exists()


@pytest.fixture(scope="module")
def hub() -> Iterator[JupyterHub]:
    folder = Path(tempfile.mkdtemp(prefix="kit-hub-"))
    folder.chmod(0o755)
    started = JupyterHub(folder, environment(folder, "jupyterhub"), proxy(folder))
    yield started
    started.stop()
    shutil.rmtree(folder)


SETUP = "import kit\nkit.postgres(database='hub')"


@by_night
def test_on_a_hub_two_users_check_and_nobody_joins_and_the_board_is_for_its_admin(hub: JupyterHub) -> None:
    fetched = course.find("fetched")
    for user, answer in {"ada": fetched.wrong[1].answer, "grace": fetched.solution}.items():
        hub.spawn(user)
        said = hub.run(user, SETUP, answer, "kit.check('fetched')")
        assert ("Not yet" if user == "ada" else "Passed") in said
        assert (hub.folder / "homes" / user / "pgqueuer-lessons" / "00_start_here.ipynb").exists()
    with hub.browser("grace") as web:
        page = web.get(f"{hub.service}/")
        assert "Who needs help first" in page.text
        learners = {
            one["name"]: one["work"] for one in web.get(f"{hub.service}/results.json").json()["learners"]
        }
        assert learners == {
            "ada": {"fetched": {"state": "tried", "wrong": 1, "hints": 0}},
            "grace": {"fetched": {"state": "passed", "wrong": 0, "hints": 0}},
        }
    with hub.browser("ada") as web:
        assert web.get(f"{hub.service}/").status_code == 403
        hers = hub.run("ada", "import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()
        assert httpx.get(f"{hub.service}/results.json", cookies={"class-token": hers}).status_code == 401
    drivers = hub.web.headers["authorization"].removeprefix("token ")
    for token, status in {hers: 400, "forged": 403, drivers: 403, "\xff": 403}.items():
        sent = {b"Authorization": f"token {token}".encode("latin-1")}
        assert httpx.post(f"{hub.service}/events", content=b"no report", headers=sent).status_code == status


@by_night
def test_a_hub_that_is_stopped_leaves_no_postgres_of_a_learner_at_work(hub: JupyterHub) -> None:
    hub.spawn("edsger")
    hub.run("edsger", SETUP, keep=True)
    assert any("postgres" in line for line in processes_about(hub.folder / "homes" / "edsger"))
    hub.stop()
