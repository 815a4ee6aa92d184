"""What verify and status say of a deployment: each fault is found, and a sound one has none."""

from __future__ import annotations

import itertools
from copy import deepcopy
from typing import Any

import pytest

from builders import SECRETS, running, site
from deployment.report import cachecheck_faults, deployment_summary, sentinel_faults, topology_faults
from deployment.site import Site
from deployment.states import States
from deployment.topology import redis_nodes

Nodes = list[dict[str, Any]]
Hostvars = dict[str, dict[str, Any]]

LEADS = {"role": "leader", "server": "redis", "version": "7.0.15"}
FOLLOWS = {
    "role": "replica",
    "server": "valkey",
    "version": "9.1.2",
    "leader_address": "192.0.2.11",
    "leader_port": 6379,
    "link": "connected",
}


@pytest.fixture
def hostvars() -> Hostvars:
    """A sound replication of three."""
    return {
        "redis-1": {"ansible_host": "192.0.2.11", "redis_reply": dict(LEADS)},
        "redis-2": {"ansible_host": "192.0.2.12", "redis_reply": dict(FOLLOWS)},
        "redis-3": {"ansible_host": "192.0.2.13", "redis_reply": dict(FOLLOWS)},
    }


@pytest.fixture
def nodes(hostvars: Hostvars) -> Nodes:
    return redis_nodes(list(hostvars), hostvars, "replication")


# topology_faults


def test_a_sound_replication_has_no_faults(nodes: Nodes, hostvars: Hostvars) -> None:
    assert topology_faults(iter(nodes), hostvars, "replication") == []


def test_without_servers_there_is_no_leader_to_miss() -> None:
    assert topology_faults([], {}, "locmem") == []
    assert topology_faults([], {}, "standalone") == ["mode standalone has one leader, and no server leads"]


def test_a_sound_standalone_has_no_faults(nodes: Nodes, hostvars: Hostvars) -> None:
    hostvars["redis-2"]["redis_reply"] = {"error": "Connection refused"}
    assert topology_faults(nodes[:1], hostvars, "standalone") == []


@pytest.mark.parametrize(
    ("host", "reply", "faults"),
    [
        ("redis-2", {"error": "Connection refused"}, ["redis-2 does not answer: Connection refused"]),
        ("redis-2", {}, ["redis-2 does not answer: it was not asked"]),
        ("redis-2", None, ["redis-2 does not answer: it was not asked"]),
        (
            "redis-3",
            {**FOLLOWS, "link": "connecting"},
            ["redis-3 follows 192.0.2.11:6379, but its link is connecting"],
        ),
        (
            "redis-3",
            {**FOLLOWS, "leader_address": "192.0.2.12"},
            ["redis-3 follows 192.0.2.12:6379, and redis-1 leads"],
        ),
        ("redis-3", {**FOLLOWS, "leader_port": 6380}, ["redis-3 follows 192.0.2.11:6380, and redis-1 leads"]),
        ("redis-2", LEADS, ["mode replication has one leader, and redis-1, redis-2 leads"]),
        ("redis-1", FOLLOWS, ["mode replication has one leader, and no server leads"]),
        (
            "redis-1",
            {"error": "timed out", "leader_address": "192.0.2.12", "leader_port": 6379},
            ["redis-1 does not answer: timed out", "mode replication has one leader, and no server leads"],
        ),
    ],
)
def test_topology_faults(
    nodes: Nodes, hostvars: Hostvars, host: str, reply: dict[str, Any] | None, faults: list[str]
) -> None:
    hostvars[host]["redis_reply"] = reply
    assert topology_faults(nodes, hostvars, "replication") == faults


# cachecheck_faults

URLS = ["redis://192.0.2.11:6379", "redis://192.0.2.12:6379", "redis://192.0.2.13:6379"]


def report(*servers: str, mode: str = "replication", client: str = "builtin") -> dict[str, Any]:
    """What cachecheck prints where all is well and `default` has these servers."""
    operations = [{"name": "set", "ok": True, "error": None}, {"name": "get", "ok": True, "error": None}]
    aliases = {"default": {"servers": list(servers), "operations": operations}}
    return {"mode": mode, "client": client, "aliases": aliases}


@pytest.mark.parametrize("suffix", ["", "/1", "?db=1"])
@pytest.mark.parametrize("count", [1, 3])
def test_sound_caches_have_no_faults(nodes: Nodes, suffix: str, count: int) -> None:
    servers = [url + suffix for url in URLS[:count]]
    assert cachecheck_faults(report(*servers), nodes, "replication", "builtin") == []


@pytest.mark.parametrize(
    ("changes", "server"),
    [
        ({"address": "2001:db8::1"}, "redis://[2001:db8::1]:6379/1"),
        ({"address": "2001:db8::1", "tls": True}, "rediss://[2001:db8::1]:6379"),
        ({"socket": "/run/redis.sock"}, "unix:///run/redis.sock"),
        ({"socket": "/run/redis.sock"}, "unix:///run/redis.sock?db=2"),
        ({"socket": "/run/a b.sock"}, "unix:///run/a%20b.sock?db=2"),
    ],
)
def test_addresses_are_recognised(nodes: Nodes, changes: dict[str, Any], server: str) -> None:
    place = [{**nodes[0], **changes}]
    assert cachecheck_faults(report(server), place, "replication", "builtin") == []
    assert cachecheck_faults(report(URLS[1]), place, "replication", "builtin") != []


@pytest.mark.parametrize(
    "servers",
    [[URLS[1]], [URLS[1], URLS[0], URLS[2]], [URLS[0], URLS[2], URLS[1]], URLS[:2], [*URLS, URLS[2]], ["redis://h:1"]],
)
def test_other_servers_than_those_that_run(nodes: Nodes, servers: list[str]) -> None:
    (fault,) = cachecheck_faults(report(*servers), nodes, "replication", "builtin")
    told = ", ".join(server.removeprefix("redis://") for server in servers)
    assert fault == f"default: Django uses {told}, and what runs is 192.0.2.11:6379, 192.0.2.12:6379, 192.0.2.13:6379"


@pytest.mark.parametrize(
    "servers", [["redis://shop"], ["redis://shop/1?is_master=1"], ["redis://shop/1?is_master=1", "redis://shop/1?x=0"]]
)
def test_under_sentinel_the_service_is_what_runs(nodes: Nodes, servers: list[str]) -> None:
    told = report(*servers, mode="sentinel", client="resilient")
    assert cachecheck_faults(told, nodes, "sentinel", "resilient", service="shop") == []
    (fault,) = cachecheck_faults(told, nodes, "sentinel", "resilient", service="mymaster")
    assert fault.startswith("default: Django uses shop")
    assert fault.endswith(", and what runs is mymaster")
    assert cachecheck_faults(told, [], "sentinel", "resilient") == []


@pytest.mark.parametrize("servers", [URLS, URLS[:1], ["redis://shop", "redis://other"], []])
def test_under_sentinel_no_server_is_named(nodes: Nodes, servers: list[str]) -> None:
    told = report(*servers, mode="sentinel", client="resilient")
    assert len(cachecheck_faults(told, nodes, "sentinel", "resilient", service="shop")) == 1


def test_of_a_cluster_every_node_is_known_in_any_order(nodes: Nodes) -> None:
    nodes = [{**node, "socket": "/run/redis.sock"} for node in nodes]
    for servers in itertools.permutations(URLS):
        assert cachecheck_faults(report(*servers, mode="cluster"), nodes, "cluster", "builtin") == []


@pytest.mark.parametrize("servers", [URLS[:1], URLS[:2], [*URLS, URLS[2]], [*URLS, "redis://h:1"], ["redis://h:1"]])
def test_other_nodes_than_those_of_the_cluster(nodes: Nodes, servers: list[str]) -> None:
    (fault,) = cachecheck_faults(report(*servers, mode="cluster"), nodes, "cluster", "builtin")
    told = ", ".join(server.removeprefix("redis://") for server in servers)
    assert fault == f"default: Django uses {told}, and what runs is 192.0.2.11:6379, 192.0.2.12:6379, 192.0.2.13:6379"


def test_locmem_has_no_servers_to_compare() -> None:
    assert cachecheck_faults(report("default", mode="locmem"), [], "locmem", "builtin") == []


@pytest.mark.parametrize(("mode", "client"), [("standalone", "builtin"), ("replication", "django_redis")])
def test_django_runs_something_else(nodes: Nodes, mode: str, client: str) -> None:
    (fault,) = cachecheck_faults(report(*URLS, mode=mode, client=client), nodes, "replication", "builtin")
    assert f"Django runs {mode} with client {client}" in fault
    assert "the inventory says replication with client builtin" in fault


def test_each_failed_operation_is_a_fault(nodes: Nodes) -> None:
    failed = report(*URLS)
    failed["aliases"]["dj_session"] = deepcopy(failed["aliases"]["default"])
    failed["aliases"]["dj_session"]["operations"][1] = {"name": "get", "ok": False, "error": "Connection refused"}
    assert cachecheck_faults(failed, nodes, "replication", "builtin") == ["dj_session: get: Connection refused"]


# deployment_summary


def summary(site: Site, apps: bool = True) -> list[str]:
    """The lines that people read of a site."""
    states = States(site)
    (cache,) = site.caches
    return deployment_summary(cache, states.apps.values() if apps else []).splitlines()


def test_the_summary() -> None:
    said = running("replication")
    said["redis-2"]["redis"] |= {"server": "valkey", "version": "9.1.2"}
    said["redis-3"] = {"redis": {"error": "Connection refused", "leader_address": "10.0.0.1", "leader_port": 6379}}
    lines = summary(site("replication", said=said, cache_client="resilient"))
    assert lines == [
        "mode     replication             client resilient",
        "Django   http://127.0.0.1:8000/  app-1, caches: ok",
        "leader   10.0.0.1:6379           redis-1, redis 7.0.15",
        "replica  10.0.0.2:6379           redis-2, valkey 9.1.2 connected",
        "replica  10.0.0.3:6379           redis-3, Connection refused",
    ]
    assert not [secret for secret in SECRETS.values() if secret in str(lines)]


def test_the_summary_of_locmem() -> None:
    assert summary(site("locmem")) == [
        "mode    locmem                  client builtin",
        "Django  http://127.0.0.1:8000/  app-1, caches: does not answer",
    ]


def test_the_summary_of_an_ipv6_server() -> None:
    one = site("standalone", own={"redis-1": {"redis_address": "2001:db8::1"}}, said=running("standalone"))
    assert summary(one, apps=False)[0].endswith("no Django host")
    assert "leader  [2001:db8::1]:6379  redis-1, redis 7.0.15" in summary(one, apps=False)


@pytest.mark.parametrize(
    ("days", "words"),
    [(3, "certificate for 3 days"), (None, "its certificate has expired, or is of another authority")],
)
def test_the_summary_says_what_certificates_are_worth(days: int | None, words: str) -> None:
    said = running("sentinel", tls=True)
    said["redis-1"]["redis"]["days_left"] = days
    said["redis-3"]["sentinel"]["trusted"] = days is not None
    lines = summary(site("sentinel", said=said))
    assert lines[2].endswith(f"redis-1, redis 7.0.15, {words}")
    assert lines[-1].endswith("a failover is possible" if days else f"a failover is possible, {words}")


def test_a_server_that_was_not_asked_is_said_to_be() -> None:
    """`--limit app-1` asks no server."""
    known = site("replication", said=running("replication"))
    one = Site(known.values, known.groups, {"app-1": known.looked["app-1"]})
    assert summary(one)[3] == "replica  10.0.0.2:6379           redis-2, was not asked"


# Sentinels

LEADER = {"name": "redis-1", "address": "192.0.2.11", "port": 6379}
SENTINEL_SAYS = {
    "running": True,
    "leader_address": "192.0.2.11",
    "leader_port": 6379,
    "quorum": "OK 3 usable Sentinels.",
    "unsettled": "",
}


def test_a_sentinel_without_faults() -> None:
    assert sentinel_faults(SENTINEL_SAYS, LEADER) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"running": False, "error": "refused"}, "the Sentinel does not answer: refused"),
        ({"leader_port": 6380}, "the Sentinel names 192.0.2.11:6380, and redis-1 leads"),
        ({"leader_address": "192.0.2.12"}, "the Sentinel names 192.0.2.12:6379, and redis-1 leads"),
        ({"quorum": "NOQUORUM 1 usable"}, "no failover is possible: NOQUORUM 1 usable"),
        ({"unsettled": "a failover is under way"}, "a failover is under way"),
    ],
)
def test_what_is_wrong_with_a_sentinel(changed: dict[str, Any], words: str) -> None:
    (told,) = sentinel_faults({**SENTINEL_SAYS, **changed}, LEADER)
    assert words in told


def test_the_summary_says_whether_a_failover_is_possible() -> None:
    said = running("sentinel")
    said["redis-2"]["sentinel"]["quorum"] = "NOQUORUM 1 usable"
    said["redis-3"]["sentinel"] = {"running": False, "error": "refused"}
    said["sentinel-1"] = {"sentinel": None}
    one = site("sentinel", sentinels=["redis-1", "redis-2", "redis-3", "sentinel-1"], said=said)
    told = [line.rpartition(", ")[2] for line in summary(one) if line.startswith("Sentinel")]
    assert told == ["a failover is possible", "NOQUORUM 1 usable", "refused", "was not asked"]
