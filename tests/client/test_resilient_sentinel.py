"""The resilient backend with Sentinels: failovers, switchovers and Sentinels that die cost no error."""

from __future__ import annotations

import time

import pytest

from cachestack.resilient import SentinelRedisCache
from resilience import FAULTS, HEALED, PATIENT, Load, make, run_all
from servers import SERVICE, Farm, RedisServer, wait_for

pytestmark = pytest.mark.usefixtures("django_project")


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
