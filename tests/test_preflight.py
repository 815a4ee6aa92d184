"""Inventories that do not fit together: each is refused with the place, the value and the fix."""

from __future__ import annotations

import copy
from typing import Any

import preflight
import pytest
import yaml
from preflight import RULES, FilterModule, deployment_faults

from conftest import PROJECT

Inventory = tuple[dict[str, dict[str, Any]], dict[str, list[str]]]


def inventory(mode: str, redis: int, sentinels: int = 0, **common: Any) -> Inventory:
    """Hosts redis-1... and app-1; the first of the Redis hosts have the Sentinels."""
    names = [f"redis-{number}" for number in range(1, max(redis, sentinels) + 1)]
    groups = {"redis": names[:redis], "redis_sentinel": names[:sentinels], "django_app": ["app-1"]}
    hostvars = {
        name: {"cache_mode": mode, "ansible_host": f"192.0.2.{number}", **copy.deepcopy(common)}
        for number, name in enumerate([*names, "app-1"], 11)
    }
    return hostvars, groups


def faults(given: Inventory, **hosts: dict[str, Any]) -> list[str]:
    """What is wrong after these changes of hosts: redis_1={...}."""
    hostvars, groups = given
    for name, variables in hosts.items():
        hostvars[name.replace("_", "-")].update(variables)
    return deployment_faults(hostvars, groups)


def changed(given: Inventory, host: str, **variables: Any) -> Inventory:
    """The inventory with other variables of one host."""
    given[0][host].update(variables)
    return given


RIGHT: dict[str, Inventory] = {
    "locmem": inventory("locmem", 0),
    "standalone": inventory("standalone", 1),
    "standalone of several": inventory("standalone", 3),
    "replication": inventory("replication", 3),
    "sentinel": inventory("sentinel", 3, 3),
    "sentinel of five": inventory("sentinel", 2, 5, redis_sentinel_quorum=2),
    "texts": inventory("sentinel", 3, 3, redis_sentinel_quorum="2", redis_sentinel_down_after_ms="2000"),
    "cluster": inventory("cluster", 6),
    "cluster without replicas": inventory("cluster", 3, redis_cluster_replicas=0),
    "cluster with a spare": inventory("cluster", 7),
    "a mode that needs no log": inventory("standalone", 1, redis_appendonly=False),
    "snapshots": inventory("replication", 2, redis_appendonly=False, redis_save="3600 1"),
    "by redis_config": inventory("replication", 2, redis_appendonly=False, redis_config={"appendonly": "yes"}),
    "accepted": inventory("replication", 2, redis_appendonly=False, redis_accept_empty_restart=True),
}


@pytest.mark.parametrize("given", RIGHT.values(), ids=RIGHT)
def test_a_right_inventory_has_no_faults(given: Inventory) -> None:
    assert deployment_faults(*given) == []


# (what is wrong, the words that must be told)
WRONG: dict[str, tuple[Inventory, list[str]]] = {
    "no replica": (inventory("replication", 1), ["cache_mode replication", "no replica", "cache_mode: standalone"]),
    "nobody to promote": (inventory("sentinel", 1, 3), ["cache_mode sentinel", "no replica", "add a host"]),
    "no Sentinel": (inventory("sentinel", 3), ["group redis_sentinel has 0 Sentinels", "wanted 3, 5"]),
    "one Sentinel": (inventory("sentinel", 3, 1), ["has 1 Sentinels (redis-1)", "the loss of one", "wanted 3, 5"]),
    "two Sentinels": (inventory("sentinel", 3, 2), ["has 2 Sentinels (redis-1, redis-2)", "wanted 3, 5"]),
    "four Sentinels": (inventory("sentinel", 3, 4), ["has 4 Sentinels", "odd"]),
    "quorum too high": (
        inventory("sentinel", 3, 3, redis_sentinel_quorum=4),
        ["redis_sentinel_quorum 4", "1 to 3", "best 2"],
    ),
    "quorum of nobody": (inventory("sentinel", 3, 3, redis_sentinel_quorum=0), ["redis_sentinel_quorum 0", "1 to 3"]),
    "quorum of words": (inventory("sentinel", 3, 3, redis_sentinel_quorum="two"), ["redis_sentinel_quorum 'two'"]),
    "a quorum of signs": (inventory("sentinel", 3, 3, redis_sentinel_quorum="--2"), ["redis_sentinel_quorum '--2'"]),
    "a service of two words": (
        inventory("sentinel", 3, 3, redis_sentinel_service="my master"),
        ["redis_sentinel_service 'my master'", "letters"],
    ),
    "replicas in words": (inventory("cluster", 6, redis_cluster_replicas="two"), ["redis_cluster_replicas 'two'"]),
    "a boolean quorum": (inventory("sentinel", 3, 3, redis_sentinel_quorum=True), ["redis_sentinel_quorum True"]),
    "seconds for milliseconds": (
        inventory("sentinel", 3, 3, redis_sentinel_down_after_ms=5, redis_sentinel_failover_timeout_ms=10000),
        ["redis-1: redis_sentinel_down_after_ms 5", "milliseconds", "did you mean 5000?"],
    ),
    "too long": (
        inventory("sentinel", 3, 3, redis_sentinel_down_after_ms=9_000_000, redis_sentinel_failover_timeout_ms=600_000),
        ["redis_sentinel_down_after_ms 9000000 is out of range"],
    ),
    "milliseconds for seconds": (
        inventory("sentinel", 3, 3, redis_min_replicas_max_lag=5000),
        ["redis_min_replicas_max_lag 5000", "in seconds", "did you mean 5?"],
    ),
    "a time with its unit": (
        inventory("cluster", 6, redis_cluster_node_timeout_ms="5s"),
        ["redis_cluster_node_timeout_ms '5s' is no whole number", "milliseconds"],
    ),
    "a failover that cannot be in time": (
        inventory("sentinel", 3, 3, redis_sentinel_down_after_ms=20000),
        ["redis_sentinel_failover_timeout_ms 10000 is less than redis_sentinel_down_after_ms 20000", "write 40000"],
    ),
    "two primaries": (inventory("cluster", 4), ["has 4 hosts", "2 primaries", "have 6 hosts"]),
    "two primaries without replicas": (
        inventory("cluster", 2, redis_cluster_replicas=0),
        ["has 2 hosts", "2 primaries", "have 3 hosts"],
    ),
    "replicas below nothing": (inventory("cluster", 6, redis_cluster_replicas=-1), ["redis_cluster_replicas -1"]),
    "more replicas than there are": (
        inventory("sentinel", 3, 3, redis_min_replicas_to_write=3),
        ["redis-1: redis_min_replicas_to_write 3 is more than the 2 replicas", "refuse every write", "write 1"],
    ),
    "a single server that waits for replicas": (
        inventory("standalone", 1, redis_min_replicas_to_write=1),
        ["redis_min_replicas_to_write 1 is more than the 0 replicas", "write 0"],
    ),
    "no log and no snapshots": (
        inventory("sentinel", 3, 3, redis_appendonly=False),
        ["redis-1: redis_appendonly and redis_save are both off", "redis_accept_empty_restart: true"],
    ),
    "the same in other words": (
        inventory("replication", 2, redis_config={"appendonly": "no", "save": '""'}),
        ["redis_appendonly and redis_save are both off"],
    ),
    "a port out of range": (
        inventory("standalone", 1, redis_port=99999),
        ["redis-1: redis_port 99999 is no port", "1 to 65535"],
    ),
    "a port in words": (
        inventory("sentinel", 3, 3, redis_sentinel_port="abc"),
        ["redis_sentinel_port 'abc' is no port"],
    ),
    "no port for the bus": (inventory("cluster", 6, redis_port=60000), ["redis_port 60000", "write 55535 or less"]),
    "Django in another mode": (
        changed(inventory("sentinel", 3, 3), "app-1", cache_mode="standalone"),
        ["cache_mode is not the same everywhere", "app-1: standalone"],
    ),
    "two services": (
        changed(inventory("sentinel", 3, 3), "redis-2", redis_sentinel_service="other"),
        ["redis_sentinel_service is not the same everywhere"],
    ),
    "TLS": (inventory("cluster", 6, redis_tls=True), ["redis-1: redis_tls", "cache_mode cluster"]),
}


@pytest.mark.parametrize(("given", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_inventory_is_refused_with_the_fix(given: Inventory, words: list[str]) -> None:
    told = "\n".join(deployment_faults(*copy.deepcopy(given)))
    assert [word for word in words if word not in told] == [], told


def test_one_machine_must_not_have_most_of_the_sentinels() -> None:
    same = {"ansible_host": "192.0.2.11", "redis_sentinel_port": 26380, "redis_port": 6380}
    (told,) = faults(inventory("sentinel", 3, 3), redis_2=same)
    assert "2 of 3 Sentinels are on one machine, 192.0.2.11" in told


def test_a_primary_and_its_replica_must_not_share_a_machine() -> None:
    given = inventory("cluster", 6)
    for number, name in enumerate(given[1]["redis"]):
        given[0][name].update(ansible_host="192.0.2.1" if number < 4 else "192.0.2.2", redis_port=6379 + number)
    (told,) = faults(given)
    assert "4 of 6 nodes are on one machine, 192.0.2.1" in told
    assert "no more than 3" in told
    given[0]["redis-4"]["ansible_host"] = "192.0.2.2"
    assert faults(given) == []
    for name in given[1]["redis"]:
        given[0][name]["ansible_host"] = "192.0.2.1"
    assert "6 of 6 nodes" in faults(given)[0]


def test_two_servers_must_not_share_a_port() -> None:
    (told,) = faults(inventory("replication", 3), redis_3={"ansible_host": "192.0.2.12"})
    assert "redis-2 and redis-3 both use port 6379 of 192.0.2.12" in told
    (told,) = faults(inventory("sentinel", 3, 3), redis_3={"redis_sentinel_port": 6379})
    assert "redis-3 and redis-3 both use port 6379" in told


def test_a_loopback_address_is_nobody_elses() -> None:
    (told,) = faults(inventory("replication", 3), redis_1={"redis_address": "127.0.1.1"})
    assert "redis-1: the address is 127.0.1.1" in told
    every = inventory("replication", 3, redis_address="127.0.0.1")
    for number, name in enumerate(every[1]["redis"]):
        every[0][name]["redis_port"] = 6379 + number
    assert faults(every) == []


def test_hosts_of_a_deployment_say_the_same() -> None:
    told = faults(inventory("sentinel", 3, 3), redis_2={"redis_sentinel_service": "other"})
    assert "redis_sentinel_service is not the same everywhere (redis-1: mymaster, redis-2: other" in told[0]
    given = inventory("replication", 3, redis_password="opensesame")
    (told_once,) = faults(given, redis_2={"redis_password": "letmein"})
    assert "redis_password is not the same everywhere (redis-1, redis-2, redis-3, app-1)" in told_once
    assert "opensesame" not in told_once
    assert "letmein" not in told_once


def two_deployments() -> Inventory:
    hostvars = {
        name: {"cache_mode": "replication", "ansible_host": name, "cache_redis_group": f"redis_{name[0]}"}
        for name in ("a-1", "a-2", "b-1", "b-2", "a-app")
    }
    groups = {"redis_a": ["a-1", "a-2"], "redis_b": ["b-1", "b-2"], "django_app": ["a-app"]}
    return hostvars, {**groups, "redis": ["a-1", "a-2", "b-1", "b-2"]}


def test_two_deployments_in_one_inventory_are_checked_apart() -> None:
    given = two_deployments()
    assert faults(given) == []
    given[0]["b-1"]["redis_port"] = 0
    assert faults(given) == ["b-1: redis_port 0 is no port; write a number from 1 to 65535"]


@pytest.mark.parametrize(("host", "own", "other"), [("b-1", "redis_b", "redis_a"), ("a-1", "redis_a", "redis_b")])
def test_a_host_in_two_deployments_is_refused(host: str, own: str, other: str) -> None:
    hostvars, groups = two_deployments()
    groups[other].append(host)
    told = deployment_faults(hostvars, groups)
    wanted = f"{host}: it is in the group {other} of one deployment"
    assert any(fault.startswith(wanted) and own in fault and "take it out" in fault for fault in told)


def test_all_faults_are_told_at_once() -> None:
    told = faults(
        inventory("sentinel", 2, 2, redis_sentinel_quorum=9, redis_appendonly=False), redis_1={"redis_port": 0}
    )
    assert len(told) >= 4


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
def test_every_rule_has_a_fault_that_it_alone_tells(rule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "RULES", tuple(other for other in RULES if other is not rule))
    told = {name: "\n".join(deployment_faults(*given)) for name, (given, _) in WRONG.items()}
    assert [name for name, (_, words) in WRONG.items() if any(word not in told[name] for word in words)]


@pytest.mark.parametrize("name", sorted(preflight.DEFAULTS))
def test_the_defaults_are_those_of_the_roles(name: str) -> None:
    role = max((path.name for path in (PROJECT / "roles").iterdir() if name.startswith(f"{path.name}_")), key=len)
    defaults = yaml.safe_load((PROJECT / "roles" / role / "defaults" / "main.yml").read_text("utf-8"))
    assert preflight.DEFAULTS[name] == defaults[name]


def test_what_is_shared_is_known() -> None:
    for name in (*preflight.SHARED, *preflight.RANGES):
        assert any(name in path.read_text("utf-8") for path in (PROJECT / "roles").glob("*/defaults/main.yml")), name


def test_the_filter_is_registered() -> None:
    assert FilterModule().filters() == {"deployment_faults": deployment_faults}
