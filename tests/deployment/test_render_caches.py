"""CACHES, as Django sees it: printed, evaluated, and handed to Django's own CacheHandler."""

from __future__ import annotations

import ssl
import string
from typing import Any

import pytest
from django.core.cache import CacheHandler
from django.utils.module_loading import import_string
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

from cachestack.resilient.options import parse
from deployment.checks.rendered import django_caches
from deployment.render.caches import (
    CONNECTION,
    RESILIENT_DEFAULTS,
    CacheSettingsError,
)
from deployment.render.python_source import to_python
from sample_caches import (
    BACKENDS,
    BUILTIN,
    CLIENTS,
    COMBINATIONS,
    DJANGO_REDIS,
    PASSWORDS,
    PRINTABLE,
    RESILIENT,
    THIN_CLIENTS,
    WATCHED,
    check_operations,
    leaves,
    loaded,
    node,
    pools_of,
    rendered,
    settings_of,
)

pytestmark = pytest.mark.usefixtures("django_project", "_no_shared_pools")


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
