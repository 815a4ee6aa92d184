"""The cache backends: Django's own RedisCache with a client that outlives failures.

https://docs.djangoproject.com/en/stable/topics/cache/#redis
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, ClassVar, cast

from asgiref.sync import sync_to_async
from django.core.cache.backends.base import DEFAULT_TIMEOUT, MEMCACHE_MAX_KEY_LENGTH, BaseCache
from django.core.cache.backends.redis import RedisCache as DjangoRedisCache
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import cached_property

from .client import DEGRADED, MISSING, READ_LEADER, Client
from .lock import Lock
from .registry import shared_client

# What no memcached takes in a key, as in Django's memcache_key_warnings.
_UNPORTABLE = re.compile(r"[\x00-\x20\x7f]")
# Seconds between two looks at a lock that somebody else holds.
LOCK_POLL = 0.05


class RedisCache(DjangoRedisCache):
    """One server, or a leader and its replicas: LOCATION is a URL, or a list with the leader first."""

    kind: ClassVar[str] = "server"

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        self._entry = server, params
        # Django's own system checks make every cache object and end at an exception: what is wrong with the entry is
        # told by ours (cachestack.E001), and by the first operation.
        with suppress(ImproperlyConfigured):
            self._client = shared_client(self.kind, server, params)
        super().__init__(server, params if "_client" in self.__dict__ else {})
        self._validates_otherwise = type(self).validate_key is not BaseCache.validate_key

    @cached_property
    def _client(self) -> Client:
        """Return what all cache objects of this entry share. Raise ImproperlyConfigured if the entry is wrong."""
        return shared_client(self.kind, *self._entry)

    @property
    def _cache(self) -> Any:
        # What Django's methods ask.
        return self._client

    def make_and_validate_key(self, key: Any, version: int | None = None) -> str:
        """Return the complete key, after the warnings that Django gives."""
        complete = self.make_key(key, version=version)
        # Django looks at one character after the other, which takes longer than all the rest.
        if self._validates_otherwise or len(complete) > MEMCACHE_MAX_KEY_LENGTH or _UNPORTABLE.search(complete):
            self.validate_key(complete)
        return complete

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Add to a whole number and return the sum. Raise ValueError if there is no such key.

        It is sent once. Where it is given up, the sum is that of a counter that begins now (`on_error` 'miss').
        """
        return self._client.incr(self.make_and_validate_key(key, version=version), delta)

    def incr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Move the value to another version and return that. Raise ValueError if there is no such key."""
        if version is None:
            version = self.version
        value = self._client.look_up(self.make_and_validate_key(key, version=version), READ_LEADER)
        if value is MISSING and not self._client.is_degraded:
            raise ValueError(f"Key '{key}' not found")
        if value is not DEGRADED and value is not MISSING:
            self.set(key, value, version=version + delta)
            self.delete(key, version=version)
        return version + delta

    def get_or_set(self, key: Any, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> Any:
        """Return the value. If there is none, store the default, which may be callable, and return what is there."""
        value = self.get(key, MISSING, version=version)
        if value is MISSING:
            default = default() if callable(default) else default
            added = self.add(key, default, timeout=timeout, version=version)
            # Somebody else may have been faster.
            value = self.get(key, MISSING, version=version)
            if value is MISSING:
                if not added:
                    # What is there cannot be read, and has to make room.
                    self.set(key, default, timeout=timeout, version=version)
                return default
        return value

    def set_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[Any]:
        """Store the values. Return the keys that were not stored."""
        keys, values = {}, {}
        for key, value in data.items():
            complete = self.make_and_validate_key(key, version=version)
            keys[complete], values[complete] = key, value
        failed = self._client.set_many(values, cast("int | None", self.get_backend_timeout(timeout)))
        return [keys[complete] for complete in failed]

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """Delete the keys."""
        self._client.delete_many([self.make_and_validate_key(key, version=version) for key in keys])

    def ttl(self, key: Any, version: int | None = None) -> int | None:
        """Return the seconds that the key has left, rounded up; None for ever, 0 if there is no such key."""
        return self._client.ttl(self.make_and_validate_key(key, version=version))

    @contextmanager
    def lock(
        self, key: Any, timeout: float, version: int | None = None, *, wait: float | None = None
    ) -> Iterator[bool]:
        """Let one process at a time in, so that one alone computes what many want; yield whether that is so.

        The lock ends by itself `timeout` seconds after it was taken. `wait` is how long to wait for another holder,
        in seconds, by default as long as it can hold it. Where no server could be asked everybody is let in, since
        computing twice is better than not at all (`on_error` 'miss').
        """
        lock = Lock(self._client, self.make_and_validate_key(f"{key}:lock", version=version), timeout, wait)
        while lock.shall_wait():
            time.sleep(LOCK_POLL)
        try:
            yield lock.is_ours
        finally:
            lock.release()

    @asynccontextmanager
    async def alock(
        self, key: Any, timeout: float, version: int | None = None, *, wait: float | None = None
    ) -> AsyncIterator[bool]:
        """Do as lock."""
        lock = Lock(self._client, self.make_and_validate_key(f"{key}:lock", version=version), timeout, wait)
        while await sync_to_async(lock.shall_wait)():
            await asyncio.sleep(LOCK_POLL)
        try:
            yield lock.is_ours
        finally:
            await sync_to_async(lock.release)()

    # Django's own of these take one key after another, and before 6.1 other ways than their synchronous twins.

    async def aget_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Do as get_many."""
        return await sync_to_async(self.get_many)(keys, version)

    async def aset_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[Any]:
        """Do as set_many."""
        return await sync_to_async(self.set_many)(data, timeout, version)

    async def adelete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """Do as delete_many."""
        await sync_to_async(self.delete_many)(keys, version)

    async def aget_or_set(
        self, key: Any, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Any:
        """Do as get_or_set."""
        return await sync_to_async(self.get_or_set)(key, default, timeout, version)

    async def ahas_key(self, key: Any, version: int | None = None) -> bool:
        """Do as has_key."""
        return await sync_to_async(self.has_key)(key, version)

    async def aincr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Do as incr."""
        return await sync_to_async(self.incr)(key, delta, version)

    async def adecr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Do as decr."""
        return await sync_to_async(self.incr)(key, -delta, version)

    async def aincr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Do as incr_version."""
        return await sync_to_async(self.incr_version)(key, delta, version)

    async def adecr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Do as decr_version."""
        return await sync_to_async(self.incr_version)(key, -delta, version)

    async def attl(self, key: Any, version: int | None = None) -> int | None:
        """Do as ttl."""
        return await sync_to_async(self.ttl)(key, version)


class SentinelRedisCache(RedisCache):
    """The servers that Sentinels watch: LOCATION is redis:// and the service's name, OPTIONS has the sentinels."""

    kind = "sentinel"


class ClusterRedisCache(RedisCache):
    """A Redis Cluster: LOCATION is a list of some of its nodes."""

    kind = "cluster"
