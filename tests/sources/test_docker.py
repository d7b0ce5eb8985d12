"""The container: shared like the embedded server, and Docker that is off is no Python error."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import kit
from kit.sources import container, docker, files, open_database, registry
from tests.sources.conftest import let_go
from tests.sources.processes import CONSUMER, Program, ask, keepers, processes
from tests.sources.registry import serving
from tests.waiting import wait_until


def containers(home: Path) -> list[Any]:
    """Return the containers that the kit made for this home, in any state."""
    with docker.client(30) as engine:
        return list(
            engine.containers.list(
                all=True, ignore_removed=True, filters={"label": f"{container.LABEL}={home / 'docker'}"}
            )
        )


def program(home: Path) -> Program:
    return Program(home, "docker", KIT_POSTGRES_IMAGE=docker.image())


def answers(dsn: str) -> bool:
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return bool(ask(dsn, "SELECT 1"))
    return False


def test_where_the_registry_is_out_of_reach_it_is_named_without_the_engines_own_words():
    said = 'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host'
    assert docker.why(said) == "registry-1.docker.io cannot be reached from here"
    said = "manifest for postgres:9-nosuch not found"
    assert docker.why(said) == said


@pytest.mark.docker
def test_two_programs_share_one_container_and_the_last_one_out_removes_it(own_home: Path) -> None:
    with program(own_home) as first, program(own_home) as second:
        dsn = first.says()["dsn"]
        assert second.says()["dsn"] == dsn
        assert len(containers(own_home)) == 1
        first.leave()
        assert ask(dsn, "SELECT count(*) FROM pgqueuer") == 0
        second.leave()
        wait_until("the end of the container after its last user", lambda: not containers(own_home))
        wait_until("the end of the keeper", lambda: not keepers(own_home))


@pytest.mark.docker
def test_a_killed_program_leaves_no_container_behind(own_home: Path) -> None:
    with program(own_home) as killed:
        killed.says()
        killed.kill()
        wait_until("the end of the container of a killed program", lambda: not containers(own_home))


@pytest.mark.docker
def test_a_killed_container_comes_back_at_the_same_address_with_its_rows(own_home: Path) -> None:
    with open_database("docker") as database:
        ask(database.dsn, "INSERT INTO pgqueuer (priority, status, entrypoint) VALUES (1, 'queued', 'fetch')")
        containers(own_home)[0].kill()
        wait_until("the server after its container was killed", lambda: answers(database.dsn), 60)
        assert ask(database.dsn, "SELECT entrypoint FROM pgqueuer") == "fetch"
    wait_until("the end of the container", lambda: not containers(own_home))


@pytest.mark.docker
def test_a_removed_container_is_replaced_at_the_same_address(own_home: Path) -> None:
    with open_database("docker") as database:
        containers(own_home)[0].remove(force=True)
        admin = container.Container(own_home / "docker", docker.image())
        wait_until("another container", lambda: containers(own_home), 60)
        wait_until("another server", lambda: admin.running() is not None, 60)
        again = open_database("docker")
        assert again.dsn == database.dsn
        again.stop()
    wait_until("the end of the container", lambda: not containers(own_home))


@pytest.mark.docker
def test_only_this_machine_can_reach_the_container(own_home: Path) -> None:
    with open_database("docker"):
        [container] = containers(own_home)
        bound = [port["HostIp"] for ports in container.ports.values() for port in ports or ()]
        assert bound == ["127.0.0.1"]


@pytest.mark.docker
async def test_a_consumer_of_another_program_is_told_apart_from_connections_of_this_one(
    own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = kit.postgres("docker", database="lesson")
    connection = await asyncpg.connect()
    await connection.execute("INSERT INTO pgqueuer (priority, status, entrypoint) VALUES (0, 'queued', 'x')")
    kit.postgres("docker", database="lesson")
    said = capsys.readouterr().out
    assert len(said.splitlines()) == 1  # a call that only begins again says nothing
    assert "Another program" not in said
    with Program(own_home, database.dsn, code=CONSUMER) as other:
        other.says()
        kit.postgres("docker", database="lesson")
        assert "Another program uses the queue" in capsys.readouterr().out
    await connection.close()


@pytest.mark.docker
def test_the_learners_own_testcontainers_keep_their_settings(own_home: Path) -> None:
    from testcontainers.core.config import testcontainers_config as config

    before = config.ryuk_disabled, config.sleep_time, config.max_tries
    with open_database("docker"):
        assert (config.ryuk_disabled, config.sleep_time, config.max_tries) == before


@pytest.mark.docker
def test_without_an_argument_docker_is_used_where_its_engine_answers(
    own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with kit.postgres(database="lesson") as database:
        assert database.source == "docker"
        assert capsys.readouterr().out.endswith(": a Docker engine answered.\n")
        assert [each.source for each in registry.known()] == ["docker"]


@pytest.mark.docker
def test_an_image_that_cannot_be_pulled_is_said_plainly(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIT_POSTGRES_IMAGE", "localhost:1/no/such:image")
    with pytest.raises(kit.KitError, match=r"'localhost:1/no/such:image' could not be pulled.*embedded"):
        kit.postgres("docker")


@pytest.mark.docker
def test_without_an_argument_an_image_that_cannot_be_pulled_leads_to_the_embedded_server(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KIT_POSTGRES_IMAGE", "localhost:1/no/such:image")
    assert kit.postgres().source == "embedded"
    assert "the image 'localhost:1/no/such:image' could not be pulled" in capsys.readouterr().out


@pytest.fixture
def engine_that_is_off(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")


def test_docker_that_is_off_is_said_with_what_to_do(engine_that_is_off: None) -> None:
    said = (
        r"No Docker engine answered at 'tcp://127.0.0.1:1', which DOCKER_HOST names\. Start Docker.*embedded"
    )
    with pytest.raises(kit.KitError, match=said):
        kit.postgres("docker")


def test_without_an_argument_docker_that_is_off_leads_to_the_embedded_server(
    engine_that_is_off: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kit.postgres().source == "embedded"
    assert (
        capsys.readouterr()
        .out.rstrip()
        .endswith(": no Docker engine answered at 'tcp://127.0.0.1:1', which DOCKER_HOST names.")
    )


def test_an_engine_that_hangs_is_given_up_after_two_seconds(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{listening.getsockname()[1]}")
        assert str(docker.problem()).startswith("The Docker engine did not answer within 2 s")


@pytest.fixture
def engine_of_another_kind(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An engine that answers, and leaves out of its answers what the client relies on, as Podman's did."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = b'{"Version": "5.0", "ApiVersion": "1.41"}' if self.path.endswith("/version") else b"{}"
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as engine:
        thread = threading.Thread(target=engine.serve_forever)
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{engine.server_port}")
        yield
        let_go()
        wait_until("the end of the keepers, which ask that engine", lambda: not keepers(own_home))
        engine.shutdown()
        thread.join()


def test_an_engine_of_another_kind_is_a_plain_error(engine_of_another_kind: None) -> None:
    with pytest.raises(kit.KitError, match=r"Tried:\n  docker: KeyError|did not start: KeyError"):
        kit.postgres("docker")


def test_without_an_argument_whatever_an_engine_fails_with_leads_to_the_embedded_server_and_is_said(
    engine_of_another_kind: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kit.postgres().source == "embedded"
    assert "KeyError" in capsys.readouterr().out


def test_without_an_argument_what_was_tried_is_said_when_nothing_works(
    engine_that_is_off: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIT_PG_BIN", "/nowhere")
    with pytest.raises(kit.KitError, match=r"(?s)Tried:\n  no Docker engine answered.*KIT_PG_BIN"):
        kit.postgres()


def test_nothing_of_docker_is_left_running_when_it_cannot_be_used(
    engine_that_is_off: None, own_home: Path
) -> None:
    with pytest.raises(kit.KitError):
        kit.postgres("docker")
    assert processes(own_home) == []


@pytest.mark.docker
def test_an_image_that_must_be_pulled_shows_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(20_000_000) as image, docker.client(30) as engine:
        assert not docker.has_image(image)
        docker.pull(image)
        assert docker.has_image(image)
        engine.images.remove(image)
        assert capsys.readouterr().out.endswith(f"\rPulling {image}: 20 of 20 MB\n")


@pytest.mark.docker
@pytest.mark.parametrize("image", ["Postgres 18", "UPPER/case:1", "a:b:c"])
def test_what_cannot_be_the_name_of_an_image_is_said_plainly(
    image: str, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIT_POSTGRES_IMAGE", image)
    with pytest.raises(kit.KitError, match=rf"^'{image}' cannot be the name of an image.*KIT_POSTGRES_IMAGE"):
        kit.postgres("docker")


@pytest.mark.parametrize("host", ["foo://x", "tcp://host:port", "unix:///nowhere.sock", "2375"])
def test_a_docker_host_that_leads_nowhere_is_named(
    host: str, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(kit.KitError, match=rf"'{host}', which DOCKER_HOST names.*mend DOCKER_HOST"):
        kit.postgres("docker")


@pytest.mark.skipif(not files.is_root(), reason="only root can become another account")
def test_a_docker_socket_that_is_closed_names_the_group_and_does_not_ask_to_start_docker(
    own_home: Path,
) -> None:
    path = own_home / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        path.chmod(0o600)
        read = "+dac_read_search"  # so that it can read a Python that is only root's
        become = (
            "setpriv",
            "--reuid=nobody",
            "--clear-groups",
            f"--inh-caps={read}",
            f"--ambient-caps={read}",
        )
        with Program(
            own_home / "kit", "docker", prefix=become, HOME=str(own_home), DOCKER_HOST=f"unix://{path}"
        ) as program:
            said = program.says()["error"]
    assert "for the group 'root'" in said
    assert "usermod -aG root nobody" in said
    assert "Start Docker" not in said


@pytest.mark.docker
def test_a_program_and_its_keeper_that_are_killed_leave_no_container_behind(own_home: Path) -> None:
    with program(own_home) as killed:
        killed.says()
        wait_until("the keeper", lambda: keepers(own_home))
        for each in keepers(own_home):
            each.kill()
        killed.kill()
        wait_until("the end of the container", lambda: not containers(own_home))
        wait_until("the end of the keeper", lambda: not processes(own_home))


@pytest.mark.docker
def test_a_container_of_a_start_that_was_killed_is_removed(own_home: Path) -> None:
    with program(own_home) as killed:
        wait_until("a container", lambda: containers(own_home))
        for each in keepers(own_home):
            each.kill()
        killed.kill()
    wait_until("the end of the container", lambda: not containers(own_home), 60)
    wait_until("the end of the keeper", lambda: not processes(own_home))


@pytest.mark.docker
@pytest.mark.parametrize("damage", ["", "null", '{"id": 1, "host": 2, "port": "x", "password": null}'])
def test_a_damaged_record_of_the_container_leads_to_another_one(damage: str, own_home: Path) -> None:
    with open_database("docker"):
        (own_home / "docker" / "container.json").write_text(damage)
        with open_database("docker") as again:
            assert answers(again.dsn)
            assert len(containers(own_home)) == 1
    wait_until("the end of the container", lambda: not containers(own_home))


@pytest.mark.docker
def test_a_changed_password_of_the_container_is_said_with_what_to_do(own_home: Path) -> None:
    with open_database("docker"):
        record = own_home / "docker" / "container.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"password": "wrong"}))
        with pytest.raises(kit.KitError, match=r"refuses the password in .*kit stop --force"):
            kit.postgres("docker")
    wait_until("the end of the container", lambda: not containers(own_home))


@pytest.mark.docker
def test_a_container_that_does_not_come_up_in_time_is_said_without_its_password(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "START_TIMEOUT", 0.1)
    with pytest.raises(kit.KitError, match="did not start") as raised:
        kit.postgres("docker")
    password = json.loads((own_home / "docker" / "container.json").read_text())["password"]
    assert password not in str(raised.value)
    wait_until("the end of the keeper", lambda: not processes(own_home))
