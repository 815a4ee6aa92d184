"""The servers that Sentinels watch.

https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

from __future__ import annotations

from typing import Any

import redis
from django.core.exceptions import ImproperlyConfigured
from redis.sentinel import MasterNotFoundError, Sentinel

from ..entries import place
from .errors import NotSentError
from .options import Options
from .servers import Server, no_retry
from .topology import Replicated, nobody, pool_for, role_of


class Sentinelled(Replicated):
    """A leader and its replicas, as the Sentinels know them now."""

    def __init__(self, options: Options) -> None:
        self._service = options.servers[0].host
        # redis-py gives it no types.
        sentinel: Any = Sentinel
        self._sentinel = sentinel(options.sentinels, sentinel_kwargs={**options.sentinel_kwargs, "retry": no_retry()})
        # By address and role: what is known of a leader says nothing of what it is as a replica.
        self._known: dict[tuple[str, int, bool], Server] = {}
        super().__init__(options)

    def _first_servers(self) -> list[Server]:
        # Until a Sentinel has named the leader, which the first operation waits for.
        reason = MasterNotFoundError(f"no Sentinel names a leader of {self._service}")
        return [nobody(self.options.servers[0].name, reason, self)]

    @property
    def _is_watched(self) -> bool:
        return True

    def look(self) -> bool:
        """Ask the Sentinels who leads, then look at the replicas."""
        before = self.leader
        if self._is_in_trouble():
            # The one that was asked last may be the one that does not know.
            self._sentinel.sentinels.append(self._sentinel.sentinels.pop(0))
        self._has_learnt(self.discover)
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
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # redis-py takes the answers for what they should be.
            raise NotSentError("a Sentinel answers like none") from error
        leader = self._server(address, leads=True)
        role = role_of(leader)
        if role is not None and role[0] != "leader":
            raise NotSentError(f"a Sentinel names {leader.name}, which follows another server")
        self.replicas = [self._server(other, leads=False) for other in replicas if other != address]
        if leader is not self.leader:
            self._offsets.clear()
            self.leader = leader
        self._known = {key: server for key, server in self._known.items() if server in self.servers()}

    def _server(self, address: tuple[str, int], *, leads: bool) -> Server:
        host, port = address[0], int(address[1])
        if (host, port, leads) not in self._known:
            self._known[host, port, leads] = Server(place(host, port), pool_for(host, port, self.options))
        return self._known[host, port, leads]
