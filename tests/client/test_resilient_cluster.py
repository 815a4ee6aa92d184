"""The resilient backend with a cluster: primaries die, slots move, and nobody notices."""

from __future__ import annotations

import time

import pytest

from cachestack.resilient import ClusterRedisCache
from resilience import FAULTS, HEALED, PAGE, PATIENT, Load, make, run_all, seconds_of_a_page, urls
from servers import Farm, RedisServer, is_whole, wait_for

pytestmark = pytest.mark.usefixtures("django_project")


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
