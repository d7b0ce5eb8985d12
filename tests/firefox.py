"""A Firefox as Mozilla releases it, driven by WebDriver BiDi: Playwright's own would have to be downloaded.

with Firefox() as firefox:
    firefox.open("file:///page.html")
    assert firefox.evaluate("document.title") == "page"
"""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import websocket

from tests.conftest import firefox
from tests.waiting import wait_until

PATIENCE = 60  # seconds for an answer
# Nothing of what it would ask of other machines; and no motion, so that what is drawn is where it belongs.
QUIET = {
    "ui.prefersReducedMotion": 1,
    "app.normandy.enabled": False,
    "app.update.auto": False,
    "browser.safebrowsing.downloads.remote.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.systemAddon.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "nimbus.rollouts.enabled": False,
    "services.settings.server": "data:,none",
    "toolkit.telemetry.unified": False,
}


class Firefox:
    """One page of a browser with a profile of its own, without a window."""

    def __init__(self, *, width: int = 1280, height: int = 720) -> None:
        self._viewport = {"width": width, "height": height}
        self._numbers = itertools.count(1)

    def __enter__(self) -> Firefox:
        self._folder = tempfile.TemporaryDirectory(prefix="firefox-", ignore_cleanup_errors=True)
        Path(self._folder.name, "user.js").write_text(
            "".join(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in QUIET.items())
        )
        command = [firefox() or "firefox", "--headless", "--no-remote", "--remote-debugging-port=0"]
        self._process = subprocess.Popen(
            [*command, "--profile", self._folder.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        listens = Path(self._folder.name, "WebDriverBiDiServer.json")
        try:
            said = wait_until(
                "Firefox listens", lambda: listens.read_text() if listens.exists() else "", PATIENCE
            )
            address = "ws://{ws_host}:{ws_port}/session".format(**json.loads(said))
            self._socket = websocket.create_connection(address, timeout=PATIENCE, suppress_origin=True)
            self._ask("session.new", capabilities={})
            self._page = self._ask("browsingContext.getTree")["contexts"][0]["context"]
            self._ask("browsingContext.setViewport", context=self._page, viewport=self._viewport)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._folder.cleanup()

    def _ask(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv())).get("id") != number:
            pass
        assert answer["type"] == "success", answer
        return answer["result"]

    def open(self, address: str) -> None:
        """Go to an address, and return when its page has loaded."""
        self._ask("browsingContext.navigate", context=self._page, url=address, wait="complete")

    def evaluate(self, expression: str, argument: Any = None) -> Any:
        """Return what an expression over ``argument`` comes to, or what it promises."""
        value = f"JSON.stringify(await ({expression}))"
        code = f"async () => {{ const argument = {json.dumps(argument)}; return {value}; }}"
        target = {"context": self._page}
        said = self._ask("script.callFunction", functionDeclaration=code, target=target, awaitPromise=True)
        assert said["type"] == "success", said
        return json.loads(said["result"].get("value", "null"))

    def press(self, key: str) -> None:
        """Press a key, by its character in WebDriver's table."""
        keys = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        actions = [{"type": "key", "id": "keyboard", "actions": keys}]
        self._ask("input.performActions", context=self._page, actions=actions)

    def screenshot(self, path: Path) -> None:
        """Save what the page shows."""
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(
            base64.b64decode(self._ask("browsingContext.captureScreenshot", context=self._page)["data"])
        )
