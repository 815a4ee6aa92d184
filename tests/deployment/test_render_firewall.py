"""Who may reach which port of a machine: everybody who needs it, nobody else, and no guesses."""

from __future__ import annotations

from typing import Any

import pytest

from deployment.model import GROUPS
from deployment.render.firewall import ADDRESSES, ALLOW, MONITORING, WEB, FirewallError, firewall_rules
from deployment.render.templates import render
from test_roles import defaults

Hostvars = dict[str, dict[str, Any]]
Groups = dict[str, list[str]]

REDIS = ["redis-1", "redis-2", "redis-3"]
SENTINELS = ["redis-1", "redis-2", "watch-1"]
GROUPS_OF_SENTINEL: Groups = {"redis": REDIS, "redis_sentinel": SENTINELS, "django_app": ["app-1"]}


def facts(number: int, *more: str) -> dict[str, Any]:
    own = [f"192.0.2.{number}", *(one for one in more if ":" not in one)]
    ipv6 = ["fe80::1", *(one for one in more if ":" in one)]
    return {
        "nodename": f"machine-{number}",
        "machine_id": "",
        "default_ipv4": {"address": own[0]},
        "all_ipv4_addresses": own,
        "all_ipv6_addresses": ipv6,
    }


def redis(number: int, mode: str, names: list[str], **more: Any) -> dict[str, Any]:
    wanted = {"mode": mode, "nodes": [{"name": name} for name in names], "bind": [f"192.0.2.{number}"], "port": 6379}
    return {"ansible_facts": facts(number), "redis_reply": {}, "redis_wanted": {**wanted, **more}}


def app(number: int, servers: list[str], bind: str = "127.0.0.1") -> dict[str, Any]:
    wanted = {"servers": servers, "bind": [bind], "port": 8000}
    return {"ansible_facts": facts(number), "django_app_wanted": wanted}


@pytest.fixture
def hostvars() -> Hostvars:
    """Three servers, two of them with Sentinels, a third Sentinel alone, and Django."""
    found = {f"redis-{number}": redis(number, "sentinel", REDIS) for number in (1, 2, 3)}
    found |= {"watch-1": {"ansible_facts": facts(4)}, "app-1": app(5, REDIS)}
    for name in SENTINELS:
        number = found[name]["ansible_facts"]["default_ipv4"]["address"]
        wanted = {"hosts": REDIS, "sentinels": [{"name": name} for name in SENTINELS], "bind": [number], "port": 26379}
        found[name] |= {"redis_sentinel_reply": {}, "redis_sentinel_wanted": wanted}
    for variables in found.values():
        variables["firewall_enabled"] = True
    return found


def sources(hostvars: Hostvars, name: str, groups: Groups = GROUPS_OF_SENTINEL) -> dict[int, list[str]]:
    """Who may reach each port of the machine whose firewall a host keeps."""
    ports = firewall_rules(hostvars, groups)[name]
    return {one["port"]: [*one["ipv4"], *one["ipv6"]] for one in ports}


def test_who_needs_a_port_may_reach_it(hostvars: Hostvars) -> None:
    assert sources(hostvars, "redis-1") == {
        6379: ["192.0.2.2/31", "192.0.2.4/31"],
        26379: ["192.0.2.2/31", "192.0.2.4/31"],
    }
    assert sources(hostvars, "redis-3") == {6379: ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.4/31"]}
    assert sources(hostvars, "watch-1") == {26379: ["192.0.2.1/32", "192.0.2.2/31", "192.0.2.5/32"]}
    assert sources(hostvars, "app-1") == {}


def test_only_a_clusters_nodes_reach_its_bus() -> None:
    names = ["redis-1", "redis-2"]
    hostvars = {
        name: {**redis(number, "cluster", names), "firewall_enabled": True} for number, name in enumerate(names, 1)
    }
    hostvars["app-1"] = app(5, names)
    groups = {"redis": names, "django_app": ["app-1"]}
    assert sources(hostvars, "redis-1", groups) == {
        6379: ["192.0.2.2/32", "192.0.2.5/32"],
        16379: ["192.0.2.2/32"],
    }


def test_django_of_another_deployment_may_not(hostvars: Hostvars) -> None:
    hostvars["app-1"]["django_app_wanted"]["servers"] = []
    assert sources(hostvars, "redis-3") == {6379: ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.4/32"]}
    assert sources(hostvars, "watch-1") == {26379: ["192.0.2.1/32", "192.0.2.2/31"]}


def test_every_address_of_a_host_may_come(hostvars: Hostvars) -> None:
    """Those that its machine has, but for loopback and those of one link, and those by which others know it."""
    hostvars["app-1"]["ansible_facts"] = facts(5, "198.51.100.7", "2001:db8::5", "127.0.0.2", "::1")
    hostvars["app-1"] |= {"ansible_host": "203.0.113.9", "redis_address": "app.example.org"}
    assert sources(hostvars, "redis-3")[6379] == [
        "192.0.2.1/32",
        "192.0.2.2/32",
        "192.0.2.4/31",
        "198.51.100.7/32",
        "203.0.113.9/32",
        "2001:db8::5/128",
    ]


def test_those_in_the_variables_may_come(hostvars: Hostvars) -> None:
    hostvars["redis-3"] |= {
        "redis_exporter_wanted": {"bind": ["192.0.2.3"], "port": 9121},
        "firewall_allow": ["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32", "2001:db8::1"],
        "firewall_monitoring": ["198.51.100.1"],
        "firewall_web": ["198.51.100.2"],
    }
    found = sources(hostvars, "redis-3")
    assert found[9121] == ["10.0.0.0/8", "198.51.100.1/32", "2001:db8::/32"]
    assert found[6379] == ["10.0.0.0/8", "192.0.2.1/32", "192.0.2.2/32", "192.0.2.4/31", "2001:db8::/32"]


def test_the_web_reaches_django_beyond_loopback(hostvars: Hostvars) -> None:
    hostvars["app-1"]["django_app_wanted"]["bind"] = ["0.0.0.0"]
    assert sources(hostvars, "app-1") == {8000: []}
    hostvars["app-1"]["firewall_web"] = ["198.51.100.2"]
    assert sources(hostvars, "app-1") == {8000: ["198.51.100.2/32"]}


@pytest.mark.parametrize(
    ("bind", "is_closed"), [(["127.0.0.1", "-::1"], False), (["*"], True), (["127.0.0.1", "192.0.2.3"], True)]
)
def test_what_listens_on_loopback_alone_needs_no_rule(hostvars: Hostvars, bind: list[str], is_closed: bool) -> None:
    hostvars["redis-3"]["redis_wanted"]["bind"] = bind
    assert list(sources(hostvars, "redis-3")) == ([6379] if is_closed else [])


def test_the_hosts_of_one_machine_have_one_firewall() -> None:
    names = ["redis-1", "redis-2"]
    hostvars = {name: redis(1, "replication", names, port=port) for name, port in zip(names, (6379, 6378))}
    hostvars |= {"unused-1": {"ansible_facts": facts(1), "redis_sentinel_reply": {}}, "app-1": app(5, names)}
    hostvars["redis-2"]["firewall_enabled"] = True
    groups = {"redis": names, "redis_sentinel": ["unused-1"], "django_app": ["app-1"]}
    assert list(firewall_rules(hostvars, groups)) == ["redis-2", "app-1"]
    assert sources(hostvars, "redis-2", groups) == {6378: ["192.0.2.5/32"]}


def test_a_rule_says_what_it_is_for(hostvars: Hostvars) -> None:
    assert [one["name"] for one in firewall_rules(hostvars, GROUPS_OF_SENTINEL)["redis-1"]] == [
        "Redis of redis-1",
        "the Sentinel of redis-1",
    ]


@pytest.mark.parametrize("name", ["redis-2", "watch-1", "app-1"])
def test_a_host_that_was_not_looked_at_is_an_error(hostvars: Hostvars, name: str) -> None:
    del hostvars[name]["ansible_facts"]
    with pytest.raises(FirewallError, match=f"{name}: not looked at .* --limit"):
        firewall_rules(hostvars, GROUPS_OF_SENTINEL)


def test_without_a_firewall_any_part_of_the_hosts_will_do(hostvars: Hostvars) -> None:
    hostvars["redis-1"]["firewall_enabled"] = False
    found = firewall_rules({"redis-1": hostvars["redis-1"], "redis-2": {}}, {"redis": ["redis-1", "redis-2"]})
    assert found == {"redis-1": [], "redis-2": []}


@pytest.mark.parametrize("variable", [ALLOW, MONITORING, WEB])
@pytest.mark.parametrize(
    ("value", "fix"),
    [
        ("192.0.2.7/24", "write 192.0.2.7 or 192.0.2.0/24"),
        ("office", "no address and no network"),
        ("192.0.2.0/33", "no address and no network"),
        (10, "no address and no network"),
        ("", "no address and no network"),
    ],
)
def test_what_is_no_network_is_an_error(hostvars: Hostvars, variable: str, value: Any, fix: str) -> None:
    hostvars["app-1"] |= {variable: ["198.51.100.1", value]}
    hostvars["app-1"]["redis_exporter_wanted"] = {"bind": ["*"], "port": 9121}
    hostvars["app-1"]["django_app_wanted"]["bind"] = ["*"]
    with pytest.raises(FirewallError, match=f"^app-1: {variable} has .*{fix}"):
        firewall_rules(hostvars, GROUPS_OF_SENTINEL)


def test_what_the_filter_assumes_is_the_roles() -> None:
    """Role defaults are not visible through hostvars."""
    assert [defaults("firewall")[name] for name in ("firewall_enabled", ALLOW, MONITORING, WEB)] == [False, [], [], []]
    assert set(ADDRESSES) - {"ansible_host"} <= {*defaults("redis"), *defaults("redis_sentinel")}
    assert set(GROUPS) == set(GROUPS_OF_SENTINEL)


def test_whoever_is_not_named_is_dropped() -> None:
    ports = [{"port": 6379, "name": "Redis", "ipv4": ["192.0.2.1", "192.0.2.9"], "ipv6": ["fe80::1"]}]
    rules = render("firewall", "rules.nft.j2", ports=[*ports, {"port": 8000, "name": "Django", "ipv4": [], "ipv6": []}])
    chain = rules.partition("chain input {\n")[2].partition("\n\t}")[0]
    assert [line.strip() for line in chain.splitlines()] == [
        "type filter hook input priority 0; policy accept;",
        "iif lo accept",
        "# Redis",
        "tcp dport 6379 ip saddr { 192.0.2.1, 192.0.2.9 } accept",
        "tcp dport 6379 ip6 saddr { fe80::1 } accept",
        "tcp dport 6379 drop",
        "# Django",
        "tcp dport 8000 drop",
    ]
