"""Inventories that are wrong: each is refused by a rule, with the place, the variable, the value and the fix."""

from __future__ import annotations

import copy
import re
import time
from typing import Any

import pytest
import yaml

from conftest import PROJECT
from deployment.checks.problems import ERROR, WARNING, Problem, Rule, as_text, problems, shown
from deployment.checks.rules import RULES, inventory_problems
from deployment.checks.servers import EXPORTER_PORT, SHARED
from deployment.model import Inventory
from deployment.specs import options

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


@pytest.mark.parametrize("one", RIGHT.values(), ids=RIGHT)
def test_a_right_inventory_has_no_problems(one: Given) -> None:
    assert found(one) == []


# (the rule, what is wrong, the words that must be told)
WRONG: dict[str, tuple[str, Given, list[str]]] = {
    # Names and values.
    "B01 a mode with a slip": (
        "wrong-value",
        standalone(cache_mode="replicaton"),
        ["cache_mode = 'replicaton'", "did you mean replication?", "locmem, standalone, replication"],
    ),
    "a client with a slip": ("wrong-value", standalone(cache_client="resiliant"), ["did you mean resilient?"]),
    "B07 a port out of range": ("wrong-value", standalone(redis_port=99999), ["redis_port = 99999", "1 to 65535"]),
    "B08 a port with a blank": ("wrong-value", standalone(redis_port="6379 "), ["redis_port = '6379 '", "an integer"]),
    "B08 a port in letters": ("wrong-value", standalone(redis_port="abc"), ["redis_port = 'abc'", "an integer"]),
    "a port that is a fraction": ("wrong-value", standalone(redis_port=6379.5), ["an integer"]),
    "a port that is a boolean": ("wrong-value", standalone(redis_port=True), ["an integer"]),
    "a boolean in quotes": (
        "wrong-value",
        standalone(redis_tls="no"),
        ["redis_tls = 'no'", "is text", "write false, without quotes"],
    ),
    "a boolean that is a number": ("wrong-value", standalone(redis_appendonly=1), ["redis_appendonly = 1", "true"]),
    "a list that is text": (
        "wrong-value",
        standalone(django_app_allowed_hosts="example.com"),
        ["django_app_allowed_hosts = 'example.com'", "must be a list"],
    ),
    "a list with a number": ("wrong-value", standalone(django_app_allowed_hosts=[1.5]), ["in the list"]),
    "a mapping that is a list": ("wrong-value", standalone(redis_config=["maxmemory 1gb"]), ["must be a mapping"]),
    "a mode that no server has": ("wrong-value", standalone(redis_modes=["standalon"]), ["did you mean standalone?"]),
    "B30 a policy that is none": (
        "wrong-value",
        standalone(redis_maxmemory_policy="lru"),
        ["redis_maxmemory_policy = 'lru'", "did you mean allkeys-lru?"],
    ),
    "B37 a version that is a number": (
        "wrong-value",
        standalone(django_app_django_version=5.2),
        ["django_app_django_version = 5.2", "must be text", "in quotes"],
    ),
    "B37 a version that is not there": (
        "wrong-value",
        standalone(django_app_django_version="4.0"),
        ["django_app_django_version = '4.0'", "3.2, 4.2, 5.2, 6.1"],
    ),
    "B24 seconds for milliseconds": (
        "wrong-value",
        given("sentinel", 3, 3, redis_sentinel_down_after_ms=30),
        ["redis_sentinel_down_after_ms = 30", "milliseconds", "did you mean 30000?"],
    ),
    "milliseconds for seconds": (
        "wrong-value",
        given("sentinel", 3, 3, redis_min_replicas_max_lag=5000),
        ["redis_min_replicas_max_lag = 5000", "in seconds", "did you mean 5?"],
    ),
    "too long": ("wrong-value", given("sentinel", 3, 3, redis_sentinel_down_after_ms=9_000_000), ["out of range"]),
    "a time with its unit": (
        "wrong-value",
        given("cluster", 6, redis_cluster_node_timeout_ms="5s"),
        ["redis_cluster_node_timeout_ms = '5s'", "an integer"],
    ),
    "no replicas at all": ("wrong-value", given("cluster", 6, redis_cluster_replicas=-1), ["0 to 10"]),
    "a quorum of signs": ("wrong-value", given("sentinel", 3, 3, redis_sentinel_quorum="--2"), ["an integer"]),
    "a quorum of nobody": ("wrong-value", given("sentinel", 3, 3, redis_sentinel_quorum=0), ["1 to 100"]),
    "B40 a slip in a name": (
        "unknown-variable",
        standalone(redis_pasword="opensesame"),
        ["redis_pasword", "unknown variable", "did you mean redis_password?"],
    ),
    "a slip in the first letters": (
        "unknown-variable",
        standalone(chache_mode="cluster"),
        ["chache_mode", "did you mean cache_mode?"],
    ),
    "a name without the role": (
        "unknown-variable",
        given("sentinel", 3, 3, sentinel_quorum=2),
        ["sentinel_quorum", "did you mean redis_sentinel_quorum?"],
    ),
    "somebody else's name": (
        "unknown-variable",
        standalone(redis_insight_image="x"),
        ["redis_insight_image", "another prefix"],
    ),
    "B17 no password": (
        "missing-secret",
        without(standalone(), "redis_password"),
        ["redis-1: redis_password", "empty", "run code in Django", "make secret"],
    ),
    "B17 an empty password": ("missing-secret", standalone(redis_password=""), ["redis-1: redis_password", "empty"]),
    "no password of the Sentinels": (
        "missing-secret",
        without(given("sentinel", 3, 3), "redis_sentinel_password"),
        ["redis_sentinel_password", "empty"],
    ),
    "no SECRET_KEY": ("missing-secret", standalone(django_app_secret_key=""), ["app-1: django_app_secret_key"]),
    "B18 a short password": (
        "weak-secret",
        standalone(redis_password="hunter2!"),
        ["redis-1: redis_password", "8 characters", "32", "make secret"],
    ),
    "no password of the roles": (
        "missing-secret",
        without(standalone(), "redis_admin_password"),
        ["redis-1: redis_admin_password", "empty", "the roles need one of their own", "make secret"],
    ),
    "no password of the roles for a Sentinel": (
        "missing-secret",
        changed(given("sentinel", 2, 3), "redis-3", redis_admin_password=None),
        ["redis-3: redis_admin_password", "empty"],
    ),
    "a short password of the roles": ("weak-secret", standalone(redis_admin_password="hunter2!"), ["8 characters"]),
    "a SECRET_KEY that Django's check refuses": (
        "weak-secret",
        standalone(django_app_secret_key=KEY[:49]),
        ["app-1: django_app_secret_key", "49 characters", "50"],
    ),
    "the roles' password in Django's hands": (
        "weak-secret",
        standalone(redis_admin_password=PASSWORD),
        ["redis-1: redis_admin_password: it is the same as redis_password", "make secret"],
    ),
    "the servers' password for the Sentinels": (
        "weak-secret",
        given("sentinel", 3, 3, redis_sentinel_password=PASSWORD),
        ["redis_sentinel_password: it is the same as redis_password"],
    ),
    "the roles' password for the Sentinels": (
        "weak-secret",
        given("sentinel", 3, 3, redis_sentinel_password=ADMIN_PASSWORD),
        ["redis_sentinel_password: it is the same as redis_admin_password"],
    ),
    "B18 a common password": ("weak-secret", standalone(redis_password="changeme" * 6), ["a common password"]),
    "one letter": ("weak-secret", standalone(redis_password="x" * 40), ["1 different character"]),
    "the key of startproject": (
        "weak-secret",
        standalone(django_app_secret_key="django-insecure-" + "h" * 50),
        ["startproject"],
    ),
    "a password of two lines": (
        "unwritable-secret",
        standalone(redis_password=PASSWORD + "\n"),
        ["redis-1: redis_password", "line break"],
    ),
    "a directive of a variable": (
        "directive",
        standalone(redis_config={"port": 7000}),
        ["redis_config.port: ", "write redis_port"],
    ),
    "a user by redis_config": ("directive", standalone(redis_config={"user": "x on"}), ["write redis_app_rules"]),
    "a secret directive": ("directive", standalone(redis_config={"requirepass": "hunter2"}), ["write redis_password"]),
    "a directive with a slip": (
        "directive",
        standalone(redis_config={"maxmemory-polici": "allkeys-lfu"}),
        ["redis_config.maxmemory-polici", "did you mean maxmemory-policy?"],
    ),
    "a directive of two lines": ("directive", standalone(redis_config={"loglevel": "a\nb"}), ["line break"]),
    # Groups and servers.
    "B02 no replica": (
        "replicas",
        given("replication", 1),
        ["cache_mode = 'replication'", "group redis has no replica", "add a host", "standalone"],
    ),
    "nobody to promote": ("replicas", given("sentinel", 1, 3), ["no replica"]),
    "B03 a leader from elsewhere": (
        "leader",
        given("replication", 3, redis_leader="redis-9"),
        ["redis_leader = 'redis-9'", "not in group redis (redis-1, redis-2, redis-3)"],
    ),
    "B03 two leaders": (
        "not-the-same",
        changed(given("replication", 3, redis_leader="redis-1"), "redis-2", redis_leader="redis-2"),
        ["redis_leader", "not the same everywhere", "redis-2: redis-2"],
    ),
    "B04 no server": ("empty-group", given("standalone", 0), ["group redis", "it has no host", "locmem"]),
    "B04 no Django": (
        "empty-group",
        regrouped(standalone(), django_app=[]),
        ["group django_app", "it has no host"],
    ),
    "a group with a slip": (
        "empty-group",
        regrouped(standalone(), django_app=[], djano_app=["app-1"]),
        ["group djano_app", "did you mean django_app?"],
    ),
    "B06 one port twice": (
        "same-port",
        changed(given("replication", 3), "redis-3", ansible_host="192.0.2.12"),
        ["redis-2 and redis-3 both use 192.0.2.12:6379", "redis_port"],
    ),
    "one port of this machine twice": (
        "same-port",
        given("replication", 3, ansible_connection="local", redis_address="127.0.0.1"),
        ["both use this machine:6379"],
    ),
    "a Sentinel on a server's port": (
        "same-port",
        changed(given("sentinel", 3, 3), "redis-3", redis_sentinel_port=6379),
        ["redis_port and redis_sentinel_port both use 192.0.2.13:6379"],
    ),
    "a server on another one's bus": (
        "same-port",
        changed(changed(given("cluster", 6), "redis-2", ansible_host="192.0.2.11"), "redis-2", redis_port=16379),
        ["192.0.2.11:16379", "the bus of a cluster"],
    ),
    "no port for the bus": (
        "same-port",
        given("cluster", 6, redis_port=60000),
        ["redis_port = 60000", "55535 or less"],
    ),
    "B21 a leader at home": (
        "address",
        changed(given("replication", 3), "redis-1", redis_address="127.0.1.1"),
        ["redis-1: redis_address = '127.0.1.1'", "redis-2 would find itself there", "set redis_address"],
    ),
    "one address for all": (
        "same-address",
        given("replication", 3, redis_address="192.0.2.1"),
        ["redis_address = '192.0.2.1'", "redis-1 and redis-2", "own address"],
    ),
    "one address for all Sentinels": (
        "same-address",
        given("sentinel", 3, 3, redis_sentinel_address="192.0.2.1"),
        ["redis_sentinel_address = '192.0.2.1'", "port 26379"],
    ),
    "a mode that is a number": ("wrong-value", standalone(redis_modes=5), ["redis_modes = 5", "must be a list"]),
    "an object of Python": ("alias", options_of("builtin", retry=3), ["options.retry", "object of Python"]),
    "a parser of old": (
        "alias",
        options_of("builtin", parser_class="redis.connection.HiredisParser"),
        ["options.parser_class", "remove it"],
    ),
    "options of TLS on a socket": (
        "alias",
        changed(options_of("builtin", ssl_ca_certs="/ca"), "redis-1", redis_tls=True, redis_socket="/run/redis.sock"),
        ["ssl_ca_certs", "redis_tls"],
    ),
    "options of TLS without TLS": ("alias", options_of("builtin", ssl_ca_certs="/ca"), ["ssl_ca_certs", "redis_tls"]),
    "a host with a scheme": (
        "settings",
        standalone(django_app_allowed_hosts=["https://www.example.com"]),
        ["'https://www.example.com'", "without a scheme"],
    ),
    "a backend of another client": (
        "caches",
        caches("redis://a:1", "django_redis.cache.RedisCache"),
        ["default.BACKEND", "cache_client: django_redis"],
    ),
    "no mode": ("mode-not-said", without(standalone(), "cache_mode"), ["cache_mode", "standalone"]),
    "a slip in Ansible's name": (
        "unknown-variable",
        standalone(ansible_hosts="192.0.2.1"),
        ["ansible_hosts", "did you mean ansible_host?"],
    ),
    "a size in bytes": ("memory", standalone(redis_maxmemory=512), ["redis_maxmemory = 512", "bytes", "512mb"]),
    "a project that is not there": ("python-name", standalone(django_app_src="/nowhere/shop"), ["no such folder"]),
    "no Sentinel and no password": (
        "missing-secret",
        without(given("sentinel", 3), "redis_sentinel_password"),
        ["redis_sentinel_password", "empty"],
    ),
    "a group of Sentinels with a slip": (
        "empty-group",
        regrouped(given("sentinel", 3), redis_sentinels=["redis-1", "redis-2", "redis-3"]),
        ["group redis_sentinels", "did you mean redis_sentinel?"],
    ),
    "a bind of two addresses with a comma": (
        "bind",
        standalone(redis_bind="192.0.2.11, 127.0.0.1"),
        ["redis_bind = '192.0.2.11, 127.0.0.1'", "'192.0.2.11,' is no address", "with blanks"],
    ),
    "a bind that others cannot reach": ("bind", standalone(redis_bind="127.0.0.1 ::1"), ["other machines cannot"]),
    "one port for two exporters": (
        "same-port",
        two_of_a_machine(redis_exporter_enabled=True, redis_exporter_port=9121),
        ["redis-1 and redis-2 both use 192.0.2.11:9121", "redis_exporter_port"],
    ),
    "a server on the port that an exporter has by default": (
        "same-port",
        changed(two_of_a_machine(redis_exporter_enabled=True), "redis-1", redis_port=9122),
        ["redis-2: redis_exporter_port = 9122: redis-1 and redis-2 both use 192.0.2.11:9122"],
    ),
    "a port of two deployments": (
        "same-port",
        changed(two_deployments(), "b-1", ansible_host="a-1"),
        ["a-1 and b-1 both use a-1:6379"],
    ),
    "TLS of one server": (
        "not-the-same",
        changed(given("replication", 3), "redis-2", redis_tls=True),
        ["redis_tls", "redis-2: True"],
    ),
    "replicas by redis_config": (
        "replicas",
        given("replication", 3, redis_config={"min-replicas-to-write": 5}),
        ["redis_config.min-replicas-to-write = 5", "the 2 replicas"],
    ),
    "a size by redis_config": ("memory", standalone(redis_config={"maxmemory": "10xb"}), ["maxmemory = '10xb'"]),
    "a policy by redis_config": (
        "directive",
        standalone(redis_config={"maxmemory-policy": "lru"}),
        ["redis_config.maxmemory-policy = 'lru'", "did you mean allkeys-lru?"],
    ),
    "databases in letters": ("directive", standalone(redis_config={"databases": "many"}), ["databases = 'many'"]),
    "a port of Sentinel's by its config": (
        "directive",
        given("sentinel", 3, 3, redis_sentinel_config={"requirepass": "hunter2"}),
        ["redis_sentinel_config.requirepass", "redis_sentinel_password"],
    ),
    "a folder that is nowhere": ("wrong-value", standalone(redis_data_dir="data"), ["redis_data_dir = 'data'", "/"]),
    "a server at home, and Django elsewhere": (
        "address",
        changed(standalone(), "redis-1", redis_address="localhost"),
        ["redis_address = 'localhost'"],
    ),
    "an address with a port": (
        "address",
        changed(standalone(), "redis-1", redis_address="192.0.2.11:6379"),
        ["redis_address = '192.0.2.11:6379'", "without port"],
    ),
    "an address of four numbers": (
        "address",
        changed(standalone(), "redis-1", redis_address="192.0.2"),
        ["no address"],
    ),
    "an address of everybody": ("address", changed(standalone(), "redis-1", redis_address="0.0.0.0"), ["nobody can"]),
    "a socket that Django cannot reach": (
        "socket",
        standalone(redis_socket="/run/redis-6379/redis.sock"),
        ["redis-1: redis_socket", "Django on app-1 cannot reach it"],
    ),
    "a server that Django cannot reach by its socket": (
        "socket",
        standalone(redis_socket="/run/redis-6379/redis.sock", redis_tcp=False),
        ["redis-1: redis_socket", "Django on app-1 cannot reach it"],
    ),
    "a server that nobody reaches": (
        "socket",
        standalone(redis_tcp=False),
        ["redis-1: redis_tcp = False: nobody could reach the server", "a redis_socket"],
    ),
    "servers without a port for each other": (
        "socket",
        changed(given("cluster", 6, redis_tcp=False), "redis-1", redis_socket="/run/redis-6379/redis.sock"),
        ["redis-1: redis_tcp = False: the other servers could not reach it"],
    ),
    "a user that a shell would run": (
        "account",
        standalone(redis_user="redis; id"),
        ["redis-1: redis_user = 'redis; id'", "no name for a user"],
    ),
    "a user of Django's with a capital": ("account", standalone(django_app_user="Django"), ["app-1: django_app_user"]),
    "a group of two words": (
        "account",
        standalone(redis_socket_group="Web Users"),
        ["redis-1: redis_socket_group = 'Web Users'", "no name for a group", "small letters"],
    ),
    "a socket of two servers": (
        "socket",
        two_of_a_machine(service_manager="supervisor", redis_socket="/srv/redis.sock"),
        ["redis-2: redis_socket = '/srv/redis.sock'", "redis-1 on the same machine has it as well", "redis-6380"],
    ),
    "a socket that the unit cannot make": (
        "socket",
        standalone(ansible_connection="local", redis_socket="/tmp/redis.sock"),
        ["redis-1: redis_socket = '/tmp/redis.sock'", "own folder alone", "write /run/redis-6379/redis.sock"],
    ),
    "a socket for a shell": (
        "socket",
        standalone(ansible_connection="local", redis_socket="/run/redis-6379/$(id).sock"),
        ["it is no absolute path of letters"],
    ),
    "a folder with a blank": (
        "wrong-value",
        standalone(redis_data_dir="/var/lib/my redis"),
        ["redis_data_dir = '/var/lib/my redis'", "takes no path but of letters"],
    ),
    "a rule that takes away what caches need": (
        "app-rules",
        standalone(redis_app_rules=["-@all"]),
        ["redis-1: redis_app_rules = '-@all'", "that its caches need", "-flushdb"],
    ),
    "a socket without a path": ("socket", standalone(redis_socket="redis.sock"), ["no absolute path"]),
    "B22 two Sentinels": ("sentinels", given("sentinel", 3, 2), ["2 Sentinels", "loss of one", "wanted 3, 5"]),
    "B22 four Sentinels": ("sentinels", given("sentinel", 3, 4), ["4 Sentinels", "odd"]),
    "no Sentinel": ("sentinels", given("sentinel", 3), ["group redis_sentinel", "0 Sentinels", "wanted 3, 5"]),
    "B23 a quorum too high": (
        "sentinels",
        given("sentinel", 3, 3, redis_sentinel_quorum=4),
        ["redis_sentinel_quorum = 4", "3 Sentinels", "1 to 3", "best 2"],
    ),
    "a service of two words": (
        "sentinels",
        given("sentinel", 3, 3, redis_sentinel_service="my master"),
        ["redis_sentinel_service = 'my master'", "letters"],
    ),
    "a failover that cannot be in time": (
        "sentinels",
        given("sentinel", 3, 3, redis_sentinel_down_after_ms=20000),
        ["redis_sentinel_failover_timeout_ms = 10000", "redis_sentinel_down_after_ms 20000", "write 40000"],
    ),
    "Sentinels on one machine": (
        "sentinels",
        changed(given("sentinel", 3, 3), "redis-2", ansible_host="192.0.2.11", redis_port=1, redis_sentinel_port=2),
        ["2 of 3 Sentinels are on one machine, 192.0.2.11", "spread"],
    ),
    "two primaries": ("cluster", given("cluster", 4), ["4 hosts", "2 primaries", "have 6 hosts"]),
    "two primaries without replicas": ("cluster", given("cluster", 2, redis_cluster_replicas=0), ["have 3 hosts"]),
    "B26 more replicas than there are": (
        "replicas",
        given("sentinel", 3, 3, redis_min_replicas_to_write=3),
        ["redis_min_replicas_to_write = 3", "the 2 replicas", "refuse every write", "write 1"],
    ),
    "a single server that waits for replicas": (
        "replicas",
        standalone(redis_min_replicas_to_write=1),
        ["redis_min_replicas_to_write = 1", "the 0 replicas", "write 0"],
    ),
    "B27 no log and no snapshots": (
        "empty-restart",
        given("sentinel", 3, 3, redis_appendonly=False),
        ["redis_appendonly and redis_save are both off", "redis_accept_empty_restart: true"],
    ),
    "the same in other words": (
        "empty-restart",
        given("replication", 2, redis_config={"appendonly": "no", "save": '""'}),
        ["redis_appendonly and redis_save are both off"],
    ),
    "a size that is none": ("memory", standalone(redis_maxmemory="10 GiB"), ["redis_maxmemory = '10 GiB'", "256mb"]),
    "B28 no bound": ("memory-policy", standalone(redis_maxmemory="0"), ["redis_maxmemory = '0'", "no bound"]),
    "B30 no eviction": (
        "memory-policy",
        standalone(redis_maxmemory_policy="noeviction"),
        ["redis_maxmemory_policy = 'noeviction'", "every write fails"],
    ),
    "B38 TLS without a certificate": (
        "tls",
        standalone(redis_tls=True, redis_tls_key_file="key.pem", django_app_redis_ca_file="/ca"),
        ["redis_tls_cert_file", "are given, this is not", "redis_tls_key_file = 'key.pem'", "no absolute path"],
    ),
    "TLS that Django does not trust": (
        "tls",
        standalone(redis_tls=True, redis_tls_cert_file="/c", redis_tls_key_file="/k", redis_tls_ca_file="/ca"),
        ["app-1: django_app_redis_ca_file", "would not trust"],
    ),
    "a certificate without its authority": (
        "tls",
        given("cluster", 6, redis_tls=True, redis_tls_cert_file="/c", redis_tls_key_file="/k"),
        ["redis_tls_ca_file", "are given, this is not", "none of the three"],
    ),
    "certificates that are over at once": (
        "tls",
        given("sentinel", 3, 3, redis_tls=True, redis_tls_days=30),
        ["redis_tls_renew_before_days = 30", "redis_tls_days 30", "less than 30"],
    ),
    "commands for administrators": (
        "broad-app-rules",
        standalone(redis_app_rules=["~queue:*", "+CONFIG|get"]),
        ["redis-1: redis_app_rules = '+CONFIG|get'", "can reconfigure the server"],
    ),
    "a firewall for nobody": (
        "open-to-all",
        standalone(firewall_enabled=True, firewall_allow=["192.0.2.7", "0.0.0.0/0"]),
        ["firewall_allow = '0.0.0.0/0'", "everybody may reach"],
    ),
    "a secret in the environment": (
        "secret-in-environment",
        standalone(django_app_environment={"DB_PASSWORD": "hunter2hunter2"}),
        ["django_app_environment.DB_PASSWORD:", "looks like a secret", "django_app_settings"],
    ),
    "a secret in a URL of the environment": (
        "secret-in-environment",
        standalone(django_app_environment={"DATABASE_URL": "postgres://shop:hunter2hunter2@db/shop"}),
        ["django_app_environment.DATABASE_URL:"],
    ),
    "TLS that checks nothing": (
        "alias",
        standalone(redis_tls=True, django_app_cache_aliases={"default": {"options": {"ssl_cert_reqs": "none"}}}),
        ["options.ssl_cert_reqs", "forge everything"],
    ),
    "TLS that checks in a way of its own": (
        "alias",
        standalone(
            redis_tls=True,
            django_app_cache_aliases={
                "default": {"options": {"ssl_cert_reqs": True, "ssl_check_hostname": "required"}}
            },
        ),
        ["options.ssl_cert_reqs", "options.ssl_check_hostname"],
    ),
    "TLS of a URL that checks nothing": (
        "caches",
        caches(["rediss://192.0.2.11:6379/1?ssl_check_hostname=No"]),
        ["forge everything"],
    ),
    "a token in a URL": (
        "python-name",
        standalone(django_app_src="https://oauth2:hunter2@git.example.com/shop.git"),
        ["django_app_src:", "what is before the @", "SSH"],
    ),
    "a directive that opens the server": (
        "directive",
        standalone(redis_config={"bind": "0.0.0.0", "protected-mode": "no", "unixsocketperm": "777"}),
        ["redis_config.bind", "write redis_bind", "redis_config.protected-mode", "redis_config.unixsocketperm"],
    ),
    "one password for everything": (
        "users-off",
        without(standalone(redis_acl=False), "redis_admin_password"),
        ["redis-1: redis_acl = False", "one password opens everything"],
    ),
    "a password among the rules": (
        "app-rules",
        standalone(redis_app_rules=["+lpush", ">hunter2"]),
        ["redis-1: redis_app_rules: number 2 is no rule", "~queue:*"],
    ),
    "two rules in one": ("app-rules", standalone(redis_app_rules=["~queue:* +lpush"]), ["number 1", "of its own"]),
    "a user that anybody is": ("app-rules", standalone(redis_app_rules=["nopass"]), ["number 1"]),
    "a user that is reset": ("app-rules", standalone(redis_app_rules=["reset", "~*"]), ["number 1"]),
    "other rules elsewhere": (
        "not-the-same",
        changed(given("replication", 3), "redis-2", redis_app_rules=["+lpush"]),
        ["redis_app_rules", "not the same everywhere"],
    ),
    "a name in a firewall": (
        "networks",
        given("sentinel", 3, 3, firewall_allow=["proxy.example.com"]),
        ["all hosts: firewall_allow = 'proxy.example.com': it is no address and no network", "such as 192.0.2.7"],
    ),
    "an address in a network": (
        "networks",
        standalone(firewall_monitoring=["192.0.2.7/24"]),
        ["firewall_monitoring = '192.0.2.7/24'", "it is an address within a network", "192.0.2.7 or 192.0.2.0/24"],
    ),
    "everybody in a word": ("networks", standalone(firewall_web=["*"]), ["firewall_web = '*'", "no network"]),
    "a web server by name": (
        "networks",
        standalone(django_app_proxies=["web-1"]),
        ["app-1: django_app_proxies = 'web-1'", "it is no address"],
    ),
    "a network of web servers for an older Django": (
        "networks",
        standalone(django_app_proxies=["192.0.2.0/24"], django_app_django_version="4.2"),
        ["app-1: django_app_proxies = '192.0.2.0/24'", "with Django 4.2", "write addresses"],
    ),
    "a firewall without root": (
        "needs-systemd",
        standalone(firewall_enabled=True, service_manager="supervisor"),
        ["all hosts: firewall_enabled = True", "supervisor", "write false"],
    ),
    "an exporter without root": (
        "needs-systemd",
        standalone(redis_exporter_enabled=True, service_manager="supervisor"),
        ["redis-1: redis_exporter_enabled = True", "write false"],
    ),
    "no rights": ("rights", standalone(ansible_become=False), ["ansible_become = False", "root", "supervisor"]),
    "Django in another mode": (
        "not-the-same",
        changed(given("sentinel", 3, 3), "app-1", cache_mode="standalone"),
        ["cache_mode", "not the same everywhere", "app-1: standalone"],
    ),
    "two passwords": (
        "not-the-same",
        changed(given("replication", 3), "redis-2", redis_password=PASSWORD[::-1]),
        ["redis_password", "not the same everywhere", "group_vars/all.yml"],
    ),
    # Django.
    "B13 a db of a cluster": (
        "alias",
        aliases("resilient", "cluster", db=1),
        ["django_app_cache_aliases.default.db = 1", "the database 0 alone"],
    ),
    "B10 a db that is not there": ("alias", alias(db=99), ["default.db = 99", "16 databases", "0 to 15"]),
    "a db in quotes": ("alias", alias(db="1"), ["default.db = '1'", "without quotes"]),
    "a db below nothing": ("alias", alias(db=-1), ["default.db = -1"]),
    "B31 seconds with a unit": (
        "alias",
        alias(timeout="300s"),
        ["default.timeout = '300s'", "text", "silently take 300", "whole number of seconds"],
    ),
    "B31 None in quotes": ("alias", alias(timeout="None"), ["default.timeout = 'None'", "null for ever"]),
    "B31 over before it begins": ("alias", alias(timeout=-5), ["default.timeout = -5", "nothing would be cached"]),
    "B31 half a second": ("alias", alias(timeout=0.5), ["default.timeout = 0.5", "nothing would be cached"]),
    "a timeout that is true": ("alias", alias(timeout=True), ["default.timeout = True"]),
    "a number in quotes": ("alias", alias(timeout="60"), ["default.timeout = '60'", "no quotes"]),
    "B32 a number as text": (
        "alias",
        options_of("builtin", socket_timeout="5.5"),
        ["default.options.socket_timeout = '5.5'", "must be a number"],
    ),
    "no time at all": ("alias", options_of("builtin", socket_timeout=0), ["options.socket_timeout = 0", "above 0"]),
    "no connection at all": ("alias", options_of("builtin", max_connections=0), ["max_connections = 0", "least 1"]),
    "B34 an option with a slip": (
        "alias",
        options_of("builtin", socket_conect_timeout=1),
        ["options.socket_conect_timeout", "did you mean socket_connect_timeout?"],
    ),
    "an option of resilient with a slip": (
        "alias",
        options_of("resilient", retry_dedline=1),
        ["did you mean retry_deadline?"],
    ),
    "an option of django-redis with a slip": (
        "alias",
        options_of("django_redis", IGNORE_EXCEPTION=True),
        ["did you mean IGNORE_EXCEPTIONS?"],
    ),
    "B35 an option of django-redis": (
        "alias",
        options_of("builtin", CLIENT_CLASS="x"),
        ["options.CLIENT_CLASS", "belongs to django_redis", "cache_client is builtin"],
    ),
    "B35 a compressor of django-redis": (
        "alias",
        aliases("builtin", compressor="zlib"),
        ["default.compressor = 'zlib'", "cache_client builtin"],
    ),
    "B35 db as an option": ("alias", options_of("django_redis", db=1), ["options.db = 1", "beside options"]),
    "a bound of locmem": ("alias", options_of("builtin", MAX_ENTRIES=1000), ["MAX_ENTRIES = 1000", "redis_maxmemory"]),
    "a boolean as text": (
        "alias",
        options_of("django_redis", IGNORE_EXCEPTIONS="False"),
        ["IGNORE_EXCEPTIONS = 'False'", "true or false"],
    ),
    "TLS as an option": ("alias", options_of("builtin", ssl=True), ["options.ssl", "redis_tls"]),
    "values that are text": ("alias", options_of("builtin", decode_responses=True), ["decode_responses", "bytes"]),
    "B14 a location": ("alias", alias(location="127.0.0.1:6379"), ["default.location", "the inventory's hosts"]),
    "an alias's word with a slip": ("alias", alias(timout=3), ["default.timout", "did you mean timeout?"]),
    "an alias that is a list": (
        "alias",
        standalone(django_app_cache_aliases={"default": [], "dj_session": {}}),
        ["django_app_cache_aliases.default", "no mapping"],
    ),
    "a prefix that is a number": ("alias", alias(key_prefix=2024), ["default.key_prefix = 2024", "in quotes"]),
    "no default": (
        "alias",
        standalone(django_app_cache_aliases={"dj_session": {}}),
        ["django_app_cache_aliases", "'default'"],
    ),
    "sessions without an alias": (
        "alias",
        standalone(django_app_cache_aliases={"default": {}}),
        ["dj_session", "the sessions use this alias", "django_app_session_alias"],
    ),
    "two aliases with one pool": (
        "alias",
        standalone(
            cache_client="django_redis",
            django_app_cache_aliases={"default": {}, "dj_session": {"options": {"socket_timeout": 1}}},
        ),
        ["dj_session", "options of default"],
    ),
    "logins that get lost": (
        "alias-policy",
        standalone(
            cache_client="resilient", django_app_cache_aliases={"default": {}, "dj_session": {"on_error": "miss"}}
        ),
        ["dj_session.on_error = 'miss'", "not logged in"],
    ),
    "B37 a client of a later Django": (
        "client",
        standalone(cache_client="builtin", django_app_django_version="3.2"),
        ["cache_client = 'builtin'", "Django 3.2 has no client builtin", "cache_client: django_redis"],
    ),
    "a client without Sentinel": (
        "client",
        given("sentinel", 3, 3, cache_client="builtin"),
        ["cache_client = 'builtin'", "no mode sentinel", "resilient"],
    ),
    "a client without Cluster": ("client", given("cluster", 6, cache_client="django_redis"), ["no mode cluster"]),
    "B14 no scheme": ("caches", caches("127.0.0.1:6379"), ["default.LOCATION = '127.0.0.1:6379'", "redis://"]),
    "B14 half a scheme": ("caches", caches(["redis:/h"]), ["'redis:/h'", "redis://"]),
    "B14 a loud scheme": ("caches", caches(["REDIS://h:6379"]), ["'REDIS://h:6379'", "redis://"]),
    "B16 a password in a URL": (
        "caches",
        caches(["redis://:p@ss/w#rd@192.0.2.11:6379"]),
        ["default.LOCATION", "percent-encoded", "the option password"],
    ),
    "a blank behind a comma": ("caches", caches("redis://a:1, redis://b:2"), ["redis://"]),
    "a server twice": ("caches", caches(["redis://a:1", "redis://a:1"]), ["twice"]),
    "a port that is too high": ("caches", caches(["redis://a:99999"]), ["'redis://a:99999'", "65535"]),
    "a database that is not there": ("caches", caches(["redis://a:1/99"]), ["16 databases", "0 to 15"]),
    "two databases": ("caches", caches(["redis://a:1/2"], OPTIONS={"db": 1}), ["OPTIONS.db = 1", "2", "win silently"]),
    "TLS without TLS": ("caches", caches(["redis://a:1"], OPTIONS={"ssl_ca_certs": "/ca"}), ["ssl_ca_certs", "rediss"]),
    "TLS that asks no Sentinel": (
        "caches",
        caches(["rediss://shop/1"], "django_redis.cache.RedisCache", OPTIONS={"SENTINELS": [["192.0.2.1", 26379]]}),
        ["default.LOCATION", "ask no Sentinel", "ssl: true in CONNECTION_POOL_KWARGS"],
    ),
    "keepalive of a socket": (
        "caches",
        caches(["unix:///run/redis.sock"], OPTIONS={"socket_keepalive": True}),
        ["socket_keepalive", "unix://"],
    ),
    "a semicolon of django-redis": (
        "caches",
        caches("redis://a:1/1;redis://b:1/1", backend="django_redis.cache.RedisCache"),
        ["LOCATION", "a list of URLs"],
    ),
    "Sentinels as text": (
        "caches",
        caches(backend="django_redis.cache.RedisCache", OPTIONS={"SENTINELS": ["h:26379"]}),
        ["OPTIONS.SENTINELS", "pairs"],
    ),
    "a short path": (
        "caches",
        caches(backend="django_redis.cache.RedisCache", OPTIONS={"COMPRESSOR": "zlib"}),
        ["OPTIONS.COMPRESSOR = 'zlib'", "dotted path"],
    ),
    "a backend with a slip": (
        "caches",
        caches(backend="django.core.cache.backends.redis.RedisCach"),
        ["default.BACKEND", f"did you mean {BUILTIN_PATH}?"],
    ),
    "a backend of a later Django": (
        "caches",
        changed(caches(), "app-1", django_app_django_version="3.2"),
        ["default.BACKEND", "Django 3.2"],
    ),
    "an alias that is a password": (
        "alias",
        standalone(django_app_cache_aliases={"default": "hunter2", "dj_session": {"options": "password=hunter2"}}),
        ["django_app_cache_aliases.default", "no mapping", "dj_session.options"],
    ),
    "an alias that is a number": (
        "alias",
        standalone(django_app_cache_aliases={1: {}, "default": {}}),
        ["dj_session", "one of 1, default"],
    ),
    "a database in letters": ("caches", caches(["redis://a:1/abc"]), ["silently take 0"]),
    "no server at all": ("caches", caches([]), ["LOCATION", "no server"]),
    "a TIMEOUT in quotes": ("caches", caches(TIMEOUT="None"), ["default.TIMEOUT = 'None'", "300"]),
    "a bound that is none": ("caches", caches(OPTIONS={"MAX_ENTRIES": 1}), ["OPTIONS.MAX_ENTRIES", "redis_maxmemory"]),
    "an option that is ignored": (
        "caches",
        caches(backend="django_redis.cache.RedisCache", OPTIONS={"socket_timeout": 1}),
        ["OPTIONS.socket_timeout = 1", "CONNECTION_POOL_KWARGS"],
    ),
    "a pool with a slip": (
        "caches",
        caches(backend="django_redis.cache.RedisCache", OPTIONS={"CONNECTION_POOL_KWARGS": {"max_conections": 1}}),
        ["CONNECTION_POOL_KWARGS.max_conections", "did you mean max_connections?"],
    ),
    "an entry with a slip": ("caches", caches(KEY_PREFX="x"), ["default.KEY_PREFX", "did you mean KEY_PREFIX?"]),
    "no BACKEND": (
        "caches",
        standalone(django_app_session_alias="", django_app_caches={"default": {"LOCATION": "x"}}),
        ["default.BACKEND"],
    ),
    "sessions without an entry": (
        "caches",
        standalone(django_app_caches={"default": {"BACKEND": BUILTIN_PATH, "LOCATION": "redis://a:1"}}),
        ["django_app_session_alias = 'dj_session'", "no", "choose default"],
    ),
    "everybody's host": (
        "settings",
        standalone(django_app_allowed_hosts=["*"]),
        ["app-1: django_app_allowed_hosts = ['*']", "any name"],
    ),
    "nobody's host": ("settings", standalone(django_app_allowed_hosts=[]), ["refuse every request"]),
    "DEBUG": ("settings", standalone(django_app_settings={"DEBUG": True}), ["django_app_settings.DEBUG = True"]),
    "DEBUG in quotes": ("settings", standalone(django_app_settings={"DEBUG": "False"}), ["DEBUG = 'False'"]),
    "a key in two places": (
        "settings",
        standalone(django_app_settings={"SECRET_KEY": "hunter2"}),
        ["django_app_settings.SECRET_KEY", "django_app_secret_key"],
    ),
    "a small setting": ("settings", standalone(django_app_settings={"debug": True}), ["debug", "write DEBUG"]),
    "a path for a module": (
        "python-name",
        standalone(django_app_base_settings="config/settings.py"),
        ["django_app_base_settings = 'config/settings.py'", "config.settings"],
    ),
    "a module for a callable": ("python-name", standalone(django_app_wsgi="config.wsgi"), ["config.wsgi:application"]),
}
SECRETS = ("opensesame", "hunter2", "p@ss/w#rd", PASSWORD, ADMIN_PASSWORD, SENTINEL_PASSWORD, KEY)


@pytest.mark.parametrize(("rule", "one", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_inventory_is_refused_with_the_fix(rule: str, one: Given, words: list[str]) -> None:
    told = "\n".join(str(problem) for problem in found(one) if problem.rule == rule)
    assert [word for word in words if word not in told] == [], told or found(one)
    everything = as_text(found(one))
    assert not [secret for secret in SECRETS if secret in everything]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_has_a_fault_that_it_alone_tells(rule: Rule) -> None:
    cases = [one for name, one, _ in WRONG.values() if name == rule.id]
    if rule.id in ("unreadable-variable", "secret-in-the-open", "two-deployments"):
        return
    assert cases
    others = tuple(other for other in RULES if other is not rule)
    for one in cases:
        assert rule.id not in {problem.rule for problem in problems(others, Inventory(*one), one[1])}


def test_everything_is_told_at_once_errors_first() -> None:
    one = given("sentinel", 2, 2, redis_port=0, redis_maxmemory_policy="noeviction", redis_pasword="x", redis_tls="no")
    told = found(one)
    assert {problem.rule for problem in told} >= {"wrong-value", "sentinels", "unknown-variable", "memory-policy"}
    assert [problem.severity for problem in told] == sorted(problem.severity for problem in told)
    text = as_text(told)
    assert text.startswith(f"{len(told) - 1} errors\n")
    assert "1 warning\n" in text


def test_what_a_whole_group_says_is_told_once_of_the_group() -> None:
    (told,) = found(given("replication", 3, redis_port=0))
    assert told.where == ("all hosts",)
    one = given("replication", 3)
    for name in one[1]["redis"]:
        one[0][name]["redis_port"] = 0
    (told,) = found(one)
    assert told.where == ("group redis",)
    (told,) = found(changed(changed(given("replication", 3), "redis-1", redis_port=0), "redis-3", redis_port=0))
    assert told.where == ("redis-1", "redis-3")


def test_a_value_that_nobody_can_have() -> None:
    unreadable = {"redis-1": {"redis_password": "'vault_redis_password' is undefined"}}
    one = changed(standalone(), "redis-1", redis_password=None)
    (told,) = found(one, unreadable=unreadable)
    assert told.rule == "unreadable-variable"
    assert "redis-1: redis_password: its value cannot be had: 'vault_redis_password' is undefined" in str(told)


def test_a_secret_in_the_open_is_a_warning() -> None:
    (told,) = found(standalone(), plain_secrets=[("group_vars/all.yml", "redis_password")])
    assert (told.rule, told.severity) == ("secret-in-the-open", WARNING)
    assert "group_vars/all.yml: redis_password" in str(told)


def test_no_problems_is_one_line() -> None:
    assert as_text(found(standalone())) == "no problems"


def test_a_primary_and_its_replica_must_not_share_a_machine() -> None:
    one = given("cluster", 6)
    for number, name in enumerate(one[1]["redis"]):
        one[0][name].update(ansible_host="192.0.2.1" if number < 4 else "192.0.2.2", redis_port=6379 + number)
    (told,) = found(one)
    assert "4 of 6 nodes are on one machine, 192.0.2.1" in str(told)
    assert "no more than 3" in told.fix
    one[0]["redis-4"]["ansible_host"] = "192.0.2.2"
    assert found(one) == []
    for name in one[1]["redis"]:
        one[0][name]["ansible_host"] = "192.0.2.1"
    assert "6 of 6 nodes" in str(found(one)[0])


def test_servers_of_one_machine_may_use_its_loopback_address() -> None:
    one = given("replication", 3, redis_address="127.0.0.1", ansible_connection="local")
    for number, name in enumerate(one[1]["redis"]):
        one[0][name]["redis_port"] = 6379 + number
    assert found(one) == []


def test_two_deployments_in_one_inventory_are_checked_apart() -> None:
    one = two_deployments()
    assert found(one) == []
    one[0]["b-1"]["redis_port"] = 0
    assert [problem.where for problem in found(one)] == [("b-1",)]


@pytest.mark.parametrize(("host", "own", "other"), [("b-1", "redis_b", "redis_a"), ("a-1", "redis_a", "redis_b")])
def test_a_host_in_two_deployments_is_refused(host: str, own: str, other: str) -> None:
    hosts, groups = two_deployments()
    groups[other].append(host)
    told = [str(problem) for problem in found((hosts, groups)) if problem.rule == "two-deployments"]
    assert len(told) == 1
    assert f"{host}: cache_redis_group = '{own}'" in told[0]
    assert f"group {other} of one deployment" in told[0]
    assert "take it out" in told[0]


def test_two_hundred_hosts_take_no_time() -> None:
    one = given("replication", 200, redis_maxmemory="1gb", redis_config={"hz": 20}, postgres_port=1)
    options()
    began = time.process_time()
    assert found_in(one) == []
    # The promise is 50 ms; a slow machine may take a few times as long.
    assert time.process_time() - began < 0.5


def found_in(one: Given) -> list[Problem]:
    return inventory_problems(Inventory(*one))


def test_the_first_port_of_exporters_is_that_of_the_role() -> None:
    defaults = yaml.safe_load((PROJECT / "roles" / "redis_exporter" / "defaults" / "main.yml").read_text("utf-8"))
    assert f"{{{{ {EXPORTER_PORT} + " in defaults["redis_exporter_port"]


def test_servers_before_redis_6_need_no_password_of_the_roles() -> None:
    """A Sentinel that has none either is not asked for one."""
    one = without(given("sentinel", 3, 3, redis_acl=False), "redis_admin_password")
    assert {problem.rule for problem in found(one)} == {"users-off"}


def test_what_is_shared_is_known() -> None:
    assert set(SHARED) <= set(options())


def test_every_number_has_bounds() -> None:
    numbers = [
        option for option in options().values() if option.type in ("int", "float") and option.name != "service_port"
    ]
    assert [option.name for option in numbers if option.bounds.least is None] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_is_explained(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.id)
    assert rule.text.endswith(".")
    assert rule.severity in (ERROR, WARNING)
    assert len({other.id for other in RULES}) == len(RULES)


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("redis_port", 6379, "6379"),
        ("redis_password", "opensesame", ""),
        ("django_app_cache_aliases.default.options.password", "opensesame", ""),
        ("redis_config", {"requirepass": "opensesame"}, "{'requirepass': ...}"),
        ("location", "redis://user:opensesame@h:1", "'redis://user:...@h:1'"),
        ("redis_address", "x" * 99, "'" + "x" * 56 + "..."),
    ],
)
def test_what_is_shown_of_a_value(variable: str, value: Any, wanted: str) -> None:
    assert shown(variable, value) == wanted
