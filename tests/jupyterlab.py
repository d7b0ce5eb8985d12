"""A real JupyterLab in a real Chromium, for tests that look at what a learner sees.

    with JupyterLab(tmp_path) as lab, browser_page() as page:
        notebook = lab.open(page, "lesson.ipynb")
        notebook.run_all()
        assert "successful" in notebook.text(3)
        notebook.screenshot("lesson")

JupyterLab is the one that ``kit lab`` starts, with ``--expose-app-in-browser``, so that cells are run and
outputs are read through its own commands and models, while pictures are looked at in the page itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from playwright.sync_api import Page, sync_playwright

from kit.cli.lab import LABEXTENSIONS
from tests.conftest import chromium
from tests.waiting import wait_until

T = TypeVar("T")

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
}


def write_notebook(path: Path, *cells: str) -> Path:
    """Save a notebook with one code cell for each string."""
    made: list[dict[str, Any]] = [
        {"cell_type": "code", "id": f"cell-{index}", "source": cell, "metadata": {}}
        | {"outputs": [], "execution_count": None}
        for index, cell in enumerate(cells)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": made}
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


_console: deque[str] = deque(maxlen=20)  # what the page of this test said last


@contextlib.contextmanager
def browser_page(*, width: int = 1280, height: int = 1400) -> Iterator[Page]:
    """Open a page in a Chromium of its own. Requests that leave this machine are refused and fail the test.

    The browser lives as long as the ``with`` block: Playwright's synchronous interface keeps a loop
    running in its thread, which no other test must meet.
    """
    strangers: list[str] = []

    def same_machine(url: str) -> bool:
        return url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:", "about:"))

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGS)
        try:
            page = browser.new_page(viewport={"width": width, "height": height})

            def gate(route: Any) -> None:
                if same_machine(route.request.url):
                    route.continue_()
                else:
                    strangers.append(route.request.url)
                    route.abort()

            page.route(lambda url: not same_machine(url), gate)
            _console.clear()
            page.on("console", lambda message: _console.append(f"{message.type}: {message.text[:200]}"))
            page.on("pageerror", lambda error: _console.append(f"error: {str(error)[:500]}"))
            yield page
        finally:
            browser.close()
    assert not strangers, f"the page asked for something outside this machine: {strangers}"


class JupyterLab:
    """A Jupyter server in ``root``, with settings, workspaces and runtime files of its own.

    Args:
        root: the folder it serves.
        dark: start in JupyterLab's dark theme.
        docked: with the board beside the text, as it is in the project now.
        env: more environment variables for the server and its kernels.
    """

    MODULE, APP, PAGE = "kit.cli.jupyter", "LabApp", "lab/tree"

    def __init__(
        self, root: Path, *, dark: bool = False, docked: bool = False, env: dict[str, str] | None = None
    ) -> None:
        self.root = root
        self.token = secrets.token_hex(16)
        self._dark = dark
        self._docked = docked
        self._env = env or {}

    def __enter__(self) -> JupyterLab:
        self._home = Path(tempfile.mkdtemp(prefix="jupyterlab-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        settings = dict(SETTINGS)
        theme = "JupyterLab Dark" if self._dark else "JupyterLab Light"
        settings["apputils-extension/themes"] = {"theme": theme}
        for name, values in settings.items():
            path = self._home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        page = self._home / "config" / "labconfig" / "page_config.json"  # each test puts its boards itself
        page.parent.mkdir(parents=True)
        page.write_text(json.dumps({"disabledExtensions": {"kit-docked-board": not self._docked}}))
        self._log = self._home / "server.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", self.MODULE, "--no-browser", "--allow-root"),
                    *(
                        "--expose-app-in-browser",
                        f"--{self.APP}.extra_labextensions_path={LABEXTENSIONS}",
                        "--ip=127.0.0.1",
                        f"--port={port}",
                        "--ServerApp.port_retries=0",
                    ),
                    *(f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={self.root}"),
                ],
                env={**os.environ, **self._folders(), **self._env},
                stdin=subprocess.PIPE,  # it ends when this closes, also when the tests are killed
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until("the Jupyter server answers", self._answers, 150)
        except AssertionError as error:
            self.__exit__(None, None, None)
            raise AssertionError(f"{error}\n{self._last_words}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The server's own shutdown ends its kernels too, which a signal to it alone would not promise.
        with contextlib.suppress(OSError):
            self.api("shutdown", method="POST")
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._last_words = self._log.read_text(errors="replace")[-4000:]
        shutil.rmtree(self._home, ignore_errors=True)

    def _folders(self) -> dict[str, str]:
        names = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        return {variable: str(self._home / folder) for variable, folder in names.items()}

    @property
    def data(self) -> str:
        """The folder in which the server keeps which notebooks are trusted."""
        return self._folders()["JUPYTER_DATA_DIR"]

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(
                f"the Jupyter server ended:\n{self._log.read_text(errors='replace')[-4000:]}"
            )
        try:
            return bool(self.api("status"))
        except OSError:
            return False

    def api(self, path: str, *, method: str = "GET", body: Any = None) -> Any:
        """Call the server's REST interface and return what it answers, from JSON."""
        request = urllib.request.Request(
            f"{self.url}/api/{path}",
            method=method,
            headers={"Authorization": f"token {self.token}", "Content-Type": "application/json"},
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def open(self, page: Page, notebook: str) -> Notebook:
        """Open ``notebook`` (a path below ``root``) alone on ``page`` and wait for its kernel."""
        opened = Notebook(page, notebook)
        if page.url.startswith(self.url):
            # Much quicker than loading JupyterLab anew. What was open goes without a question.
            page.evaluate("[...window.jupyterapp.shell.widgets('main')].forEach(widget => widget.dispose())")
            page.evaluate(
                "path => void window.jupyterapp.commands.execute('docmanager:open', { path })", notebook
            )
        else:
            address = f"{self.url}/{self.PAGE}/{notebook}?token={self.token}&reset"
            page.goto(address)
            try:
                opened.wait_shown(45)
            except AssertionError as error:
                # Seen once, of a JupyterLab that had just started: the notebook of its address never came.
                state = f"{page.evaluate(_STATE)}, {list(_console)}"
                warnings.warn(f"{error}, so the page is loaded again. It was {state}", stacklevel=2)
                page.goto(address)
        opened.wait_ready()
        return opened


class Notebook7(JupyterLab):
    """The same with Jupyter Notebook in the place of JupyterLab."""

    MODULE, APP, PAGE = "notebook", "JupyterNotebookApp", "notebooks"


def barriers(page: Page, within: str) -> list[Any]:
    """What axe finds in the elements ``within`` that keeps somebody out: rule, where, and what to do."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, context={"include": [[within]]}).response["violations"]
    return [
        (rule["id"], node["html"][:200], node["failureSummary"])
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


# Run in the page: the notebook panel in front, by its path.
_PANEL = """
(path) => {
  const app = window.jupyterapp;
  if (!app) return null;
  for (const widget of app.shell.widgets('main')) {
    if (widget.context && widget.context.path === path) return widget;
  }
  return null;
}
"""


# What a page that does not show its notebook shows instead.
_STATE = """
() => JSON.stringify({
  url: location.pathname + location.search.replace(/token=[^&]*/, ''),
  app: !!window.jupyterapp,
  curtain: !!document.getElementById('jupyterlab-splash'),
  restoring: !!document.querySelector('.jp-mod-restoring'),
  dialog: document.querySelector('.jp-Dialog')?.innerText,
  open: window.jupyterapp && [...window.jupyterapp.shell.widgets('main')].map(
    (widget) => [widget.title.label, widget.context?.isReady]
  ),
})
"""


class Notebook:
    """One notebook open in JupyterLab. Cells are counted from 0, Markdown cells included."""

    def __init__(self, page: Page, path: str) -> None:
        self.page = page
        self.path = path

    def _ask(self, expression: str, argument: Any = None) -> Any:
        """Evaluate a JavaScript expression over ``panel``, ``app`` and ``argument``."""
        script = f"""([path, argument]) => {{
            const panel = ({_PANEL})(path), app = window.jupyterapp;
            return panel ? ({expression}) : null;
        }}"""
        return self.page.evaluate(script, [self.path, argument])

    def _command(self, name: str, arguments: dict[str, Any] | None = None) -> int:
        """Start one of JupyterLab's commands and return its number, for :meth:`_ended`."""
        number: int = self._ask(
            f"""(() => {{
                const ended = (window.endedCommands ??= []), number = ended.push(false) - 1;
                app.commands.execute('{name}', argument).finally(() => ended[number] = true);
                return number;
            }})()""",
            arguments or {},
        )
        return number

    def _ended(self, number: int) -> bool:
        return bool(self._ask("window.endedCommands[argument]", number))

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until the notebook is shown and its kernel is idle."""
        self.wait_shown(timeout)
        self.wait_idle(timeout)
        self._ask("app.shell.collapseLeft()")
        # What the address names comes to the front once more, when the file browser has found it.
        wait_until(
            "JupyterLab has opened what its address names",
            lambda: self.page.locator(".jp-mod-restoring").count() == 0,
            timeout,
        )
        self._wait_for_the_curtain()

    def wait_shown(self, timeout: float) -> None:
        """Wait until the notebook is shown."""
        wait_until(f"{self.path} is open", lambda: self._ask("panel.context.isReady"), timeout)

    def _wait_for_the_curtain(self) -> None:
        wait_until(
            "JupyterLab's splash screen is gone",
            lambda: not self.page.evaluate("!!document.getElementById('jupyterlab-splash')"),
            15,
        )

    def wait_idle(self, timeout: float = 60) -> None:
        """Wait until the kernel has nothing to run."""
        wait_until(
            f"the kernel of {self.path} is idle (it is {self.kernel_status()!r})",
            lambda: (
                self.kernel_status() == "idle"
                and not self._ask("panel.content.widgets.some(c => c.prompt === '*')")
            ),
            timeout,
        )

    def kernel_status(self) -> str | None:
        """The kernel's status as JupyterLab shows it: idle, busy, starting, restarting, ..."""
        status: str | None = self._ask("panel.sessionContext.session?.kernel?.status ?? null")
        return status

    def run_all(self, timeout: float = 120) -> None:
        """Run every cell and wait for the last one to end."""
        number = self._command("notebook:run-all-cells")
        wait_until(
            f"all cells of {self.path} have run ({self.prompts()})", lambda: self._ended(number), timeout
        )
        self.wait_idle(10)

    def prompts(self) -> list[str]:
        """What stands in the brackets beside each code cell: a number, ``*`` or nothing."""
        prompts: list[str] = self._ask("panel.content.widgets.map(c => c.prompt ?? '')")
        return prompts

    def start_cell(self, index: int) -> int:
        """Run one cell and do not wait for it."""
        self._ask("(panel.content.deselectAll(), panel.content.activeCellIndex = argument)", index)
        return self._command("notebook:run-cell")

    def run_cell(self, index: int, timeout: float = 60) -> None:
        """Run one cell and wait for it to end."""
        number = self.start_cell(index)
        wait_until(f"cell {index} of {self.path} has run", lambda: self._ended(number), timeout)
        self.wait_idle(10)

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """One cell's outputs, as they would be saved."""
        outputs: list[dict[str, Any]] = self._ask(
            "panel.content.widgets[argument].model.outputs?.toJSON() ?? []", index
        )
        return outputs

    def text(self, index: int) -> str:
        """Everything one cell's outputs show as text, as a reader sees it in the page."""
        text: str = self._ask("panel.content.widgets[argument].outputArea?.node.innerText ?? ''", index)
        return text

    def errors(self) -> list[str]:
        """The error outputs of all cells, as ``name: message``."""
        return [
            f"{output['ename']}: {output['evalue']}"
            for index in range(len(self.prompts()))
            for output in self.outputs(index)
            if output["output_type"] == "error"
        ]

    def scroll_to(self, index: int) -> None:
        """Bring a cell into view; JupyterLab renders only the cells near the view."""
        self._ask("void panel.content.scrollToItem(argument, 'start')", index)

    def save(self) -> None:
        """Save the notebook to disk."""
        number = self._command("docmanager:save")
        wait_until("the notebook is saved", lambda: self._ended(number), 10)

    def save_with_widgets(self, words: str) -> None:
        """Switch on "Save Widget State Automatically", and save the notebook until that says ``words``."""
        self._command("@jupyter-widgets/jupyterlab-manager:saveWidgetState")

        def said() -> bool:
            self.save()
            return words in self._ask("JSON.stringify(panel.content.model.getMetadata('widgets') ?? '')")

        wait_until(f"the widgets say {words!r}", said, 15, every=0.2)

    def reload(self) -> None:
        """Reload the page, as a learner who presses F5."""
        self.save()
        self.page.reload()
        self.wait_ready()

    def restart_kernel(self) -> None:
        """Restart the kernel, without the question JupyterLab asks first."""
        self._ask("void panel.sessionContext.session.kernel.restart()")
        wait_until("the kernel restarts", lambda: self.kernel_status() != "idle", 10, every=0.005)
        self.wait_idle()

    def shutdown(self) -> None:
        """End the notebook's kernel, as a learner who is done with it."""
        self._ask("void panel.sessionContext.shutdown()")
        wait_until("the kernel has ended", lambda: self._ask("panel.sessionContext.session === null"), 20)

    def theme(self, name: str) -> None:
        """Change JupyterLab's theme: ``JupyterLab Light`` or ``JupyterLab Dark``."""
        self._command("apputils:change-theme", {"theme": name})
        wait_until(
            f"the theme is {name!r}",
            lambda: self.page.evaluate("document.body.dataset.jpThemeName") == name,
            10,
        )
        self._wait_for_the_curtain()

    def screenshot(self, name: str, of: str | None = None) -> Path:
        """Save what the page shows, or the element ``of`` it, as ``artifacts/<name>.png``."""
        ARTIFACTS.mkdir(exist_ok=True)
        path = ARTIFACTS / f"{name}.png"
        (self.page if of is None else self.page.locator(of).first).screenshot(path=path)
        return path
