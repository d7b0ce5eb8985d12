"""Temporary databases. Their names contain their process, so leftovers of killed ones can be dropped."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kit.database.target import Target

APART = 60  # seconds that two readings of a process's start may differ by, when the clock is set


def name(prefix: str) -> str:
    """Return a name with this machine, this process and the time that it started at."""
    import psutil

    return f"{prefix}_{_host()}_{os.getpid()}_{psutil.Process().create_time():.0f}_{secrets.token_hex(4)}"


def owner_is_dead(prefix: str, database: str) -> bool:
    """Return whether a process of this machine made ``database`` by `name`, and has ended."""
    import psutil

    made = re.fullmatch(rf"\w*?{prefix}_{_host()}_(\d+)_(\d+)_[0-9a-f]{{8}}", database)
    if made is None:
        return False
    try:
        process = psutil.Process(int(made[1]))
        another = abs(process.create_time() - int(made[2])) > APART  # the pid was used again
        return another or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


_UNUSED = """
SELECT datname FROM pg_database WHERE datname LIKE $1 ESCAPE '@' AND pg_has_role(datdba, 'USAGE')
AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE pg_stat_activity.datname = pg_database.datname)
"""


async def drop_what_the_dead_left(target: Target, prefix: str) -> None:
    """Drop the databases whose process has ended; those that cannot be dropped now stay for the next time."""
    from kit.database import creation
    from kit.errors import KitError

    with contextlib.suppress(KitError):
        async with target.connect() as admin:
            for row in await admin.fetch(_UNUSED, f"%{prefix}@_%"):
                if owner_is_dead(prefix, row["datname"]):
                    await creation.drop(admin, row["datname"])


def _host() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"
