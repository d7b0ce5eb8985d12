"""The factory a learner hands to `kit.run`: finding it, entering it, and saying what is wrong with it."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, suppress

from pgqueuer import PgQueuer, QueueManager, SchedulerManager
from pgqueuer.core.executors import is_async_callable
from pgqueuer.ports.driver import Driver

from kit.errors import KitError
from kit.errors.place import place
from kit.errors.postgres import NO_TABLES, postgres_is_away, sqlstate, tables_are_missing
from kit.errors.text import one_line
from kit.internals import connection_of, loop_of

Manager = PgQueuer | QueueManager | SchedulerManager
Factory = Callable[[], object]

SHAPE = "an `async def` under @asynccontextmanager that ends with `yield pgq`"
NEWER_FORM = (
    "This `main` returns its PgQueuer, as it was written before PGQueuer 1.0. kit.run takes that too; "
    "`pgq run` wants @asynccontextmanager above it and `yield pgq` instead of `return pgq`."
)


class NotThere(KitError):
    """There is no such module, or no such name in it."""


def working_folder() -> str:
    """Return the folder in which this process looks for files.

    Raises:
        KitError: it has been deleted.
    """
    try:
        return os.getcwd()
    except FileNotFoundError as error:
        raise KitError(
            "The folder that this runs in has been deleted. Go to one that is there, such as `%cd ~`."
        ) from error


def parts(name: str) -> tuple[str, str]:
    """Return the module and the name in it that ``"module:name"`` says.

    Raises:
        KitError: it does not say both.
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise KitError(f'{name!r} names no factory. Write "module:name", for example "consumer:main".')
    return module, attribute


def resolve(main: object) -> Factory:
    """Return the factory that ``main`` is or names (``"module:name"``, looked up from the working folder).

    A module that was imported before is imported afresh, so that an edited file counts.

    Raises:
        KitError: there is no such module or name, or it is nothing that can be called.
    """
    if isinstance(main, str):
        return _load(main)
    if isinstance(main, AbstractAsyncContextManager) or inspect.iscoroutine(main):
        if inspect.iscoroutine(main):
            main.close()
        raise KitError(
            "kit.run got what main() returned. Pass the function itself, without ( ): kit.run(main)."
        )
    if isinstance(main, Manager):
        raise KitError(
            f"kit.run got a {type(main).__name__}, whose connection belongs to the notebook. Pass the "
            "function that makes it, so that the consumer has a connection of its own: kit.run(main)."
        )
    if not callable(main):
        raise KitError(f'kit.run takes a function or "module:name", not {main!r}. Pass {SHAPE}.')
    return main


def _load(name: str) -> Factory:
    module_name, attribute = parts(name)
    if (folder := working_folder()) not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        known = sys.modules.get(module_name)
        module = importlib.reload(known) if known is not None else importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise KitError(explain(error, module_name)) from error
        raise NotThere(
            f"There is no module {module_name!r}. Python looked for it in {folder!r}, where this runs."
        ) from error
    except Exception as error:
        raise KitError(explain(error, f"importing {module_name!r}")) from error
    factory = getattr(module, attribute, None)
    if factory is None:
        raise NotThere(f"The module {module_name!r} ({module.__file__}) has no name {attribute!r}.")
    if not callable(factory):
        raise KitError(f"{name!r} is {factory!r}, which cannot be called. Name {SHAPE}.")
    return factory  # type: ignore[no-any-return]


@asynccontextmanager
async def enter(factory: Factory, on_older_form: Callable[[], None]) -> AsyncIterator[Manager]:
    """Call the factory, yield its manager, and clean up after it.

    What the older form, a coroutine that returns the PgQueuer, connected is closed here, because that
    form has no place to do it.

    Raises:
        KitError: it makes nothing that can be run.
    """
    made = factory()
    if isinstance(made, AbstractAsyncContextManager):
        _refuse_what_does_not_yield(made)
        async with made as manager:
            yield _checked(manager, "yield")
    elif inspect.isawaitable(made):
        on_older_form()
        returned = _checked(await made, "return")
        try:
            yield returned
        finally:
            await _close(driver_of(returned))
    elif inspect.isasyncgen(made) or isinstance(made, AbstractContextManager):
        raise KitError(f"main lacks its decorator. Put @asynccontextmanager above it: it is {SHAPE}.")
    else:
        raise KitError(f"main() gave {_describe(made)}. main has to be {SHAPE}.")


def _refuse_what_does_not_yield(made: object) -> None:
    # contextlib's own, whose error speaks of an iterator, and whose coroutine would be awaited by nobody.
    inner = getattr(made, "gen", None)
    if inspect.iscoroutine(inner):
        inner.close()
        raise KitError(
            "main is under @asynccontextmanager, so it has to end with `yield pgq`, and it has no yield. "
            "Write `yield pgq` instead of `return pgq`."
        )
    if inner is not None and not inspect.isasyncgen(inner):
        raise KitError(f"main is not async. Write `async def main()`: it is {SHAPE}.")


def _describe(made: object) -> str:
    return "nothing (None)" if made is None else f"a {type(made).__name__}"


def _checked(manager: object, word: str) -> Manager:
    if not isinstance(manager, Manager):
        raise KitError(
            f"main() gave {_describe(manager)} instead of a PgQueuer. Let it end with `{word} pgq`."
        )
    driver = driver_of(manager)
    owner = loop_of(connection_of(driver))  # or the mistake would break the learner's connection for good
    if owner is not None and owner is not asyncio.get_running_loop():
        raise KitError(
            "main uses a connection that was opened outside of it, and a connection belongs to whoever "
            "opened it. Move `await asyncpg.connect()` into main, so that the consumer has one of its own."
        )
    if (scheduler := scheduler_of(manager)) is not None:
        for key, executor in scheduler.registry.items():
            if not is_async_callable(executor.parameters.func):
                raise KitError(
                    f"The function of the schedule {key.entrypoint!r} is not async. Write `async def`."
                )
    return manager


def queue_of(manager: Manager) -> QueueManager | None:
    """Return the part that runs jobs, if it has one."""
    return (
        manager.qm
        if isinstance(manager, PgQueuer)
        else manager
        if isinstance(manager, QueueManager)
        else None
    )


def scheduler_of(manager: Manager) -> SchedulerManager | None:
    """Return the part that runs schedules, if it has one."""
    if isinstance(manager, PgQueuer):
        return manager.sm
    return manager if isinstance(manager, SchedulerManager) else None


def driver_of(manager: Manager) -> Driver:
    """Return the driver it talks to Postgres with."""
    if isinstance(manager, PgQueuer):
        return manager.connection
    driver: Driver = manager.queries.driver
    return driver


async def _close(driver: Driver) -> None:
    """Close what a driver holds. Drivers leave that to whoever connected."""
    if (connection := connection_of(driver)) is None:
        return
    # A connection that is lost cannot be closed; the loop drops whatever is still open when it ends.
    with suppress(Exception):
        await asyncio.wait_for(connection.close(), timeout=2)


def explain(error: BaseException, what: str = "main()", *, was_ready: bool = False) -> str:
    """Say in plain words why a consumer could not start, or has died, and what to do next."""
    if isinstance(error, KitError):
        return str(error)
    text, line, at = str(error), one_line(error), place(error)
    if "Entrypoint function must be async" in text:
        return (
            f"A handler is not async{at}. Write `async def`, and call what blocks with "
            "`await asyncio.to_thread(...)`."
        )
    if "already in registry" in text:
        name = text.split(" already in registry")[0]
        return f"{name!r} is registered twice{at}. Inside one consumer an entrypoint belongs to one handler."
    if "generator didn't yield" in text:
        return f"main() came to its end without `yield pgq`. main has to be {SHAPE}."
    if tables_are_missing(error):
        return f"{NO_TABLES} ({line})"
    if "another operation is in progress" in text:
        return (
            f"{line}{at}. The consumer's connection was used by somebody else at the same time. "
            "A handler that needs Postgres needs a connection (or a pool) of its own."
        )
    if sqlstate(error) in ("3D000", "28P01", "28000"):
        return f"Postgres answers, but refuses the connection{at}: {line}. Run kit.postgres() first."
    if postgres_is_away(error):
        if was_ready:
            return f"It lost its connection to Postgres{at}: {line}."
        return f"No Postgres could be reached{at}: {line}. Run kit.postgres() first."
    return f"{what} raised {line}{at}."
