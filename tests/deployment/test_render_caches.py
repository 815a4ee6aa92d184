"""CACHES, as Django sees it: printed, evaluated, handed to Django's own CacheHandler, and used on real servers."""

from __future__ import annotations

import itertools
import ssl
import string
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis
from ansible.module_utils.redis_acl import UNKNOWN, app_rules, rules, sentinel_rules
from ansible.module_utils.redis_client import quote
from django.core.cache import CacheHandler
from django.test import override_settings
from django.utils.module_loading import import_string
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

from cachestack.aliases import get_aliases
from cachestack.cachecheck.runner import OK, run_operations
from cachestack.resilient.options import parse
from conftest import Certificate, TLSFront
from deployment.render.caches import (
    COMPRESSORS,
    CONNECTION,
    RESILIENT_DEFAULTS,
    CacheSettingsError,
    django_caches,
)
from deployment.render.python_source import to_python
from servers import SERVICE, Farm, RedisServer, RedisServerFactory, free_port, wait_for

pytestmark = pytest.mark.usefixtures("django_project", "_no_shared_pools")

BUILTIN, DJANGO_REDIS, RESILIENT = "builtin", "django_redis", "resilient"
# The variable of settings.py that has the password of the Sentinels.
SENTINEL_NAME = "REDIS_SENTINEL_PASSWORD"
BACKENDS = {
    "locmem": "django.core.cache.backends.locmem.LocMemCache",
    BUILTIN: "django.core.cache.backends.redis.RedisCache",
    DJANGO_REDIS: "django_redis.cache.RedisCache",
    RESILIENT: "cachestack.resilient.RedisCache",
}
# Each word that decides how a value is written: client, and what its alias says.
FLAVOURS: list[tuple[str, dict[str, Any]]] = [
    (BUILTIN, {}),
    *((client, {"compressor": compressor}) for client in (DJANGO_REDIS, RESILIENT) for compressor in COMPRESSORS),
    (RESILIENT, {"serializer": "json"}),
    (RESILIENT, {"serializer": "pickle"}),
    (BUILTIN, {"options": {"serializer": "django.core.signing.JSONSerializer"}}),
    (DJANGO_REDIS, {"options": {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}}),
]
FLAVOUR_NAMES = [
    "builtin",
    *(f"{client}+{compressor}" for client in (DJANGO_REDIS, RESILIENT) for compressor in COMPRESSORS),
    "resilient+json",
    "resilient+pickle",
    "builtin+json",
    "dr+json",
]
CLIENTS = pytest.mark.parametrize("client", [BUILTIN, DJANGO_REDIS, RESILIENT])
# Those that take redis-py's options as they are.
THIN_CLIENTS = pytest.mark.parametrize("client", [BUILTIN, DJANGO_REDIS])
# Makes the client `resilient` show its errors, and at once.
STRICT: dict[str, Any] = {
    "on_error": "raise",
    "options": {"retry_deadline": 0, "socket_timeout": 5, "socket_connect_timeout": 5},
}
# The same, with the time to ask Sentinels, or a cluster, also on a busy machine.
PATIENT = {"on_error": "raise", "options": {**STRICT["options"], "retry_deadline": 5}}

PRINTABLE = "".join(chr(code) for code in range(32, 127))
PASSWORDS = [
    "plain",
    PRINTABLE,
    "@/#:?%",
    "%40%2F%25",
    "p@ss:w/rd?db=3#x&password=y",
    "\"double\" and 'single'",
    "\\",
    "\\x41\\n",
    "'''",
    " in front and behind ",
    "{{ jinja }} {% raw %} ${shell} `x`",
    "REDIS_PASSWORD",
    "ключ 钥匙 🔑 é e\u0301 \u202e",
    "tab\tline\nfeed\x01\x7f",
]
# What a line of sentinel.conf takes without quotes.
SENTINELS_PASSWORD = "s3nt:inel/pa#ss@word?%41&x=y"
# The value that the smallest timeouts and compressors see.
VALUES = [0, -7, True, "", "text", "compressible " * 100, {"nested": [1, 2.5, None]}, "ключ"]


@pytest.fixture
def _no_shared_pools() -> None:
    forget_pools()


def forget_pools() -> None:
    """django-redis keeps its pools for the whole process, by URL: a test must not meet those of another."""
    import_string("django_redis.pool.ConnectionFactory")._pools.clear()


@pytest.fixture(scope="module")
def leader(redis_server: RedisServerFactory) -> RedisServer:
    return redis_server(password=PRINTABLE)


@pytest.fixture(scope="module")
def replica(redis_server: RedisServerFactory, leader: RedisServer) -> RedisServer:
    return redis_server(password=PRINTABLE, replicaof=leader)


def node(server: RedisServer | None = None, **changes: Any) -> dict[str, Any]:
    """A node as redis_nodes makes it."""
    address = {"address": server.host, "port": server.port} if server else {"address": "192.0.2.1", "port": 6379}
    return {"name": "redis-1", **address, "socket": None, "tls": False, "role": "leader", **changes}


def settings_of(source: str, password: str = "", sentinel_password: str = "") -> dict[str, dict[str, Any]]:
    """What settings.py has after this right-hand side, with nothing but the passwords to refer to."""
    names: dict[str, Any] = {"__builtins__": {}, "REDIS_PASSWORD": password, SENTINEL_NAME: sentinel_password}
    exec(f"CACHES = {source}", names)
    caches: dict[str, dict[str, Any]] = names["CACHES"]
    return caches


def rendered(alias: Mapping[str, Any], mode: str, client: str, nodes: Any = (), **arguments: Any) -> dict[str, Any]:
    """The alias `default` of settings.py as the role renders it; the passwords are what the names are bound to."""
    password, sentinel_password = arguments.pop("password", ""), arguments.pop("sentinel_password", "")
    arguments["sentinel_password"] = sentinel_password and SENTINEL_NAME
    caches = django_caches({"default": alias}, mode, client, nodes, password and "REDIS_PASSWORD", **arguments)
    return settings_of(to_python(caches, names=["REDIS_PASSWORD", SENTINEL_NAME]), password, sentinel_password)[
        "default"
    ]


def loaded(setting: Mapping[str, Any]) -> Any:
    """Django's cache object for the setting."""
    return CacheHandler({"default": dict(setting)})["default"]


def cache_on(server: RedisServer, client: str, alias: Mapping[str, Any] | None = None, **changes: Any) -> Any:
    """Django's cache object on one real server."""
    return loaded(rendered(alias or {}, "standalone", client, [node(server, **changes)], password=server.password))


def pools_of(cache: Any) -> list[Any]:
    """The connection pools of a Redis cache, one for each server, in the order of LOCATION; nothing is connected."""
    if hasattr(cache, "_client") and hasattr(cache._client, "topology"):
        return [server.pool for server in cache._client.topology.servers()]
    if hasattr(cache, "_cache"):
        return [cache._cache._pool_class.from_url(url, **cache._cache._pool_options) for url in cache._servers]
    return [cache.client.connect(index).connection_pool for index in range(len(cache.client._server))]


def check_operations(cache: Any) -> None:
    for number, value in enumerate(VALUES):
        cache.set(f"key {number}".replace(" ", "-"), value)
    found = [cache.get(f"key-{number}") for number in range(len(VALUES))]
    assert found == VALUES
    assert [type(value) for value in found] == [type(value) for value in VALUES]
    assert cache.get_many(["key-4", "absent"]) == {"key-4": "text"}
    assert cache.incr("key-0", 5) == 5
    assert cache.delete("key-4")
    assert cache.get("key-4") is None


def leaves(value: Any) -> Iterator[Any]:
    """Every value in a tree of dicts and lists that is neither."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


COMBINATIONS = [
    pytest.param(mode, client, compressor, id=f"{mode}-{client}-{compressor}")
    for mode in ("locmem", "standalone", "replication")
    for client, compressor in itertools.product((BUILTIN, DJANGO_REDIS, RESILIENT), COMPRESSORS)
    if mode == "locmem" or client != BUILTIN or compressor == "none"
]


# Every combination, without a server.


@pytest.mark.parametrize(("mode", "client", "compressor"), COMBINATIONS)
@pytest.mark.parametrize("password", ["", PRINTABLE, PASSWORDS[-2]], ids=["none", "printable", "unicode"])
def test_django_builds_every_combination(mode: str, client: str, compressor: str, password: str) -> None:
    nodes = [node(port=6379), node(name="redis-2", port=6378), node(name="redis-3", port=6377)]
    nodes = {"locmem": [], "standalone": nodes[:1], "replication": nodes}[mode]
    alias = {"compressor": compressor, "db": 3, "timeout": 60, "version": 2, "read_from": "replicas"}
    setting = rendered(alias, mode, client, nodes, password=password)
    cache = loaded(setting)

    wanted = BACKENDS["locmem" if mode == "locmem" else client]
    assert type(cache) is import_string(wanted)
    assert (cache.default_timeout, cache.version) == (60, 2)
    assert cache.key_prefix.startswith("dj")
    assert password not in str(setting["LOCATION"]) or not password
    if mode != "locmem":
        pools = pools_of(cache)
        assert [pool.connection_kwargs["port"] for pool in pools] == [each["port"] for each in nodes]
        for pool in pools:
            # Raises TypeError for a keyword argument that the connection's class does not have.
            assert type(pool.make_connection()) is Connection
            assert int(pool.connection_kwargs["db"]) == 3
            assert (pool.connection_kwargs.get("password") or "") == password
            for option, value in CONNECTION.items() if client != RESILIENT else ():
                assert (
                    pool.max_connections if option == "max_connections" else pool.connection_kwargs[option]
                ) == value


@pytest.mark.parametrize(("mode", "client", "compressor"), COMBINATIONS)
def test_numbers_are_numbers_and_words_are_words(mode: str, client: str, compressor: str) -> None:
    """redis-py and Django fail late, or silently use something else, where a number is text."""
    setting = rendered({"compressor": compressor, "db": 1}, mode, client, [node()], password="x")
    assert not [leaf for leaf in leaves(setting) if isinstance(leaf, str) and leaf.strip("-.0123456789") == ""]
    assert not [leaf for leaf in leaves(setting) if leaf in ("True", "False", "None", "yes", "no")]


@pytest.mark.parametrize("password", PASSWORDS)
@CLIENTS
def test_a_password_printed_in_place_is_the_same_again(client: str, password: str) -> None:
    caches = django_caches({"default": {}}, "standalone", client, [node()], password)
    assert settings_of(to_python(caches)) == caches
    options = caches["default"]["OPTIONS"]
    assert options.get("CONNECTION_POOL_KWARGS", options)["password"] == password


@CLIENTS
def test_the_password_is_a_reference_and_no_text(client: str) -> None:
    source = to_python(
        django_caches({"default": {}}, "standalone", client, [node()], "REDIS_PASSWORD"), ["REDIS_PASSWORD"]
    )
    assert ": REDIS_PASSWORD,\n" in source
    assert source.count("REDIS_PASSWORD") == 1


@pytest.mark.parametrize("mode", ["locmem", "standalone", "replication"])
@pytest.mark.parametrize("given", [{}, None])
def test_an_empty_alias_is_a_complete_one(mode: str, given: Any) -> None:
    setting = rendered(given, mode, BUILTIN, [node()])
    assert (setting["TIMEOUT"], setting["KEY_PREFIX"][:2], setting["OPTIONS"].get("db", 0)) == (300, "dj", 0)
    assert "VERSION" not in setting


def test_locmem_takes_the_aliases_of_the_other_modes() -> None:
    """`make up MODE=locmem` changes one word, so what other clients are told must do no harm."""
    alias = {"db": 4, "compressor": "zstd", "read_from": "leader", "max_entries": 7, "key_prefix": "shop"}
    options = {"socket_timeout": 1, "IGNORE_EXCEPTIONS": True, "CULL_FREQUENCY": 9}
    cache = loaded(rendered({**alias, "options": options}, "locmem", DJANGO_REDIS))
    assert (cache._max_entries, cache._cull_frequency, cache.key_prefix) == (7, 9, "shop")
    check_operations(cache)


def test_two_locmem_aliases_do_not_share_their_keys() -> None:
    caches = CacheHandler(django_caches({"default": {}, "other": {}}, "locmem", BUILTIN))
    caches["default"].set("key", "value")
    assert caches["other"].get("key") is None


# LOCATION.

SERVERS = [
    node(address="192.0.2.12", role="leader"),
    node(address="192.0.2.11", role="replica"),
    node(address="192.0.2.13", role="replica"),
]
ALL = ["192.0.2.12", "192.0.2.11", "192.0.2.13"]


@pytest.mark.parametrize(
    ("alias", "session_alias", "hosts"),
    [
        ({}, None, ALL),
        ({}, "", ALL),
        ({"read_from": "replicas"}, None, ALL),
        ({"read_from": "leader"}, None, ALL[:1]),
        ({}, "default", ALL[:1]),
        ({"read_from": "replicas"}, "default", ALL),
        ({"read_from": "leader"}, "default", ALL[:1]),
    ],
)
@CLIENTS
def test_the_leader_is_first_and_sessions_read_from_it(
    client: str, alias: dict[str, Any], session_alias: str | None, hosts: list[str]
) -> None:
    if client == RESILIENT and "read_from" not in alias:
        hosts = ALL[:1]
    setting = rendered(alias, "replication", client, iter(SERVERS), session_alias=session_alias)
    assert [pool.connection_kwargs["host"] for pool in pools_of(loaded(setting))] == hosts


@THIN_CLIENTS
def test_only_the_alias_of_the_sessions_is_theirs(client: str) -> None:
    caches = django_caches(
        {"default": {}, "dj_session": {"db": 2}}, "replication", client, SERVERS, session_alias="dj_session"
    )
    assert [len(caches[name]["LOCATION"]) for name in ("default", "dj_session")] == [3, 1]


def test_only_lost_sessions_are_errors() -> None:
    caches = django_caches(
        {"default": {}, "dj_session": {}, "strict": {"on_error": "raise"}},
        "replication",
        RESILIENT,
        SERVERS,
        session_alias="dj_session",
    )
    assert {name: cache["OPTIONS"]["on_error"] for name, cache in caches.items()} == {
        "default": "miss",
        "dj_session": "raise",
        "strict": "raise",
    }


@pytest.mark.parametrize(
    ("changes", "connection", "wanted"),
    [
        ({"address": "redis.example.com"}, Connection, {"host": "redis.example.com", "port": 6379}),
        ({"address": "::1"}, Connection, {"host": "::1", "port": 6379}),
        ({"address": "2001:db8::11", "port": 6380}, Connection, {"host": "2001:db8::11", "port": 6380}),
        ({"address": "2001:db8::11", "tls": True}, SSLConnection, {"host": "2001:db8::11", "port": 6379}),
        ({"socket": "/run/redis.sock"}, UnixDomainSocketConnection, {"path": "/run/redis.sock"}),
        ({"socket": "/run/a b?c#d%20.sock"}, UnixDomainSocketConnection, {"path": "/run/a b?c#d%20.sock"}),
        ({"socket": "/run/redis.sock", "tls": True}, UnixDomainSocketConnection, {"path": "/run/redis.sock"}),
    ],
)
@CLIENTS
def test_addresses(client: str, changes: dict[str, Any], connection: type, wanted: dict[str, Any]) -> None:
    (pool,) = pools_of(loaded(rendered({"db": 5}, "standalone", client, [node(**changes)], ca_file="/ca.pem")))
    assert type(pool.make_connection()) is connection
    assert {key: pool.connection_kwargs[key] for key in wanted} == wanted
    assert int(pool.connection_kwargs["db"]) == 5


@pytest.mark.parametrize("ca_file", [None, "", "/etc/ssl/redis ca.pem"])
@CLIENTS
def test_tls_checks_the_certificate_and_its_name(client: str, ca_file: str | None) -> None:
    setting = rendered({}, "standalone", client, [node(tls=True)], ca_file=ca_file, password="x")
    (pool,) = pools_of(loaded(setting))
    assert pool.connection_class is SSLConnection
    given = {key: value for key, value in pool.connection_kwargs.items() if key.startswith("ssl_")}
    checks = {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_min_version": ssl.TLSVersion.TLSv1_2}
    assert given == ({**checks, "ssl_ca_certs": ca_file} if ca_file else checks)


@THIN_CLIENTS
def test_a_timeout_may_be_none(client: str) -> None:
    setting = rendered({"options": {"socket_timeout": None}}, "standalone", client, [node()])
    (pool,) = pools_of(loaded(setting))
    assert pool.make_connection().socket_timeout is None


@THIN_CLIENTS
def test_options_win_and_keep_their_types(client: str) -> None:
    options = {"socket_timeout": 0.25, "max_connections": 3, "retry_on_timeout": True, "protocol": 3}
    setting = rendered({"options": options}, "standalone", client, [node()])
    (pool,) = pools_of(loaded(setting))
    connection = pool.make_connection()
    assert (connection.socket_timeout, connection.socket_connect_timeout) == (0.25, 3.5)
    assert (pool.max_connections, connection.retry_on_timeout, int(connection.protocol)) == (3, True, 3)


def test_what_is_not_written_is_the_clients_own_default() -> None:
    options = rendered({}, "standalone", RESILIENT, [node()])["OPTIONS"]
    assert set(options) == {"db", "on_error"}
    own = parse("server", "redis://a", {"OPTIONS": options}, "default")
    assert {word: getattr(own, word) for word in RESILIENT_DEFAULTS} == RESILIENT_DEFAULTS
    for word, value in RESILIENT_DEFAULTS.items():
        assert word not in rendered({word: value}, "standalone", RESILIENT, [node()])["OPTIONS"]
    assert rendered({"serializer": "pickle"}, "standalone", RESILIENT, [node()])["OPTIONS"]["serializer"] == "pickle"


def test_options_in_capitals_are_those_of_django_redis() -> None:
    setting = rendered({"options": {"IGNORE_EXCEPTIONS": True}}, "standalone", DJANGO_REDIS, [node()])
    assert setting["OPTIONS"]["IGNORE_EXCEPTIONS"] is True
    assert loaded(setting)._ignore_exceptions is True
    default = rendered({}, "standalone", DJANGO_REDIS, [node()])
    # The text 'False' would count as true.
    assert default["OPTIONS"]["IGNORE_EXCEPTIONS"] is False


# On real servers.


@pytest.mark.parametrize("password", PASSWORDS)
@CLIENTS
def test_any_password(set_password: Callable[[str], RedisServer], client: str, password: str) -> None:
    server = set_password(password)
    setting = rendered({}, "standalone", client, [node(server)], password=password)
    cache = loaded(setting)
    cache.set("key", "value")
    assert cache.get("key") == "value"
    assert cache.delete("key")

    forget_pools()
    alias = STRICT if client == RESILIENT else {}
    with pytest.raises(redis.ConnectionError, match="invalid username-password pair"):
        loaded(rendered(alias, "standalone", client, [node(server)], password=password + "x")).get("key")


@pytest.mark.parametrize(("client", "alias"), FLAVOURS, ids=FLAVOUR_NAMES)
def test_operations(leader: RedisServer, client: str, alias: dict[str, Any]) -> None:
    check_operations(cache_on(leader, client, {**alias, "db": 1}))


@CLIENTS
def test_operations_on_a_replication(leader: RedisServer, replica: RedisServer, client: str) -> None:
    """Writes go to the leader and, where the alias says so, reads to the replica."""
    for read_from, reader in (("replicas", replica), ("leader", leader)):
        servers = [node(leader), node(replica, name="redis-2", role="replica")]
        alias = {"db": 2, "read_from": read_from, "key_prefix": read_from}
        if client == RESILIENT:
            alias["options"] = {"read_your_writes": 0}
        cache = loaded(rendered(alias, "replication", client, servers, password=PRINTABLE))
        for server in (leader, replica):
            server.client().config_resetstat()
        cache.set("key", "value")
        with leader.client(2) as connection:
            connection.set("unrelated", 1)
            assert connection.wait(1, 5000) == 1
        assert cache.get("key") == "value"
        gets = {server.port: server.client().info("commandstats").get("cmdstat_get") for server in (leader, replica)}
        assert [port for port, count in gets.items() if count] == [reader.port]


@pytest.mark.parametrize("name", ["redis.sock", "with blank, 100% & ?db=9#.sock"])
def test_a_unix_socket(redis_server: RedisServerFactory, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    path = str(tmp_path_factory.mktemp("sock") / name)
    server = redis_server(password=PRINTABLE, unixsocket=quote(path))
    for client in (BUILTIN, DJANGO_REDIS, RESILIENT):
        cache = cache_on(server, client, {"db": 3}, socket=path, address="192.0.2.1")
        check_operations(cache)
        keys = server.client(3).keys()
        assert len(keys) == len(VALUES) - 1, keys
        cache.clear()


@CLIENTS
def test_the_connection_speaks_resp2(leader: RedisServer, client: str) -> None:
    """Redis 5 knows no other, and redis-py 8 would speak RESP3."""
    (pool,) = pools_of(cache_on(leader, client, {"db": 6}))
    connection = pool.get_connection()
    connection.send_command("CLIENT", "INFO")
    words = str(connection.read_response()).split()
    assert "resp=2" in words
    assert "db=6" in words


@pytest.mark.parametrize(
    ("alias", "lowest", "highest"),
    [({}, 290, 300), ({"timeout": 300}, 290, 300), ({"timeout": 1}, 1, 1), ({"timeout": None}, -1, -1)],
)
@CLIENTS
def test_timeouts(leader: RedisServer, client: str, alias: dict[str, Any], lowest: int, highest: int) -> None:
    cache = cache_on(leader, client, {**alias, "db": 4})
    cache.set("key", "value")
    # In seconds; -1 is for ever.
    assert lowest <= leader.client(4).ttl(cache.make_key("key")) <= highest


@pytest.mark.parametrize(
    ("mode", "client"), [("locmem", BUILTIN), ("standalone", BUILTIN), ("standalone", DJANGO_REDIS)]
)
def test_a_timeout_of_nothing_is_no_missing_timeout(leader: RedisServer, mode: str, client: str) -> None:
    setting = rendered({"timeout": 0, "db": 4}, mode, client, [node(leader)], password=PRINTABLE)
    assert setting["TIMEOUT"] == 0
    cache = loaded(setting)
    cache.set("stored", "value")
    assert cache.get("stored") is None
    assert rendered({"timeout": None}, mode, client, [node()])["TIMEOUT"] is None


@pytest.mark.filterwarnings("ignore:Cache key contains characters that will cause errors if used with memcached")
@pytest.mark.parametrize("prefix", ["", "shop", "магазин 🛒", "quotes \"' and \\", "{tag}"])
@CLIENTS
def test_key_prefixes(leader: RedisServer, client: str, prefix: str) -> None:
    cache = cache_on(leader, client, {"db": 5, "key_prefix": prefix})
    cache.clear()
    cache.set("key", "value")
    assert cache.get("key") == "value"
    (key,) = leader.client(5).keys()
    assert key == cache.make_key("key").encode()
    assert cache.key_prefix == f"{prefix}/{client}{'/signed' if client == RESILIENT else ''}"


# Sentinel and Cluster.

WATCHED: dict[str, Any] = {"sentinels": [{"name": "redis-1", "address": "192.0.2.1", "port": 26379}], "service": "shop"}
SENTINEL_CLIENTS = pytest.mark.parametrize("client", [DJANGO_REDIS, RESILIENT])


@pytest.fixture(scope="module")
def watched(redis_server: RedisServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a leader with a replica is under Sentinel: `nodes` and the other arguments of `rendered`."""
    with Farm(tmp_path_factory.mktemp) as farm:
        leader, replica = farm.replicated(replicas=1, password=PRINTABLE)
        addresses = farm.sentinels(leader, password=SENTINELS_PASSWORD)
        yield {
            "nodes": [node(leader), node(replica, name="redis-2", role="replica")],
            "sentinels": [{"name": "s", "address": host, "port": port} for host, port in addresses],
            "service": SERVICE,
            "password": PRINTABLE,
            "sentinel_password": SENTINELS_PASSWORD,
        }


@pytest.mark.parametrize("compressor", COMPRESSORS)
# A read of django-redis from a replica may come before what was written.
@pytest.mark.parametrize(
    ("client", "read_from"), [(DJANGO_REDIS, "leader"), (RESILIENT, "leader"), (RESILIENT, "replicas")]
)
def test_operations_under_sentinel(watched: dict[str, Any], client: str, read_from: str, compressor: str) -> None:
    alias = {"db": 1, "read_from": read_from, "compressor": compressor}
    cache = loaded(rendered(alias, "sentinel", client, **watched))
    cache.clear()
    check_operations(cache)


@SENTINEL_CLIENTS
def test_cachecheck_passes_under_sentinel(watched: dict[str, Any], client: str) -> None:
    aliases = {name: {"db": 3, "read_from": name, **patient(client)} for name in ("leader", "replicas")}
    run_every_operation({name: rendered(alias, "sentinel", client, **watched) for name, alias in aliases.items()})


def patient(client: str) -> dict[str, Any]:
    """What makes an alias of this client wait for servers that are late, where it can."""
    return PATIENT if client == RESILIENT else {}


def run_every_operation(caches: dict[str, Any]) -> None:
    """Do as `manage.py cachecheck` does, and see that nothing fails."""
    with override_settings(CACHES={"default": caches["leader"], **caches}):
        runs = run_operations(get_aliases())
    assert [(run.alias.name, result) for run in runs for result in run.results if result.state != OK] == []


@pytest.mark.parametrize("read_from", [None, "leader", "replicas"])
@SENTINEL_CLIENTS
def test_who_is_read_under_sentinel(watched: dict[str, Any], client: str, read_from: str | None) -> None:
    """The leader, unless the alias says otherwise."""
    alias: dict[str, Any] = {"db": 2, "read_from": read_from} if read_from else {"db": 2}
    if client == RESILIENT:
        alias["options"] = {"read_your_writes": 0}
    cache = loaded(rendered(alias, "sentinel", client, **watched))
    cache.set("key", "value")
    servers = [redis.Redis(port=each["port"], password=PRINTABLE, protocol=2) for each in watched["nodes"]]
    assert servers[0].wait(1, 5000) == 1
    for server in servers:
        server.config_resetstat()
    for _ in range(4):
        assert cache.get("key") == "value"
    reads = ["cmdstat_get" in server.info("commandstats") for server in servers]
    assert reads == [read_from != "replicas", read_from == "replicas"]


@SENTINEL_CLIENTS
def test_a_sentinel_that_is_away_holds_nobody_up(watched: dict[str, Any], client: str) -> None:
    away = {"name": "away", "address": "127.0.0.1", "port": free_port()}
    cache = loaded(rendered({}, "sentinel", client, **{**watched, "sentinels": [away, *watched["sentinels"]]}))
    begun = time.monotonic()
    cache.set("key", "value")
    assert cache.get("key") == "value"
    assert time.monotonic() - begun < 1


@SENTINEL_CLIENTS
def test_each_wrong_password_under_sentinel_is_an_error(watched: dict[str, Any], client: str) -> None:
    alias = {"on_error": "raise", "options": {"retry_deadline": 1}} if client == RESILIENT else {}
    loaded(rendered(alias, "sentinel", client, **watched)).set("key", "value")
    for word in ("password", "sentinel_password"):
        forget_pools()
        cache = loaded(rendered(alias, "sentinel", client, **{**watched, word: "wrong"}))
        with pytest.raises(redis.ConnectionError):
            cache.get("key")


@SENTINEL_CLIENTS
def test_what_sentinel_is_told(client: str) -> None:
    """Numbers are numbers, addresses are as they are, and no password is in an address."""
    sentinels = [
        {"name": "a", "address": "192.0.2.1", "port": 26379},
        {"name": "b", "address": "2001:db8::2", "port": 26380},
    ]
    arguments = {"sentinels": iter(sentinels), "service": "shop", "password": "x", "sentinel_password": PRINTABLE}
    setting = rendered({"db": 3}, "sentinel", client, iter([node(), node(port=1)]), **arguments)
    loaded(setting)
    options = setting["OPTIONS"]
    own = {"password": PRINTABLE}
    if client == RESILIENT:
        assert (setting["BACKEND"], setting["LOCATION"]) == (
            "cachestack.resilient.SentinelRedisCache",
            ["redis://shop"],
        )
        assert (options["sentinel_kwargs"], options["db"], options["on_error"]) == (own, 3, "miss")
    else:
        assert (setting["BACKEND"], setting["LOCATION"]) == (BACKENDS[client], ["redis://shop/3?is_master=1"])
        timeouts = {"socket_connect_timeout": 1.0, "socket_timeout": 1.0, "protocol": 2, "retry": None}
        assert options["SENTINEL_KWARGS"] == {**timeouts, **own}
    assert options["SENTINELS" if client == DJANGO_REDIS else "sentinels"] == [
        ["192.0.2.1", 26379],
        ["2001:db8::2", 26380],
    ]


@SENTINEL_CLIENTS
def test_sentinels_may_have_no_password(client: str) -> None:
    options = rendered({}, "sentinel", client, [node()], password="x", **WATCHED)["OPTIONS"]
    assert "password" not in {**options.get("SENTINEL_KWARGS", {}), **options.get("sentinel_kwargs", {})}


def test_the_passwords_are_references_and_no_text() -> None:
    for client in (DJANGO_REDIS, RESILIENT):
        caches = django_caches(
            {"default": {}}, "sentinel", client, [node()], "REDIS_PASSWORD", sentinel_password=SENTINEL_NAME, **WATCHED
        )
        source = to_python(caches, ["REDIS_PASSWORD", SENTINEL_NAME])
        assert source.count(": REDIS_PASSWORD,\n") == source.count(f": {SENTINEL_NAME},\n") == 1
        assert f"'{SENTINEL_NAME}'" not in source


def test_only_lost_sessions_are_errors_under_sentinel() -> None:
    aliases: dict[str, dict[str, Any]] = {"default": {"read_from": "replicas"}, "dj_session": {"db": 2}}
    caches = django_caches(aliases, "sentinel", RESILIENT, [node()], session_alias="dj_session", **WATCHED)
    told = {name: [cache["OPTIONS"].get(word) for word in ("on_error", "read_from")] for name, cache in caches.items()}
    assert told == {"default": ["miss", "replicas"], "dj_session": ["raise", None]}


@pytest.mark.parametrize("read_from", ["leader", "replicas"])
def test_operations_on_a_cluster(farm: Farm, read_from: str) -> None:
    nodes = farm.cluster()
    for server in nodes:
        server.client().config_set("masterauth", PRINTABLE)
        server.client().config_set("requirepass", PRINTABLE)
    setting = rendered(
        {"read_from": read_from, "options": {"retry_deadline": 5}},
        "cluster",
        RESILIENT,
        # Neither who leads nor a socket counts.
        [node(server, socket="/run/redis.sock") for server in reversed(nodes)],
        password=PRINTABLE,
    )
    assert setting["BACKEND"] == "cachestack.resilient.ClusterRedisCache"
    assert setting["LOCATION"] == [server.url for server in reversed(nodes)]
    assert setting["OPTIONS"].get("read_from", "leader") == read_from
    assert "db" not in setting["OPTIONS"]
    cache = loaded(setting)
    check_operations(cache)
    cache.set_many({f"many-{number}": number for number in range(50)})
    sizes = [redis.Redis(port=server.port, password=PRINTABLE, protocol=2).dbsize() for server in nodes[:3]]
    assert all(sizes), "each primary has some"


def test_cachecheck_passes_on_a_cluster(farm: Farm) -> None:
    nodes = [node(server) for server in farm.cluster()]
    aliases = {name: {"key_prefix": name, "read_from": name, **PATIENT} for name in ("leader", "replicas")}
    run_every_operation({name: rendered(alias, "cluster", RESILIENT, nodes) for name, alias in aliases.items()})


@CLIENTS
def test_tls(leader: RedisServer, certificate: Certificate, tls_front: TLSFront, client: str) -> None:
    place = {"address": certificate.name, "port": tls_front(leader.port), "tls": True}

    def cache(ca_file: Path, **changes: Any) -> Any:
        forget_pools()
        nodes = [node(**{**place, **changes})]
        alias = {**(STRICT if client == RESILIENT else {}), "db": 9}
        return loaded(rendered(alias, "standalone", client, nodes, password=PRINTABLE, ca_file=str(ca_file)))

    check_operations(cache(certificate.ca_file))
    with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
        cache(certificate.other_ca_file).get("key")
    with pytest.raises(redis.ConnectionError, match="certificate is not valid for '127"):
        cache(certificate.ca_file, address="127.0.0.1").get("key")


# TLS everywhere, and a user who may do no more than his cache does.

Closed = Callable[..., dict[str, Any]]
CLOSED = pytest.mark.parametrize(
    ("mode", "client"),
    [
        *itertools.product(("standalone", "replication"), (BUILTIN, DJANGO_REDIS, RESILIENT)),
        ("sentinel", DJANGO_REDIS),
        ("sentinel", RESILIENT),
        ("cluster", RESILIENT),
    ],
)


@pytest.fixture
def closed(farm: Farm, certificate: Certificate, tls_front: TLSFront) -> Closed:
    """Start the servers of a mode, with the user `app` for a client. Return the arguments of `rendered`.

    Data nodes have the certificate `file`; they and the Sentinels tell no address but those with TLS.
    """

    def start(mode: str, client: str, file: Path = certificate.address_file) -> dict[str, Any]:
        servers = farm.cluster(primaries=2) if mode == "cluster" else farm.replicated(replicas=mode != "standalone")
        ports = {server.port: tls_front(server.port, file) for server in servers}
        allowed = rules("app", UNKNOWN, app_rules([client], mode == "cluster", ["dj/*"], []))
        for server in servers:
            server.ask("ACL SETUSER", "app", "on", f">{PRINTABLE}", *allowed)
            if mode == "cluster":
                server.client().config_set("cluster-announce-port", ports[server.port])
        for server in servers[1:] if mode != "cluster" else ():
            server.client().config_set("replica-announce-port", ports[server.port])
            server.client().replicaof(server.host, str(ports[servers[0].port]))
            assert server.wait_until_ready()
        if mode == "cluster":
            told = set(ports.values())
            assert wait_for(lambda: all(told == _told_by(server) for server in servers))
        nodes = [node(server, port=ports[server.port], tls=True) for server in servers]
        arguments = {"nodes": nodes, "username": "app", "password": PRINTABLE, "ca_file": str(certificate.ca_file)}
        return {**arguments, **(watching(ports[servers[0].port]) if mode == "sentinel" else {})}

    def watching(port: int) -> dict[str, Any]:
        farm.sentinels(farm.servers[0], password=SENTINELS_PASSWORD)
        sentinels = farm.servers[-3:]
        for server in sentinels:
            server.ask("SENTINEL REMOVE", SERVICE)
            server.ask("SENTINEL MONITOR", SERVICE, server.host, port, 2)
        assert wait_for(lambda: all(s.ask("SENTINEL MASTERS")[SERVICE]["num-slaves"] == 1 for s in sentinels))
        for server in sentinels:
            # What clients need, the other Sentinels, who log in as nobody else here, and this test.
            others = [rule for rule in sentinel_rules("sentinel", UNKNOWN) if rule.startswith("+")]
            server.ask("ACL SETUSER", "default", *sentinel_rules("default", UNKNOWN), *others, "+acl|log")
        fronts = [tls_front(server.port, certificate.address_file) for server in sentinels]
        return {
            "sentinels": [{"name": "s", "address": sentinels[0].host, "port": front, "tls": True} for front in fronts],
            "service": SERVICE,
            "sentinel_password": SENTINELS_PASSWORD,
        }

    return start


def _told_by(server: RedisServer) -> set[int]:
    """The ports that a node of a cluster tells its clients."""
    return {told[1] for _, _, *nodes in server.ask("CLUSTER SLOTS") for told in nodes}


@CLOSED
def test_every_operation_is_allowed_and_no_other_needed(closed: Closed, farm: Farm, mode: str, client: str) -> None:
    arguments = closed(mode, client)
    aliases: dict[str, dict[str, Any]] = {
        name: {"read_from": name, "key_prefix": f"dj/{name}", **patient(client)} for name in ("leader", "replicas")
    }
    caches = {name: rendered(alias, mode, client, **arguments) for name, alias in aliases.items()}
    run_every_operation(caches)
    loaded(caches["leader"]).clear()
    denied = [(server.port, entry) for server in farm.servers for entry in server.ask("ACL LOG")]
    assert denied == []


@CLOSED
def test_another_authority_and_another_user_are_refused(
    closed: Closed, certificate: Certificate, mode: str, client: str
) -> None:
    arguments = closed(mode, client)

    def cache(**changes: Any) -> Any:
        forget_pools()
        return loaded(rendered(patient(client), mode, client, **{**arguments, **changes}))

    cache().set("key", "value")
    # What redis-py says of Sentinels does not name the reason.
    words = "names a leader|No master found" if mode == "sentinel" else "certificate verify failed"
    with pytest.raises(redis.ConnectionError, match=words):
        cache(ca_file=str(certificate.other_ca_file)).get("key")
    with pytest.raises(redis.ConnectionError):
        cache(username="nobody").get("key")


@CLOSED
def test_a_certificate_for_another_name_is_refused(
    closed: Closed, certificate: Certificate, mode: str, client: str
) -> None:
    """Where servers are found at run time, those; the first ones have the right name."""
    arguments = closed(mode, client, certificate.file)
    if mode == "cluster":
        arguments["nodes"] = [{**each, "address": certificate.name} for each in arguments["nodes"]]
    cache = loaded(rendered(patient(client), mode, client, **arguments))
    with pytest.raises(redis.ConnectionError, match="certificate is not valid for '127"):
        cache.get("key")


def test_what_sentinel_is_told_of_tls_and_users() -> None:
    sentinels = [{"name": "a", "address": "192.0.2.1", "port": 26379, "tls": True}]
    arguments = {"sentinels": sentinels, "sentinel_password": "x", "ca_file": "/ca.pem"}
    ours = rendered({}, "sentinel", RESILIENT, [node(tls=True)], **arguments)
    assert ours["LOCATION"] == ["rediss://mymaster"]
    assert ours["OPTIONS"]["sentinel_kwargs"] == {"ssl": True, "ssl_ca_certs": "/ca.pem", "password": "x"}
    assert "username" not in ours["OPTIONS"], "it has no password"
    theirs = rendered({}, "sentinel", DJANGO_REDIS, [node(tls=True)], **arguments)
    # rediss:// would make connections that ask no Sentinel.
    assert theirs["LOCATION"] == ["redis://mymaster/0?is_master=1"]
    checks = {
        "ssl": True,
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_min_version": 771,
        "ssl_ca_certs": "/ca.pem",
    }
    for options, wanted in (("CONNECTION_POOL_KWARGS", checks), ("SENTINEL_KWARGS", {**checks, "password": "x"})):
        given = theirs["OPTIONS"][options]
        assert {key: given[key] for key in given if key.startswith("ssl") or key == "password"} == wanted


@CLIENTS
def test_a_socket_beside_tls_has_no_options_of_it(client: str) -> None:
    """And where only one server has a socket, all are reached with TLS: they have the same options."""
    nodes = [node(tls=True, socket="/run/redis.sock"), node(tls=True, address="192.0.2.2", role="replica")]
    alone = rendered({}, "standalone", client, nodes[:1], ca_file="/ca.pem")
    assert [url.partition(":")[0] for url in alone["LOCATION"]] == ["unix"]
    assert "ssl_" not in repr(alone)
    both = rendered({"read_from": "replicas"}, "replication", client, nodes, ca_file="/ca.pem")
    assert [url.partition(":")[0] for url in both["LOCATION"]] == ["rediss", "rediss"]
    assert [pool.connection_class for pool in pools_of(loaded(both))] == [SSLConnection] * 2


# A change of what decides the bytes of a value.

TWO_FLAVOURS = [
    pytest.param(FLAVOURS[old], FLAVOURS[new], id=f"{FLAVOUR_NAMES[old]}-to-{FLAVOUR_NAMES[new]}")
    for old, new in itertools.permutations(range(len(FLAVOURS)), 2)
]


@pytest.mark.parametrize(("old", "new"), TWO_FLAVOURS)
def test_a_change_leaves_misses_and_no_unreadable_keys(
    leader: RedisServer, old: tuple[str, dict[str, Any]], new: tuple[str, dict[str, Any]]
) -> None:
    before = cache_on(leader, old[0], {**old[1], "db": 7})
    before.clear()
    before.set_many({f"key-{number}": value for number, value in enumerate(VALUES)})
    after = cache_on(leader, new[0], {**new[1], "db": 7})
    assert after.get_many([f"key-{number}" for number in range(len(VALUES))]) == {}
    assert [after.get(f"key-{number}", "miss") for number in range(len(VALUES))] == ["miss"] * len(VALUES)
    assert before.get("key-4") == "text"


def test_a_change_would_leave_unreadable_keys_under_one_prefix(leader: RedisServer) -> None:
    """The test above can fail: this is what it prevents."""
    old = rendered({"compressor": "zlib", "db": 8}, "standalone", DJANGO_REDIS, [node(leader)], password=PRINTABLE)
    new = rendered({"db": 8}, "standalone", BUILTIN, [node(leader)], password=PRINTABLE)
    loaded({**old, "KEY_PREFIX": "dj"}).set("key", "compressible " * 100)
    with pytest.raises(Exception, match="invalid load key"):
        loaded({**new, "KEY_PREFIX": "dj"}).get("key")


def test_the_default_compressor_may_be_named() -> None:
    """Saying what holds anyway must not empty the cache."""
    prefixes = {
        rendered(alias, "standalone", DJANGO_REDIS, [node()])["KEY_PREFIX"]
        for alias in ({}, {"compressor": "none"}, {"options": {"COMPRESSOR": COMPRESSORS["none"]}})
    }
    assert len(prefixes) == 1


def test_a_compressor_has_one_prefix_however_it_is_named() -> None:
    by_word = rendered({"compressor": "lz4"}, "standalone", DJANGO_REDIS, [node()])
    by_path = rendered({"options": {"COMPRESSOR": COMPRESSORS["lz4"]}}, "standalone", DJANGO_REDIS, [node()])
    assert by_word == by_path


# What is refused: the message names the alias and what to write instead.

ERRORS: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "no default": ({"other": {}}, {}, ["'default'"]),
    "no server": (
        {"default": {}},
        {"nodes": []},
        ["default: ", "cache_mode standalone needs at least one Redis server"],
    ),
    "unknown key": ({"default": {}, "shop": {"timout": 3}}, {}, ["shop: timout: ", "unknown", "did you mean timeout?"]),
    "django's own key": ({"default": {"KEY_PREFIX": "x"}}, {}, ["default: KEY_PREFIX: ", "did you mean key_prefix?"]),
    "unknown client": (
        {"default": {}},
        {"client": "redis"},
        ["cache_client 'redis'", "builtin, django_redis"],
    ),
    "unknown read_from": ({"default": {"read_from": "replica"}}, {}, ["default: ", "'replica'", "leader, replicas"]),
    "unknown compressor": ({"default": {"compressor": "gzip"}}, {}, ["default: ", "'gzip'", "none, zlib, lz4, zstd"]),
    "no text compressor": ({"default": {"compressor": None}}, {}, ["default: ", "compressor None", "none, zlib"]),
    "builtin compressor": (
        {"default": {"compressor": "zlib"}},
        {},
        ["default: ", "'zlib'", "cache_client: resilient or django_redis"],
    ),
    "locmem's bound": (
        {"default": {"options": {"MAX_ENTRIES": 9}}},
        {},
        ["default: ", "MAX_ENTRIES", "redis_maxmemory"],
    ),
    "locmem's bound, django_redis": (
        {"default": {"options": {"CULL_FREQUENCY": 9}}},
        {"client": DJANGO_REDIS},
        ["default: ", "CULL_FREQUENCY", "redis_maxmemory"],
    ),
    "capitals": ({"default": {"options": {"COMPRESSOR": "x"}}}, {}, ["default: ", "COMPRESSOR", "django_redis"]),
    "db as an option": ({"default": {"options": {"db": 3}}}, {}, ["default: ", "db", "beside options"]),
    "db as an option, django_redis": (
        {"default": {"options": {"db": 3}}},
        {"client": DJANGO_REDIS},
        ["default: ", "db", "beside options"],
    ),
    **{
        f"{client} {option} {value!r}": (
            {"default": {"options": {option: value}}},
            {"client": client},
            [f"default: options.{option} {value!r}: it must be a", "without quotes"],
        )
        for client in (BUILTIN, DJANGO_REDIS)
        for option, value in (("socket_timeout", "5.5"), ("max_connections", "4096"), ("health_check_interval", True))
    },
    "no session alias": (
        {"default": {}},
        {"session_alias": "dj_session"},
        ["dj_session: ", "django_app_cache_aliases", "django_app_session_alias", "default"],
    ),
    "one pool": (
        {"default": {}, "shop": {"options": {"socket_timeout": 1}}},
        {"client": DJANGO_REDIS},
        ["shop: ", "options of default", "another db"],
    ),
    "one pool, Sentinel": (
        {"default": {}, "shop": {"options": {"socket_timeout": 1}}},
        {"mode": "sentinel", "client": DJANGO_REDIS, **WATCHED},
        ["shop: ", "options of default", "another db"],
    ),
    "one pool, other replicas": (
        {"default": {}, "shop": {"read_from": "replicas", "options": {"SENTINEL_KWARGS": {}}}},
        {"mode": "sentinel", "client": DJANGO_REDIS, **WATCHED},
        ["shop: ", "options of default", "another db"],
    ),
    "no Sentinels": (
        {"default": {}},
        {"mode": "sentinel", "client": RESILIENT},
        ["default: ", "cache_mode sentinel needs at least one Sentinel"],
    ),
    "no servers, Sentinel": (
        {"default": {}},
        {"mode": "sentinel", "client": RESILIENT, **WATCHED, "nodes": []},
        ["default: ", "cache_mode sentinel needs at least one Redis server"],
    ),
    **{
        f"{client} {mode}": (
            {"default": {}},
            {"mode": mode, "client": client, **WATCHED},
            [f"cache_client {client} has no mode {mode}", "cache_client: resilient"],
        )
        for client, mode in ((BUILTIN, "sentinel"), (BUILTIN, "cluster"), (DJANGO_REDIS, "cluster"))
    },
    "cluster db": (
        {"default": {"db": 0}, "shop": {"db": 1}},
        {"mode": "cluster", "client": RESILIENT},
        ["shop: db 1: a Redis Cluster has the database 0 alone; remove db"],
    ),
    "prefix is a number": ({"default": {"key_prefix": 2024}}, {}, ["default: ", "key_prefix 2024", "quotes"]),
    "prefix is null": ({"default": {"key_prefix": None}}, {}, ["default: ", "key_prefix None", "quotes"]),
    **{
        f"timeout {timeout!r}": (
            {"default": {}, "shop": {"timeout": timeout}},
            {},
            [f"shop: timeout {timeout!r}", "null"],
        )
        for timeout in ("None", "abc", "60", 0.5, 1.9, True, False, -1)
    },
}


@pytest.mark.parametrize(("aliases", "changes", "words"), ERRORS.values(), ids=ERRORS)
def test_errors(aliases: dict[str, Any], changes: dict[str, Any], words: list[str]) -> None:
    arguments = {"mode": "standalone", "client": BUILTIN, "nodes": [node()], **changes}
    with pytest.raises(CacheSettingsError) as refusal:
        django_caches(aliases, **arguments)
    message = str(refusal.value)
    assert all(word in message for word in words), message
    assert message.startswith((words[0], "Django needs"))


def test_all_errors_are_told_at_once() -> None:
    with pytest.raises(CacheSettingsError) as refusal:
        django_caches({"default": {"db": -1, "timeout": "x"}, "shop": {"tmeout": 1}}, "standalone", BUILTIN, [node()])
    assert [line.partition(":")[0] for line in str(refusal.value).splitlines()] == ["default", "default", "shop"]


def test_aliases_that_share_a_db_and_its_options_are_allowed() -> None:
    aliases = {"default": {}, "long": {"timeout": None, "options": {"IGNORE_EXCEPTIONS": True}}}
    caches = django_caches(aliases, "standalone", DJANGO_REDIS, [node()])
    assert caches["default"]["LOCATION"] == caches["long"]["LOCATION"]


@pytest.mark.parametrize("read_from", ["leader", "replicas"])
def test_aliases_that_share_a_db_are_allowed_under_sentinel(read_from: str) -> None:
    """A pool for the leader, one for the replicas, and each alias that may use them."""
    aliases: dict[str, dict[str, Any]] = {"default": {}, "other": {"read_from": read_from}}
    caches = django_caches(aliases, "sentinel", DJANGO_REDIS, [node()], **WATCHED)
    assert caches["other"]["LOCATION"][:1] == caches["default"]["LOCATION"]


def test_the_printable_password_is_complete() -> None:
    assert set(string.digits + string.ascii_letters + string.punctuation + " ") == set(PRINTABLE)
