"""The nodes of a Redis Cluster.

https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import redis
from django.core.exceptions import ImproperlyConfigured
from redis.crc import key_slot

from ..entries import place
from .errors import REDIS_ERRORS, NotSentError
from .options import Options
from .servers import Server, describe
from .topology import Topology, nobody, pool_for


class Clustered(Topology):
    """The nodes of a Redis Cluster: each key has a slot, each slot a primary, which may have replicas.

    redis-py's RedisCluster is not used: it repeats what may have been done already, looks for nodes that hang while the
    caller waits, and knows no node that has no slots yet, to which a slot is just being moved.
    """

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._nobody = nobody("cluster", redis.ConnectionError("no node tells who has the key's slot"), self)
        self._known: dict[tuple[str, int, bool], Server] = {}
        # For each slot its primary, then its replicas.
        self._slots: dict[int, list[Server]] = {}
        self._redirected = False

    def servers(self) -> list[Server]:
        """Return the nodes, and what stands for the slots that none has."""
        return [self._nobody, *list(self._known.values())]

    def primaries(self) -> dict[str, str]:
        """Return the nodes that take writes: the name of each, and a key that is in one of its slots."""
        slots: dict[str, int] = {}
        for slot, servers in list(self._slots.items()):
            slots.setdefault(servers[0].name, slot)
        return {name: _key_in(slot) for name, slot in slots.items()}

    def choose(self, key: str, *, write: bool, leader: bool = False) -> Server:
        """Return the primary of the key's slot, or for a read the next of its replicas that is there."""
        servers = self._slots.get(key_slot(key.encode()))
        if servers is None:
            return self._nobody
        if not (write or leader) and self.reads_replicas:
            return self._next_of(servers[1:]) or servers[0]
        return servers[0]

    def group(self, keys: list[str], write: bool) -> list[list[str]]:
        """Return the keys by the node that is asked."""
        groups: dict[str, list[str]] = {}
        for key in keys:
            groups.setdefault(self.choose(key, write=write).name, []).append(key)
        return list(groups.values())

    def redirect(self, error: redis.exceptions.AskError, server: Server) -> Server:
        """Return the node that the server's answer MOVED or ASK names."""
        if isinstance(error, redis.exceptions.MovedError):
            self._redirected = True
            self._next_check = 0.0
            self.tick()
        return self._server(_host(error.host, server), error.port, replica=False)

    def look(self) -> bool:
        """Ask who has which slots, if there is a reason to."""
        if not (self._redirected or self._is_in_trouble()):
            return False
        before = {slot: servers[0] for slot, servers in self._slots.items()}
        if self._has_learnt(self.discover):
            self._redirected = False
        if self._slots.keys() - before.keys():
            self._nobody.answers.close()
        return {slot: servers[0] for slot, servers in self._slots.items()} != before

    def discover(self) -> None:
        """Ask one node after another, those that answer first. Raise one of REDIS_ERRORS if none of them knows."""
        last: Exception = NotSentError("no node is known")
        entries = [self._server(entry.host, entry.port, replica=False) for entry in self.options.servers]
        nodes = dict.fromkeys([*self._known.values(), *entries])
        for server in sorted(nodes, key=lambda server: server.answers.error is not None):
            try:
                self._slots = self._read_slots(server)
                self.failure = ""
                break
            except redis.ResponseError as error:
                if "cluster support disabled" in str(error):
                    raise ImproperlyConfigured(
                        f"CACHES[{self.options.alias!r}]: {server.name} is no node of a Redis Cluster; "
                        f"write BACKEND 'cachestack.resilient.RedisCache'"
                    ) from error
                last = error
            except REDIS_ERRORS as error:
                last = error
        else:
            self.failure = describe(last)
            raise last
        used = {server for servers in self._slots.values() for server in servers}
        self._known = {address: server for address, server in self._known.items() if server in used}
        for server in used:
            if server.probe_key and server not in self._slots.get(key_slot(server.probe_key.encode()), ()):
                # It cannot answer for a slot that it does not have.
                server.probe_key = ""

    def _read_slots(self, server: Server) -> dict[int, list[Server]]:
        """Return the slots with their nodes.

        https://redis.io/docs/latest/commands/cluster-slots/
        """
        slots: dict[int, list[Server]] = {}
        answer = server.run_one("CLUSTER", "SLOTS")
        if not isinstance(answer, list):
            raise NotSentError(f"{server.name} answers like no Redis")
        for first, last, *nodes in answer:
            servers = []
            for index, (host, port, *_) in enumerate(nodes):
                servers.append(self._server(_host(host, server), int(port), replica=index > 0))
            slots.update(dict.fromkeys(range(first, last + 1), servers))
        if not slots:
            raise NotSentError(f"{server.name} knows no slots")
        return slots

    def _server(self, host: str, port: int, *, replica: bool) -> Server:
        address = (host, port, replica)
        if address not in self._known:
            more: dict[str, Any] = {"redis_connect_func": _read_only} if replica else {}
            self._known[address] = Server(place(host, port), pool_for(host, port, self.options, **more), host)
        return self._known[address]


def _host(host: Any, answering: Server) -> str:
    """Return where a node is; one that knows no name for itself has none to tell, and means the node that answers.

    https://redis.io/docs/latest/commands/cluster-slots/
    """
    name = host.decode() if isinstance(host, bytes) else host
    return name if name and name != "?" else answering.host


@functools.cache
def _key_in(slot: int) -> str:
    """Return a key that is in the slot."""
    return next(key for key in map(str, itertools.count()) if key_slot(key.encode()) == slot)


def _read_only(connection: Any) -> None:
    """Connect as redis-py does, and let the replica of a cluster answer reads."""
    connection.on_connect()
    connection.send_command("READONLY")
    connection.read_response()
