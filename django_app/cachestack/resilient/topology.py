"""Which server an operation goes to, and how a process keeps that up to date.

Every topology has the same few methods. `choose` is called for each operation and only looks at what is known. What
is known comes from checks, which run in a thread of their own, one at a time, started by traffic: so nobody's request
pays for a look at a server that hangs.
"""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import redis
from django.core.exceptions import ImproperlyConfigured

from .errors import REDIS_ERRORS, NotSentError
from .options import Options
from .servers import Server, make_pool

# Seconds between two checks, and the least and the most of them while something is away.
CHECK_INTERVAL = 1.0
LEAST_INTERVAL, MOST_INTERVAL = 0.05, 1.0


class Topology(ABC):
    """The servers of one alias. Threads share it, and so do event loops."""

    def __init__(self, options: Options) -> None:
        self.options = options
        # Told whenever something is better than it was.
        self.changed = threading.Condition()
        self._checking = threading.Lock()
        self._next_check = 0.0
        self._trouble_since: float | None = None
        # Until when this thread or task reads from the leader, for its own writes may not be on the replicas yet.
        # Each alias has its own, and lives as long as the process.
        self._wrote_until: ContextVar[float] = ContextVar("wrote_until", default=0.0)
        # What nobody can know before the servers are asked.
        self.wrong: ImproperlyConfigured | None = None
        # What came of the last question who has what, if nobody answered it and that is safe to show.
        self.failure = ""
        self._next_replica = random.randrange(1000)

    @abstractmethod
    def servers(self) -> list[Server]:
        """Return every server that is known."""

    @abstractmethod
    def choose(self, key: str, *, write: bool, leader: bool = False) -> Server:
        """Return the server for an operation on the key; `leader`: never a replica."""

    @abstractmethod
    def look(self) -> bool:
        """Look at the servers; may block. Return True if something is better than it was."""

    def group(self, keys: list[str], _write: bool) -> list[list[str]]:
        """Return the keys in groups of which each is for one server."""
        return [keys] if keys else []

    def redirect(self, error: redis.exceptions.AskError, _server: Server) -> Server:
        """Return the node that the server's answer MOVED or ASK names."""
        raise ImproperlyConfigured(
            f"CACHES[{self.options.alias!r}]: LOCATION has a node of a Redis Cluster; "
            f"write BACKEND 'cachestack.resilient.ClusterRedisCache'"
        ) from error

    def failed(self, server: Server, error: Exception, key: str, since: float) -> None:
        """Note that an operation on the server failed, which began at `since`."""
        if server.failed(error, key, since):
            self._trouble_since = self._trouble_since or time.monotonic()
            self._next_check = 0.0
        self.tick()

    def wrote(self) -> None:
        """Note that this thread or task has written."""
        if self.options.read_from == "replicas":
            self._wrote_until.set(time.monotonic() + self.options.read_your_writes)

    @property
    def reads_replicas(self) -> bool:
        """Tell whether a read of this thread or task may go to a replica now."""
        return self.options.read_from == "replicas" and time.monotonic() >= self._wrote_until.get()

    def tick(self) -> None:
        """Start a check if it is time for one. Called with every operation that could profit from it."""
        now = time.monotonic()
        if now < self._next_check or not self._checking.acquire(blocking=False):
            return
        try:
            threading.Thread(target=self._check, name="cachestack-check", daemon=True).start()
        except BaseException as error:
            self._checking.release()
            # Without threads, or while the interpreter shuts down, the next operation tries again.
            if not isinstance(error, RuntimeError):
                raise

    def wait(self, seconds: float) -> None:
        """Wait until something is better than it was, for so many seconds at most."""
        with self.changed:
            self.changed.wait(seconds)

    def after_fork(self) -> None:
        """Forget what other threads of the parent process may have held, and the thread that checked."""
        self.changed, self._checking = threading.Condition(), threading.Lock()
        self._next_check = 0.0
        for server in self.servers():
            server.after_fork()

    def _check(self) -> None:
        try:
            looks = [self.look]
            if self._is_in_trouble():
                # Where one hangs others may hang as well: nobody shall find them out one by one.
                looks += [server.probe for server in self.servers()]
            threads = [threading.Thread(target=self._tell, args=(look,), daemon=True) for look in looks]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self._next_check = time.monotonic() + self._interval()
        finally:
            self._checking.release()

    def _tell(self, look: Callable[[], bool]) -> None:
        """Look, and tell those who wait if something is better."""
        if look():
            with self.changed:
                self.changed.notify_all()

    def _has_learnt(self, discover: Callable[[], None]) -> bool:
        """Run it, and tell whether somebody answered; what cannot be right is kept for the operations to raise."""
        try:
            discover()
        except ImproperlyConfigured as error:
            self.wrong = error
            return False
        except REDIS_ERRORS:
            return False
        self.wrong = None
        return True

    def _next_of(self, replicas: list[Server]) -> Server | None:
        """Return the next replica that is there and not behind, if there is one."""
        usable = [server for server in replicas if self._is_usable(server) and not server.lags]
        if not usable:
            return None
        self._next_replica += 1
        return usable[self._next_replica % len(usable)]

    def _is_usable(self, server: Server) -> bool:
        """Tell whether a replica can be read from. Where one hangs, the others have to show first that they do not."""
        trouble = self._trouble_since
        return server.answers.error is None and (trouble is None or server.answered_at > trouble)

    def _is_in_trouble(self) -> bool:
        return any(server.breaker(write=True) for server in self.servers())

    def _interval(self) -> float:
        """Return the seconds to the next check, with jitter: a moment while a failover lasts, longer after that."""
        if not self._is_in_trouble():
            self._trouble_since = None
            return CHECK_INTERVAL
        lasted = time.monotonic() - (self._trouble_since or time.monotonic())
        return min(MOST_INTERVAL, max(LEAST_INTERVAL, lasted / 20)) * random.uniform(0.75, 1.25)


class Replicated(Topology):
    """A leader and its replicas, if there are any: LOCATION has them in this order."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.leader, *self.replicas = self._first_servers()
        # What the leader had, and when it was asked (time.monotonic), for `max_lag` seconds.
        self._offsets: deque[tuple[float, int]] = deque()

    def _first_servers(self) -> list[Server]:
        return [
            Server(server.name, pool_for(server.host, server.port, self.options, path=server.path))
            for server in self.options.servers
        ]

    @property
    def _is_watched(self) -> bool:
        """Tell whether something can change that no operation would notice."""
        return self.options.read_from == "replicas"

    def servers(self) -> list[Server]:
        """Return the leader and the replicas."""
        return [self.leader, *self.replicas]

    def choose(self, _key: str, *, write: bool, leader: bool = False) -> Server:
        """Return the leader, or for a read the next replica that is there and not behind."""
        if self._is_watched:
            self.tick()
        if write or leader or not self.reads_replicas:
            return self.leader
        return self._next_of(self.replicas) or self.leader

    def look(self) -> bool:
        """Compare the replicas with the leader, where reads go to them."""
        return self.options.read_from == "replicas" and self._measure_lag()

    def _measure_lag(self) -> bool:
        """Mark the replicas that do not have what the leader had `max_lag` seconds ago. Return True if one caught up.

        https://redis.io/docs/latest/commands/role/
        """
        leads = role_of(self.leader)
        now = time.monotonic()
        if leads is not None and leads[0] == "leader":
            offset = leads[1]
            # It came back with less than it had: everybody starts again.
            if self._offsets and offset < self._offsets[-1][1]:
                self._offsets.clear()
            self._offsets.append((now, offset))
        while len(self._offsets) > 1 and self._offsets[1][0] <= now - self.options.max_lag:
            self._offsets.popleft()
        least = self._offsets[0][1] if self._offsets and self._offsets[0][0] <= now - self.options.max_lag else 0
        better = False
        for server in self.replicas:
            follows = role_of(server)
            if follows is None:
                continue
            role, offset = follows
            # Without its leader a replica serves what it has, which is better than nothing unless that goes on alone.
            lags = (leads is not None and role == "unlinked") or 0 <= offset < least
            better = better or (server.lags and not lags)
            server.lags = lags
        return better


def nobody(name: str, reason: redis.ConnectionError, topology: Topology) -> Server:
    """Return a server that is always away, for this reason and what the topology knows of it."""

    class Nobody(redis.ConnectionPool):
        def make_connection(self) -> Any:
            raise NotSentError(f"{reason}{topology.failure and f' ({topology.failure})'}") from reason

    return Server(name, Nobody())


def pool_for(host: str, port: int, options: Options, *, path: str = "", **more: Any) -> redis.ConnectionPool:
    """Return the connections to a server, with the options of the alias and `more` arguments of redis-py's."""
    address = {"host": host, "port": port, "path": path, "tls": options.servers[0].tls}
    return make_pool(address, {**options.connection, **more})


def role_of(server: Server) -> tuple[str, int] | None:
    """Return ('leader', 'replica' or 'unlinked') and the offset that the server is at; None if it does not say."""
    if server.answers.error is not None:
        return None
    try:
        answer = server.run_one("ROLE")
    except REDIS_ERRORS:
        return None
    if not isinstance(answer, list):
        return None
    words = [word.decode() if isinstance(word, bytes) else word for word in answer]
    if words[0] == "master":
        return "leader", int(words[1])
    return "replica" if words[3] == "connected" else "unlinked", int(words[4])
