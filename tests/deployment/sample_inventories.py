"""Inventories for the tests of the checks: hosts, groups and variables, right ones, and ways to make them wrong."""

from __future__ import annotations

import copy
from typing import Any

from deployment.checks.problems import Problem
from deployment.checks.rules import inventory_problems
from deployment.model import Inventory

PASSWORD = "a-Password-of-40-characters-that-is-fine"
ADMIN_PASSWORD, SENTINEL_PASSWORD = f"admin-{PASSWORD}", f"sentinel-{PASSWORD}"
KEY = "a key that has fifty characters or more and is not django's"
BUILTIN_PATH = "django.core.cache.backends.redis.RedisCache"
Given = tuple[dict[str, dict[str, Any]], dict[str, list[str]]]


def given(mode: str, redis: int, sentinels: int = 0, **common: Any) -> Given:
    """Hosts redis-1... and app-1; the first of the Redis hosts have the Sentinels."""
    names = [f"redis-{number}" for number in range(1, max(redis, sentinels) + 1)]
    groups = {"redis": names[:redis], "redis_sentinel": names[:sentinels], "django_app": ["app-1"]}
    secrets = {
        "redis_password": PASSWORD,
        "redis_admin_password": ADMIN_PASSWORD,
        "redis_sentinel_password": SENTINEL_PASSWORD,
        "django_app_secret_key": KEY,
    }
    hosts = {
        name: {"cache_mode": mode, "ansible_host": f"192.0.2.{number}", **secrets, **copy.deepcopy(common)}
        for number, name in enumerate([*names, "app-1"], 11)
    }
    return hosts, {"all": [*names, "app-1"], **groups}


def changed(one: Given, host: str, **variables: Any) -> Given:
    """The inventory with other variables of one host; None takes one away."""
    hosts = one[0][host]
    hosts.update(variables)
    for name in [name for name, value in variables.items() if value is None]:
        del hosts[name]
    return one


def without(one: Given, name: str) -> Given:
    """The inventory without a variable."""
    for variables in one[0].values():
        variables.pop(name, None)
    return one


def regrouped(one: Given, **groups: list[str]) -> Given:
    """The inventory with other groups."""
    one[1].update(groups)
    return one


def found(one: Given, **more: Any) -> list[Problem]:
    """What is wrong."""
    return inventory_problems(Inventory(*copy.deepcopy(one), **more))


def standalone(**common: Any) -> Given:
    return given("standalone", 1, **common)


def alias(**words: Any) -> Given:
    return standalone(django_app_cache_aliases={"default": words, "dj_session": {}})


def aliases(client: str, mode: str = "standalone", **words: Any) -> Given:
    one = given(mode, 3, 3) if mode == "sentinel" else given(mode, 6) if mode == "cluster" else standalone()
    for variables in one[0].values():
        variables.update(cache_client=client, django_app_cache_aliases={"default": words, "dj_session": {}})
    return one


def options_of(client: str, **words: Any) -> Given:
    return aliases(client, options=words)


def caches(location: Any = "redis://192.0.2.11:6379", backend: str = BUILTIN_PATH, **entry: Any) -> Given:
    return standalone(
        django_app_session_alias="",
        django_app_caches={"default": {"BACKEND": backend, "LOCATION": location, **entry}},
    )


def two_of_a_machine(**common: Any) -> Given:
    return changed(given("replication", 2, **common), "redis-2", ansible_host="192.0.2.11", redis_port=6380)


def two_deployments() -> Given:
    names = ("a-1", "a-2", "b-1", "b-2", "a-app", "b-app")
    hosts = {
        name: {
            "cache_mode": "replication",
            "ansible_host": name,
            "cache_redis_group": f"redis_{name[0]}",
            "redis_password": PASSWORD,
            "redis_admin_password": ADMIN_PASSWORD,
            "django_app_secret_key": KEY,
        }
        for name in names
    }
    groups = {"redis_a": ["a-1", "a-2"], "redis_b": ["b-1", "b-2"], "django_app": ["a-app", "b-app"]}
    return hosts, {"all": list(names), **groups, "redis": ["a-1", "a-2", "b-1", "b-2"]}


RIGHT: dict[str, Given] = {
    "locmem": regrouped(given("locmem", 0)),
    "standalone": standalone(),
    "standalone of several": given("standalone", 3),
    "replication": given("replication", 3),
    "sentinel": given("sentinel", 3, 3),
    "sentinel of five": given("sentinel", 2, 5, redis_sentinel_quorum=2),
    "numbers as -e has them": given("sentinel", 3, 3, redis_sentinel_quorum="2", redis_sentinel_down_after_ms="2000"),
    "cluster": given("cluster", 6),
    "cluster without replicas": given("cluster", 3, redis_cluster_replicas=0),
    "cluster with a spare": given("cluster", 7),
    "a mode that needs no log": standalone(redis_appendonly=False),
    "snapshots": given("replication", 2, redis_appendonly=False, redis_save="3600 1"),
    "by redis_config": given("replication", 2, redis_appendonly=False, redis_config={"appendonly": "yes"}),
    "accepted": given("replication", 2, redis_appendonly=False, redis_accept_empty_restart=True),
    "django-redis": aliases("django_redis", compressor="zlib", options={"IGNORE_EXCEPTIONS": False}),
    "django-redis under Sentinel": aliases("django_redis", "sentinel", db=3),
    "resilient": aliases("resilient", on_error="miss", serializer="signed", options={"retry_deadline": 3}),
    "other databases": standalone(
        redis_config={"databases": 64}, django_app_cache_aliases={"default": {"db": 40}, "dj_session": None}
    ),
    "for ever, and not at all": standalone(
        django_app_cache_aliases={"default": {"timeout": None}, "dj_session": {"timeout": 0}}
    ),
    "a prefix of any letters": alias(key_prefix="магазин 🛒"),
    "IPv6": changed(
        changed(given("replication", 2), "redis-1", redis_address="2001:db8::1"), "redis-2", redis_address="2001:db8::2"
    ),
    "all printable characters": standalone(redis_password="".join(map(chr, range(32, 127)))),
    "variables of others": standalone(postgres_port=5432, app_name="shop", vault_redis_password="x"),
    "short names of others": standalone(cluster="prod", service="web", cache="y", django="z", summary="s"),
    "machines behind one address": changed(
        changed(
            changed(
                given("replication", 2),
                "redis-1",
                ansible_host="127.0.0.1",
                ansible_port=2201,
                redis_address="10.0.0.1",
            ),
            "redis-2",
            ansible_host="127.0.0.1",
            ansible_port=2202,
            redis_address="10.0.0.2",
        ),
        "app-1",
        ansible_host="127.0.0.1",
        ansible_port=2203,
    ),
    "a container as root": standalone(ansible_become=False, ansible_connection="community.docker.docker"),
    "a pool that waits": options_of("builtin", pool_class="redis.BlockingConnectionPool", timeout=3),
    "an address of a port": standalone(redis_bind="192.0.2.11 -::1"),
    "a CACHES of one's own": caches(["redis://192.0.2.11:6379/1"], OPTIONS={"socket_timeout": 2}, TIMEOUT=None),
    "Sentinels with TLS in a CACHES of one's own": standalone(
        cache_client="django_redis",
        django_app_session_alias="",
        django_app_caches={
            "default": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": ["redis://shop/1?is_master=1"],
                "OPTIONS": {
                    "SENTINELS": [["192.0.2.1", 26379]],
                    "CONNECTION_POOL_KWARGS": {"ssl": True, "ssl_ca_certs": "/ca"},
                },
            }
        },
    ),
    "TLS by the bundle's authority": given("sentinel", 3, 3, redis_tls=True),
    "TLS of a cluster": given("cluster", 6, redis_tls=True, redis_tls_days=90),
    "TLS with files of one's own": given(
        "replication",
        3,
        redis_tls=True,
        redis_tls_cert_file="/etc/tls/redis.pem",
        redis_tls_key_file="/etc/tls/redis.key",
        redis_tls_ca_file="/etc/tls/ca.pem",
        django_app_redis_ca_file="/etc/tls/ca.pem",
    ),
    "more rules for Django's user": standalone(
        redis_app_rules=["~queue:*", "%R~stock:*", "&news", "+lpush", "-flushdb", "+@list", "+client|id", "allchannels"]
    ),
    "a server with a socket alone": standalone(
        ansible_connection="local", redis_socket="/run/redis-6379/redis.sock", redis_tcp=False, redis_socket_group="www"
    ),
    "exporters": two_of_a_machine(redis_exporter_enabled=True),
    "an exporter that is not wanted": two_of_a_machine(redis_exporter_port=9121),
    "a firewall": given(
        "sentinel",
        3,
        3,
        firewall_enabled=True,
        firewall_allow=["192.0.2.7", "198.51.100.0/24", "2001:db8::/64"],
        firewall_monitoring=["192.0.2.8"],
        firewall_web=["0.0.0.0/0"],
    ),
    "an environment": standalone(
        django_app_environment={
            "DB_PASSWORD_FILE": "/run/secrets/db",
            "TOKENIZERS_PARALLELISM": "false",
            "PASSWORD_RESET_TIMEOUT": 3600,
            "API_URL": "https://api.example.com/v1",
            "CLIENT_SECRET": "",
        }
    ),
    "web servers": standalone(django_app_proxies=["192.0.2.9", "2001:db8::/64"]),
    "web servers of an older Django": standalone(django_app_proxies=["192.0.2.9"], django_app_django_version="4.2"),
    "another backend": caches("127.0.0.1:11211", "django.core.cache.backends.memcached.PyMemcacheCache"),
    "any directive": standalone(redis_config={"maxmemory-samples": 7, "save": ["900 1", "60 1000"], "hz": "20"}),
    "a directive of tomorrow": standalone(redis_config={"completely-new-thing": 1}),
}
