"""`Options`: how a consumer runs. Names, defaults, meanings and checks, for `kit.run` and `kit.spawn`."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, TypedDict, TypeVar, get_type_hints

from kit.errors import KitError
from kit.threads import Duration, as_timedelta

Call = TypeVar("Call", bound=Callable[..., Any])


class Given(TypedDict, total=False):
    """The options as a caller gives them."""

    batch_size: int
    dequeue_timeout: Duration
    heartbeat_timeout: Duration
    max_concurrent_tasks: int | None
    restart_on_failure: bool
    start_timeout: Duration


@dataclass(frozen=True)
class Options:
    """How a consumer runs. Durations are given in seconds or as a timedelta, and kept in seconds.

    Args:
        batch_size: how many jobs it picks at once. Take 1 where the order is the point.
        dequeue_timeout: how long it waits for a notification before it looks for jobs anyway.
        heartbeat_timeout: how old a picked job's heartbeat may be before another consumer takes the job.
        max_concurrent_tasks: how many jobs it holds at most; at least twice ``batch_size``. None: no limit.
        restart_on_failure: whether it comes back from a lost connection. A mistake in the code ends it.
        start_timeout: how long ``main`` may take to come to its ``yield``.

    Raises:
        KitError: PGQueuer would refuse it.
    """

    batch_size: int = 10
    dequeue_timeout: float = 0.5
    heartbeat_timeout: float = 10.0
    max_concurrent_tasks: int | None = None
    restart_on_failure: bool = True
    start_timeout: float = 30.0

    def __post_init__(self) -> None:
        for name in Given.__annotations__:
            if name.endswith("_timeout"):
                seconds = as_timedelta(name, getattr(self, name)).total_seconds()
                object.__setattr__(self, name, seconds)
        if type(self.batch_size) is not int or self.batch_size < 1:
            raise KitError(
                f"batch_size={self.batch_size!r}: it is how many jobs are picked at once, 1 or more."
            )
        if self.max_concurrent_tasks and self.max_concurrent_tasks < 2 * self.batch_size:
            raise KitError(
                f"max_concurrent_tasks={self.max_concurrent_tasks!r} is too small: PGQueuer wants at least "
                f"twice the batch_size, here {2 * self.batch_size}."
            )

    def of_pgqueuer(self) -> dict[str, Any]:
        """Return those that `pgqueuer.run` takes."""
        return {
            "batch_size": self.batch_size,
            "dequeue_timeout": timedelta(seconds=self.dequeue_timeout),
            "heartbeat_timeout": timedelta(seconds=self.heartbeat_timeout),
            "max_concurrent_tasks": self.max_concurrent_tasks,
        }


def checked(call: str, name: object, given: Given) -> Options:
    """Return the options that ``call`` was given, for a consumer of that name.

    Raises:
        KitError: there is no such option, PGQueuer would refuse it, or the name is none.
    """
    if not isinstance(name, str) or not name:
        raise KitError(f"name={name!r}: it is a text, for example name='second'.")
    known = [field.name for field in fields(Options)]
    for name in given.keys() - set(known):
        close = difflib.get_close_matches(name, known, n=1)
        meant = f" Did you mean {close[0]}=?" if close else f" It has: {', '.join(known)}."
        raise KitError(f"{call} has no option {name}=.{meant}")
    return Options(**given)  # type: ignore[arg-type]


def takes_options(call: Call) -> Call:
    """Give ``call`` the names, defaults and meanings of its ``**options``, for ``help()`` and completion."""
    own = inspect.signature(call)
    keywords = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
    types = get_type_hints(Given)
    for field in fields(Options):
        keyword = inspect.Parameter.KEYWORD_ONLY
        annotation = types[field.name]
        keywords.append(inspect.Parameter(field.name, keyword, default=field.default, annotation=annotation))
    call.__signature__ = own.replace(parameters=keywords)  # type: ignore[attr-defined]
    meanings = str(Options.__doc__).split("Args:\n")[1].split("\n\n")[0]
    call.__doc__ = str(call.__doc__).replace("        **options: as in `Options`.", meanings)
    return call
