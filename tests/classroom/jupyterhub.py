"""A real JupyterHub with its proxy, as the kit's own ``jupyterhub_config.py`` sets it up."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websocket

from tests.conftest import processes_about
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
HUBS = ROOT / "kit" / "classroom" / "hubs"
DRIVER = "the-tests-own-token-0123456789"
PROXY = "configurable-http-proxy"
# What differs from The Littlest JupyterHub: who logs in, how servers are spawned, and where all of it is.
HERE = """
import os
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"grace"}
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = FOLDER + "/homes/{username}"
c.Spawner.args = ["--allow-root"]
c.Spawner.http_timeout = c.Spawner.start_timeout = 120
c.JupyterHub.concurrent_spawn_limit = 100
c.Spawner.environment.update({"KIT_POSTGRES": "embedded"})
c.Spawner.environment.update({"KIT_HOME": lambda spawner: f"{FOLDER}/homes/{spawner.user.name}/kit"})
c.JupyterHub.bind_url = f"http://127.0.0.1:{PORTS[0]}"
c.JupyterHub.hub_port = PORTS[1]
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{PORTS[2]}"
c.ConfigurableHTTPProxy.command = PROXY
c.JupyterHub.services.append({"name": "driver", "api_token": DRIVER})
scopes = ["admin:users", "admin:servers", "access:servers", "tokens", "shutdown"]
c.JupyterHub.load_roles.append({"name": "driver", "services": ["driver"], "scopes": scopes})
"""


def proxy(folder: Path) -> list[str]:
    """Return the command of JupyterHub's proxy, which is installed if it is not there; or skip."""
    if found := shutil.which(PROXY):
        return [found]
    if (npm := shutil.which("npm")) is None:
        pytest.skip(f"there is neither {PROXY} nor npm")
    done = subprocess.run([npm, "install", "--prefix", str(folder), PROXY], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"{PROXY} cannot be installed: {done.stderr.strip()[-500:]}")
    return [str(folder / "node_modules" / ".bin" / PROXY)]


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as all_of_them:
        sockets = [all_of_them.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


class JupyterHub:
    """A hub that runs, and what its users do."""

    def __init__(self, folder: Path, made: Path, its_proxy: list[str]) -> None:
        self.folder = folder
        *ports, class_port = free_ports(4)
        ours = (HUBS / "jupyterhub_config.py").read_text("utf-8")
        their_results = f"{folder}/class"
        places = {"/opt/tljh/user": made, "8890": class_port, "/var/lib/pgqueuer-kit": their_results}
        for there, here in places.items():
            assert there in ours
            ours = ours.replace(there, str(here))
        facts = {"FOLDER": str(folder), "PORTS": ports, "PROXY": its_proxy, "DRIVER": DRIVER}
        config = folder / "jupyterhub_config.py"
        config.write_text(ours + "".join(f"{name} = {value!r}\n" for name, value in facts.items()) + HERE)
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.service = f"{self.url}/services/kit"
        self.log = folder / "log"
        path = {"PATH": f"{made / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("KIT_", "PG"))}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [made / "bin" / "jupyterhub", "-f", config],
                cwd=folder, env=clean | path, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.web = httpx.Client(timeout=120, headers={"Authorization": f"token {DRIVER}"}, trust_env=False)
        try:
            wait_until("the hub", lambda: self._answers("/hub/api"), 180)
            wait_until("the class", lambda: "Who may see it" in self.log.read_text(), 60)
        except BaseException:
            self.stop()
            raise

    def _answers(self, path: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(httpx.HTTPError):
            return self.web.get(f"{self.url}{path}").status_code == 200
        return False

    def api(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.web.request(method, f"{self.url}/hub/api{path}", **more)

    def spawn(self, user: str) -> None:
        """Start the server of a user, who may be new."""
        self.api("POST", f"/users/{user}")
        assert self.api("POST", f"/users/{user}/server").status_code in (201, 202)
        wait_until(f"the server of {user}", lambda: self.api("GET", f"/users/{user}").json()["servers"]
                   .get("", {}).get("ready"), 120, every=0.3)  # fmt: skip

    def run(self, user: str, *cells: str, seconds: float = 120, keep: bool = False) -> str:
        """Run cells in a new kernel, which ends unless it is kept; return what they print or raise."""
        kernels = f"{self.url}/user/{user}/api/kernels"
        kernel = self.web.post(kernels).json()["id"]
        where = f"{kernels.replace('http', 'ws', 1)}/{kernel}/channels"
        channel = websocket.create_connection(where, seconds, header=[f"Authorization: token {DRIVER}"])
        said = ""
        try:
            for number, cell in enumerate(cells):
                header = {"msg_id": f"cell-{number}", "msg_type": "execute_request", "session": "tests"}
                header |= {"username": user, "version": "5.3"}
                asked = {"code": cell, "silent": False, "store_history": True, "user_expressions": {}}
                whole = {"header": header, "parent_header": {}, "metadata": {}, "content": asked}
                channel.send(json.dumps(whole | {"channel": "shell"}))
                while True:
                    message = channel.recv()
                    if isinstance(message, bytes):  # a widget's
                        continue
                    told = json.loads(message)
                    if told["parent_header"].get("msg_id") != f"cell-{number}":
                        continue
                    kind, content = told["msg_type"], told["content"]
                    said += content.get("text", "") if kind == "stream" else ""
                    said += content.get("data", {}).get("text/plain", "")
                    said += f"{content['ename']}: {content['evalue']}" if kind == "error" else ""
                    if kind == "status" and content["execution_state"] == "idle":
                        break
        finally:
            channel.close()
            if not keep:
                self.web.delete(f"{kernels}/{kernel}")
        return said

    @contextlib.contextmanager
    def browser(self, user: str) -> Iterator[httpx.Client]:
        """A browser in which this user has logged in at the hub."""
        with httpx.Client(timeout=60, follow_redirects=True, trust_env=False) as web:
            form = web.get(f"{self.url}/hub/login")
            assert form.status_code == 200
            sent = {"username": user, "password": "any", "_xsrf": web.cookies.get("_xsrf", path="/hub/")}
            web.post(f"{self.url}/hub/login", data=sent)
            yield web

    def stop(self) -> None:
        """Stop it, and fail where something outlives it."""
        self.process.terminate()
        self.process.wait(120)
        self.web.close()
        wait_until("the end of all it started", lambda: not processes_about(self.folder), 30)
