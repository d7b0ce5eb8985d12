"""The capstone: a service of the learner's own is run as three real workers, and hurt.

What is done to it is certain, not random: the bank holds its answer until the fault has come, and each fault
has a witness that no service can prevent. Without its witness nothing is said of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit.errors import KitError
from kit.exercises.capstone.run import SERVICE, SHOP, NoService, Run, write_client
from kit.exercises.capstone.verdict import Verdict
from kit.threads import run_sync

if TYPE_CHECKING:
    import asyncpg

__all__ = ["hurt", "open_shop"]


async def open_shop(connection: asyncpg.Connection) -> None:
    """Make the tables of the shop, and write ``programs/bank.py``: to try a service before it is hurt."""
    write_client()
    await connection.execute(SHOP)


def hurt(seed: int = 1, service: str = SERVICE) -> Verdict:
    """Run a service as three workers on a server of its own, and hurt it; about a minute.

    Args:
        seed: another one has another order of faults, and orders of other sizes; the same repeats them.
        service: ``"module:name"`` of its factory; without it ``programs/service.py``.

    Raises:
        KitError: the service cannot start, or there is no server for it.
    """
    try:
        return run_sync(Run(seed, service).do())
    except NoService as error:
        raise KitError(f"The service cannot start: {error}") from None
