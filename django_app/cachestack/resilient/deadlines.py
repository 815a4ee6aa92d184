"""A limit to the time that a piece of a program spends on its caches, and what was given up in it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple


class GivenUp(NamedTuple):
    """An operation that was given up.

    `reason` is the class of the error. `away`: the server is away or takes no writes now, which may pass by itself, as
    a wrong password does not.
    """

    alias: str
    reason: str
    away: bool


@dataclass
class _Deadline:
    until: float = math.inf
    given_up: list[GivenUp] = field(default_factory=list)


# That of this thread or task; None where there is none.
_current: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[list[GivenUp]]:
    """Give up the cache operations inside once so many seconds are over, all together, unless their alias does before.

    Of a deadline in another one the earlier counts. Yields a list of what was given up inside, whether that raised an
    error or not. It holds for this thread or task, with what it awaits, and for no thread that it starts. Each try
    runs in a thread of its own, so that nothing that hangs can hold up the caller.
    """
    outer = _current.get()
    inner = _Deadline(min(time.monotonic() + seconds, ends_at()))
    token = _current.set(inner)
    try:
        yield inner.given_up
    finally:
        _current.reset(token)
        if outer is not None:
            outer.given_up.extend(inner.given_up)


def ends_at() -> float:
    """Return when the deadline of this thread or task is over (time.monotonic), infinity if there is none."""
    current = _current.get()
    return math.inf if current is None else current.until


def note(given_up: GivenUp) -> None:
    """Tell who has set a deadline, if somebody has."""
    current = _current.get()
    if current is not None:
        current.given_up.append(given_up)
