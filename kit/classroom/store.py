"""The one table behind a class: an event a row, each once, in the order in which they arrived."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kit.database.target import Target

if TYPE_CHECKING:
    import asyncpg

DATABASE = "classroom"
JOINED = "joined"  # in place of an event's id: the learner's name and key
TABLE = """
CREATE TABLE IF NOT EXISTS class_events (
    class text, learner text, id text, number bigint GENERATED ALWAYS AS IDENTITY, event jsonb NOT NULL,
    PRIMARY KEY (class, learner, id));
CREATE INDEX IF NOT EXISTS class_events_number ON class_events (class, number)
"""
# So that numbers are given in the order in which they can be seen; `Store.after` would miss one otherwise.
ALONE = "LOCK TABLE class_events IN SHARE ROW EXCLUSIVE MODE"
ADD = f"""
INSERT INTO class_events (class, learner, id, event)
SELECT $1, learner, id, event FROM unnest($2::text[], $3::text[], $4::jsonb[])
WITH ORDINALITY AS given (learner, id, event, place) ORDER BY place
ON CONFLICT (class, learner, id) DO UPDATE SET event = excluded.event, number = DEFAULT
    WHERE class_events.id = '{JOINED}' AND class_events.event <> excluded.event
RETURNING learner, id
"""
AFTER = (
    "SELECT number, learner, id, event::text FROM class_events WHERE class = $1 AND number > $2 ORDER BY 1"
)

Row = tuple[str, str, str]  # learner, id of the event, the event as JSON


class Store:
    """The events of one class, by one connection, which is opened again when it was lost."""

    def __init__(self, target: Target, name: str) -> None:
        self._target = target
        self._name = name
        self._opened: asyncpg.Connection | None = None
        self._one = asyncio.Lock()
        self._waiting: list[tuple[Sequence[Row], asyncio.Future[int]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, rows: Sequence[Row]) -> int:
        """Store events, and return how many were new. It returns when they are in the table.

        Raises:
            Unreachable: Postgres does not answer.
        """
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        return await done

    async def _write(self) -> None:
        """Write all that waits in one transaction, until nothing waits."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            once: dict[tuple[str, str], Row] = {}
            for rows, _ in batch:
                for row in rows:
                    once.setdefault(row[:2], row)
            try:
                new = await self._fetch(ADD, *map(list, zip(*once.values(), strict=True)))
            except Exception as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            else:
                added = {(row["learner"], row["id"]) for row in new}
                for rows_of_one, done in batch:
                    mine = {row[:2] for row in rows_of_one} & added
                    added -= mine
                    if not done.done():
                        done.set_result(len(mine))

    async def after(self, number: int) -> list[Any]:
        """Return the rows after this number: number, learner, id and event.

        Raises:
            Unreachable: Postgres does not answer.
        """
        return list(await self._fetch(AFTER, number))

    async def _fetch(self, statement: str, *arguments: Any) -> list[Any]:
        async with self._one:
            if self._opened is None or self._opened.is_closed():
                self._opened = await self._target.open()
                async with self._target.answering(self._opened):
                    await self._opened.execute(TABLE)
            async with self._target.answering(self._opened), self._opened.transaction():
                if statement is ADD:
                    await self._opened.execute(ALONE)
                return list(await self._opened.fetch(statement, self._name, *arguments))

    async def close(self) -> None:
        """Close the connection."""
        if self._opened is not None:
            self._opened.terminate()
