"""``kit.web()``: PGQueuer's own web dashboard, served to this machine from a thread of this process."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kit import extras, notebook
from kit.errors import KitError
from kit.session import session

if TYPE_CHECKING:
    import uvicorn

TO_START = 10.0  # seconds to connect to Postgres and to listen
TO_STOP = 5.0
USER = "pgqueuer"
HEIGHT = 600  # pixels


def web() -> Dashboard:
    """Serve what ``pgq web`` serves, for this process's database, at an address that only this machine has.

    It asks for a login, a new one each time, because its users can cancel and requeue jobs. It runs on a
    thread of this process and ends with it. A second call stops the dashboard of the first.

    Returns:
        The :class:`Dashboard`: ``.url``, ``.user``, ``.password``, ``.stop()``. In a notebook it is shown
        below the cell, in a frame that is logged in.

    Raises:
        KitError: there is no database, or the dashboard did not start.
    """
    for module in ("fastapi", "jinja2", "uvicorn"):
        extras.need(module, "kit.web()")
    dashboard = Dashboard(session.target().dsn)
    with session.lock:  # so that only one of several calls at once stays
        before, session.dashboard = session.dashboard, dashboard
    if before is not None:
        before.stop()
    return dashboard


class Dashboard:
    """PGQueuer's web dashboard while it is served; also a context manager.

    Attributes:
        url: where it is, on this machine.
        user, password: the login it asks for.
    """

    def __init__(self, dsn: str) -> None:
        self.user, self.password = USER, secrets.token_urlsafe(9)
        self._login = f"login {self.user} / {self.password}"
        # Bound now, so that no other program can take the port in between.
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        self._server = _server(_AsksForLogin(dsn, self.user, self.password))
        self._displays: list[str] = []
        self._thread = threading.Thread(
            target=self._server.run, args=[[self._socket]], name="kit web", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + TO_START
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise KitError(
                    "PGQueuer's dashboard did not start. Does kit.jobs() answer? Then run the cell again."
                )
            time.sleep(0.01)

    def __repr__(self) -> str:
        return self._as_text(self._login if self.running else "stopped")

    def _as_text(self, state: str) -> str:
        return f"<PGQueuer's dashboard at {self.url}, {state}>"

    def __enter__(self) -> Dashboard:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether it is served."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Serve it no longer. A second call does nothing."""
        with _unheard("uvicorn.error"):  # it complains of each open page that is cut off
            self._server.should_exit = True
            self._thread.join(TO_STOP)
        self._socket.close()
        while self._displays:
            notebook.publish(self._in_words("It has been stopped."), self._displays.pop(), update=True)

    def _ipython_display_(self) -> None:
        if not self.running:
            notebook.publish({"text/plain": repr(self)})
            return
        inside = f"{self.url}{self.password}/"
        size = f'width="100%" height="{HEIGHT}"'
        frame = f'<iframe src="{inside}" title="PGQueuer dashboard" {size}></iframe>'
        away = f'<a href="{inside}" target="_blank" rel="noopener">Open it in a tab of its own</a>.'
        self._displays.append(secrets.token_hex(8))
        notebook.publish(self._in_words(away, frame), self._displays[-1])

    def _in_words(self, more: str, frame: str = "") -> dict[str, str]:
        words = f"<p>PGQueuer's dashboard at {self.url}, <code>{self._login}</code>. {more}</p>"
        return {"text/html": words + frame, "text/plain": self._as_text(self._login)}


class _AsksForLogin:
    """An ASGI application that asks for a login; an address that begins with the password counts as one.

    Without that, a browser would ask for the login in a window of its own, over the notebook that shows it.
    """

    def __init__(self, dsn: str, user: str, password: str) -> None:
        from pgqueuer.adapters.web.auth import PASSWORD_ENV, USER_ENV
        from pgqueuer.web import create_web_app

        with session.lock, _unheard("pgqueuer"):  # it warns if no variable sets a login
            self._app = create_web_app(dsn)
        self._begin = f"/{password}/".encode()
        self._login = _basic(user, password)
        # With such a variable PGQueuer's own pages ask for that login; the pages of FastAPI ask for none.
        self._inner = _basic(os.environ.get(USER_ENV, ""), os.environ.get(PASSWORD_ENV, ""))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from fastapi import Response

        if scope["type"] == "http":
            begin = scope["path"].encode()[: len(self._begin)]
            if secrets.compare_digest(begin, self._begin):
                scope = {**scope, "root_path": begin.decode().rstrip("/")}
            elif not secrets.compare_digest(dict(scope["headers"]).get(b"authorization", b""), self._login):
                await Response("Log in", 401, {"WWW-Authenticate": "Basic"})(scope, receive, send)
                return
            scope = {**scope, "headers": [(b"authorization", self._inner), *scope["headers"]]}
        await self._app(scope, receive, send)


def _basic(user: str, password: str) -> bytes:
    return b"Basic " + b64encode(f"{user}:{password}".encode())


def _server(app: _AsksForLogin) -> uvicorn.Server:
    import uvicorn

    # An open page listens for news, and never ends by itself.
    config = uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=1)
    return uvicorn.Server(config)


@contextmanager
def _unheard(name: str) -> Iterator[None]:
    log, nothing = logging.getLogger(name), logging.Filter("nothing")
    log.addFilter(nothing)
    try:
        yield
    finally:
        log.removeFilter(nothing)
