"""The JupyterHub whose service the collector is: it says whose a token is, and who may see the board.

Each learner's server there has a token of the hub's, so nobody joins, and nothing is signed.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from kit import extras
from kit.classroom import wire
from kit.errors import KitError

if TYPE_CHECKING:
    from fastapi import Request, Response

KEPT = 60.0  # seconds for which the hub's word on a token counts
MOST = 1_000  # such words
NEEDED = ("JUPYTERHUB_API_URL", "JUPYTERHUB_API_TOKEN")
BACK = "/oauth_callback"
STATE, TOKEN = "class-state", "class-token"  # cookies


def whose_service() -> Hub | None:
    """Return the hub that started this process as its service; None where none did.

    Raises:
        KitError: httpx is not installed, or the hub has not said how to ask it.
    """
    return Hub() if {"JUPYTERHUB_SERVICE_NAME", "JUPYTERHUB_SERVICE_URL"} <= os.environ.keys() else None


class Hub:
    """What is asked of a hub.

    Attributes:
        prefix: the path that all paths of the service begin with.
        listen, port: where the hub expects the service to listen.
    """

    def __init__(self) -> None:
        extras.need("httpx", "A class on a JupyterHub")
        import httpx

        said = os.environ
        if missing := [each for each in NEEDED if not said.get(each)]:
            raise KitError(
                f"A JupyterHub tells its service how to ask it, and this is not set: {', '.join(missing)}. "
                "Let the hub start `kit class start`, as `kit/classroom/hubs/jupyterhub_config.py` does."
            )
        name = said["JUPYTERHUB_SERVICE_NAME"]
        base = said.get("JUPYTERHUB_BASE_URL", "/")
        host = said.get("JUPYTERHUB_HOST", "")
        here = urlsplit(said["JUPYTERHUB_SERVICE_URL"])
        self.prefix = f"{base}services/{name}"
        self.listen, self.port = here.hostname, here.port
        self._page = f"{host}{base}hub/api/oauth2/authorize"
        self._service = {
            "client_id": said.get("JUPYTERHUB_CLIENT_ID") or f"service-{name}",
            "redirect_uri": said.get("JUPYTERHUB_OAUTH_CALLBACK_URL") or f"{self.prefix}{BACK}",
        }
        self._secret = said["JUPYTERHUB_API_TOKEN"]
        self._lets_in = {"access:services", f"access:services!service={name}"}
        self._api = said["JUPYTERHUB_API_URL"]
        self._web = httpx.AsyncClient(timeout=5, trust_env=False)
        self._known: dict[str, tuple[float, dict[str, Any]]] = {}

    async def user(self, token: str) -> dict[str, Any] | None:
        """Return what the hub says of a token's owner, such as their name; None if it is nobody's.

        Raises:
            Refused: the hub does not answer.
        """
        until, user = self._known.get(token, (0.0, None))
        if time.monotonic() < until:
            return user
        if not re.fullmatch("[!-~]+", token):  # it cannot stand in a header
            return None
        answer = await self._ask("GET", "/user", headers={"Authorization": f"token {token}"})
        if answer.status_code != 200:
            return None
        while len(self._known) >= MOST:
            del self._known[next(iter(self._known))]
        self._known[token] = (time.monotonic() + KEPT, answer.json())
        return self._known[token][1]

    async def lets_see(self, token: str) -> bool:
        """Return whether the board is for a token's owner: an admin, or whom a role of the hub names."""
        user = await self.user(token)
        return user is not None and not self._lets_in.isdisjoint(user.get("scopes", ()))

    def to_log_in(self, request: Request) -> Response:
        """Return an answer that sends a browser to the hub, which sends it back to `BACK`."""
        state = secrets.token_urlsafe(16)
        asked = self._service | {"response_type": "code", "state": state}
        return self._go(request, f"{self._page}?{urlencode(asked)}", STATE, state)

    async def logged_in(self, request: Request) -> Response:
        """Return an answer that lets a browser see the board, which comes back from the hub.

        Raises:
            Refused: it does not come from there, or whoever logged in may not see the board.
        """
        state = request.cookies.get(STATE, "")
        if not state or not secrets.compare_digest(state, request.query_params.get("state", "")):
            raise wire.Refused(403, "This is not the way in. Open the board itself.")
        form = self._service | {"client_secret": self._secret, "grant_type": "authorization_code"}
        form["code"] = request.query_params.get("code", "")
        answer = await self._ask("POST", "/oauth2/token", data=form)
        token = answer.json()["access_token"] if answer.status_code == 200 else ""
        if not await self.lets_see(token):
            raise wire.Refused(403, "The hub does not let you see the board.")
        return self._go(request, f"{self.prefix}/", TOKEN, token)

    def _go(self, request: Request, where: str, cookie: str, value: str) -> Response:
        from fastapi.responses import RedirectResponse

        secure = request.headers.get("x-forwarded-proto", "").startswith("https")
        answer = RedirectResponse(where, 302)
        answer.set_cookie(cookie, value, path=f"{self.prefix}/", secure=secure, httponly=True, samesite="lax")
        return answer

    async def _ask(self, method: str, path: str, **more: Any) -> Any:
        import httpx

        try:
            answer = await self._web.request(method, f"{self._api}{path}", **more)
        except httpx.HTTPError:
            answer = None
        if answer is None or answer.status_code >= 500:
            raise wire.Refused(503, "The hub does not answer.")
        return answer

    async def close(self) -> None:
        """Close the connections to it."""
        await self._web.aclose()
