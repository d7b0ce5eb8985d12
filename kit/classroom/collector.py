"""``kit class start``: a web server that takes reports into the table, and shows the board to the teacher."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit import extras
from kit.classroom import identity, plans, results, slips, wire
from kit.classroom.hub import BACK, TOKEN, Hub, whose_service
from kit.classroom.plans import Plan
from kit.classroom.store import Store
from kit.classroom.wire import Refused
from kit.display import palette, theme
from kit.errors import KitError

if TYPE_CHECKING:
    from fastapi import FastAPI

SLOW = 10.0  # seconds in which a request must be here
LEARNERS = 500
EVENTS = 5_000  # of one learner
BURST, REFILL = 60, 4.0  # requests of a learner at once, and a second
LOOKS = {"passed": "successful", "tried": "failed", "stuck": "exception"}  # the status that has its colour


def start(
    name: str | None,
    listen: str | None,
    port: int | None,
    tasks: Sequence[results.Task],
    say: Callable[[str], None],
    plan: Plan | None = None,
) -> None:
    """Collect results and show the board, until this process is told to end.

    As the service of a JupyterHub it listens where the hub says.

    Raises:
        KitError: it cannot listen there, or no Postgres is to be had.
    """
    for module in ("fastapi", "uvicorn"):
        extras.need(module, "`kit class start`")
    hub, one = whose_service(), identity.find(name)
    if hub is not None:
        listen, port = hub.listen, hub.port
    one = replace(one, listen=one.listen if listen is None else listen, port=port or one.port)
    sockets = identity.listening(one)
    one = replace(one, port=sockets[0].getsockname()[1])
    if plan is not None:
        one = replace(one, plan=plan.kept(one.plan))
        say(f"By the plan {plans.times(one.plan)}")
    database = one.postgres()
    try:
        one.save()
        say(f"The class {one.name!r}. Its results are in {database}.")
        if hub is not None:
            say(f"The board is at {hub.prefix}/ of the hub. Who may see it is the hub's to say.")
        else:
            say(f"Learners, once:  kit class join {one.line}")
            say(f"The board:       {one.board}")
            say(identity.who_reaches(one))
            say("Ctrl-C ends it. What it has is kept, and `kit class start` goes on with the same line.")
        asyncio.run(_serve(Collector(one, Store(database.target, one.code), tasks, hub), sockets))
    finally:
        for each in sockets:
            each.close()
        database.stop()


async def _serve(collector: Collector, sockets: list[socket.socket]) -> None:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):
        """Ends a connection on which no whole request has begun for a while."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.loop.call_later(SLOW, self._look, None)

        def _look(self, before: object) -> None:
            if self.transport.is_closing():
                return
            if self.cycle is before and (before is None or self.cycle.response_complete):
                self.transport.close()
            else:
                self.loop.call_later(SLOW, self._look, self.cycle)

    config = uvicorn.Config(
        collector.app(), http=Impatient, ws="none", lifespan="off", log_level="error", access_log=False,
        server_header=False, limit_concurrency=600, timeout_graceful_shutdown=1,
    )  # fmt: skip
    try:
        await collector.catch_up()
        await uvicorn.Server(config).serve(sockets)
    finally:
        await collector.store.close()
        if collector.hub is not None:
            await collector.hub.close()


class Rate:
    """How many requests of a learner are taken: some at once, and then so many a second."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, who: str) -> None:
        """Count a request.

        Raises:
            Refused: there were too many.
        """
        now = time.monotonic()
        left, before = self._left.get(who, (BURST, now))
        left = min(BURST, left + (now - before) * REFILL)
        if left < 1:
            raise Refused(429, "Too many requests. Try again later.")
        self._left[who] = (left - 1, now)


class Collector:
    """Takes reports into the table, and shows what they add up to."""

    def __init__(
        self, one: identity.Class, store: Store, tasks: Sequence[results.Task], hub: Hub | None = None
    ) -> None:
        self.one, self.store, self.hub = one, store, hub
        self._results = results.Results(tasks)
        self._rate = Rate()
        self._taken: dict[str, None] = {}  # signatures of the last reports
        self._looking = asyncio.Lock()
        self._caught_up = 0.0

    async def catch_up(self) -> results.Results:
        """Add what is new in the table, and return the results."""
        async with self._looking:
            for row in await self.store.after(self._results.number):
                self._results.add(*row)
            self._caught_up = time.monotonic()
        return self._results

    async def join(self, body: bytes, signature: str) -> str:
        """Take in a learner, and return the name of the class."""
        if not wire.is_signed(self.one.code.encode(), body, signature):
            raise Refused(403, "This is not the code of this class. Ask for its join line.")
        await self._take_in(*wire.read_join(body))
        return self.one.name

    async def _take_in(self, key: bytes, name: str) -> None:
        row = results.joined(key, name)
        if row[0] not in self._results.learners and len(self._results.learners) >= LEARNERS:
            raise Refused(403, f"The class is full: {LEARNERS} have joined.")
        self._rate.take(row[0])
        await self.store.add([row])
        await self.catch_up()

    async def report(self, learner: str, body: bytes, signature: str, *, most: int = wire.MOST) -> int:
        """Take a report, and return how many of its events are new."""
        who = self._results.learners.get(learner) or (await self.catch_up()).learners.get(learner)
        if who is None:
            raise Refused(401, "Nobody of this class. Join it first.")
        if not wire.is_signed(who.key, body, signature):
            raise Refused(403, "The signature is wrong.")
        self._rate.take(learner)
        if signature in self._taken:
            raise Refused(409, "This report was taken already.")
        self._taken[signature] = None
        while len(self._taken) > 10_000:
            del self._taken[next(iter(self._taken))]
        return await self._add(learner, body, most)

    async def report_on_hub(self, hub: Hub, token: str, body: bytes) -> int:
        """Take a report of whoever has this token of the hub, and return how many of its events are new."""
        user = await hub.user(token)
        if user is None or user.get("kind") != "user":
            raise Refused(403, "The hub knows no user with this token.")
        # Secret, like a key that a learner makes: their id must not be another's.
        key = bytes.fromhex(wire.signature(self.one.code.encode(), user["name"].encode()))
        learner = wire.learner_of(key)
        if learner in self._results.learners:
            self._rate.take(learner)
        else:
            await self._take_in(key, wire.short(user["name"]))
        return await self._add(learner, body, wire.MOST)

    async def _add(self, learner: str, body: bytes, most: int) -> int:
        who = self._results.learners[learner]
        if time.monotonic() - self._caught_up > 1:  # so that `who.events` is nearly right
            await self.catch_up()
        events = wire.read_events(body, most, datetime.now().astimezone())
        if who.events >= EVENTS:
            raise Refused(403, f"There are {EVENTS} events of yours, and no more are taken.")
        return await self.store.add([(learner, name, event) for name, event in events]) if events else 0

    def app(self) -> FastAPI:
        """Return the web application."""
        from fastapi import FastAPI, Request, Response
        from fastapi.responses import JSONResponse, PlainTextResponse

        app, hub = FastAPI(openapi_url=None), self.hub
        prefix = hub.prefix if hub is not None else ""

        async def body_of(request: Request) -> bytes:
            body, more, announced = bytearray(), True, int(request.headers.get("content-length", 0))
            try:
                async with asyncio.timeout(SLOW):
                    while more:
                        part = await request.receive()
                        if part["type"] == "http.disconnect":
                            raise TimeoutError
                        body += part.get("body", b"")
                        more = part.get("more_body", False)
                        if max(announced, len(body)) > wire.LARGEST:
                            raise Refused(413, f"A report has at most {wire.LARGEST} bytes.")
            except TimeoutError:
                raise Refused(408, f"A request must be here within {SLOW:g} s.") from None
            return bytes(body)

        def refused(request: Request, error: Any) -> Response:
            status, text = getattr(error, "status", 400), str(error)
            if status == 401 and hub is not None and request.url.path == f"{prefix}/":
                return hub.to_log_in(request)
            if isinstance(error, KitError):
                status, text = 503, "The class's Postgres does not answer."
            asks = {"WWW-Authenticate": "Basic"} if status == 401 and hub is None else {}
            headers = {"Connection": "close"} | asks
            return PlainTextResponse(text, status, headers)

        for kind in (Refused, wire.Malformed, KitError):
            app.add_exception_handler(kind, refused)

        async def _join(request: Request) -> Response:
            body = await body_of(request)
            return PlainTextResponse(await self.join(body, request.headers.get(wire.SIGNATURE, "")))

        async def _events(request: Request) -> Response:
            body, headers = await body_of(request), request.headers
            if hub is not None:
                token = headers.get("authorization", "").removeprefix("token ")
                new = await self.report_on_hub(hub, token, body)
            else:
                new = await self.report(headers.get(wire.LEARNER, ""), body, headers.get(wire.SIGNATURE, ""))
            return PlainTextResponse(f"{new} new")

        async def shown(request: Request) -> results.Results:
            given = request.headers.get("authorization", "")
            if hub is not None:
                may = await hub.lets_see(request.cookies.get(TOKEN, ""))
            else:
                may = secrets.compare_digest(given.encode(), self.one.login.encode())
            if not may:
                raise Refused(401, "Log in: open the board anew.")
            return await self.catch_up()

        async def _board(request: Request) -> Response:
            await shown(request)
            return Response(page(), media_type="text/html", headers=SAFE)

        async def _script(_: Request) -> Response:
            return Response(_beside("board.js"), media_type="text/javascript", headers=SAFE)

        async def _json(request: Request) -> Response:
            seen, now = await shown(request), time.time()
            found = seen.board(now) | {"plan": seen.plan(self.one.plan, now)}
            join = self.one.line if hub is None else None
            return JSONResponse({"class": self.one.name, "join": join} | found, headers=SAFE)

        async def _slips(request: Request) -> Response:
            await shown(request)
            asked = request.query_params
            text = slips.page(self.one.name, self.one.line, asked.get("a-page", ""), asked.get("pages", ""))
            return Response(text, media_type="text/html", headers=SAFE)

        async def _csv(request: Request) -> Response:
            mark = "\ufeff"  # without it a spreadsheet guesses the encoding
            text = mark + (await shown(request)).as_csv(time.time())
            download = {"Content-Disposition": "attachment; filename=class.csv"}
            return Response(text, media_type="text/csv", headers=SAFE | download)

        app.add_route(prefix + wire.EVENTS, _events, ["POST"])
        shows = {"/": _board, "/board.js": _script, "/results.json": _json, "/results.csv": _csv}
        if hub is not None:
            shows[BACK] = hub.logged_in
        else:
            shows["/slips"] = _slips
            app.add_route(wire.JOIN, _join, ["POST"])
        for path, show in shows.items():
            app.add_route(prefix + path, show, ["GET"])
        return app


SAFE = {
    "Content-Security-Policy": "default-src 'self'; style-src 'unsafe-inline'; img-src data:",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def page() -> str:
    """Return the board's page, with the palette's colours."""
    looks = "".join(f"--{state}:{palette.JOBS[status].colour};" for state, status in LOOKS.items())
    return _beside("board.html").replace("/* colours */", theme.both() + looks)


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")
