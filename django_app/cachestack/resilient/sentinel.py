"""The servers that Sentinels watch.

https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

from __future__ import annotations

import random
from collections import deque
from contextlib import suppress
from typing import Any

import redis
from django.core.exceptions import ImproperlyConfigured
from redis.sentinel import Sentinel

from .errors import REDIS_ERRORS
from .options import Options
from .servers import Server, no_retry
from .topology import OFFSETS, Once, Replicated, Topology, nobody, pool_for


class Sentinelled(Replicated):
    """A leader and its replicas, as the Sentinels know them now."""

    def __init__(self, options: Options) -> None:
        Topology.__init__(self, options)
        self._service = options.servers[0].host
        # redis-py gives it no types.
        sentinel: Any = Sentinel
        self._sentinel = sentinel(options.sentinels, sentinel_kwargs={**options.sentinel_kwargs, "retry": no_retry()})
        self._known: dict[tuple[str, int], Server] = {}
        self._offsets = deque(maxlen=OFFSETS)
        self._next_replica = random.randrange(1000)
        # Until a Sentinel has named the leader.
        self.leader = nobody(options.servers[0].name, f"no Sentinel names a leader of {self._service}")
        self.replicas = []
        self._first = Once(self.discover)

    def choose(self, key: str, *, write: bool, leader: bool = False) -> Server:
        """Return as Replicated does. The first call of a process asks the Sentinels itself."""
        self._first()
        self.tick()
        return super().choose(key, write=write, leader=leader)

    def look(self) -> bool:
        """Ask the Sentinels who leads, then look at the replicas."""
        before = self.leader
        with suppress(*REDIS_ERRORS, ImproperlyConfigured):
            self.discover()
        return super().look() or self.leader is not before

    def discover(self) -> None:
        """Ask the Sentinels. Raise ImproperlyConfigured if one is none, one of REDIS_ERRORS if none names a leader."""
        try:
            address = self._sentinel.discover_master(self._service)
            replicas = self._sentinel.discover_slaves(self._service) if self.options.read_from == "replicas" else []
        except redis.ResponseError as error:
            if "unknown command" in str(error).lower():
                raise ImproperlyConfigured(
                    f"CACHES[{self.options.alias!r}]: OPTIONS['sentinels'] has a Redis server that is no Sentinel; "
                    f"write the Sentinels' addresses, whose port is mostly 26379"
                ) from error
            raise
        self.replicas = [self._server(host, port) for host, port in replicas if (host, port) != tuple(address)]
        leader = self._server(*address)
        if leader is not self.leader:
            self._offsets.clear()
            self.leader = leader

    def after_fork(self) -> None:
        """Do as Topology, and forget the lock of the first discovery."""
        super().after_fork()
        self._first.after_fork()

    def _server(self, host: str, port: int) -> Server:
        address = (host, int(port))
        if address not in self._known:
            self._known[address] = Server(f"{host}:{port}", pool_for(host, int(port), self.options))
        return self._known[address]
