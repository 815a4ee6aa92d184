"""The nodes of a Redis Cluster.

https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import redis
from django.core.exceptions import ImproperlyConfigured
from redis.crc import key_slot

from .errors import REDIS_ERRORS, NotSentError
from .options import Options
from .servers import Server
from .topology import Once, Topology, nobody, pool_for

# How many slots a cluster has.
SLOTS = 16384


class Clustered(Topology):
    """The nodes of a Redis Cluster: each key has a slot, each slot a primary, which may have replicas.

    redis-py's RedisCluster is not used: it repeats what may have been done already, looks for nodes that hang while the
    caller waits, and knows no node that has no slots yet, to which a slot is just being moved.
    """

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._nobody = nobody("cluster", "no node tells who has the key's slot")
        self._known: dict[tuple[str, int, bool], Server] = {}
        # For each slot its primary, then its replicas.
        self._slots: dict[int, list[Server]] = {}
        self._redirected = False
        self._next_replica = random.randrange(1000)
        self._first = Once(self.discover)

    def servers(self) -> list[Server]:
        """Return the nodes that have slots, and what stands for the slots that none has."""
        nodes = {server.name: server for servers in list(self._slots.values()) for server in servers}
        return [self._nobody, *nodes.values()]

    def primaries(self) -> dict[str, str]:
        """Return the nodes that take writes: the name of each, and a key that is in one of its slots."""
        self._first()
        names = {servers[0].name for servers in list(self._slots.values())}
        keys: dict[str, str] = {}
        for number in range(SLOTS):
            if len(keys) == len(names):
                break
            server = self.choose(str(number), write=True)
            if server.name in names:
                keys.setdefault(server.name, str(number))
        return keys

    def choose(self, key: str, *, write: bool, leader: bool = False) -> Server:
        """Return the primary of the key's slot, or for a read the next of its replicas that is there."""
        self._first()
        servers = self._slots.get(key_slot(key.encode("utf-8", "surrogatepass")))
        if servers is None:
            return self._nobody
        if not (write or leader) and self.reads_replicas:
            usable = [server for server in servers[1:] if server.answers.error is None]
            if usable:
                self._next_replica += 1
                return usable[self._next_replica % len(usable)]
        return servers[0]

    def group(self, keys: list[str], write: bool) -> list[list[str]]:
        """Return the keys by the node that is asked."""
        groups: dict[str, list[str]] = {}
        for key in keys:
            groups.setdefault(self.choose(key, write=write).name, []).append(key)
        return list(groups.values())

    def redirect(self, error: redis.exceptions.AskError) -> Server:
        """Return the node that an answer MOVED or ASK names."""
        if isinstance(error, redis.exceptions.MovedError):
            self._redirected = True
            self._next_check = 0.0
            self.tick()
        return self._server(error.host, error.port, replica=False)

    def look(self) -> bool:
        """Ask who has which slots, if there is a reason to."""
        if not (self._redirected or self._is_in_trouble()):
            return False
        before = self.primaries().keys()
        with suppress(*REDIS_ERRORS, ImproperlyConfigured):
            self.discover()
            self._redirected = False
            # A slot that still has no node opens it again.
            return self._nobody.answers.close() or self.primaries().keys() != before
        return False

    def discover(self) -> None:
        """Ask one node after another. Raise one of REDIS_ERRORS if none of them knows all slots."""
        last: Exception = NotSentError("no node is known")
        entries = [self._server(server.host, server.port, replica=False) for server in self.options.servers]
        nodes = [server for server in self.servers() if server is not self._nobody]
        for server in sorted(nodes + entries, key=lambda server: server.answers.error is not None):
            try:
                self._slots = self._read_slots(server)
                return
            except redis.ResponseError as error:
                if "cluster support disabled" in str(error):
                    raise ImproperlyConfigured(
                        f"CACHES[{self.options.alias!r}]: {server.name} is no node of a Redis Cluster; "
                        f"write BACKEND 'cachestack.resilient.RedisCache'"
                    ) from error
                last = error
            except REDIS_ERRORS as error:
                last = error
        raise last

    def after_fork(self) -> None:
        """Do as Topology, and forget the lock of the first discovery."""
        super().after_fork()
        self._first.after_fork()

    def _read_slots(self, server: Server) -> dict[int, list[Server]]:
        """Return the slots with their nodes.

        https://redis.io/docs/latest/commands/cluster-slots/
        """
        slots: dict[int, list[Server]] = {}
        for first, last, *nodes in server.run_one("CLUSTER", "SLOTS"):
            servers = []
            for index, (host, port, *_) in enumerate(nodes):
                # A node that knows no name of its own yet has none to tell.
                name = host.decode() if host else server.host
                servers.append(self._server(name, int(port), replica=index > 0))
            slots.update(dict.fromkeys(range(first, last + 1), servers))
        if not slots:
            raise NotSentError(f"{server.name} knows no slots")
        return slots

    def _server(self, host: str, port: int, *, replica: bool) -> Server:
        address = (host, port, replica)
        if address not in self._known:
            more: dict[str, Any] = {"redis_connect_func": _read_only} if replica else {}
            self._known[address] = Server(f"{host}:{port}", pool_for(host, port, self.options, **more), host)
        return self._known[address]


def _read_only(connection: Any) -> None:
    """Connect as redis-py does, and let the replica of a cluster answer reads."""
    connection.on_connect()
    connection.send_command("READONLY")
    connection.read_response()
