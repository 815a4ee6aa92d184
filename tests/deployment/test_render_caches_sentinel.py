"""CACHES under Sentinel and on a cluster, used on real servers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from conftest import forget_pools
from deployment.checks.rendered import django_caches
from deployment.render.caches import (
    COMPRESSORS,
)
from deployment.render.python_source import to_python
from sample_caches import (
    BACKENDS,
    DJANGO_REDIS,
    PATIENT,
    PRINTABLE,
    RESILIENT,
    SENTINEL_NAME,
    SENTINELS_PASSWORD,
    WATCHED,
    check_operations,
    loaded,
    node,
    patient,
    rendered,
    run_every_operation,
)
from servers import SERVICE, Farm, RedisServerFactory, free_port

pytestmark = pytest.mark.usefixtures("django_project", "_no_shared_pools")


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
