"""One round trip through a cache: what `/readyz` and the front page ask of each alias."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Callable, TypeVar

from django.core.cache import BaseCache

from .aliases import Alias

T = TypeVar("T")

# Seconds that a read may wait for a replica, and the pause between two such reads.
REPLICA_WAIT = 1.0
POLL_INTERVAL = 0.01
# Seconds after which a key would expire by itself, should its deletion fail.
KEY_TIMEOUT = 60
# Seconds for the aliases of cachestack.resilient, all together: a request must not wait for a server that is away.
PROBE_SECONDS = 0.25

OK, DEGRADED, ERROR = "ok", "degraded", "error"


class WrongValueError(Exception):
    """The cache answered, but not with what was stored."""


@dataclass(frozen=True)
class Answer:
    """What an alias did in `ms` milliseconds. `error` is None, or the class of the error: never its text.

    `status` is OK, ERROR, or DEGRADED: its server is away, and a page goes on without it (cachestack.resilient alone).
    """

    alias: Alias
    status: str
    error: str | None
    ms: float


def overall(answers: Sequence[Answer]) -> str:
    """Return the worst status of all."""
    return max((answer.status for answer in answers), key=(OK, DEGRADED, ERROR).index)


def read_until(read: Callable[[], T], want: T, seconds: float) -> T:
    """Read until the value is the wanted one or the seconds are over, at least once. Return the last value read."""
    deadline = time.monotonic() + seconds
    while True:
        got = read()
        if got == want or time.monotonic() >= deadline:
            return got
        time.sleep(POLL_INTERVAL)


def round_trip(cache: BaseCache, wait: float) -> Iterator[None]:
    """Set, get and delete a key of its own, and yield after each. A read waits `wait` seconds for a replica.

    Raises WrongValueError, or whatever the backend raises.
    """
    key = f"cachestack-probe-{uuid.uuid4().hex}"
    cache.set(key, key, KEY_TIMEOUT)
    yield
    got = read_until(lambda: cache.get(key), key, wait)
    yield
    cache.delete(key)
    yield
    if got != key:
        raise WrongValueError(f"{key} was set, but not read back")


def probe_all(aliases: Sequence[Alias]) -> list[Answer]:
    """Do a round trip through each."""
    return [probe(alias, PROBE_SECONDS / len(aliases)) for alias in aliases]


def probe(alias: Alias, seconds: float) -> Answer:
    """Do the round trip. Whatever it raises becomes the answer's `error`, and so does what makes it be given up.

    `seconds`: until it is given up, for an alias of cachestack.resilient.
    """
    start = time.perf_counter()
    status, error = OK, None
    # What was given up; an alias that makes errors misses says it nowhere else.
    given_up: Sequence[Any] = ()
    try:
        cache = alias.connect()
        with _deadline(cache, seconds) as given_up:
            for _ in round_trip(cache, REPLICA_WAIT if alias.reads_from_replicas else 0):
                if given_up:
                    break
    except Exception as failure:
        status, error = ERROR, type(failure).__name__
    if given_up:
        status, error = DEGRADED if given_up[0].away else ERROR, given_up[0].reason
    return Answer(alias, status, error, round((time.perf_counter() - start) * 1000, 1))


def _deadline(cache: BaseCache, seconds: float) -> AbstractContextManager[Sequence[Any]]:
    """Return the deadline of cachestack.resilient for a cache of its own or a subclass; others know none."""
    if any(base.__module__ == "cachestack.resilient.backends" for base in type(cache).__mro__):
        # Not above: it needs redis-py, which not every project has.
        from .resilient import deadline

        return deadline(seconds)
    return nullcontext(())
