"""``spawn()``: start consumers in processes of their own, or say at once why they cannot start."""

from __future__ import annotations

from typing import Literal, Unpack, overload

from kit.consumer import console, factory
from kit.consumer.options import Given, checked, takes_options
from kit.database.other_consumers import consumers_connected, takes_jobs_too
from kit.errors import KitError
from kit.session import session
from kit.threads import happens_within, run_sync
from kit.worker.worker import Worker, Workers, stop_together

MOST = 32  # workers at once: each is a process of some 60 MB, and Postgres has a hundred connections
TO_ANSWER = 3.0  # seconds for Postgres to answer before anything is started
TO_IMPORT = 15.0  # seconds for Python to start and import PGQueuer, on a busy machine

IN_A_FILE = (
    "Another process cannot see what is defined in a notebook, so a worker runs a file. Write `%%writefile "
    "consumer.py` as the first line of the cell that defines main, with the imports and handlers it needs "
    'in the same cell; run that cell, and then: kit.spawn("consumer:main").'
)


@overload
def spawn(  # type: ignore[overload-overlap]
    target: str, *, count: Literal[1] = 1, name: str = ..., **options: Unpack[Given]
) -> Worker: ...
@overload
def spawn(target: str, *, count: int, name: str = ..., **options: Unpack[Given]) -> Workers: ...
@takes_options
def spawn(target: str, *, count: int = 1, name: str = "worker", **options: Unpack[Given]) -> Worker | Workers:
    """Run a consumer in an operating-system process of its own, as ``pgq run consumer:main`` does.

    It returns when the worker runs: entrypoints registered, listening. Calling it again with the same
    ``name`` stops the workers before and takes their place. They end with this process, however it ends.
    Durations are seconds, or a timedelta.

    Args:
        target: ``"module:name"`` of the factory ``pgq run`` takes, in a file beside the notebook or on the
            path. It is read afresh each time.
        count: how many such processes, 32 at most. One is a `Worker`, several are a list of them.
        name: their name: ``worker``; of several, ``worker 1``, ``worker 2``, …
        **options: as in `Options`.

    Raises:
        KitError: a worker could not start, and why. Then none of them runs.
    """
    _check(target, count)
    how = checked("kit.spawn", name, options)
    _replace(name)
    run_sync(_postgres_answers())
    names = [name] if count == 1 else [f"{name} {number}" for number in range(1, count + 1)]
    workers = Workers()
    with console.about_to_show():
        try:
            for each in names:
                worker = Worker(each, name, target, how)
                workers.append(worker)
                session.consumers[each] = worker
            for worker in workers:
                _until_ready(worker, target, how.start_timeout + TO_IMPORT)
        except BaseException:
            workers.kill()
            raise
        finally:
            for worker in workers:
                console.show(worker.unseen())
    session.show(workers)
    run_sync(_report_other_consumers())
    return workers[0] if count == 1 else workers


def _check(target: object, count: object) -> None:
    if not isinstance(target, str):
        raise KitError(f'kit.spawn takes "module:name", not {target!r}. {IN_A_FILE}')
    if factory.parts(target)[0] == "__main__":
        raise KitError(f"{target!r} is in this notebook. {IN_A_FILE}")
    if type(count) is not int or not 1 <= count <= MOST:
        raise KitError(f"count={count!r}: it is how many processes are started, from 1 to {MOST}.")


def _replace(name: str) -> None:
    """Stop the earlier workers, or the consumer, of this name."""
    before = {key: one for key, one in session.consumers.items() if getattr(one, "group", key) == name}
    stop_together(one for one in before.values() if isinstance(one, Worker))
    for key, one in before.items():
        one.stop()
        del session.consumers[key]


async def _postgres_answers() -> None:
    (await session.target().open(limit=TO_ANSWER)).terminate()


async def _report_other_consumers() -> None:
    connection = await session.target().open(limit=TO_ANSWER)
    try:
        _, others = await consumers_connected(connection, session.known_backends())
    finally:
        connection.terminate()
    if others:
        print(takes_jobs_too(others[0]))


def _until_ready(worker: Worker, target: str, limit: float) -> None:
    in_time = happens_within(limit, worker.started)
    if in_time and worker.alive:
        return
    if not in_time:
        raise KitError(f"Worker {worker.name!r} was not ready in {limit:g} s, and was killed.")
    session.consumers.pop(worker.name, None)
    if worker.problem is not None:
        raise KitError(f"{worker.problem} {IN_A_FILE}" if worker.has_no_factory else worker.problem)
    printed = "".join(f"\n  {line.text}" for line in worker.output[-5:])
    last = f" The last it said:{printed}" if printed else ""
    raise KitError(f"The worker for {target!r} ended at once, with exit code {worker.exit_code}.{last}")
