"""Deadlines of a task: what hangs is over in good time, and nothing is sent afterwards."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

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
from resilience import CALM, HEALED, PATIENT, calls, listening, make, named, run
from servers import SERVICE, Farm, wait_for

pytestmark = pytest.mark.usefixtures("django_project")


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
def test_a_deadline_ends_what_hangs(farm: Farm, name: str) -> None:
    """Before the timeout of the socket does, and the next one knows."""
    server = farm.server()
    with named("hanging", RedisCache, server.url, retry_deadline=10.0, **CALM) as cache:
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
