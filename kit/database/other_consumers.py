"""Find other programs' consumers of a database's queue. PGQueuer keeps no list of consumers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

# Postgres shows the last statement of each connection, and only a consumer sends these. An idle consumer
# sends one of them at least once a second.
_CONNECTED = r"""
    SELECT pid, application_name, pid = pg_backend_pid() AS mine
    FROM pg_stat_activity
    WHERE pid = pg_backend_pid()
       OR datname = current_database() AND NOT pid = ANY($1::int[])
          AND query ~ ('^\s*(WITH\s+(--[^\n]*\n\s*)?(available|params|job_status|retry|guard) AS'
                       || '|SELECT execute_after - NOW\(\) AS eta|SELECT COUNT\(\*\) AS queued_work'
                       || '|UPDATE \S+ SET heartbeat = NOW\(\))')
"""


@dataclass(frozen=True)
class OtherConsumer:
    """Another program's consumer: the pid of its Postgres process, and its application name."""

    pid: int
    application: str

    def __str__(self) -> str:
        return f"connection {self.pid}" + (f" of {self.application!r}" if self.application else "")


async def consumers_connected(
    connection: Any, known: Collection[int]
) -> tuple[list[int], list[OtherConsumer]]:
    """Return the pids of ``connection`` itself, and the consumers whose pids are not ``known``.

    ``connection`` is anything with asyncpg's ``fetch``, or a driver of PGQueuer's; one with a pool answers
    from one of its connections.
    """
    rows = await connection.fetch(_CONNECTED, list(known))
    mine = [row["pid"] for row in rows if row["mine"]]
    others = [OtherConsumer(row["pid"], row["application_name"]) for row in rows if not row["mine"]]
    return mine, others


def takes_jobs_too(other: OtherConsumer) -> str:
    """Return the message for somebody who starts a consumer beside ``other``."""
    return f"Another consumer is connected to this database ({other}), and takes jobs of this queue too."
