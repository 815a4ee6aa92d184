"""What the hosts say, and what is wrong with it: each rule with what it must find, in words, and what it must not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from conftest import PROJECT
from deployment.checks.facts import RULES, gib, host_problems, size
from deployment.checks.problems import problems
from deployment.checks.versions import cache_words
from deployment.desired.django import PYTHON_FLOOR
from deployment.hosts import Host, Hosts, known_hosts, numbers
from sample_hosts import (
    APP_TO_1,
    FIREWALLED,
    GIB,
    GROUPS,
    REPLICA_TO_1,
    SECRET,
    TLS,
    Change,
    connected,
    constraints,
    deployment,
    facts,
    found,
    installed,
    issued,
    mode,
    node,
    nodes_as_leaders,
    one_machine,
    put,
    runs,
    tls,
    together,
)
from wrong_hosts import WRONG


@pytest.mark.parametrize(("change", "rules", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(change: Change, rules: list[str], words: list[str]) -> None:
    hostvars = deployment()
    change(hostvars)
    said = found(hostvars)
    assert [line.split()[0] for line in said] == rules
    assert [word for word in words if word not in said[0]] == []
    assert SECRET not in "".join(said)


def test_every_rule_finds_something() -> None:
    ids = [rule.id for rule in RULES]
    assert sorted({rule for _, rules, _ in WRONG.values() for rule in rules}) == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert all(rule.text for rule in RULES)


RIGHT: dict[str, Change] = {
    "new hosts": lambda _: None,
    "under Sentinel": mode("sentinel"),
    "a cluster": together(mode("cluster"), nodes_as_leaders),
    "a cluster that runs": together(
        mode("cluster"),
        nodes_as_leaders,
        runs("redis-1", cluster=True),
        runs("redis-2", role="replica", cluster=True, leader_address="10.0.0.1", leader_port=6379),
    ),
    "servers that run": together(runs("redis-1"), runs("redis-2", role="replica")),
    "no bound for memory": put("redis-1/redis_wanted/maxmemory", "0"),
    "just as much memory as may be": put("redis-1/redis_wanted/maxmemory", "2457mb"),
    "memory in decimal units": put("redis-1/redis_wanted/maxmemory", "2576m"),
    "two disks": put("redis-1/host_probed/disk", {"folder": "/", "device": 2, "free": GIB, "used": GIB}),
    "no log and no snapshots": put("redis-1/host_probed/disk", {}),
    "a firewall that does not know a new host yet": together(
        FIREWALLED, put(REPLICA_TO_1, connected("redis-1", "timeout", text="no answer"))
    ),
    "a port of the service itself": put("redis-1/host_probed/listeners/0/state", "ours"),
    "one machine under two names": together(
        one_machine,
        put("redis-1/redis_wanted/maxmemory", "1gb"),
        put("redis-2/redis_wanted/maxmemory", "1gb"),
        put("redis-1/redis_wanted/bind", ["127.0.0.1"]),
        put(f"{APP_TO_1}/resolved", ["127.0.0.1"]),
        put(f"{REPLICA_TO_1}/resolved", ["127.0.0.1"]),
    ),
    "everywhere includes loopback": together(
        put("app-1/ansible_facts", facts("redis-1")),
        put("redis-1/redis_wanted/bind", ["0.0.0.0"]),
        put(f"{APP_TO_1}/resolved", ["127.0.1.1"]),
    ),
    "the machine's own address on Django's machine": together(
        put("app-1/ansible_facts", facts("redis-1")), put(f"{APP_TO_1}/resolved", ["10.0.0.1"])
    ),
    # With --limit the others said nothing.
    "hosts without facts": together(put("redis-1/ansible_facts", {}), put(f"{REPLICA_TO_1}/resolved", ["127.0.1.1"])),
    "a server that this mode does not use": together(put("redis-2/redis_wanted", {}), put("redis-2/host_probed", {})),
    "a password that this run sets": together(
        runs("redis-1"),
        put(f"{APP_TO_1}/reply", "WRONGPASS invalid"),
        put("redis-1/host_probed/targets/0/reply", "WRONGPASS invalid"),
    ),
    "a server that is slow": together(runs("redis-1"), put(f"{APP_TO_1}/reply", "")),
    "a replica that is newer": installed("redis-2", "7.2.4"),
    "another patch": installed("redis-2", "7.0.11"),
    "another engine": together(put("redis-2/redis_wanted/engine", "valkey"), installed("redis-2", "6.0.0")),
    "a version that nobody knows": together(
        put("redis-2/host_probed/candidate", ""),
        put("redis-2/host_probed/programs", {}),
        put("redis-2/redis_wanted/tls", TLS),
    ),
    "TLS": tls(),
    "a certificate that expires in a month": tls(days=30),
    "a certificate of the bundle's authority": together(issued, runs("redis-1", days_left=30)),
    "a server of the bundle's authority that is new": issued,
    "the authority that the host trusts": together(
        issued, put("redis-1/redis_wanted/tls/authority", "0ld"), put("redis-1/host_probed/issued_by", "0ld")
    ),
    "another authority, as asked": together(
        issued, put("redis-1/redis_wanted/tls/may_replace", True), put("redis-1/host_probed/issued_by", "0ld")
    ),
    "users": together(put("redis-1/redis_wanted/user", "app"), put("redis-2/redis_wanted/user", "app")),
    "Redis 5": together(
        installed("redis-1", "5.0.14"),
        installed("redis-2", "5.0.14"),
    ),
    "the protocol of redis-py 7 with Redis 5": together(
        installed("redis-1", "5.0.14"),
        installed("redis-2", "5.0.14"),
        put("app-1/django_app_wanted/constraints", ""),
        put("app-1/django_app_wanted/words", [["default", "protocol", None]]),
    ),
    "users with Redis 6": together(
        installed("redis-1", "6.0.16"),
        installed("redis-2", "6.0.16"),
        put("app-1/django_app_wanted/words", [["default", "username", "app"]]),
    ),
    "a Python that is installed later": put(
        "app-1/host_probed/programs", {"python3": {"version": "", "text": "No such file or directory"}}
    ),
    "no constraints": put("app-1/django_app_wanted/constraints", ""),
}


@pytest.mark.parametrize("change", RIGHT.values(), ids=RIGHT)
def test_what_is_right_is_left_alone(change: Change) -> None:
    hostvars = deployment()
    change(hostvars)
    assert found(hostvars) == []


@pytest.mark.parametrize(
    ("client", "django", "python", "text", "words"),
    [
        ("builtin", "5.2", "3.11.2", "redis==8.1.0\ndjango-redis==5.4.0\n", ""),
        ("django_redis", "5.2", "3.11.2", "django-redis==7.0.0\nredis==8.1.0\n", ""),
        ("django_redis", "4.2", "3.11.2", "django_redis[x] == 7.0.0\n", "5.2 or later and below 7.0, and this is 4.2"),
        ("builtin", "4.2", "3.11.2", "django-redis==7.0.0\n", ""),
        ("django_redis", "3.2", "3.11.2", "django-redis==6.0.0\n", "needs Django 4.2 or later, and this is 3.2"),
        ("django_redis", "3.2", "3.11.2", "django-redis==5.4.0\nredis==7.0.1\n", ""),
        ("builtin", "4.2", "3.9.2", "redis==8.1.0\n", "redis 8.1 needs Python 3.10 or later, and this is 3.9"),
        ("builtin", "4.2", "3.9.2", "redis==7.0.1\n", ""),
        ("builtin", "5.2", "3.11.2", "redis==4.6.0\n", "redis 4.6, which does not know the option protocol"),
        ("builtin", "5.2", "3.11.2", "# Django==5.2.0\nDjango==4.2.30\n", "it has Django 4.2, and "),
        ("builtin", "5.2", "3.11.2", "Django==5.2.19\n", ""),
        ("builtin", "5.2", "", "redis==8.1.0\n", ""),
    ],
)  # fmt: skip
def test_libraries(tmp_path: Path, client: str, django: str, python: str, text: str, words: str) -> None:
    hostvars = deployment()
    hostvars["app-1"]["django_app_wanted"] |= {"client": client, "django": django}
    hostvars["app-1"]["host_probed"]["programs"]["python3"]["version"] = python
    constraints(tmp_path, text)(hostvars)
    said = found(hostvars)
    assert [line.split()[0] for line in said] == (["libraries"] if words else [])
    assert words in "".join(said)


def test_constraints_that_are_not_there() -> None:
    hostvars = deployment()
    hostvars["app-1"]["django_app_wanted"]["constraints"] = "absent.txt"
    (said,) = found(hostvars)
    assert "app-1: django_app_constraints = 'absent.txt': there is no such file on the control machine" in said


def test_the_shipped_constraints_go_together() -> None:
    for series, floor in PYTHON_FLOOR.items():
        hostvars = deployment()
        path = PROJECT / f"roles/django_app/files/constraints/django-{series}.txt"
        hostvars["app-1"]["django_app_wanted"] |= {"client": "django_redis", "django": series, "constraints": str(path)}
        hostvars["app-1"]["host_probed"]["programs"]["python3"]["version"] = floor
        assert found(hostvars) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0), ("0b", 0), ("1", 1), ("1k", 1000), ("1kb", 1024), ("2M", 2_000_000), ("2mb", 2 << 20),
        ("3g", 3_000_000_000), ("3GB", 3 << 30), (4096, 4096), (" 1gb ", 1 << 30), ("1tb", 0), ("half", 0), ("-1", 0),
    ],
)  # fmt: skip
def test_size(text: Any, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize(
    ("count", "text"),
    [(4 * GIB, "4 GiB"), (3.84 * GIB, "3.8 GiB"), (GIB, "1 GiB"), (GIB - 1, "1024 MiB"), (64 << 20, "64 MiB")],
)
def test_gib(count: float, text: str) -> None:
    assert gib(count) == text


@pytest.mark.parametrize(("text", "version"), [("7.0.15", (7, 0)), ("8", (8, 0)), ("6.2", (6, 2)), ("", (0, 0))])
def test_numbers(text: str, version: tuple[int, int]) -> None:
    assert numbers(text) == version


@pytest.mark.parametrize(
    ("program", "installed_version", "running", "candidate", "version"),
    [
        ("redis-server", "7.0.15", ("redis", "6.0.16"), "", "7.0.15"),
        ("redis-server", "", ("redis", "6.0.16"), "7.0.15", "6.0.16"),
        ("redis-server", "", ("valkey", "8.1.1"), "7.0.15", "7.0.15"),
        ("", "", ("valkey", "8.1.1"), "", "8.1.1"),
        ("redis-server", "", ("redis", ""), "7.0.15", "7.0.15"),
        ("redis-server", "", ("", ""), "", ""),
    ],
)
def test_the_version_that_will_run(
    program: str, installed_version: str, running: tuple[str, str], candidate: str, version: str
) -> None:
    probe = {"programs": {program: {"version": installed_version, "text": ""}}, "candidate": candidate}
    wanted, reply = {"engine": "redis", "program": program}, dict(zip(("server", "version"), running))
    assert Host("redis-1", redis=wanted, reply=reply, probe=probe).version == version


def test_a_replica_in_a_cluster_is_compared_with_whom_it_follows() -> None:
    """Another one may be upgraded already, which it need not follow now."""
    nodes = [node(f"redis-{number}", "leader") for number in (1, 2, 3)]
    hosts = {}
    for name, version, role in (
        ("redis-1", "6.2.14", "leader"),
        ("redis-2", "6.2.14", "replica"),
        ("redis-3", "7.0.15", "leader"),
    ):
        wanted = {"mode": "cluster", "nodes": nodes, "engine": "redis", "maxmemory": "0", "bind": []}
        reply = {"role": role, "cluster": True, "server": "redis", "version": version}
        if role == "replica":
            reply |= {"leader_address": "10.0.0.1", "leader_port": 6379}
        hosts[name] = Host(name, redis=wanted, reply=reply)
    assert {one.rule for one in problems(RULES, Hosts(hosts), {})} == {"mixed-versions"}


BUILTIN, DJANGO_REDIS = "django.core.cache.backends.redis.RedisCache", "django_redis.cache.RedisCache"


@pytest.mark.parametrize(
    ("cache", "words"),
    [
        ({"BACKEND": BUILTIN, "OPTIONS": {"protocol": 2}}, []),
        ({"BACKEND": BUILTIN, "OPTIONS": {"protocol": 3}}, [("protocol", 3)]),
        ({"BACKEND": BUILTIN}, [("protocol", None)]),
        ({"BACKEND": BUILTIN, "OPTIONS": {"protocol": 2, "username": "app"}}, [("username", "app")]),
        ({"BACKEND": DJANGO_REDIS, "OPTIONS": {"CONNECTION_POOL_KWARGS": {"protocol": 2}}}, []),
        ({"BACKEND": DJANGO_REDIS, "OPTIONS": {"USERNAME": "app"}}, [("username", "app"), ("protocol", None)]),
        ({"BACKEND": "cachestack.resilient.RedisCache", "OPTIONS": None}, []),
        ({"BACKEND": "cachestack.resilient.RedisCache", "OPTIONS": {"protocol": 3}}, [("protocol", 3)]),
        ({"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}, []),
    ],
)
def test_words_of_caches(cache: dict[str, Any], words: list[tuple[str, Any]]) -> None:
    assert cache_words({"default": cache}) == [("default", *word) for word in words]


# The filters


def test_the_filter_says_everything() -> None:
    hostvars = deployment()
    assert host_problems(hostvars, GROUPS) == {"problems": [], "text": "no problems"}
    WRONG["two things at once"][0](hostvars)
    said = host_problems(hostvars, GROUPS)
    assert [problem["severity"] for problem in said["problems"]] == ["error", "warning"]
    assert [line for line in said["text"].splitlines() if not line.startswith("  ")] == ["1 error", "1 warning"]


def test_hosts_that_nothing_is_wanted_of_are_left_out() -> None:
    assert (
        list(known_hosts({"redis-1": {}, "redis-2": {"redis_wanted": {}, "redis_reply": {}}, "app-1": {}}, GROUPS))
        == []
    )


def test_two_deployments_are_not_compared() -> None:
    """Each has its own leader."""
    first, second = deployment(), copy.deepcopy(deployment())
    hosts = {}
    for name, hostvars, version in (("a", first, "7.0.0"), ("b", second, "6.0.0")):
        for one in ("redis-1", "redis-2"):
            wanted = copy.deepcopy(hostvars[one]["redis_wanted"])
            for each in wanted["nodes"]:
                each["name"] = f"{name}-{each['name']}"
            programs = {"programs": {"/usr/bin/redis-server": {"version": version, "text": ""}}}
            hosts[f"{name}-{one}"] = Host(f"{name}-{one}", redis=wanted, probe=programs)
    assert problems(RULES, Hosts(hosts), {}) == []
