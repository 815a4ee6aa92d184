"""Who is who: every rule of who leads, and what each mode uses."""

from __future__ import annotations

from typing import Any

import pytest

from deployment.topology import (
    TopologyError,
    redis_hosts,
    redis_nodes,
    redis_places,
    redis_sentinels,
)

NAMES = ["redis-1", "redis-2", "redis-3"]
ADDRESSES = {"redis-1": "192.0.2.11", "redis-2": "192.0.2.12", "redis-3": "192.0.2.13"}
MODES = ["locmem", "standalone", "replication", "sentinel", "cluster"]

# What a host's redis_reply may be.
LEADS = {"role": "leader", "server": "redis", "version": "7.0.15"}
DOWN = {"error": "Connection refused"}
UNASKED: dict[str, Any] = {}


def follows(name: str, link: str = "connected") -> dict[str, Any]:
    """A running replica of that host."""
    return {"role": "replica", "leader_address": ADDRESSES[name], "leader_port": 6379, "link": link}


def remembers(name: str) -> dict[str, Any]:
    """A server that is down and followed that host when it last ran."""
    return {**DOWN, "leader_address": ADDRESSES[name], "leader_port": 6379}


def hosts(*replies: dict[str, Any] | None, **common: Any) -> dict[str, dict[str, Any]]:
    """The hostvars of the hosts that gave these replies; None where nothing is registered."""
    return {
        name: {"ansible_host": ADDRESSES[name], **common, **({} if reply is None else {"redis_reply": reply})}
        for name, reply in zip(NAMES, replies)
    }


def leader(hostvars: dict[str, dict[str, Any]]) -> str:
    name: str = redis_nodes(list(hostvars), hostvars, "replication")[0]["name"]
    return name


# (what each host said, redis_leader of the inventory, who leads)
CASES: dict[str, tuple[list[dict[str, Any] | None], str | None, str]] = {
    "nothing runs: the first host": ([DOWN, DOWN, DOWN], None, "redis-1"),
    "nothing was asked: the first host": ([None, None, None], None, "redis-1"),
    "empty replies: the first host": ([UNASKED, UNASKED, UNASKED], None, "redis-1"),
    "nothing runs: redis_leader": ([DOWN, DOWN, DOWN], "redis-3", "redis-3"),
    "a live leader wins over the first host": ([follows("redis-2"), LEADS, follows("redis-2")], None, "redis-2"),
    "a live leader wins over redis_leader": ([follows("redis-2"), LEADS, follows("redis-2")], "redis-1", "redis-2"),
    "a lone live leader wins": ([DOWN, DOWN, LEADS], "redis-1", "redis-3"),
    "a live leader wins over what others follow": ([follows("redis-3"), LEADS, DOWN], None, "redis-2"),
    "a live leader wins over what others remember": ([remembers("redis-3"), LEADS, DOWN], None, "redis-2"),
    "the leader is down and followed": ([DOWN, DOWN, follows("redis-2", "connect")], None, "redis-2"),
    "the followed leader wins over redis_leader": ([DOWN, DOWN, follows("redis-2", "connect")], "redis-3", "redis-2"),
    "all are down and remember": ([remembers("redis-3"), remembers("redis-3"), DOWN], None, "redis-3"),
    "the remembered leader wins over redis_leader": ([remembers("redis-2"), DOWN, DOWN], "redis-1", "redis-2"),
    "a running replica counts for more than a memory": (
        [remembers("redis-1"), remembers("redis-1"), follows("redis-2")],
        "redis-1",
        "redis-2",
    ),
    "one running replica counts for more than two memories": (
        [follows("redis-3"), remembers("redis-2"), DOWN],
        None,
        "redis-3",
    ),
    "a remembered leader outside of the group is nobody": (
        [DOWN, {**DOWN, "leader_address": "192.0.2.99", "leader_port": 6379}, DOWN],
        "redis-3",
        "redis-3",
    ),
    "a server that still runs in a cluster says nothing": (
        [{**LEADS, "cluster": True}, {**LEADS, "cluster": True}, DOWN],
        None,
        "redis-1",
    ),
    "a port may be text": ([DOWN, {**remembers("redis-3"), "leader_port": "6379"}, DOWN], None, "redis-3"),
}


@pytest.mark.parametrize(("replies", "redis_leader", "name"), CASES.values(), ids=CASES)
def test_who_leads(replies: list[dict[str, Any] | None], redis_leader: str | None, name: str) -> None:
    hostvars = hosts(*replies, **({"redis_leader": redis_leader} if redis_leader else {}))
    assert leader(hostvars) == name
    nodes = redis_nodes(NAMES, hostvars, "replication")
    assert [node["role"] for node in nodes] == ["leader", "replica", "replica"]
    # The leader first, the others as in the inventory.
    assert [node["name"] for node in nodes] == [name, *(other for other in NAMES if other != name)]
    assert redis_nodes(NAMES, hostvars, "standalone") == nodes[:1]
    assert redis_nodes(NAMES, hostvars, "locmem") == []


@pytest.mark.parametrize(
    ("replies", "picture"),
    [
        ([LEADS, LEADS, DOWN], "redis-1: leads; redis-2: leads; redis-3: does not answer"),
        ([LEADS, follows("redis-1"), LEADS], "redis-1: leads; redis-2: follows 192.0.2.11:6379; redis-3: leads"),
        ([LEADS, LEADS, LEADS], "redis-1: leads; redis-2: leads; redis-3: leads"),
        ([LEADS, LEADS, remembers("redis-1")], "redis-1: leads; redis-2: leads; redis-3: does not answer"),
    ],
)
@pytest.mark.parametrize("mode", ["standalone", "replication"])
def test_two_leaders_are_an_error_with_the_picture(mode: str, replies: list[dict[str, Any]], picture: str) -> None:
    with pytest.raises(TopologyError) as refusal:
        redis_nodes(NAMES, hosts(*replies, redis_leader="redis-1"), mode)
    assert picture in str(refusal.value)
    assert "Nothing was changed" in str(refusal.value)
    assert "REPLICAOF <address> <port>" in str(refusal.value)


@pytest.mark.parametrize(
    "replies",
    [
        [DOWN, {"role": "replica", "leader_address": "192.0.2.99", "leader_port": 6379}, DOWN],
        [DOWN, {"role": "replica", "leader_address": "192.0.2.13", "leader_port": 6380}, DOWN],
        [follows("redis-2"), follows("redis-1"), DOWN],
        [follows("redis-2"), follows("redis-3"), follows("redis-2")],
        [DOWN, follows("redis-1"), follows("redis-2")],
    ],
    ids=["another host", "another port", "a circle", "a longer circle", "two different"],
)
@pytest.mark.parametrize("mode", ["standalone", "replication", "sentinel"])
def test_no_leader_is_an_error_with_the_picture(mode: str, replies: list[dict[str, Any]]) -> None:
    with pytest.raises(TopologyError, match=r"no server leads \(.*follows.*\)\. Nothing was changed"):
        redis_nodes(NAMES, hosts(*replies, redis_leader="redis-1"), mode)


# What Sentinels say


def names(name: str, **more: Any) -> dict[str, Any]:
    """A Sentinel that names this host."""
    return {"running": True, "leader_address": ADDRESSES[name], "leader_port": 6379, "unsettled": "", **more}


def recalls(name: str) -> dict[str, Any]:
    """A Sentinel that is down and named this host when it last ran."""
    return {**names(name), "running": False}


def watched(replies: list[dict[str, Any]], said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    hostvars = hosts(*replies)
    for name, reply in zip(NAMES, said):
        hostvars[name]["redis_sentinel_reply"] = reply
    return redis_nodes(NAMES, hostvars, "sentinel", redis_sentinels(NAMES, hostvars, "sentinel"))


FOLLOW_2 = [follows("redis-2"), LEADS, follows("redis-2")]


@pytest.mark.parametrize(
    ("replies", "said", "name"),
    [
        (FOLLOW_2, [names("redis-2")] * 3, "redis-2"),
        (FOLLOW_2, [names("redis-2"), {"running": False}, {"running": False}], "redis-2"),
        (FOLLOW_2, [{"running": True, "error": "No such master"}] * 3, "redis-2"),
        ([follows("redis-2"), DOWN, follows("redis-2")], [names("redis-2", unsettled="it is away")] * 3, "redis-2"),
        ([DOWN, DOWN, DOWN], [recalls("redis-3"), recalls("redis-3"), recalls("redis-1")], "redis-3"),
        ([remembers("redis-1"), DOWN, DOWN], [recalls("redis-3"), recalls("redis-3"), {"running": False}], "redis-3"),
        ([DOWN, DOWN, DOWN], [{"running": False}] * 3, "redis-1"),
    ],
    ids=["all", "one answers", "new ones", "the leader is down", "all are down", "most remember", "nothing yet"],
)
def test_the_sentinels_know_who_leads(replies: list[dict[str, Any]], said: list[dict[str, Any]], name: str) -> None:
    assert [node["name"] for node in watched(replies, said) if node["role"] == "leader"] == [name]


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        (FOLLOW_2, [names("redis-2"), names("redis-1"), names("redis-2")]),
        (FOLLOW_2, [names("redis-1")] * 3),
        (FOLLOW_2, [{**names("redis-1"), "leader_address": "192.0.2.99"}] * 3),
        ([DOWN, LEADS, DOWN], [names("redis-1")] * 3),
        ([follows("redis-2")] * 3, [names("redis-2")] * 3),
    ],
    ids=["each other", "the servers", "the inventory", "who is down", "who follows"],
)
def test_sentinels_that_contradict_are_an_error_with_the_picture(
    replies: list[dict[str, Any]], said: list[dict[str, Any]]
) -> None:
    with pytest.raises(TopologyError) as refusal:
        watched(replies, said)
    assert "Nothing was changed" in str(refusal.value)
    assert "Sentinel on redis-3: names" in str(refusal.value)


def test_a_leader_without_data_is_not_started_for_replicas_that_have_it() -> None:
    empty = {**DOWN, "installed": False}
    with pytest.raises(TopologyError, match="redis-2, which the others follow, has no data"):
        watched([follows("redis-2"), empty, follows("redis-2")], [names("redis-2", unsettled="it is away")] * 3)
    assert watched([DOWN, empty, DOWN], [recalls("redis-2")] * 3)[0]["name"] == "redis-2"


def test_two_leaders_are_an_error_whatever_the_sentinels_say() -> None:
    with pytest.raises(TopologyError, match="more than one server leads"):
        watched([LEADS, LEADS, DOWN], [names("redis-1")] * 3)


def test_a_sentinel() -> None:
    (plain,) = redis_sentinels(["s-1"], {"s-1": {"ansible_host": "192.0.2.9"}}, "sentinel")
    wanted = {"address": "192.0.2.9", "port": 26379, "place": "192.0.2.9:26379", "service": "mymaster"}
    assert plain == {"name": "s-1", **wanted, "tls": False, "down_after_ms": 5000}
    said = {
        "redis_sentinel_address": "10.0.0.1",
        "redis_sentinel_port": "1",
        "redis_sentinel_service": "shop",
        "redis_sentinel_down_after_ms": "2000",
        "redis_tls": True,
    }
    (given,) = redis_sentinels(["s-1"], {"s-1": said}, "sentinel")
    assert given == {
        "name": "s-1",
        "address": "10.0.0.1",
        "port": 1,
        "place": "10.0.0.1:1",
        "tls": True,
        "service": "shop",
        "down_after_ms": 2000,
    }
    assert redis_sentinels(["s-1"], {"s-1": {}}, "replication") == []


# Clusters, and inventories for several modes


def test_a_cluster_has_several_leaders() -> None:
    said = [{**follows("redis-3"), "cluster": True}, {**LEADS, "cluster": True}, {**LEADS, "cluster": True}]
    nodes = redis_nodes(NAMES, hosts(*said), "cluster")
    assert [(node["name"], node["role"]) for node in nodes] == [
        ("redis-1", "replica"),
        ("redis-2", "leader"),
        ("redis-3", "leader"),
    ]


def test_a_server_of_another_mode_is_not_yet_a_node_of_the_cluster() -> None:
    nodes = redis_nodes(NAMES, hosts(LEADS, follows("redis-1"), DOWN), "cluster")
    assert [node["role"] for node in nodes] == ["leader"] * 3


def test_a_mode_uses_the_servers_that_are_for_it() -> None:
    hostvars = hosts(DOWN, DOWN, DOWN)
    hostvars["redis-3"]["redis_modes"] = ["cluster"]
    assert [node["name"] for node in redis_nodes(NAMES, hostvars, "replication")] == NAMES[:2]
    assert [node["name"] for node in redis_nodes(NAMES, hostvars, "cluster")] == NAMES
    assert redis_hosts(NAMES, hostvars, "sentinel") == NAMES[:2]
    assert redis_hosts(NAMES, hostvars, "locmem") == []


def test_where_servers_are_does_not_depend_on_who_leads() -> None:
    hostvars = hosts(LEADS, LEADS, DOWN, redis_port=6380)
    assert redis_places(NAMES, hostvars) == [f"{ADDRESSES[name]}:6380" for name in NAMES]


def test_an_unknown_redis_leader_is_an_error_that_names_the_hosts() -> None:
    with pytest.raises(TopologyError, match=r"redis_leader 'redis-9' is not a host of the group \(redis-1, redis-2\)"):
        redis_nodes(NAMES[:2], hosts(DOWN, DOWN, redis_leader="redis-9"), "replication")


def test_an_unknown_redis_leader_does_no_harm_while_a_server_leads() -> None:
    assert leader(hosts(DOWN, LEADS, DOWN, redis_leader="redis-9")) == "redis-2"


def test_a_leader_of_one_host_is_that_of_all() -> None:
    """In host_vars rather than group_vars: the first host that says so is heard."""
    hostvars = hosts(DOWN, DOWN, DOWN)
    hostvars["redis-2"]["redis_leader"] = "redis-3"
    assert leader(hostvars) == "redis-3"


@pytest.mark.parametrize("mode", MODES)
def test_no_hosts(mode: str) -> None:
    assert redis_nodes([], {}, mode) == []


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, {"address": "redis-1", "port": 6379, "socket": None, "tls": False, "issued": False, "acl": True}),
        ({"ansible_host": "192.0.2.11"}, {"address": "192.0.2.11"}),
        ({"ansible_host": "192.0.2.11", "redis_address": "10.0.0.1"}, {"address": "10.0.0.1"}),
        ({"redis_address": "", "ansible_host": "192.0.2.11"}, {"address": "192.0.2.11"}),
        ({"redis_address": "2001:db8::1"}, {"address": "2001:db8::1"}),
        ({"redis_port": 6380}, {"port": 6380}),
        ({"redis_port": "6380"}, {"port": 6380}),
        ({"redis_socket": "/run/redis.sock"}, {"socket": "/run/redis.sock"}),
        ({"redis_socket": ""}, {"socket": None}),
        ({}, {"socket_group": "redis-socket"}),
        ({"redis_socket_group": "www"}, {"socket_group": "www"}),
        ({"redis_tls": True}, {"tls": True, "issued": True}),
        ({"redis_tls": True, "redis_tls_cert_file": ""}, {"tls": True, "issued": True}),
        ({"redis_tls": True, "redis_tls_cert_file": "/etc/tls/redis.pem"}, {"tls": True, "issued": False}),
        ({"redis_tls": False, "redis_tls_cert_file": "/etc/tls/redis.pem"}, {"tls": False, "issued": False}),
        ({"redis_acl": False}, {"acl": False}),
        # As -e and INI inventories have them.
        *(({"redis_tls": text, "redis_acl": text}, {"tls": True, "acl": True}) for text in ("true", "Yes", "on", "1")),
        *(({"redis_tls": text, "redis_acl": text}, {"tls": False, "acl": False}) for text in ("False", "no", "0", "")),
    ],
)
def test_a_node(variables: dict[str, Any], wanted: dict[str, Any]) -> None:
    (node,) = redis_nodes(["redis-1"], {"redis-1": variables}, "standalone")
    assert {key: node[key] for key in wanted} == wanted
    words = {"name", "role", "address", "port", "place", "machine"}
    assert set(node) == words | {"socket", "socket_group", "tls", "issued", "acl"}
    assert node["place"] == f"{node['address']}:{node['port']}"
    assert node["machine"] == variables.get("ansible_host", "redis-1")


def test_instances_on_one_machine_are_told_apart_by_their_ports() -> None:
    followed = {"role": "replica", "leader_address": "192.0.2.11", "leader_port": 6378, "link": "connect"}
    hostvars = {
        name: {"ansible_host": "192.0.2.11", "redis_port": port, "redis_reply": reply}
        for name, port, reply in zip(NAMES, (6379, 6378, 6377), (DOWN, DOWN, followed))
    }
    assert leader(hostvars) == "redis-2"


def test_a_leader_that_came_back_empty_does_not_empty_its_replicas() -> None:
    hostvars = {
        "redis-1": {"redis_reply": {"error": "refused", "installed": False}},
        "redis-2": {"redis_reply": {"role": "replica", "leader_address": "redis-1", "leader_port": 6379}},
    }
    with pytest.raises(TopologyError, match="redis-1, which the others follow, has no data"):
        redis_nodes(["redis-1", "redis-2"], hostvars, "replication")
    hostvars["redis-1"]["redis_reply"]["installed"] = True
    assert [node["name"] for node in redis_nodes(["redis-1", "redis-2"], hostvars, "replication")] == [
        "redis-1",
        "redis-2",
    ]
