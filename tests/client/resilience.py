"""What the tests of the resilient backends have in common: every operation, faults of a server, and load."""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import redis
from django.test import override_settings

from cachestack.resilient import RedisCache
from servers import RedisServer, wait_for

# Seconds: what a page with ten calls may take, a second and what a busy machine adds; how soon everything works again.
PAGE = 1.5
HEALED = 5.0
# For those who rather wait than lose something.
PATIENT = {"on_error": "raise", "retry_deadline": 15.0}
# A machine that is busy with other tests answers late.
CALM = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}


def make(backend: type[RedisCache], location: Any, **options: Any) -> Any:
    """Return a cache that no other test shares, as Django makes one."""
    return backend(location, {"KEY_PREFIX": os.urandom(4).hex(), "OPTIONS": options})


def calls(cache: Any) -> dict[str, Callable[[], Any]]:
    """Every operation of the cache, and what it is called."""

    def locked() -> None:
        with cache.lock("busy", 1, wait=0):
            cache.get("key")

    async def alocked() -> None:
        async with cache.alock("busy", 1, wait=0):
            await cache.aget("key")

    return {
        "set": lambda: cache.set("key", "value"),
        "get": lambda: cache.get("key"),
        "add": lambda: cache.add("key", "value"),
        "get_or_set": lambda: cache.get_or_set("key", "value"),
        "get_many": lambda: cache.get_many(["key", "number"]),
        "set_many": lambda: cache.set_many({"key": "value", "number": 1}),
        "delete_many": lambda: cache.delete_many(["other"]),
        "touch": lambda: cache.touch("key", 60),
        "touch for ever": lambda: cache.touch("key", None),
        "has_key": lambda: cache.has_key("key"),
        "in": lambda: "key" in cache,
        "incr": lambda: cache.incr("number"),
        "decr": lambda: cache.decr("number"),
        "incr_version": lambda: cache.incr_version("key", 0),
        "ttl": lambda: cache.ttl("key"),
        "lock": locked,
        "delete": lambda: cache.delete("other"),
        "aset": lambda: cache.aset("key", "value"),
        "aget": lambda: cache.aget("key"),
        "aget_many": lambda: cache.aget_many(["key", "number"]),
        "aset_many": lambda: cache.aset_many({"key": "value", "number": 1}),
        "aincr": lambda: cache.aincr("number"),
        "aget_or_set": lambda: cache.aget_or_set("key", "value"),
        "alock": alocked,
        "adelete": lambda: cache.adelete("other"),
        "clear": lambda: cache.clear(),
    }


def run(call: Callable[[], Any]) -> Any:
    """Run an operation, an asynchronous one in a loop of its own."""
    result = call()
    if not inspect.iscoroutine(result):
        return result

    async def awaited() -> Any:
        return await result

    return asyncio.run(awaited())


def run_all(cache: Any) -> None:
    """Run every operation, one after the other."""
    for call in calls(cache).values():
        run(call)


def seconds_of_a_page(cache: Any) -> float:
    """Make ten calls, as a page does. Return how long it took."""
    begun = time.monotonic()
    for _ in range(5):
        cache.get("key")
        cache.set("key", "value")
    return time.monotonic() - begun


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Listen on loopback and serve each connection in a thread. Yield the port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                serve(self.request)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    # Not server_close, which waits for clients that keep their connections in pools.
    server.socket.close()


class Fault:
    """Something that can be wrong with a server, and undone."""

    def __init__(self, hurt: Callable[[RedisServer], object], heal: Callable[[RedisServer], object]) -> None:
        self.hurt, self.heal = hurt, heal


def _lose_folder(server: RedisServer) -> None:
    """Make the next snapshot fail, after which the server refuses writes: MISCONF."""
    server.client().config_set("save", "3600 1")
    shutil.rmtree(server.config.parent)
    server.client().set("not", "saved")
    server.client().bgsave()
    assert wait_for(lambda: server.client().info("persistence")["rdb_last_bgsave_status"] == "err")


def _load_slowly(server: RedisServer) -> None:
    """Start it again with so much to load that it answers LOADING for long."""
    client = server.client()
    role: Any = client.info("replication")
    writable = redis.Redis(port=role["master_port"], protocol=2) if role["role"] == "slave" else client
    writable.mset({f"load:{number}": "x" * 1000 for number in range(2000)})
    assert wait_for(lambda: client.exists("load:1999"))
    client.save()
    server.stop()
    with server.config.open("a") as config:
        config.write("key-load-delay 5000\nloading-process-events-interval-bytes 1024\n")
    server.start()

    def is_loading() -> bool:
        try:
            client.ping()
        except redis.BusyLoadingError:
            return True
        return False

    assert wait_for(is_loading)


def _load_fast(server: RedisServer) -> None:
    server.stop()
    server.config.write_text(server.config.read_text().replace("key-load-delay 5000", "key-load-delay 0"))
    server.start()


def _fill_up(server: RedisServer) -> None:
    server.client().config_set("maxmemory-policy", "noeviction")
    server.client().config_set("maxmemory", "1")


FAULTS = {
    "killed": Fault(RedisServer.stop, RedisServer.start),
    "frozen": Fault(RedisServer.freeze, RedisServer.thaw),
    "out of memory": Fault(_fill_up, lambda server: server.client().config_set("maxmemory", "0")),
    "READONLY": Fault(
        lambda server: server.client().replicaof("127.0.0.1", "1"),
        lambda server: server.client().replicaof("NO", "ONE"),
    ),
    "NOREPLICAS": Fault(
        lambda server: server.client().config_set("min-replicas-to-write", "1"),
        lambda server: server.client().config_set("min-replicas-to-write", "0"),
    ),
    "NOAUTH": Fault(
        lambda server: [server.client().config_set("requirepass", "secret"), cut(server, "secret")],
        lambda server: redis.Redis(port=server.port, password="secret", protocol=2).config_set("requirepass", ""),
    ),
    "MISCONF": Fault(_lose_folder, lambda server: server.client().config_set("stop-writes-on-bgsave-error", "no")),
    "LOADING": Fault(_load_slowly, _load_fast),
    "no more clients": Fault(
        lambda server: [cut(server), _occupy(server)],
        lambda server: _OCCUPIED.pop(server.port).close(),
    ),
}


def cut(server: RedisServer, password: str | None = None) -> object:
    """End the connections of all clients."""
    client = redis.Redis(port=server.port, password=password, protocol=2)
    return client.client_kill_filter(_type="normal", skipme=True)


_OCCUPIED: dict[int, Any] = {}


def _occupy(server: RedisServer) -> object:
    """Take the only connection that the server has to give."""
    holder: Any = redis.Redis(port=server.port, protocol=2, single_connection_client=True)
    _OCCUPIED[server.port] = holder
    return holder.config_set("maxclients", "1")


@contextmanager
def named(alias: str, backend: type[RedisCache], location: Any, **options: Any) -> Iterator[Any]:
    """A cache that has this name in settings.CACHES."""
    entry = {"LOCATION": location, "OPTIONS": options, "KEY_PREFIX": os.urandom(4).hex()}
    path = f"{backend.__module__}.{backend.__name__}"
    with override_settings(CACHES={alias: {"BACKEND": path, **entry}}):
        yield backend(location, entry)


class Wrong(NamedTuple):
    """A read that did not find what was written; `written` is when (time.monotonic)."""

    key: str
    want: int
    got: Any
    written: float


class Load:
    """Threads that set and get keys of their own, and what they saw. `errors` has what was raised.

    `acknowledged` has for each key the number that it was set to last, and when (time.monotonic).
    """

    def __init__(self, cache: Any, threads: int = 8) -> None:
        self.done = 0
        self.errors: list[BaseException] = []
        self.wrong: list[Wrong] = []
        self.acknowledged: dict[str, tuple[int, float]] = {}
        self.slowest = 0.0
        self._cache = cache
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, thread: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            key = f"{thread}:{number % 100}"
            begun = time.monotonic()
            try:
                self._cache.set(key, number, 300)
                written = time.monotonic()
                self.acknowledged[key] = number, written
                got = self._cache.get(key)
                if got != number:
                    self.wrong.append(Wrong(key, number, got, written))
            except Exception as error:
                self.errors.append(error)
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.done += 1


def urls(servers: list[RedisServer]) -> list[str]:
    return [server.url for server in servers]


def has_key(server: RedisServer, cache: Any, key: str) -> bool:
    return bool(server.client().exists(cache.make_key(key)))
