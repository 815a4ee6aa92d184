"""One round trip through a cache: what `/readyz` and the front page ask of each alias."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Callable, TypeVar

from .aliases import Alias

T = TypeVar("T")

# Seconds that a read may wait for a replica, and the pause between two such reads.
REPLICA_WAIT = 1.0
POLL_INTERVAL = 0.01
# Seconds after which a key would expire by itself, should its deletion fail.
KEY_TIMEOUT = 60


class WrongValueError(Exception):
    """The cache answered, but not with what was stored."""


@dataclass(frozen=True)
class Answer:
    """What an alias did in `ms` milliseconds. `error` is None, or the class of the error: never its text."""

    alias: Alias
    error: str | None
    ms: float


def read_until(read: Callable[[], T], want: T, seconds: float) -> T:
    """Read until the value is the wanted one or the seconds are over, at least once. Return the last value read."""
    deadline = time.monotonic() + seconds
    while True:
        got = read()
        if got == want or time.monotonic() >= deadline:
            return got
        time.sleep(POLL_INTERVAL)


def round_trip(alias: Alias) -> None:
    """Set, get and delete a key of its own. Raise WrongValueError, or whatever the backend raises."""
    cache = alias.connect()
    key = f"cachestack-probe-{uuid.uuid4().hex}"
    wait = REPLICA_WAIT if alias.reads_from_replicas else 0
    cache.set(key, key, KEY_TIMEOUT)
    got = read_until(lambda: cache.get(key), key, wait)
    cache.delete(key)
    if got != key:
        raise WrongValueError(f"{key} was set, but not read back")


def probe(alias: Alias) -> Answer:
    """Do the round trip. Whatever it raises becomes the answer's `error`."""
    start = time.perf_counter()
    try:
        round_trip(alias)
    except Exception as error:
        failure: str | None = type(error).__name__
    else:
        failure = None
    return Answer(alias, failure, round((time.perf_counter() - start) * 1000, 1))
