"""What verify and status say of a deployment: each fault is found, and a sound one has none."""

from __future__ import annotations

import itertools
from copy import deepcopy
from typing import Any

import pytest

from deployment.report import cachecheck_faults, deployment_summary, sentinel_faults, topology_faults
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


def test_the_summary(nodes: Nodes, hostvars: Hostvars) -> None:
    hostvars["redis-1"]["redis_password"] = "opensesame"
    hostvars["redis-3"]["redis_reply"] = {"error": "Connection refused", "leader_address": "x", "leader_port": 1}
    hostvars["app-1"] = {
        "django_app_status": {"url": "http://127.0.0.1:8000/readyz", "json": {"status": "ok"}},
        "django_app_secret_key": "opensesame",
    }
    assert deployment_summary(list(hostvars), hostvars, iter(nodes), "replication", "resilient").splitlines() == [
        "mode     replication             client resilient",
        "Django   http://127.0.0.1:8000/  app-1, caches: ok",
        "leader   192.0.2.11:6379         redis-1, redis 7.0.15",
        "replica  192.0.2.12:6379         redis-2, valkey 9.1.2 connected",
        "replica  192.0.2.13:6379         redis-3, Connection refused",
    ]


def test_the_summary_of_locmem() -> None:
    hostvars = {"app-1": {"django_app_status": {"url": "http://h:8000/readyz", "status": -1}}}
    assert deployment_summary(["app-1"], hostvars, [], "locmem", "builtin").splitlines() == [
        "mode    locmem          client builtin",
        "Django  http://h:8000/  app-1, caches: does not answer",
    ]


def test_the_summary_of_an_ipv6_server(nodes: Nodes, hostvars: Hostvars) -> None:
    node = {**nodes[0], "address": "2001:db8::1"}
    assert "leader  [2001:db8::1]:6379  redis-1" in deployment_summary([], hostvars, [node], "standalone", "builtin")


@pytest.mark.parametrize(
    ("days", "words"),
    [(3, "certificate for 3 days"), (None, "its certificate has expired, or is of another authority")],
)
def test_the_summary_says_what_certificates_are_worth(
    nodes: Nodes, hostvars: Hostvars, days: int | None, words: str
) -> None:
    hostvars["redis-1"]["redis_reply"] |= {"tls": True, "days_left": days}
    hostvars["redis-1"]["redis_sentinel_reply"] = {"quorum": "OK", "tls": True, "trusted": days is not None}
    sentinel = [{"name": "redis-1", "address": "192.0.2.11", "port": 26379}]
    lines = deployment_summary([], hostvars, nodes, "sentinel", "resilient", sentinel).splitlines()
    assert lines[1].endswith(f"redis-1, redis 7.0.15, {words}")
    assert lines[-1].endswith("a failover is possible" if days else f"a failover is possible, {words}")


@pytest.mark.parametrize("reply", [None, {}])
def test_a_server_that_was_not_asked_is_said_to_be(nodes: Nodes, hostvars: Hostvars, reply: Any) -> None:
    """`--limit app-1` asks no server."""
    hostvars["redis-2"]["redis_reply"] = reply
    line = deployment_summary([], hostvars, nodes, "replication", "builtin").splitlines()[2]
    assert line == "replica  192.0.2.12:6379  redis-2, was not asked"


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
    sentinels = [{"name": name, "address": name, "port": 26379} for name in ("s-1", "s-2", "s-3", "s-4")]
    hostvars: dict[str, Any] = {
        "s-1": {"redis_sentinel_reply": SENTINEL_SAYS},
        "s-2": {"redis_sentinel_reply": {**SENTINEL_SAYS, "quorum": "NOQUORUM 1 usable"}},
        "s-3": {"redis_sentinel_reply": {"running": False, "error": "refused"}},
        "s-4": {},
    }
    lines = deployment_summary([], hostvars, [], "sentinel", "resilient", sentinels).splitlines()
    said = [line.partition(", ")[2] for line in lines[1:]]
    assert said == ["a failover is possible", "NOQUORUM 1 usable", "refused", "was not asked"]
