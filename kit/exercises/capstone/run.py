"""A run: the service as three real workers on a server of its own, and what is done to it, level by level."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
from pgqueuer import AsyncpgDriver, Queries

from kit.consumer import console
from kit.consumer.options import Options
from kit.errors.postgres import postgres_is_away
from kit.exercises.capstone import client
from kit.exercises.capstone.bank import LIMIT, Bank, Held
from kit.exercises.capstone.verdict import LEVELS, Verdict, Wrong, history, wrong_orders
from kit.session import session
from kit.sources import Postgres, open_database
from kit.worker.worker import Worker

SERVICE = "programs.service:main"
CLIENT = "programs/bank.py"
WORKERS = 3
HEARTBEAT = 3.0  # seconds, the workers' timeout
SLOW = 2.5 * HEARTBEAT  # seconds that a slow bank takes
BURST = 80  # orders that come at once
PATIENCE = 20.0  # seconds for what a fault has hurt to come to its end, when nothing of it moves on
TO_CALL = 10.0  # seconds until the bank is called, or there is nothing to hold
TO_START = 45.0  # seconds for a worker to start, on a machine that is busy

SHOP = """
CREATE TABLE IF NOT EXISTS orders (id int PRIMARY KEY, items int NOT NULL, status text NOT NULL DEFAULT 'new',
    at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE IF NOT EXISTS parcels (order_id int NOT NULL, item int NOT NULL,
    at timestamptz DEFAULT clock_timestamp());
CREATE TABLE IF NOT EXISTS mails (order_id int NOT NULL, at timestamptz DEFAULT clock_timestamp());
CREATE TABLE IF NOT EXISTS reports (mailed int NOT NULL, at timestamptz DEFAULT clock_timestamp());
"""

# Of which order each job was: the first number in its payload.
_TOLD = """
CREATE TABLE told (id bigint PRIMARY KEY, entrypoint text, order_id int);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO told VALUES (NEW.id, NEW.entrypoint,
        substring(encode(coalesce(NEW.payload, ''), 'escape') FROM '^\\D*(\\d{1,9})')::int);
    RETURN NEW;
END $$;
CREATE TRIGGER tell AFTER INSERT ON pgqueuer FOR EACH ROW EXECUTE FUNCTION tell();
CREATE SEQUENCE cuts; CREATE SEQUENCE packs;
"""

_CUT = """
CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('cuts') IN (1, 4) THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
        PERFORM pg_sleep(5);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cut BEFORE INSERT ON pgqueuer
    FOR EACH ROW WHEN (NEW.entrypoint <> 'receive') EXECUTE FUNCTION cut();
"""
_UNCUT = "DROP TRIGGER cut ON pgqueuer; DROP FUNCTION cut;"

# It sleeps at the commit: what the one has written the other cannot see yet, when it looks.
_SLOW_PACKING = """
CREATE FUNCTION pack_slowly() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM nextval('packs'), pg_sleep(1); RETURN NEW; END $$;
CREATE CONSTRAINT TRIGGER pack_slowly AFTER INSERT ON parcels DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION pack_slowly();
"""
_PACK_QUICKLY = "DROP TRIGGER pack_slowly ON parcels; DROP FUNCTION pack_slowly;"

_AT_WORK = "status IN ('queued', 'picked')"
_BEATEN = "SELECT heartbeat FROM pgqueuer JOIN told USING (id) WHERE order_id = $1 AND status = 'picked'"
_TRIES = "SELECT count(*) FROM pgqueuer_log WHERE job_id = $1 AND status = 'picked'"
_TWICE = """SELECT job_id FROM pgqueuer_log JOIN told ON told.id = job_id
    WHERE order_id = $1 GROUP BY job_id HAVING count(*) FILTER (WHERE status = 'picked')
        > 1 + count(*) FILTER (WHERE traceback->>'exception_type' = 'RetryRequested')"""
_DONE = "SELECT count(DISTINCT order_id) FROM mails WHERE order_id = ANY($1)"
_WAITS = f"SELECT count(*) FROM pgqueuer JOIN told USING (id) WHERE order_id = ANY($1) AND {_AT_WORK}"


class NoService(Exception):
    """The service cannot start; why."""


def write_client() -> None:
    """Write the file by which the service calls the bank."""
    Path(CLIENT).parent.mkdir(exist_ok=True)
    Path(CLIENT).write_text(Path(client.__file__).read_text("utf-8"), "utf-8")


class Run:
    """One run of a service.

    Args:
        seed: of the order in which things are done, and of how large orders are.
        service: ``"module:name"`` of its factory.
    """

    def __init__(self, seed: int, service: str = SERVICE) -> None:
        self._service = service
        self.verdict = Verdict(seed)
        self._chance = random.Random(seed)
        self._bank = Bank()
        self._workers: dict[str, Worker] = {}
        self._orders: dict[int, str] = {}
        self._began = time.monotonic()
        self._opened: Postgres
        self._connection: Any = None

    async def do(self) -> Verdict:
        """Go through the levels, up to the first that the service does not pass.

        Raises:
            NoService: it cannot start.
            KitError: there is no Postgres for it.
        """
        write_client()
        async with AsyncExitStack() as stack:
            stack.enter_context(console.about_to_show())  # workers that are hurt have much to say
            await stack.enter_async_context(self._server())
            await stack.enter_async_context(self._bank.open())
            stack.push_async_callback(self._end_workers)
            await asyncio.gather(*(self._start(f"worker {number + 1}") for number in range(WORKERS)))
            keeping = asyncio.create_task(self._keep_up())
            try:
                self._began = time.monotonic()
                for number, (name, faults) in enumerate(LEVELS, 1):
                    print(f"Level {number}: {name}", flush=True)
                    await self._level(list(faults))
                    if self.verdict.state != "valid":
                        break
                    self.verdict.level = number
            finally:
                keeping.cancel()
                with suppress(asyncio.CancelledError):
                    await keeping
            await self._measure()
        return self.verdict

    async def _level(self, faults: list[str]) -> None:
        self._chance.shuffle(faults)
        for fault in faults:
            print(f"  {fault}", flush=True)
            began = time.monotonic() - self._began
            try:
                if not await FAULTS[fault](self, fault):
                    self.verdict.missing.append(fault)
            except asyncpg.LockNotAvailableError:
                what = "stuck: a transaction of the service has locked a table for ten seconds"
                self.verdict.wrong.append(Wrong("stuck", None, what, fault))
            self.verdict.spans.append((fault, round(began, 2), round(time.monotonic() - self._began, 2)))
        await self._settle([*self._orders])
        self.verdict.wrong += await wrong_orders(self, self._orders, self._bank.charged)

    # What is done to it

    async def nothing(self, fault: str) -> bool:
        """Let three orders come."""
        orders = await self.order(fault, 3)
        await self._settle(orders)
        if not self._bank.calls:
            self.verdict.wrong.append(Wrong("never called", None, "the bank was never called", fault))
            self._orders.clear()
            return False
        if not await self._until("SELECT EXISTS (SELECT FROM reports)", 5.0):
            self.verdict.wrong.append(Wrong("no report", None, "no report was written", fault))
        return True

    async def a_bad_payload(self, fault: str) -> bool:
        """Let a job come that is of no order."""
        (job,) = await Queries(AsyncpgDriver(self._connection)).enqueue("receive", b"seven")
        at_rest = f"SELECT NOT EXISTS (SELECT FROM pgqueuer WHERE id = $1 AND {_AT_WORK})"
        if not await self._until(at_rest, 8.0, job):
            ((tries,),) = await self.sql(_TRIES, job)
            what = f"stuck: the payload b'seven' was tried {tries} times, and waits again"
            self.verdict.wrong.append(Wrong("stuck", None, what, fault))
        return True

    async def a_bank_that_refuses(self, fault: str) -> bool:
        """Let the bank refuse the first call for each of two orders."""
        orders = await self.order(fault, 2, prepare=lambda order: self._bank.refusals.update({order: 1}))
        await self._settle(orders)
        return not any(self._bank.refusals[order] for order in orders)

    async def a_worker_killed_at_the_bank(self, fault: str) -> bool:
        """Kill the worker that the bank has not answered yet, though it has the money."""
        async with self._held(fault) as (order, worker):
            if worker is not None:
                await asyncio.to_thread(worker.kill)  # another one takes its place: see _keep_up
        await self._settle([order])
        return worker is not None

    async def a_worker_frozen_at_the_bank(self, fault: str) -> bool:
        """Freeze the worker that waits for the bank until another has its job; then let both go on."""
        again = False
        async with self._held(fault) as (order, worker):
            if worker is not None:
                await asyncio.to_thread(worker.pause)
                try:
                    again = await self._until(f"SELECT EXISTS ({_TWICE})", PATIENCE, order)
                    await self._until("SELECT EXISTS (SELECT FROM mails WHERE order_id = $1)", 2.0, order)
                finally:
                    await asyncio.to_thread(worker.resume)
        await self._settle([order])
        return again

    async def a_bank_slower_than_the_heartbeat(self, fault: str) -> bool:
        """Let the bank take long, and see whether the worker beats meanwhile."""
        async with self._held(fault) as (order, worker):
            beats, again, until = set(), False, time.monotonic() + SLOW
            while worker is not None and time.monotonic() < until and not again:
                again = bool(await self.sql(_TWICE, order))
                if not again:
                    beats |= set(await self.sql(_BEATEN, order))
                await asyncio.sleep(0.05)
        await self._settle([order])
        if again and len(beats) == 1:
            what = "delivered again, though its worker was well: it did not beat while the bank thought"
            self.verdict.wrong.append(Wrong("again", order, what, fault, await history(self, order)))
        return worker is not None

    async def a_session_cut_at_the_enqueue(self, fault: str) -> bool:
        """End the session that enqueues, in the midst of it, twice."""
        await self._change(_CUT)
        orders = await self.order(fault, 3, items=2)
        await self._settle(orders)
        await self._change(_UNCUT)
        return bool((await self.sql("SELECT is_called FROM cuts"))[0][0])

    async def a_crash_of_postgres(self, fault: str) -> bool:
        """Let Postgres throw everybody out, by killing a process of it, while the bank has not answered."""
        crash = "COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'"
        if sys.platform == "win32" and self._opened.source == "embedded":  # which has no such command
            own = "datname = current_database()"
            crash = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {own}"
        thrown_out = False
        async with self._held(fault) as (order, worker):
            if worker is not None:
                witness = await self._opened.target.open(limit=30.0)
                try:
                    await self._connection.execute(crash)
                except Exception as error:
                    if not postgres_is_away(error, self._connection):
                        raise
                    thrown_out = True
                # Until Postgres has noticed, it lets new sessions in, and then throws them out as well.
                deadline = time.monotonic() + PATIENCE
                while not witness.is_closed() and time.monotonic() < deadline:
                    await asyncio.sleep(0.02)
                witness.terminate()
                await self._connect()
        await self._settle([order])
        return thrown_out

    async def two_parcels_packed_at_once(self, fault: str) -> bool:
        """Let a commit take a second, so that the two parcels of an order are packed at the same time."""
        await self._change(_SLOW_PACKING)
        orders = await self.order(fault, 1, items=2)
        await self._settle(orders)
        await self._change(_PACK_QUICKLY)
        return bool((await self.sql("SELECT is_called FROM packs"))[0][0])

    async def a_burst(self, fault: str) -> bool:
        """Let eighty orders come at once, and kill a worker in the midst of them."""
        self._bank.delay, self._bank.most = 0.05, 0
        orders = await self.order(fault, BURST)
        ((deep,),) = await self.sql("SELECT count(*) >= $1 FROM pgqueuer", BURST // 2)
        hurt = await self._until(f"SELECT ({_DONE}) >= {BURST // 4}", PATIENCE, orders)
        most = self._bank.most  # before the kill: the bank goes on with what a killed worker has asked
        if hurt:
            await asyncio.to_thread(self._chance.choice([*self._workers.values()]).kill)
        await self._settle(orders)
        if most > LIMIT:
            what = f"over the limit: {most} calls at once, and the bank takes {LIMIT}"
            self.verdict.wrong.append(Wrong("over", None, what, fault))
        return bool(deep) and (hurt or bool(self.verdict.wrong))

    async def order(
        self, fault: str, count: int, *, items: int = 0, prepare: Callable[[int], object] = lambda order: None
    ) -> list[int]:
        """Let so many orders come, in one statement; each tenth is an urgent one. Return their numbers."""
        first = len(self._orders) + 1
        orders = list(range(first, first + count))
        for order in orders:
            self._orders[order] = fault
            prepare(order)
        sizes = [items or self._chance.randint(1, 3) for _ in orders]
        async with self._connection.transaction():
            rows = "INSERT INTO orders (id, items) SELECT * FROM unnest($1::int[], $2::int[])"
            await self.sql(rows, orders, sizes)
            await Queries(AsyncpgDriver(self._connection)).enqueue(
                ["receive"] * count,
                [str(order).encode() for order in orders],
                [10 * (order % 10 == 0) for order in orders],
            )
        return orders

    @asynccontextmanager
    async def _held(self, fault: str) -> AsyncIterator[tuple[int, Worker | None]]:
        """Let an order come whose call the bank holds until the block ends; yield it, and who called."""
        held: list[Held] = []
        (order,) = await self.order(fault, 1, prepare=lambda order: held.append(self._bank.hold(order)))
        try:
            await held[0].called(TO_CALL)
            yield order, next((one for one in self._workers.values() if one.pid == held[0].pid), None)
        finally:
            held[0].release()

    # Waiting

    async def _settle(self, orders: list[int]) -> None:
        """Wait until these are done, or nothing of them moves any more."""
        before, deadline = None, time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            ((told,),), ((waiting,),) = await self.sql(_DONE, orders), await self.sql(_WAITS, orders)
            if not waiting and before == (told, waiting):
                return
            if before != (told, waiting):
                before, deadline = (told, waiting), time.monotonic() + PATIENCE
            await asyncio.sleep(0.1)

    async def _until(self, condition: str, limit: float, *args: Any) -> bool:
        deadline = time.monotonic() + limit
        while not (await self.sql(condition, *args))[0][0]:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    # The server, and the workers

    async def sql(self, query: str, *args: Any) -> list[tuple[Any, ...]]:
        """Run a query, and return its rows."""
        return [tuple(row) for row in await self._connection.fetch(query, *args)]

    async def _change(self, statements: str) -> None:
        await self._connection.execute(f"SET lock_timeout = '10s'; {statements}")

    @asynccontextmanager
    async def _server(self) -> AsyncIterator[None]:
        lesson = session.database
        source = lesson.source if lesson is not None and lesson.source != "external" else "embedded"
        opening = asyncio.create_task(
            asyncio.to_thread(open_database, source, "capstone", fresh=True, alone=True)
        )
        try:
            self._opened = await asyncio.shield(opening)
        except asyncio.CancelledError:
            (await opening).stop()  # a thread cannot be cancelled
            raise
        try:
            await self._connect()
            await self._connection.execute(SHOP + _TOLD)
            yield
        finally:
            if self._connection is not None:
                self._connection.terminate()
            await asyncio.to_thread(self._opened.stop)

    async def _connect(self) -> None:
        self._connection = await self._opened.target.open(limit=30.0)

    async def _start(self, name: str, *, again: bool = False) -> None:
        options = Options(heartbeat_timeout=HEARTBEAT, dequeue_timeout=0.2, batch_size=2)
        environment = self._opened.target.variables() | {"BANK": str(self._bank.port)}
        with session.looking_at(self._opened.target):
            worker = Worker(name, "capstone", self._service, options, environment)
        self._workers[name] = worker
        deadline = time.monotonic() + TO_START
        while not worker.started.is_set() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        if not again and (worker.problem or not worker.alive):
            last = " ".join(line.text for line in worker.output[-3:])
            raise NoService(worker.problem or f"it ended, with exit code {worker.exit_code}. {last}")

    async def _keep_up(self) -> None:
        """Start another worker for each that has ended, as systemd does."""
        while True:
            for name, worker in list(self._workers.items()):
                if not worker.alive:
                    await self._start(name, again=True)
            await asyncio.sleep(0.1)

    async def _end_workers(self) -> None:
        for worker in self._workers.values():
            await asyncio.to_thread(worker.kill)

    async def _measure(self) -> None:
        rows = await self.sql(
            "SELECT o.id, extract(epoch FROM clock_timestamp() - o.at), extract(epoch FROM min(m.at) - o.at)"
            " FROM orders o JOIN mails m ON m.order_id = o.id GROUP BY o.id"
        )
        now = time.monotonic() - self._began
        self.verdict.latencies = [
            (now - float(ago), float(took), order % 10 == 0) for order, ago, took in rows
        ]


FAULTS: dict[str, Callable[[Run, str], Awaitable[bool]]] = {
    fault: getattr(Run, fault.replace(" ", "_").lower()) for _, faults in LEVELS for fault in faults
}
