"""CACHES that was rendered, used on real servers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from ansible.module_utils.redis_client import quote

from conftest import Certificate, TLSFront, forget_pools
from deployment.render.caches import (
    COMPRESSORS,
)
from sample_caches import (
    BUILTIN,
    CLIENTS,
    DJANGO_REDIS,
    FLAVOUR_NAMES,
    FLAVOURS,
    PASSWORDS,
    PRINTABLE,
    RESILIENT,
    STRICT,
    VALUES,
    cache_on,
    check_operations,
    loaded,
    node,
    pools_of,
    rendered,
)
from servers import RedisServer, RedisServerFactory

pytestmark = pytest.mark.usefixtures("django_project", "_no_shared_pools")


@pytest.fixture(scope="module")
def leader(redis_server: RedisServerFactory) -> RedisServer:
    return redis_server(password=PRINTABLE)


@pytest.fixture(scope="module")
def replica(redis_server: RedisServerFactory, leader: RedisServer) -> RedisServer:
    return redis_server(password=PRINTABLE, replicaof=leader)


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
