"""The resilient backends while servers hang, die and refuse: what reaches the caller, and how soon it is over."""

from __future__ import annotations

import logging
import socket
import threading
import time
import traceback
from typing import Any

import pytest
import redis

from cachestack.resilient import (
    CacheUnavailableError,
    ClusterRedisCache,
    OutcomeUnknownError,
    RedisCache,
    SentinelRedisCache,
    statistics,
)
from resilience import (
    FAULTS,
    HEALED,
    PAGE,
    PATIENT,
    Load,
    calls,
    cut,
    listening,
    make,
    named,
    run,
    run_all,
    seconds_of_a_page,
)
from servers import SERVICE, Farm, wait_for

pytestmark = pytest.mark.usefixtures("django_project")


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
    cut(server)
    assert cache.incr("number") == 2


def test_the_log_has_a_line_per_interval_and_the_counts_have_all(farm: Farm, caplog: pytest.LogCaptureFixture) -> None:
    server = farm.server()
    with named("noisy", RedisCache, server.url, log_interval=0.2) as cache:
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


def test_errors_name_themselves() -> None:
    assert issubclass(OutcomeUnknownError, CacheUnavailableError)
    assert issubclass(CacheUnavailableError, redis.ConnectionError)
