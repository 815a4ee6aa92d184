"""The resilient backends while servers hang, die, refuse and move: what reaches the caller, and how soon it is over."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import shutil
import socket
import socketserver
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import pytest
import redis

from cachestack.resilient import (
    CacheUnavailableError,
    ClusterRedisCache,
    GivenUp,
    OutcomeUnknownError,
    RedisCache,
    SentinelRedisCache,
    deadline,
    statistics,
)
from servers import SERVICE, Farm, RedisServer, is_whole, wait_for

pytestmark = pytest.mark.usefixtures("django_project")

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
        lambda server: [server.client().config_set("requirepass", "secret"), _cut(server, "secret")],
        lambda server: redis.Redis(port=server.port, password="secret", protocol=2).config_set("requirepass", ""),
    ),
    "MISCONF": Fault(_lose_folder, lambda server: server.client().config_set("stop-writes-on-bgsave-error", "no")),
    "LOADING": Fault(_load_slowly, _load_fast),
    "no more clients": Fault(
        lambda server: [_cut(server), _occupy(server)],
        lambda server: _OCCUPIED.pop(server.port).close(),
    ),
}


def _cut(server: RedisServer, password: str | None = None) -> object:
    """End the connections of all clients."""
    client = redis.Redis(port=server.port, password=password, protocol=2)
    return client.client_kill_filter(_type="normal", skipme=True)


_OCCUPIED: dict[int, Any] = {}


def _occupy(server: RedisServer) -> object:
    """Take the only connection that the server has to give."""
    holder: Any = redis.Redis(port=server.port, protocol=2, single_connection_client=True)
    _OCCUPIED[server.port] = holder
    return holder.config_set("maxclients", "1")


@pytest.mark.parametrize("name", FAULTS)
def test_no_operation_raises_and_a_page_is_not_held_up(farm: Farm, name: str) -> None:
    server, fault = farm.server(), FAULTS[name]
    cache = make(RedisCache, server.url)
    cache.set_many({"key": "value", "number": 1})
    fault.hurt(server)

    assert seconds_of_a_page(cache) < PAGE
    run_all(cache)

    fault.heal(server)
    assert wait_for(lambda: cache.set_many({"key": "again"}) == [] and cache.get("key") == "again", HEALED)


@pytest.mark.parametrize("name", FAULTS)
def test_an_alias_that_shall_raise_says_that_it_is_the_cache(farm: Farm, name: str) -> None:
    server, fault = farm.server(), FAULTS[name]
    cache = make(RedisCache, server.url, on_error="raise", retry_deadline=0.3)
    cache.set("key", "value")
    fault.hurt(server)
    with pytest.raises(redis.RedisError):
        cache.set("key", "value")
    begun = time.monotonic()
    with pytest.raises(redis.RedisError):
        cache.set("key", "value")
    assert time.monotonic() - begun < 0.2, "nobody pays for what is known"
    fault.heal(server)

    def works() -> bool:
        cache.set("key", "again")
        return bool(cache.get("key") == "again")

    assert wait_for(works, HEALED)


@pytest.mark.parametrize("name", ["out of memory", "READONLY", "NOREPLICAS", "MISCONF"])
def test_reads_go_on_where_only_writes_are_refused(farm: Farm, name: str) -> None:
    server = farm.server()
    cache = make(RedisCache, server.url)
    cache.set("key", "value")
    FAULTS[name].hurt(server)
    for _ in range(20):
        cache.set("key", "other")
        assert cache.get("key") == "value"


ANSWERS = {
    "garbage": b"HTTP/1.1 400 Bad Request\r\n\r\n<html>",
    "an error of a proxy": b"-ERR upstream failure\r\n",
    "DENIED": b"-DENIED Redis is running in protected mode\r\n",
    "a number": b":7\r\n",
    "half an answer": b"$100\r\nabc",
    "nothing": b"",
}


@pytest.mark.parametrize("backend", [RedisCache, SentinelRedisCache, ClusterRedisCache])
@pytest.mark.parametrize("name", ANSWERS)
def test_what_is_no_redis_raises_nothing(backend: type[RedisCache], name: str) -> None:
    def answer(request: socket.socket) -> None:
        while request.recv(65536):
            request.sendall(ANSWERS[name])
            if not ANSWERS[name]:
                break

    with listening(answer) as port:
        location, options = f"redis://127.0.0.1:{port}", {}
        if backend is SentinelRedisCache:
            location, options = f"redis://{SERVICE}", {"sentinels": [("127.0.0.1", port)]}
        cache = make(backend, location, **options)
        run_all(cache)


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


def test_an_interrupted_connection_is_not_used_again(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted between AUTH and its answer, the next one to use it would read the answer for its own."""
    server = farm.server(password="secret")
    cache = make(RedisCache, server.url, password="secret", db=3)

    def interrupted(connection: Any, *arguments: Any, **options: Any) -> Any:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(redis.Connection, "read_response", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.get("key")
    for number in range(3):
        cache.set(f"key{number}", number)
    assert [cache.get(f"key{number}") for number in range(3)] == [0, 1, 2]
    assert len(server.client(3).keys("*")) == 3


def test_no_password_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(request: socket.socket) -> None:
        while request.recv(65536):
            request.sendall(b"-ERR unknown command 'AUTH', with args beginning with: 'TOPSECRET'\r\n")

    with listening(refuse) as port:
        cache = make(RedisCache, f"redis://127.0.0.1:{port}", password="TOPSECRET", on_error="raise", retry_deadline=0)
        with pytest.raises(CacheUnavailableError) as caught:
            cache.get("key")
        told = "".join(traceback.format_exception(caught.type, caught.value, caught.tb))
        assert "refused the login" in told
        assert "TOPSECRET" not in told + caplog.text + repr(cache._client.options)


def test_values_that_do_not_come_through_cost_a_page_its_second_once(farm: Farm) -> None:
    """What is small passes, so the server is there whenever somebody looks."""
    server = farm.server()
    real = make(RedisCache, server.url)
    real.set("key", b"x" * 10_000)

    def pass_on(request: socket.socket) -> None:
        with socket.create_connection((server.host, server.port)) as upstream:
            while data := request.recv(65536):
                upstream.sendall(data)
                answer = upstream.recv(65536)
                if len(answer) < 1000:
                    request.sendall(answer)

    with listening(pass_on) as port:
        cache = RedisCache(f"redis://127.0.0.1:{port}", {"KEY_PREFIX": real.key_prefix})
        begun = time.monotonic()
        for _ in range(10):
            assert cache.get("key") is None
        assert time.monotonic() - begun < 1.5


def test_what_a_degraded_operation_returns(farm: Farm) -> None:
    server = farm.server()
    cache = make(RedisCache, server.url)
    server.stop()
    results = {name: run(call) for name, call in calls(cache).items() if name not in ("lock", "alock")}
    assert results == {
        "set": None,
        "get": None,
        "add": False,
        "get_or_set": "value",
        "get_many": {},
        "set_many": ["key", "number"],
        "delete_many": None,
        "touch": False,
        "touch for ever": False,
        "has_key": False,
        "in": False,
        "incr": 1,
        "decr": -1,
        "incr_version": 1,
        "ttl": 0,
        "delete": False,
        "aset": None,
        "aget": None,
        "aget_many": {},
        "aset_many": ["key", "number"],
        "aincr": 1,
        "aget_or_set": "value",
        "adelete": False,
        "clear": False,
    }
    with cache.lock("busy", 5) as alone:
        assert alone is False, "let in, but not alone"


def test_a_counter_that_could_not_be_stored_is_no_mistake(farm: Farm) -> None:
    server = farm.server()
    cache = make(RedisCache, server.url)
    with pytest.raises(ValueError, match="not found"):
        cache.incr("number")
    FAULTS["out of memory"].hurt(server)
    cache.set("number", 5)
    assert cache.incr("number", 3) == 3
    assert cache.incr_version("number") == 2


def test_what_may_have_been_done_is_not_done_again(farm: Farm) -> None:
    """The server has got it, and the answer comes too late: repeated, it would be done once it goes on."""
    server = farm.server()
    cache = make(RedisCache, server.url, on_error="raise", retry_deadline=5.0)
    cache.set("number", 1)
    server.ask("CLIENT PAUSE", "1000", "WRITE")
    with pytest.raises(OutcomeUnknownError):
        cache.incr("number")
    cache.set("other", 1)
    assert cache.get("number") == 1
    server.freeze()
    with pytest.raises(OutcomeUnknownError):
        cache.add("new", 1)
    server.thaw()
    assert wait_for(lambda: cache.get("new") == 1, HEALED)
    assert cache.get("number") == 1


def test_what_was_not_sent_is_tried_again(farm: Farm) -> None:
    server = farm.server(appendonly="yes")
    cache = make(RedisCache, server.url, **PATIENT)
    cache.set("number", 1)
    server.stop()
    threading.Timer(0.7, server.start).start()
    assert cache.incr("number") == 2


def test_a_restart_costs_no_error(farm: Farm) -> None:
    server = farm.server(appendonly="yes")
    cache = make(RedisCache, server.url, **PATIENT)
    with Load(cache, threads=4) as load:
        assert wait_for(lambda: load.done > 100)
        server.stop()
        server.start()
        before = load.done
        assert wait_for(lambda: load.done > before + 100)
    assert load.errors == []


def test_an_outage_that_is_over_is_not_believed_for_ever(farm: Farm) -> None:
    """Nobody has asked meanwhile, so nobody has looked."""
    server = farm.server()
    cache = make(RedisCache, server.url, on_error="raise", retry_deadline=0.5)
    server.stop()
    for _ in range(2):
        with pytest.raises(CacheUnavailableError):
            cache.get("key")
    server.start()
    breaker = cache._client.topology.leader.answers
    assert wait_for(lambda: not breaker.is_recent, HEALED)
    assert breaker.error is not None, "no traffic, no look"
    assert cache.get("key") is None


def test_few_connections_are_waited_for(farm: Farm) -> None:
    server = farm.server()
    cache = make(RedisCache, server.url, max_connections=2, on_error="raise", retry_deadline=10.0)
    with Load(cache, threads=16) as load:
        assert wait_for(lambda: load.done > 2000)
    assert load.errors == []
    assert load.wrong == []
    assert server.client().info("clients")["connected_clients"] <= 4


def test_idle_connections_that_were_cut_cost_no_error(farm: Farm) -> None:
    server = farm.server()
    cache = make(RedisCache, server.url, on_error="raise", retry_deadline=1.0)
    cache.set("number", 1)
    _cut(server)
    assert cache.incr("number") == 2


def test_the_log_has_a_line_per_interval_and_the_counts_have_all(
    farm: Farm, caplog: pytest.LogCaptureFixture, settings_with: Any
) -> None:
    server = farm.server()
    cache = settings_with("noisy", RedisCache, server.url, log_interval=0.2)
    cache.set("key", "value")
    assert cache.get("key") == "value"
    assert cache.get("none") is None
    server.stop()
    with caplog.at_level(logging.WARNING, "cachestack.resilient"):
        for _ in range(100):
            cache.get("key")
        lines = [record.getMessage() for record in caplog.records if "given up" in record.getMessage()]
        assert len(lines) == 1
        assert "'noisy'" in lines[0]
        assert str(server.port) in lines[0]
        assert "ConnectionError" in lines[0]
        assert wait_for(lambda: (cache.get("key"), "times" in caplog.text)[1], 2)
    counts = statistics()["noisy"][f"127.0.0.1:{server.port}"]
    assert (counts["hits"], counts["misses"]) == (1, 1)
    assert counts["degraded"] > 100
    assert counts["errors"]["ConnectionError"] >= 1
    assert counts["away"] == "ConnectionError"
    assert 0 < counts["slowest"] <= counts["seconds"]


@pytest.fixture
def settings_with() -> Iterator[Callable[..., Any]]:
    """Make a cache that has a name in settings.CACHES."""
    from django.test import override_settings

    entered: list[Any] = []

    def make_named(alias: str, backend: type[RedisCache], location: Any, **options: Any) -> Any:
        entry = {"LOCATION": location, "OPTIONS": options, "KEY_PREFIX": os.urandom(4).hex()}
        path = f"{backend.__module__}.{backend.__name__}"
        override = override_settings(CACHES={alias: {"BACKEND": path, **entry}})
        override.enable()
        entered.append(override)
        return backend(location, entry)

    yield make_named
    for override in entered:
        override.disable()


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


# Deadlines
# ------------------------------------------------------------------------------

# Seconds: a deadline, and what may be over when the caller is back, on a busy machine; CALM's timeouts are longer.
SHORT, BACK = 0.15, 0.7


@contextmanager
def hurried(seconds: float = SHORT) -> Iterator[list[GivenUp]]:
    """Set a deadline, and see that what is inside is over in good time, also where it raises."""
    begun = time.monotonic()
    try:
        with deadline(seconds) as given_up:
            yield given_up
    finally:
        assert time.monotonic() - begun < BACK


@pytest.mark.parametrize("name", ["set", "get", "incr", "get_many", "set_many", "lock", "aget", "aset_many", "clear"])
def test_a_deadline_ends_what_hangs(farm: Farm, settings_with: Any, name: str) -> None:
    """Before the timeout of the socket does, and the next one knows."""
    server = farm.server()
    cache = settings_with("hanging", RedisCache, server.url, retry_deadline=10.0, **CALM)
    cache.set_many({"key": "value", "number": 1})
    server.freeze()
    with hurried() as given_up:
        run(calls(cache)[name])
    assert given_up[0] == GivenUp("hanging", "DeadlineError", True)
    breaker = cache._client.topology.leader.answers
    assert wait_for(lambda: breaker.error is not None, 3)
    server.thaw()
    assert wait_for(lambda: cache.set_many({"key": "again"}) == [] and cache.get("key") == "again", HEALED)


@pytest.mark.parametrize("backend", [RedisCache, SentinelRedisCache, ClusterRedisCache])
def test_a_deadline_ends_the_first_look_and_a_login(backend: type[RedisCache]) -> None:
    """Somebody takes the connection and says nothing."""

    def say_nothing(request: socket.socket) -> None:
        while request.recv(65536):
            pass

    with listening(say_nothing) as port:
        location, options = f"redis://127.0.0.1:{port}", {"password": "secret", **PATIENT, **CALM}
        if backend is SentinelRedisCache:
            location, options = f"redis://{SERVICE}", {**options, "sentinels": [("127.0.0.1", port)]}
        cache = make(backend, location, **options)
        for _ in range(2):
            with pytest.raises(CacheUnavailableError), hurried() as given_up:
                cache.get("key")
            assert [each.away for each in given_up] == [True]


def test_a_deadline_ends_the_wait_for_a_server_that_is_known_to_be_away(farm: Farm) -> None:
    server = farm.server()
    cache = make(RedisCache, server.url, **PATIENT)
    cache.set("key", "value")
    server.stop()
    for _ in range(2):
        with pytest.raises(CacheUnavailableError), hurried() as given_up:
            cache.get("key")
        assert [each.reason for each in given_up] == ["ConnectionError"]


def test_a_server_that_is_slow_is_not_taken_for_one_that_is_away(farm: Farm) -> None:
    server = farm.server()
    cache = make(RedisCache, server.url, **PATIENT, **CALM)
    cache.set("key", "value")
    server.ask("CLIENT PAUSE", "400", "ALL")
    with pytest.raises(CacheUnavailableError), hurried():
        cache.get("key")
    time.sleep(0.5)
    assert cache._client.topology.leader.answers.error is None
    assert statistics()["?"][f"127.0.0.1:{server.port}"]["errors"] == {"DeadlineError": 1}
    assert cache.get("key") == "value"
    assert server.client().info("clients")["connected_clients"] == 2, "the connection is used again"


def test_what_a_deadline_ended_may_have_been_done(farm: Farm) -> None:
    server = farm.server()
    cache = make(RedisCache, server.url, **PATIENT, **CALM)
    cache.set("number", 1)
    server.ask("CLIENT PAUSE", "400", "WRITE")
    with pytest.raises(OutcomeUnknownError), hurried():
        cache.incr("number")
    assert wait_for(lambda: cache.get("number") == 2)


def test_after_a_deadline_nothing_is_sent(farm: Farm) -> None:
    server = farm.server()
    cache = make(RedisCache, server.url, **PATIENT)
    cache.set("number", 1)
    with deadline(0):
        with pytest.raises(CacheUnavailableError) as caught:
            cache.add("new", 1)
        with pytest.raises(CacheUnavailableError):
            cache.delete("number")
    assert not isinstance(caught.value, OutcomeUnknownError)
    time.sleep(0.2)
    assert cache.get_many(["number", "new"]) == {"number": 1}


def test_of_two_deadlines_the_earlier_counts(farm: Farm) -> None:
    server = farm.server()
    cache = make(RedisCache, server.url, retry_deadline=10.0, **CALM)
    cache.set("key", "value")
    server.freeze()
    for outer, inner in ((SHORT, 20), (20, SHORT)):
        with hurried(outer) as everything, hurried(inner) as given_up:
            assert cache.get("key") is None
        assert len(everything) == len(given_up) == 1
    server.thaw()
    with deadline(20) as everything:
        with deadline(0):
            cache.get("key")
        assert wait_for(lambda: cache.get("key") == "value", HEALED), "the inner one is over"
    assert everything


def test_a_deadline_is_one_task_s(farm: Farm) -> None:
    server = farm.server()
    cache = make(RedisCache, server.url, retry_deadline=10.0, **CALM)
    cache.set("key", "value")

    async def impatient() -> tuple[Any, list[GivenUp]]:
        with deadline(SHORT) as given_up:
            return await cache.aget("key"), given_up

    async def tasks() -> Any:
        server.ask("CLIENT PAUSE", "400", "ALL")
        return await asyncio.gather(impatient(), cache.aget("key"))

    (value, given_up), patient = asyncio.run(tasks())
    assert (value, len(given_up), patient) == (None, 1, "value")


def test_a_lock_is_not_waited_for_beyond_a_deadline(farm: Farm) -> None:
    cache = make(RedisCache, farm.server().url)
    with cache.lock("busy", 30) as first, hurried(), cache.lock("busy", 30) as second:
        assert (first, second) == (True, False)


def test_without_threads_a_deadline_is_no_error(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = make(RedisCache, farm.server().url, on_error="raise")
    cache.set("key", "value")

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with deadline(SHORT) as given_up:
        assert cache.get("key") == "value"
    assert given_up == []


# Replication
# ------------------------------------------------------------------------------


@pytest.fixture
def replicated(farm: Farm) -> list[RedisServer]:
    return farm.replicated()


def urls(servers: list[RedisServer]) -> list[str]:
    return [server.url for server in servers]


def test_reads_are_spread_over_the_replicas(replicated: list[RedisServer]) -> None:
    cache = make(RedisCache, urls(replicated), read_from="replicas", read_your_writes=0, **CALM)
    before = [server.client().info("commandstats").get("cmdstat_get", {}).get("calls", 0) for server in replicated]
    for _ in range(100):
        cache.get("key")
    after = [server.client().info("commandstats").get("cmdstat_get", {}).get("calls", 0) for server in replicated]
    assert [now - then for now, then in zip(after, before)] == [0, 50, 50]


def test_reads_stay_at_the_leader_by_default(replicated: list[RedisServer]) -> None:
    cache = make(RedisCache, urls(replicated))
    for server in replicated[1:]:
        server.stop()
    cache.set("key", "value")
    assert [cache.get("key") for _ in range(10)] == ["value"] * 10


@pytest.mark.parametrize("fault", ["killed", "frozen", "LOADING"])
def test_a_replica_that_is_away_is_skipped_and_tried_again(replicated: list[RedisServer], fault: str) -> None:
    cache = make(RedisCache, urls(replicated), read_from="replicas", read_your_writes=0)
    cache.set("key", "value", None)
    assert wait_for(lambda: all(_has(server, cache, "key") for server in replicated))
    FAULTS[fault].hurt(replicated[1])
    begun = time.monotonic()
    assert [cache.get("key") for _ in range(50)] == ["value"] * 50
    assert time.monotonic() - begun < PAGE
    FAULTS[fault].heal(replicated[1])

    def reads() -> int:
        stats: Any = replicated[1].client().info("commandstats")
        return int(stats.get("cmdstat_get", {}).get("calls", 0))

    assert wait_for(replicated[1].wait_until_ready)
    before = reads()
    assert wait_for(lambda: (cache.get("key"), reads() > before)[1], HEALED)


@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_without_replicas_the_leader_serves(replicated: list[RedisServer], fault: str) -> None:
    cache = make(RedisCache, urls(replicated), read_from="replicas", read_your_writes=0, **CALM)
    cache.set("key", "value")
    for server in replicated[1:]:
        FAULTS[fault].hurt(server)
    assert [cache.get("key") for _ in range(20)] == ["value"] * 20


def test_without_a_leader_the_replicas_serve(replicated: list[RedisServer]) -> None:
    cache = make(RedisCache, urls(replicated), read_from="replicas", read_your_writes=0)
    cache.set("key", "value")
    assert wait_for(lambda: all(_has(server, cache, "key") for server in replicated))
    replicated[0].stop()
    assert [cache.get("key") for _ in range(20)] == ["value"] * 20
    cache.set("key", "dropped")
    assert cache.get("key") == "value"


def test_a_page_is_not_held_up_where_all_servers_hang(replicated: list[RedisServer]) -> None:
    cache = make(RedisCache, urls(replicated), read_from="replicas", read_your_writes=0)
    cache.set("key", "value")
    for server in replicated:
        server.freeze()
    begun = time.monotonic()
    for _ in range(10):
        assert cache.get("key") is None
    assert time.monotonic() - begun < PAGE


def test_a_replica_that_lost_its_leader_is_skipped(replicated: list[RedisServer]) -> None:
    cache = make(RedisCache, urls(replicated), read_from="replicas", read_your_writes=0, max_lag=0.5)
    cache.set("key", "old")
    assert wait_for(lambda: all(_has(server, cache, "key") for server in replicated))
    replicated[1].client().replicaof("127.0.0.1", "1")
    cache.set("key", "new")
    assert wait_for(lambda: all(cache.get("key") == "new" for _ in range(20)), HEALED)
    replicated[1].client().replicaof(replicated[0].host, str(replicated[0].port))
    assert wait_for(lambda: cache._client.topology.replicas[1].lags is False, HEALED)


def test_a_replica_that_is_behind_is_skipped(replicated: list[RedisServer]) -> None:
    """Its link is up, but what the leader sends does not arrive: it waits with all writes."""
    cache = make(RedisCache, urls(replicated), read_from="replicas", read_your_writes=0, max_lag=0.5)
    cache.set("key", "old")
    assert wait_for(lambda: all(_has(server, cache, "key") for server in replicated))
    replicated[1].ask("CLIENT PAUSE", "20000", "WRITE")
    cache.set("key", "new")
    assert wait_for(lambda: all(cache.get("key") == "new" for _ in range(20)), HEALED)


def _has(server: RedisServer, cache: Any, key: str) -> bool:
    return bool(server.client().exists(cache.make_key(key)))


def test_nobody_misses_what_he_wrote(replicated: list[RedisServer]) -> None:
    """100,000 times set, then get, by 16 threads."""
    cache = make(RedisCache, urls(replicated), read_from="replicas", **CALM, retry_deadline=10.0)
    stale: list[tuple[str, int, Any]] = []
    done = [0] * 16

    def work(thread: int) -> None:
        for number in range(100_000 // 16):
            key = f"{thread}:{number % 50}"
            cache.set(key, number)
            got = cache.get(key)
            if got != number:
                stale.append((key, number, got))
            done[thread] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == 100_000
    assert stale == []


def test_without_that_somebody_would(replicated: list[RedisServer]) -> None:
    """So that the test above can fail."""
    cache = make(RedisCache, urls(replicated), read_from="replicas", read_your_writes=0, **CALM)
    for server in replicated[1:]:
        server.ask("CLIENT PAUSE", "2000", "WRITE")
    cache.set("key", "value")
    assert cache.get("key") is None


def test_a_task_reads_what_it_wrote(replicated: list[RedisServer]) -> None:
    cache = make(RedisCache, urls(replicated), read_from="replicas", **CALM)

    async def work(task: int) -> list[Any]:
        wrong = []
        for number in range(50):
            await cache.aset(f"{task}", number)
            got = await cache.aget(f"{task}")
            if got != number:
                wrong.append((number, got))
        return wrong

    async def tasks() -> list[list[Any]]:
        return await asyncio.gather(*(work(task) for task in range(8)))

    assert asyncio.run(tasks()) == [[]] * 8


# Sentinel
# ------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["killed", "frozen"])
@pytest.mark.parametrize("read_from", ["leader", "replicas"])
def test_nobody_notices_a_failover(farm: Farm, fault: str, read_from: str) -> None:
    servers = farm.replicated()
    sentinels = farm.sentinels(servers[0])
    cache = make(SentinelRedisCache, f"redis://{SERVICE}", sentinels=sentinels, read_from=read_from, **PATIENT)
    with Load(cache) as load:
        assert wait_for(lambda: load.done > 200)
        FAULTS[fault].hurt(servers[0])
        begun = time.monotonic()
        before = load.done
        assert wait_for(lambda: load.done > before + 500)
        healed = time.monotonic()
        before = load.done
        assert wait_for(lambda: load.done > before + 500)
    assert load.errors == []
    # A leader that dies takes with it what it has acknowledged and not yet passed on.
    assert [wrong for wrong in load.wrong if not begun - 0.1 < wrong.written < healed] == []
    assert healed - begun < 1 + 3 + 2
    old = {key: number for key, (number, written) in load.acknowledged.items() if written < begun - 0.1}
    assert {key: number for key, number in old.items() if cache.get(key) != number} == {}


def test_a_switchover_costs_no_error(farm: Farm) -> None:
    servers = farm.replicated()
    sentinels = farm.sentinels(servers[0])
    cache = make(SentinelRedisCache, f"redis://{SERVICE}", sentinels=sentinels, **PATIENT)
    with Load(cache) as load:
        assert wait_for(lambda: load.done > 200)
        farm.servers[-1].ask("SENTINEL FAILOVER", SERVICE)
        assert wait_for(lambda: cache._client.topology.leader.name != f"127.0.0.1:{servers[0].port}")
        before = load.done
        assert wait_for(lambda: load.done > before + 500)
    assert load.errors == []


def test_a_leader_that_returns_is_not_held_against_its_past(farm: Farm) -> None:
    """A dies, B leads; A comes back, and leads again."""
    servers = farm.replicated(replicas=1)
    sentinels = farm.sentinels(servers[0])
    cache = make(SentinelRedisCache, f"redis://{SERVICE}", sentinels=sentinels, **PATIENT)

    def leads(server: RedisServer) -> bool:
        return bool(cache._client.topology.leader.name == f"127.0.0.1:{server.port}")

    def returned() -> bool:
        """Ask for a failover, again where one was given up, as on a machine that is late; but not for one more."""
        watched = farm.servers[-1].ask("SENTINEL MASTERS")[SERVICE]
        if watched["port"] == servers[1].port and "failover_in_progress" not in watched["flags"]:
            farm.servers[-1].ask("SENTINEL FAILOVER", SERVICE)
        return leads(servers[0])

    with Load(cache) as load:
        assert wait_for(lambda: load.done > 200)
        servers[0].stop()
        assert wait_for(lambda: leads(servers[1]))
        servers[0].start()
        # As Sentinel does with one that came back, after ten seconds or more.
        assert wait_for(lambda: servers[0].client().replicaof(servers[1].host, str(servers[1].port)))
        assert wait_for(returned, 60)
        before = load.done
        assert wait_for(lambda: load.done > before + 500)
    assert load.errors == []


def test_a_sentinel_that_knows_nothing_new_holds_nobody_up(farm: Farm) -> None:
    """The first one still names a leader that is a replica by now."""
    servers = farm.replicated(replicas=1)
    stale = farm.sentinels(servers[0])[0]
    sentinels = [stale, *farm.sentinels(servers[0])]
    for server in farm.servers[2:5]:
        server.freeze()
    servers[1].client().replicaof("NO", "ONE")
    servers[0].client().replicaof(servers[1].host, str(servers[1].port))
    for server in farm.servers[5:]:
        server.ask("SENTINEL REMOVE", SERVICE)
        server.ask("SENTINEL MONITOR", SERVICE, servers[1].host, servers[1].port, 2)
    farm.servers[2].thaw()
    cache = make(SentinelRedisCache, f"redis://{SERVICE}", sentinels=sentinels, on_error="raise", retry_deadline=4.0)
    cache.set("key", "value")
    assert cache.get("key") == "value"


def test_sentinels_may_die_and_have_passwords(farm: Farm) -> None:
    servers = farm.replicated(password="of the servers")
    sentinels = farm.sentinels(servers[0], password="of-the-sentinels")
    cache = make(
        SentinelRedisCache,
        f"redis://{SERVICE}",
        sentinels=sentinels,
        password="of the servers",
        sentinel_kwargs={"password": "of-the-sentinels"},
        **PATIENT,
    )
    farm.servers[-3].stop()
    farm.servers[-2].freeze()
    cache.set("key", "value")
    assert cache.get("key") == "value"


def test_without_sentinels_and_servers_nothing_raises(farm: Farm) -> None:
    server = farm.server()
    sentinels = farm.sentinels(server)
    for process in farm.servers:
        process.stop()
    cache = make(SentinelRedisCache, f"redis://{SERVICE}", sentinels=sentinels)
    begun = time.monotonic()
    run_all(cache)
    assert time.monotonic() - begun < 3
    for process in farm.servers:
        process.start()
    assert wait_for(lambda: cache.set_many({"key": 1}) == [], HEALED)


# Cluster
# ------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["killed", "frozen"])
@pytest.mark.parametrize("read_from", ["leader", "replicas"])
def test_nobody_notices_that_a_primary_dies(farm: Farm, fault: str, read_from: str) -> None:
    nodes = farm.cluster()
    cache = make(ClusterRedisCache, urls(nodes[:3]), read_from=read_from, **PATIENT)
    with Load(cache) as load:
        assert wait_for(lambda: load.done > 200)
        begun = time.monotonic()
        FAULTS[fault].hurt(nodes[0])
        assert wait_for(lambda: nodes[3].client().info("replication")["role"] == "master")
        before = load.done
        assert wait_for(lambda: load.done > before + 500)
        healed = time.monotonic()
        assert wait_for(lambda: load.done > before + 1000)
    assert load.errors == []
    assert [wrong for wrong in load.wrong if not begun - 0.1 < wrong.written < healed] == []
    old = {key: number for key, (number, written) in load.acknowledged.items() if written < begun - 0.1}
    assert {key: number for key, number in old.items() if cache.get(key) != number} == {}


def test_nobody_notices_that_slots_move(farm: Farm) -> None:
    """To a node that is new and has none yet, so that the first is asked for before the cluster knows it."""
    nodes = farm.cluster(replicas=0)
    new = farm.cluster_node()
    farm.meet(new, nodes[0])
    assert wait_for(lambda: new.ask("CLUSTER INFO")["cluster_state"] == "ok")
    cache = make(ClusterRedisCache, urls(nodes), **PATIENT)
    with Load(cache) as load:
        assert wait_for(lambda: load.done > 200)
        slots = {nodes[0].ask("CLUSTER KEYSLOT", key) for key in nodes[0].client().keys("*")}
        for slot in sorted(slots)[:20]:
            _move_slot(slot, nodes[0], new, nodes)
        before = load.done
        assert wait_for(lambda: load.done > before + 200)
        assert wait_for(lambda: is_whole(nodes[1], len(nodes[1].ask("CLUSTER SLOTS")), 0))
    assert load.errors == []
    assert load.wrong == []
    assert cache.get_many(load.acknowledged) == {key: number for key, (number, _) in load.acknowledged.items()}
    assert new.client().dbsize() > 0


def test_a_key_that_has_moved_ahead_of_its_slot_is_asked_for_there(farm: Farm) -> None:
    """The answer is ASK, and the new node says no to who does not ask."""
    nodes = farm.cluster(primaries=2, replicas=0)
    cache = make(ClusterRedisCache, urls(nodes))
    cache.set_many({"key": "value", "number": 1})
    for key in map(cache.make_key, ("key", "number")):
        slot = nodes[0].ask("CLUSTER KEYSLOT", key)
        source, target = sorted(nodes, key=lambda node: node.ask("CLUSTER COUNTKEYSINSLOT", slot), reverse=True)
        source_id, target_id = (server.ask("CLUSTER MYID").decode() for server in (source, target))
        target.ask("CLUSTER SETSLOT", slot, "IMPORTING", source_id)
        source.ask("CLUSTER SETSLOT", slot, "MIGRATING", target_id)
        source.ask("MIGRATE", target.host, target.port, key, 0, 5000)
    assert cache.get("key") == "value"
    assert cache.get_many(["key", "number"]) == {"key": "value", "number": 1}
    assert cache.incr("number") == 2
    cache.set("key", "other")
    assert cache.get("key") == "other"


def _move_slot(slot: int, source: RedisServer, target: RedisServer, nodes: list[RedisServer]) -> None:
    source_id, target_id = (server.ask("CLUSTER MYID").decode() for server in (source, target))
    target.ask("CLUSTER SETSLOT", slot, "IMPORTING", source_id)
    source.ask("CLUSTER SETSLOT", slot, "MIGRATING", target_id)
    while keys := source.ask("CLUSTER GETKEYSINSLOT", slot, 10):
        source.ask("MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *keys)
    for node in (target, source, *nodes[1:]):
        node.ask("CLUSTER SETSLOT", slot, "NODE", target_id)


@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_what_other_primaries_have_goes_on(farm: Farm, fault: str) -> None:
    nodes = farm.cluster(replicas=0, node_timeout=30_000)
    cache = make(ClusterRedisCache, urls(nodes))
    data = {f"key{number}": number for number in range(100)}
    assert cache.set_many(data) == []
    FAULTS[fault].hurt(nodes[0])
    begun = time.monotonic()
    found = cache.get_many(data)
    assert time.monotonic() - begun < PAGE
    assert 20 < len(found) < 80
    failed = cache.set_many(data)
    assert sorted(failed) == sorted(set(data) - set(found))
    run_all(cache)
    FAULTS[fault].heal(nodes[0])
    assert wait_for(lambda: cache.set_many(data) == [], HEALED)


def test_clear_finds_a_primary_with_a_single_slot(farm: Farm) -> None:
    nodes = farm.cluster(primaries=2, replicas=0)
    new = farm.cluster_node()
    farm.meet(new, nodes[0])
    assert wait_for(lambda: new.ask("CLUSTER INFO")["cluster_state"] == "ok")
    slot = nodes[0].ask("CLUSTER KEYSLOT", "alone")
    _move_slot(slot, next(node for node in nodes if node.ask("CLUSTER COUNTKEYSINSLOT", slot) == 0), new, nodes)
    cache = make(ClusterRedisCache, urls(nodes))
    assert wait_for(lambda: new.client().set("alone", "here"))
    assert cache.clear() is True
    assert new.client().dbsize() == 0


def test_a_slot_that_nobody_has_takes_no_node_away(farm: Farm) -> None:
    nodes = farm.cluster(replicas=0)
    for node in nodes:
        node.client().config_set("cluster-require-full-coverage", "no")
    cache = make(ClusterRedisCache, urls(nodes))
    data = {f"key{number}": number for number in range(100)}
    assert cache.set_many(data) == []
    lost = nodes[0].ask("CLUSTER KEYSLOT", cache.make_key("key0"))
    for node in nodes:
        node.ask("CLUSTER DELSLOTS", lost)
    gone = [key for key in data if nodes[0].ask("CLUSTER KEYSLOT", cache.make_key(key)) == lost]
    assert cache.get("key0") is None
    assert wait_for(lambda: len(cache.get_many(data)) == len(data) - len(gone), HEALED)
    begun = time.monotonic()
    for _ in range(10):
        assert cache.get("key0") is None
    assert time.monotonic() - begun < PAGE


def test_the_first_page_is_not_held_up_by_a_cluster_that_hangs(farm: Farm) -> None:
    nodes = farm.cluster(replicas=0)
    for node in nodes:
        node.freeze()
    cache = make(ClusterRedisCache, urls(nodes))
    begun = time.monotonic()
    for _ in range(10):
        cache.get("key")
    assert time.monotonic() - begun < PAGE


def test_clear_empties_every_primary(farm: Farm) -> None:
    nodes = farm.cluster(replicas=0)
    cache = make(ClusterRedisCache, urls(nodes))
    cache.set_many({f"key{number}": number for number in range(100)})
    assert all(node.client().dbsize() for node in nodes)
    assert cache.clear() is True
    assert [node.client().dbsize() for node in nodes] == [0, 0, 0]


def test_a_cluster_that_is_down_raises_nothing(farm: Farm) -> None:
    nodes = farm.cluster(replicas=0)
    cache = make(ClusterRedisCache, urls(nodes))
    cache.set("key", "value")
    for node in nodes:
        node.ask("CLUSTER DELSLOTSRANGE", 0, 100)
    assert wait_for(lambda: all(node.ask("CLUSTER INFO")["cluster_state"] == "fail" for node in nodes))
    assert seconds_of_a_page(cache) < PAGE
    run_all(cache)
    nodes[0].ask("CLUSTER ADDSLOTSRANGE", 0, 100)
    assert wait_for(lambda: cache.set_many({"key": 1}) == [], HEALED)


def test_errors_name_themselves() -> None:
    assert issubclass(OutcomeUnknownError, CacheUnavailableError)
    assert issubclass(CacheUnavailableError, redis.ConnectionError)
