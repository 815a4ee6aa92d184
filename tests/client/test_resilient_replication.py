"""The resilient backend and its replicas: who is read from, who is skipped, and what is read back."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from cachestack.resilient import RedisCache
from resilience import CALM, FAULTS, HEALED, PAGE, has_key, make, urls
from servers import Farm, RedisServer, wait_for

pytestmark = pytest.mark.usefixtures("django_project")


@pytest.fixture
def replicated(farm: Farm) -> list[RedisServer]:
    return farm.replicated()


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
    assert wait_for(lambda: all(has_key(server, cache, "key") for server in replicated))
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
    assert wait_for(lambda: all(has_key(server, cache, "key") for server in replicated))
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
    assert wait_for(lambda: all(has_key(server, cache, "key") for server in replicated))
    replicated[1].client().replicaof("127.0.0.1", "1")
    cache.set("key", "new")
    assert wait_for(lambda: all(cache.get("key") == "new" for _ in range(20)), HEALED)
    replicated[1].client().replicaof(replicated[0].host, str(replicated[0].port))
    assert wait_for(lambda: cache._client.topology.replicas[1].lags is False, HEALED)


def test_a_replica_that_is_behind_is_skipped(replicated: list[RedisServer]) -> None:
    """Its link is up, but what the leader sends does not arrive: it waits with all writes."""
    cache = make(RedisCache, urls(replicated), read_from="replicas", read_your_writes=0, max_lag=0.5)
    cache.set("key", "old")
    assert wait_for(lambda: all(has_key(server, cache, "key") for server in replicated))
    replicated[1].ask("CLIENT PAUSE", "20000", "WRITE")
    cache.set("key", "new")
    assert wait_for(lambda: all(cache.get("key") == "new" for _ in range(20)), HEALED)


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
