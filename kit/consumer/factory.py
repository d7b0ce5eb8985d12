"""The factory that a learner passes to `kit.run`: find it, enter it, and explain what is wrong with it."""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import os
import re
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from types import CodeType
from typing import Any

import asyncpg
from pgqueuer import PgQueuer, QueueManager, SchedulerManager
from pgqueuer.core.executors import is_async_callable
from pgqueuer.ports.driver import Driver
from pgqueuer.types import QueueExecutionMode

from kit.errors import KitError
from kit.errors.hints import hint, wrong_connection
from kit.errors.place import place
from kit.errors.postgres import NO_TABLES, postgres_is_away, sqlstate, tables_are_missing
from kit.errors.text import one_line
from kit.internals import connection_of, gathered_by, loop_of
from kit.session import session

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
    """Return the module and the name of ``"module:name"``.

    Raises:
        KitError: one of the two is missing.
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
        main = _load(main)
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
    _refuse_what_takes_arguments(main)
    return main


def _refuse_what_takes_arguments(main: Factory) -> None:
    with suppress(TypeError, ValueError):  # it has no signature
        given = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        needed = [
            each
            for each in inspect.signature(main).parameters.values()
            if each.default is each.empty and each.kind not in given
        ]
        name, names = getattr(main, "__name__", "main"), ", ".join(each.name for each in needed)
        if names.startswith(("job", "schedule")):
            raise KitError(f"{name}({names}) is a handler. Pass the main that registers it: {SHAPE}.")
        if needed:
            raise KitError(
                f"{name}({names}) takes arguments, and is called without. Hand them over in a function that "
                f"takes none, such as `lambda: {name}(…)`, or give them defaults."
            )


def _load(name: str) -> object:
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
    if not hasattr(module, attribute):
        raise NotThere(f"The module {module_name!r} ({module.__file__}) has no name {attribute!r}.")
    return getattr(module, attribute)


@asynccontextmanager
async def enter(factory: Factory, advise: Callable[[str], None]) -> AsyncIterator[Manager]:
    """Call the factory, yield its manager, and clean up after it.

    The older form, a coroutine that returns the PgQueuer, has no place to close its connection, so it is
    closed here.

    Args:
        advise: called with advice on what works, but is better written in another way.

    Raises:
        KitError: the factory makes nothing that can be run.
    """
    made = factory()
    if isinstance(made, AbstractAsyncContextManager):
        _refuse_what_does_not_yield(made)
        async with AsyncExitStack() as stack:
            async with _refuse_own_run(made):
                manager = await stack.enter_async_context(made)
            checked = _checked(manager, "yield")
            for wrong in _misplaced_handlers(factory):
                advise(wrong)
            yield checked
    elif inspect.isawaitable(made):
        async with _refuse_own_run(made):
            manager = await made
        returned = _checked(manager, "return")
        for advice in (NEWER_FORM, *_misplaced_handlers(factory)):
            advise(advice)
        try:
            yield returned
        finally:
            await _close(driver_of(returned))
    elif inspect.isasyncgen(made) or isinstance(made, AbstractContextManager):
        raise KitError(f"main lacks its decorator. Put @asynccontextmanager above it: it is {SHAPE}.")
    else:
        raise KitError(f"main() gave {_describe(made)}. main has to be {SHAPE}.")


_RUNS = {kind.run.__code__ for kind in (PgQueuer, QueueManager, SchedulerManager)}


@asynccontextmanager
async def _refuse_own_run(made: object) -> AsyncIterator[None]:
    """Refuse a main that awaits a manager's ``run()``, which would never return.

    The run is asked to stop and not cancelled, so a job that it may have picked is not lost.
    """
    runs: list[Any] = []
    entering = asyncio.current_task()

    async def stop_runs() -> None:
        while not runs:
            await asyncio.sleep(0.01)
            runs.extend(
                each
                for each in (*_awaited_by(made), *(task.get_coro() for task in gathered_by(entering)))
                if getattr(each, "cr_code", None) in _RUNS
                and each.cr_frame is not None
                and each.cr_frame.f_locals.get("mode") is not QueueExecutionMode.drain
            )
        for each in runs:
            each.cr_frame.f_locals["self"].shutdown.set()

    stopping = asyncio.create_task(stop_runs())
    try:
        yield
    except Exception:
        if not runs:
            raise
    finally:
        stopping.cancel()
    if runs:
        raise KitError(
            "main() runs its PgQueuer itself, with `await pgq.run()` or the like. main only makes it, and "
            f"kit.run runs it, as `pgq run` does: it is {SHAPE}, in place of the line that runs it."
        )


def _awaited_by(made: object) -> Iterator[Any]:
    """Yield main's coroutine or generator, the coroutine it awaits, and so on."""
    each: Any = getattr(made, "gen", made)
    while each is not None:
        yield each
        each = getattr(each, "cr_await", getattr(each, "ag_await", None))


def _refuse_what_does_not_yield(made: object) -> None:
    # contextlib's own error speaks of an iterator, and nobody would await the coroutine.
    inner = getattr(made, "gen", None)
    if inspect.iscoroutine(inner):
        inner.close()
        mend = "Write `yield pgq` instead of `return pgq`."
        for each in inner.cr_code.co_consts:
            if isinstance(each, CodeType) and each.co_flags & inspect.CO_ASYNC_GENERATOR:
                mend = f"The one in {each.co_name} is indented too far."
        raise KitError(
            "main is under @asynccontextmanager, so it has to end with `yield pgq`, and it has no yield. "
            + mend
        )
    if inner is not None and not inspect.isasyncgen(inner):
        raise KitError(f"main is not async. Write `async def main()`: it is {SHAPE}.")


def _describe(made: object) -> str:
    name = type(made).__name__
    return "nothing (None)" if made is None else f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _checked(manager: object, word: str) -> Manager:
    if not isinstance(manager, Manager):
        raise KitError(
            f"main() gave {_describe(manager)} instead of a PgQueuer. Let it end with `{word} pgq`."
        )
    kind = type(manager).__name__
    if isinstance(manager, PgQueuer):
        if not hasattr(manager.connection, "notify"):
            given = _describe(manager.connection)
            raise KitError(
                f"PgQueuer takes a driver, not {given}: write PgQueuer(AsyncpgDriver(connection))."
            )
    elif not hasattr(manager.queries, "driver"):  # as it was before PGQueuer 1.0
        raise KitError(
            f"{kind} takes Queries, not {_describe(manager.queries)}: write {kind}(Queries(driver))."
        )
    driver = driver_of(manager)
    if (wrong := wrong_connection(driver)) is not None:
        raise KitError(wrong)
    held = connection_of(driver)  # checked now: using it wrongly would break the learner's connection
    if _is_closed(held):
        raise KitError(
            "main() gave a PgQueuer whose connection is closed, as `async with` closes it at its end. Write "
            "`yield pgq` inside of that block, and @asynccontextmanager above main."
        )
    owner = loop_of(held)
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


def _is_closed(held: Any) -> bool:
    asked = getattr(held, "is_closed", getattr(held, "is_closing", None))  # asyncpg's; psycopg's is `closed`
    try:
        return bool(asked() if asked is not None else getattr(held, "closed", False))
    except asyncpg.InterfaceError:  # it is back in its pool
        return True


def _misplaced_handlers(factory: Factory) -> Iterator[str]:
    """Yield what is wrong with handlers in a factory's code that PGQueuer does not get to know."""
    try:
        (main,) = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(factory)))).body
    except Exception:  # its source is gone, or is more than a function: no advice
        return
    given = [each for each in ast.walk(main) if isinstance(each, ast.Yield | ast.Return)]
    names = {each.value.id: each.lineno for each in given if isinstance(each.value, ast.Name)}
    handlers = [each for each in ast.walk(main) if isinstance(each, ast.AsyncFunctionDef)]
    for handler, decorator in [(each, one) for each in handlers for one in each.decorator_list]:
        function = decorator.func if isinstance(decorator, ast.Call) else decorator
        match function:
            case ast.Attribute(ast.Name(pgq), "entrypoint" | "schedule" as kind) if pgq in names:
                if function is decorator:
                    yield f'@{pgq}.{kind} above {handler.name} needs a name: @{pgq}.{kind}("{handler.name}").'
                elif handler.lineno > names[pgq]:
                    yield (
                        f"{handler.name} stands below `yield {pgq}`, where main goes on when the consumer is "
                        "stopped. Put it above."
                    )


def queue_of(manager: Manager) -> QueueManager | None:
    """Return the part that runs jobs, if it has one."""
    if isinstance(manager, PgQueuer):
        return manager.qm
    return manager if isinstance(manager, QueueManager) else None


def scheduler_of(manager: Manager) -> SchedulerManager | None:
    """Return the part that runs schedules, if it has one."""
    if isinstance(manager, PgQueuer):
        return manager.sm
    return manager if isinstance(manager, SchedulerManager) else None


def driver_of(manager: Manager) -> Driver:
    """Return the driver that it uses to talk to Postgres."""
    if isinstance(manager, PgQueuer):
        return manager.connection
    driver: Driver = manager.queries.driver
    return driver


async def _close(driver: Driver) -> None:
    """Close a driver's connection. Drivers leave that to whoever made it."""
    if (connection := connection_of(driver)) is None:
        return
    # A connection that is lost cannot be closed; the loop drops whatever is still open when it ends.
    with suppress(Exception):
        await asyncio.wait_for(connection.close(), timeout=2)


def explain(error: BaseException, what: str = "main()", *, was_ready: bool = False) -> str:
    """Return in plain words why a consumer could not start, or has died, and the next step."""
    if isinstance(error, KitError):
        return str(error)
    line, at = one_line(error), place(error)
    for pattern, text in _EXPLANATIONS.items():
        if found := re.search(pattern, line):
            return text.format(at=at, line=line, **found.groupdict())
    if tables_are_missing(error) and sqlstate(error) != "42703":  # a column: of a query of main's own
        return f"{NO_TABLES} ({line})"
    if sqlstate(error) in ("3D000", "28P01", "28000"):
        return f"Postgres answers, but refuses the connection{at}: {line}. {_the_kits_own(line)}"
    if postgres_is_away(error):
        if was_ready:
            return f"It lost its connection to Postgres{at}: {line}."
        return f"No Postgres could be reached{at}: {line}. {_the_kits_own(line)}"
    helps = hint(error)
    return f"{what} raised {line}{at}." + (f" {helps}" if helps is not None else "")


# Explanations of errors whose own message is about something else, or gives no next step.
_EXPLANATIONS = {
    "Entrypoint function must be async": (
        "A handler is not async{at}, or has a `yield` in it. Write `async def`, and call what blocks with "
        "`await asyncio.to_thread(...)`."
    ),
    "Error: (?P<name>.+) already in registry": (
        "{name!r} is registered twice{at}. Inside one consumer an entrypoint belongs to one handler."
    ),
    "generator didn't yield": f"main() came to its end without `yield pgq`. main has to be {SHAPE}.",
    "another operation is in progress": (
        "{line}{at}. The consumer's connection was used by somebody else at the same time. "
        "A handler that needs Postgres needs a connection (or a pool) of its own."
    ),
    "FailingListenerError": (
        "Postgres answers, but no notification of it arrives: what stands between, such as PgBouncer, may "
        "not let LISTEN through."
    ),
}


def _the_kits_own(line: str) -> str:
    """Return advice where to connect, instead of the place that the error message ``line`` names."""
    with suppress(KitError):
        target = session.target()
        if not ({target.name, target.where.rpartition(":")[2]} <= set(re.findall(r"\w+", line))):
            return (
                f"The Postgres of kit.postgres() is the database {target.name!r} on {target.where}: "
                "asyncpg.connect() without an address leads there."
            )
    return "Run kit.postgres() first."
