"""What an operation gets: the cache, keys of its own, and expectations that know about replicas."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Mapping
from typing import Callable, TypeVar

from django.core.cache import BaseCache

from ..aliases import Alias
from ..probe import POLL_INTERVAL

T = TypeVar("T")

# Seconds that a read waits once one has waited in vain: a broken replica must not cost the full wait every time.
SHORT_WAIT = 0.25
MISSING = "cachecheck: no such key"


class MismatchError(Exception):
    """The cache answered, but not with the expected value."""

    def __init__(self, want: object, got: object) -> None:
        """Show both, a long one shortened."""
        super().__init__(f"expected {_short(want)}, got {_short(got)}")


class SkipError(Exception):
    """The operation cannot be judged here; the message says why."""


class Context:
    """The cache of one alias, and keys that no other run uses.

    `wait` is how many seconds a read may wait for a replica. With 0 it has one attempt: what was written must be there.
    """

    def __init__(self, alias: Alias, cache: BaseCache, wait: float) -> None:
        """Begin without any key."""
        self.alias = alias
        self.cache = cache
        self.wait = wait
        self.prefix = f"cachecheck-{uuid.uuid4().hex}"
        self.keys: list[str] = []

    @property
    def other_version(self) -> int:
        """A key version that is not the alias's own."""
        return self.cache.version + 1

    def key(self, name: str = "key") -> str:
        """Return a new key. It is deleted when the run ends."""
        key = f"{self.prefix}-{len(self.keys)}-{name}"
        self.keys.append(key)
        return key

    def delete_keys(self) -> None:
        """Delete the keys of this run, and nothing else."""
        if self.keys:
            self.cache.delete_many(self.keys)
            self.cache.delete_many(self.keys, version=self.other_version)

    def expect_value(self, key: str, want: object, version: int | None = None) -> None:
        """Expect that the key has the value. None is a value too."""
        self.expect(lambda: self.cache.get(key, MISSING, version=version), want)

    def expect_missing(self, key: str, version: int | None = None) -> None:
        """Expect that there is no such key."""
        self.expect(lambda: self.cache.get(key, MISSING, version=version), MISSING)

    def equal(self, got: object, want: object) -> None:
        """Raise MismatchError unless they are equal: for what a write returns, which no replica has to do with."""
        if not _same(got, want):
            raise MismatchError(want, got)

    def expect(self, read: Callable[[], object], want: object, *, wait: float | None = None, times: int = 1) -> None:
        """Read until the wanted value came `times` times in a row. Raise MismatchError if the wait is over before."""
        deadline = time.monotonic() + (self.wait if wait is None else wait)
        hits = 0
        while hits < times:
            got = read()
            if _same(got, want):
                hits += 1
                continue
            if self._is_over(deadline):
                raise MismatchError(want, got)
            hits = 0
            time.sleep(POLL_INTERVAL)

    def retry(self, call: Callable[[], T], lag: type[Exception]) -> T:
        """Return what the call returns, again and again while it raises `lag`: a replica does not have the key yet."""
        deadline = time.monotonic() + self.wait
        while True:
            try:
                return call()
            except lag:
                if self._is_over(deadline):
                    raise
            time.sleep(POLL_INTERVAL)

    async def aexpect(self, read: Callable[[], Awaitable[object]], want: object) -> None:
        """Do as `expect`, with a read that is awaited."""
        deadline = time.monotonic() + self.wait
        while not _same(got := await read(), want):
            if self._is_over(deadline):
                raise MismatchError(want, got)
            await asyncio.sleep(POLL_INTERVAL)

    async def aretry(self, call: Callable[[], Awaitable[T]], lag: type[Exception]) -> T:
        """Do as `retry`, with a call that is awaited."""
        deadline = time.monotonic() + self.wait
        while True:
            try:
                return await call()
            except lag:
                if self._is_over(deadline):
                    raise
            await asyncio.sleep(POLL_INTERVAL)

    def _is_over(self, deadline: float) -> bool:
        if time.monotonic() < deadline:
            return False
        self.wait = min(self.wait, SHORT_WAIT)
        return True


def _same(got: object, want: object) -> bool:
    """Compare with the type, as -5.0 is not the -5 that was stored; but any mapping may stand for a mapping."""
    return got == want and (type(got) is type(want) or isinstance(want, Mapping))


def _short(value: object, length: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}... ({len(text)} characters)"
